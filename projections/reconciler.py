"""Keeps heads and keys equal to the fold while nothing else happens: what was edited, deleted or evicted is mended.

One replica at a time does so, by a lease in Redis: the work is the same whoever does it, and twice does no harm.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from projections.directory import Directory
from projections.fitting import GROUP, Fitted, Group, Raw
from projections.tenant_keys import TenantKeys, differs
from registry.codec import read_head
from registry.entries import Position
from registry.errors import CommandRefused, RegistryUnavailable
from registry.log import TenantLog
from registry.names import Names
from registry.redis_client import RedisClient
from registry.state import Live, Removed
from registry.stored import head_of, is_head_of
from registry.tally import Tally

_SHOWN: Final = 20
"""Ids in a log line."""
_PAGE: Final = 500
_PACE: Final = 0.012
"""Seconds between two pages: one holds a call up for tenths of a millisecond; 100,000 tenants take three seconds."""


class Reconciler:
    """Compares and mends every `every` seconds, unless another replica did in that time.

    Args:
        redis, names: Where the lease is.
        log: Whose heads are compared.
        keys: What is compared and mended.
        directory: What heads and keys should say.
        is_current: Whether the directory is up to date with the log; what another log says is not to be overwritten.
        owner: This replica's name, for people who look at the lease.
        every: Seconds between two looks, of all replicas together.
        tally: Where what was mended is counted.
    """

    def __init__(  # noqa: PLR0913 - what is compared with what, by whom and when, and where it is counted
        self,
        *,
        redis: RedisClient,
        names: Names,
        log: TenantLog,
        keys: TenantKeys,
        directory: Directory,
        is_current: Callable[[], bool],
        owner: str,
        every: float,
        tally: Tally | None = None,
    ) -> None:
        self._redis = redis
        self._names = names
        self._log = log
        self._keys = keys
        self._directory = directory
        self._is_current = is_current
        self._owner = owner
        self._every = every
        self._tally = tally or Tally()
        self._due = asyncio.Event()
        self._refusal: str | None = None
        self._fitted = Fitted()
        self._logger = structlog.get_logger("reconciler")

    def hurry(self) -> None:
        """Look now, and without the lease: this replica has just caught up with what it may have missed."""
        self._due.set()

    async def run(self) -> None:
        """Go on until cancelled. Redis being away is somebody else's to tell; what it refuses is told here alone."""
        while True:
            hurried = await self._wait()
            try:
                if self._is_current() and (hurried or await self._take_lease()):
                    await self.mend()
                    self._refusal = None
            except CommandRefused as error:
                self._note_refusal(error.message)
            except RegistryUnavailable:
                continue
            except Exception:  # the supervising loop: the next look may do better, and nobody else would tell
                self._logger.exception("keys not compared")

    async def mend(self) -> list[str]:
        """Compare all now and mend what differs; return the tenants whose key did. Raises `RegistryUnavailable`.

        Which log it is is noted as well, where nothing notes it.
        """
        # Invariant: no await between the two. What is written below is as of what was read here, even if the log is in
        # another epoch by then; and a head that is newer than what was read must not be taken for a wrong one.
        tenants, as_of = tuple(self._directory.all()), self._directory.as_of
        if as_of.epoch.is_known:
            await self._log.mark_epoch(as_of.epoch)
        heads, mended = list[str](), list[str]()
        for start in range(0, len(tenants), _PAGE):
            await asyncio.sleep(_PACE)
            page = [each for each in tenants[start : start + _PAGE] if isinstance(each, Live | Removed)]
            differing = await self._differing(start, page)
            if differing:
                heads += await self._mend_heads(differing, as_of.position)
                mended += await self._keys.repair(differing, as_of)
        self._tally.heads_repaired += len(heads)
        self._tally.keys_repaired += len(mended)
        if heads:
            self._logger.warning("heads repaired", count=len(heads), tenants=heads[:_SHOWN])
        if mended:
            self._logger.warning("tenant keys repaired", count=len(mended), tenants=mended[:_SHOWN])
        return mended

    async def _differing(self, start: int, page: Sequence[Live | Removed]) -> list[Live | Removed]:
        """Return the tenants whose head or key is not what it should be."""
        names = [tenant.tenant for tenant in page]
        heads, texts = await self._log.raw_heads(names), await self._keys.documents(names)
        differing = list[Live | Removed]()
        for at in range(0, len(page), GROUP):
            part = slice(at, at + GROUP)
            compared = page[part], heads[part], texts[part]
            if not self._fitted.still(start + at, *compared):
                differing += self._worked_out(start + at, *compared)
                await asyncio.sleep(0)  # calls go first: after a start all are worked out
        return differing

    def _worked_out(self, place: int, group: Group, heads: Raw, texts: Raw) -> list[Live | Removed]:
        compared = zip(group, heads, texts, strict=True)
        differing = [each for each, head, text in compared if not _fits(each, head, text)]
        if not differing:
            self._fitted.note(place, group, heads, texts)
        return differing

    async def _mend_heads(self, tenants: Sequence[Live | Removed], read: Position) -> list[str]:
        found = await self._log.heads([tenant.tenant for tenant in tenants])
        wrong = [
            tenant for tenant, head in zip(tenants, found, strict=True) if not is_head_of(tenant, head, any_birth=True)
        ]
        return [each.tenant for each in wrong if await self._log.mend_head(each.tenant, head_of(each), read)]

    def _note_refusal(self, reason: str) -> None:
        """Say once why nothing is mended, however often it is tried: reads go on, and all else looks well."""
        if reason != self._refusal:
            self._refusal = reason
            self._logger.warning("keys and heads are not mended", reason=reason)

    async def _wait(self) -> bool:
        """Wait for the next look; return whether it was asked for."""
        try:
            async with asyncio.timeout(self._every):
                await self._due.wait()
        except TimeoutError:
            return False
        self._due.clear()
        return True

    async def _take_lease(self) -> bool:
        """Take the lease for a little less than a round, so that it is free when the next one is due."""
        milliseconds = max(1, int(self._every * 900))
        return bool(await self._redis.run("SET", self._names.repair, self._owner, "NX", "PX", milliseconds))


def _fits(tenant: Live | Removed, head: bytes | None, text: bytes | None) -> bool:
    found = None if head is None else read_head(head)
    return is_head_of(tenant, found, any_birth=True) and not differs(tenant, text)
