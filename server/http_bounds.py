"""What a connection may send and keep us waiting for, and what is told to one that goes beyond: a table."""

from collections.abc import Iterable
from typing import Final

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from server.crowd import Crowd
from server.http_front import SAFE_HEADERS
from server.refusals import HttpTally, Refusal, body_of, headers_of

MOST_HEAD: Final = 32 << 10
"""Bytes of a request's head, or of what else is sent without a byte of a body: chunk extensions, trailers."""
MOST_TARGET: Final = 8 << 10
"""Bytes of a request's path and query."""
MOST_FIELDS: Final = 100
"""Lines of a head."""
MOST_PIPELINED: Final = 8
"""Requests that wait behind one that is being answered: each is some kilobytes here, and forty bytes there."""

UNREADABLE: Final = Refusal(reason="unreadable", status=400, message="This is no HTTP/1.1 request.", close=True)
TARGET: Final = Refusal(reason="unreadable", status=400, message="A request begins with its path.", close=True)
LONG_TARGET: Final = Refusal(
    reason="head_too_large", status=414, message=f"A path may have {MOST_TARGET} bytes at most.", close=True
)
LARGE_HEAD: Final = Refusal(
    reason="head_too_large",
    status=431,
    message=f"A head may have {MOST_FIELDS} lines and {MOST_HEAD} bytes at most.",
    close=True,
)
PIPELINED: Final = Refusal(
    reason="pipelined", status=429, message="Wait for answers before you send more requests.", close=True
)
CROWDED: Final = Refusal(
    reason="too_many_clients",
    status=503,
    message="Too many clients are connected; try again in a second.",
    retry_after=1,
    close=True,
)


class Bounds(msgspec.Struct, frozen=True):
    """What all connections share: seconds of patience with a client, who else is there, and where it is counted."""

    patience: float
    crowd: Crowd
    tally: HttpTally


def answer_of(refusal: Refusal, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the whole answer as it is sent, with these headers before its own."""
    body = body_of(refusal, rpc=False)
    lines = [b"%s: %s\r\n" % each for each in (*headers, *headers_of(refusal, body), *SAFE_HEADERS)]
    return b"".join((STATUS_LINE[refusal.status], *lines, b"\r\n", body))
