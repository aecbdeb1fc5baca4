"""Where an issuer's keys come from: its address, found out from its metadata where it is not given, or a file.

The keys are fetched when the server starts, every five minutes, and when a token names one that is not there (a new
one, or an invention: so at most every ten seconds). While that fails, those that were fetched last are used.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import httpx2
import msgspec
import structlog

from registry.errors import InvalidInput
from server.addresses import is_trustworthy
from server.jwks import KeySet, parse_keys
from server.watched_file import WatchedFile

REFRESH_EVERY: Final = 300.0
"""Seconds; a key that the issuer has withdrawn is believed for so long."""
ASK_AT_MOST_EVERY: Final = 10.0
_WITHIN: Final = 5.0
_BYTES_AT_MOST: Final = 1 << 20


class KeySource(Protocol):
    """Knows an issuer's keys."""

    @property
    def keys(self) -> KeySet | None:
        """The keys as they are known now; None before they were ever known. Equal as long as it is the same object."""

    async def look_again(self) -> None:
        """Fetch them now, unless that was just tried. Raises nothing; may be cancelled."""

    async def run(self) -> None:
        """Keep them up to date until cancelled."""


class KeysInFile:
    """Keys from a file, which is looked at each second."""

    def __init__(self, file: WatchedFile[KeySet]) -> None:
        self._file = file

    @property
    def keys(self) -> KeySet | None:
        """What the file says."""
        return self._file.current

    async def look_again(self) -> None:
        """Leave it to `run`."""

    async def run(self) -> None:
        """Read the file."""
        await self._file.run()


class FetchedKeys:
    """Keys from the issuer.

    Args:
        issuer: Its identifier.
        address: Of the key set; None to take the one that its metadata names.
        algorithms: What keys are for.
        clock: Monotonic seconds.
    """

    def __init__(self, issuer: str, address: str | None, algorithms: Sequence[str], clock: Callable[[], float]) -> None:
        self._issuer = issuer
        self._address = address
        self._algorithms = algorithms
        self._clock = clock
        self._asked_at: float | None = None
        self._asking = asyncio.Lock()
        self._text = b""
        self._fault: str | None = None
        self.keys: KeySet | None = None

    async def look_again(self) -> None:
        """Fetch the keys; whoever comes meanwhile waits for that, and fetches nothing again."""
        async with self._asking:
            if self._asked_at is not None and self._clock() - self._asked_at < ASK_AT_MOST_EVERY:
                return
            await self._fetch()

    async def run(self) -> None:
        """Fetch them every five minutes, and oftener as long as there are none."""
        while True:
            async with self._asking:
                await self._fetch()
            await asyncio.sleep(REFRESH_EVERY if self._fault is None else ASK_AT_MOST_EVERY)

    async def _fetch(self) -> None:
        self._asked_at = self._clock()
        try:
            async with asyncio.timeout(_WITHIN), httpx2.AsyncClient(timeout=_WITHIN) as client:
                text = await _text_of(client, self._address or await _address_of(client, self._issuer))
            if text != self._text:
                self.keys, self._text = parse_keys(text, self._algorithms), text
                structlog.get_logger("auth").info("the issuer's keys are read", count=len(self.keys))
            self._fault = None
        except (httpx2.HTTPError, httpx2.InvalidURL, InvalidInput, OSError, ValueError) as error:
            self._tell(str(error) or type(error).__name__)

    def _tell(self, fault: str) -> None:
        if fault != self._fault:
            self._fault = fault
            known = len(self.keys) if self.keys else 0
            structlog.get_logger("auth").error("the issuer's keys cannot be had", problem=fault, known=known)


async def _address_of(client: httpx2.AsyncClient, issuer: str) -> str:
    """Return where the issuer says that its keys are (RFC 8414, and OpenID Connect Discovery)."""
    fault = "it has no metadata"
    for address in _metadata_of(issuer):
        try:
            told = msgspec.json.decode(await _text_of(client, address), type=dict[str, Any])
        except (InvalidInput, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            fault = str(error)
            continue
        keys = told.get("jwks_uri")
        if told.get("issuer") != issuer:
            raise InvalidInput(f"{address} is the metadata of another issuer")
        if not isinstance(keys, str) or not is_trustworthy(keys):
            raise InvalidInput(f"{address} names no keys that can be had by https")
        return keys
    raise InvalidInput(fault)


def _metadata_of(issuer: str) -> Sequence[str]:
    parts = urlsplit(issuer)
    base, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    return (
        f"{base}/.well-known/oauth-authorization-server{path}",
        f"{base}{path}/.well-known/openid-configuration",
    )


async def _text_of(client: httpx2.AsyncClient, address: str) -> bytes:
    """Return what is at the address itself: a redirect is not followed, for it could lead anywhere."""
    text = b""
    async with client.stream("GET", address, headers={"Accept": "application/json"}) as response:
        if response.status_code != httpx2.codes.OK:
            raise InvalidInput(f"{address} answers {response.status_code}")
        async for part in response.aiter_bytes():
            text += part
            if len(text) > _BYTES_AT_MOST:
                raise InvalidInput(f"{address} answers more than a key set can be")
    return text
