"""Connections of HTTP to a server that tells what it was asked, without a socket."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import uvicorn
from uvicorn.server import ServerState

from server.admission import Admission, Doorman, caller_of
from server.authentication import Authenticator, Everybody
from server.challenge import Challenge
from server.crowd import Crowd
from server.fast_head import head_of
from server.http_bounds import Bounds
from server.http_forwarded import Forwarded
from server.http_front import Front, Outside
from server.http_intake import BODY, Intake, Limits
from server.http_names import Names
from server.http_protocol import Impatient, impatient
from server.refusals import HttpTally
from server.tokens import RANDOM_BYTES, token_of

TOKEN: Final = token_of(b"a" * RANDOM_BYTES)
OTHER: Final = token_of(b"b" * RANDOM_BYTES)
SLOW: Final = b'"slow"'
OWN_ID: Final = re.compile(rb"x-request-id: [0-9a-f]{32}")


class Wire(asyncio.Transport):
    """Takes what is answered."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False

    def write(self, data: Any) -> None:  # noqa: ANN401 - bytes of any kind
        self.sent += bytes(data)

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - asyncio's
        return {"peername": ("127.0.0.1", 2), "sockname": ("127.0.0.1", 1)}.get(name, default)

    def pause_reading(self) -> None:
        """Nothing is read here."""

    def resume_reading(self) -> None:
        """Nothing is read here."""


class Connection:
    """One connection to the whole stack, whose endpoint tells what it was asked."""

    def __init__(self, protocol: Impatient) -> None:
        self.protocol = protocol
        self.wire = Wire()
        protocol.connection_made(self.wire)

    async def exchange(self, data: bytes) -> bytes:
        """Send anything, and return all that is answered."""
        self.wire.sent = b""
        if not self.wire.closed:
            self.protocol.data_received(data)
        await turns()
        return self.wire.sent

    async def send(self, request: bytes) -> tuple[int, Any]:
        """Send a request; return the status and the body of the answer."""
        head, _, body = (await self.exchange(request)).partition(b"\r\n\r\n")
        return int(head.split()[1]), msgspec.json.decode(body)

    async def is_read_again(self, request: bytes) -> bool:
        """Tell whether the parser is asked for the head of a request, which must then be answered."""
        before = self.protocol.headers
        assert (await self.send(request))[0] == 200
        return self.protocol.headers is not before


async def turns(number: int = 20) -> None:
    """Give the loop as many turns as requests may need."""
    for _ in range(number):
        await asyncio.sleep(0)


async def telling(scope: Any, _receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
    """Answer with what the request seemed to be."""
    head = head_of(scope)
    if scope[BODY] == SLOW:
        await turns(5)
    told = {
        "scope": [scope[name] for name in ("method", "path", "query_string", "http_version", "client", "scheme")],
        "headers": [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]],
        "body": scope[BODY].decode("latin-1"),
        "caller": caller_of(scope).subject,
        "revision": head and head.revision.decode(),
        "streams": head and head.streams,
    }
    body = msgspec.json.encode(told)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def connections(authenticator: Authenticator | None = None) -> AsyncIterator[Callable[[], Connection]]:
    """Yield what makes connections to one server."""
    tally, made = HttpTally(), list[Connection]()
    intake = Intake(telling, Limits(max_body=50_000, seconds=9, max_requests=9), tally)
    admitted = Admission(intake, authenticator or Everybody(), Doorman(Challenge(None, None), 1))
    names = Names(["ours.example"], ["https://page.example"])
    front = Front(admitted, admitted, frozenset({"/mcp"}), frozenset(), Outside(names, tally))
    # No program starts uvicorn here: its configuration is all that the protocol needs.
    protocol: Any = impatient(Bounds(9, Crowd(9, tally), tally))
    app: Any = Forwarded(front, "127.0.0.1")
    config = uvicorn.Config(app, "127.0.0.1", interface="asgi3", http=protocol, log_config=None, proxy_headers=False)
    config.load()

    def make() -> Connection:
        made.append(Connection(protocol(config, ServerState(), {})))
        return made[-1]

    yield make
    for each in made:
        each.protocol.connection_lost(None)
    await turns()


def post(*lines: str, body: bytes = b"{}", host: str = "ours.example", target: str = "/mcp") -> bytes:
    head = [f"POST {target} HTTP/1.1", f"Host: {host}", "Content-Type: application/json"]
    return "\r\n".join([*head, *lines, f"Content-Length: {len(body)}", "", ""]).encode("latin-1") + body
