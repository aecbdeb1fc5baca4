"""A request's body: read once, within a size and a time, looked at for its depth, and handed on when there is room.

What waits for its body holds no place among the requests in flight, or a few slow senders would keep everybody out;
what all of them have sent so far is bounded together.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final, TypeAlias, TypeVar

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.http_heads import OfHead
from server.json_depth import MOST, is_too_deep
from server.refusals import PARSE_ERROR, HttpTally, Refusal, refuse

T = TypeVar("T", bytes, bytearray)
CallerOf: TypeAlias = Callable[[Scope], str | None]
"""Tells who sent a request; None where nobody is asked, and all are one."""

BODY: Final = "mcp_postgres.body"
"""Where in the scope the whole body is for what comes behind."""
PLACE: Final = "mcp_postgres.place"
"""Where in the scope is what gives the request's place among those in flight to others, for one that only listens."""
ARRIVED: Final = "mcp_postgres.arrived"
"""Where in the scope it may say that all of the body is there already, and need not be waited for with a clock."""
_METHOD: Final = Refusal(reason="method", status=405, message="MCP is spoken with POST here.", allow="POST")
_MEDIA_TYPE: Final = Refusal(
    reason="media_type", status=415, message="The body is JSON; say so with Content-Type: application/json."
)
_TOO_DEEP: Final = Refusal(
    reason="too_deep", status=400, message=f"The body nests deeper than {MOST} levels.", code=PARSE_ERROR
)
_BUSY: Final = Refusal(
    reason="busy", status=503, message="Too many requests are in flight; try again in a second.", retry_after=1
)
_GREEDY: Final = Refusal(
    reason="busy",
    status=503,
    message="Too many of your requests are in flight: nobody has more than they leave free. Try again in a second.",
    retry_after=1,
)
_BODIES_FULL: Final = Refusal(
    reason="bodies_full",
    status=503,
    message="Too many large bodies are arriving; try again in a second.",
    retry_after=1,
    close=True,
)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How large a body may be in bytes, how many seconds it may take, and how many requests may be in flight."""

    max_body: int
    seconds: float
    max_requests: int


class _Refused(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class _Left(Exception):
    """The client left before its body was whole."""


class _Place:
    """A place among the requests in flight; closed, however often, it is free again."""

    __slots__ = ("_caller", "_free")

    def __init__(self, free: Callable[[str | None], None], caller: str | None) -> None:
        self._free: Callable[[str | None], None] | None = free
        self._caller = caller

    def close(self) -> None:
        """Free it."""
        free, self._free = self._free, None
        if free is not None:
            free(self._caller)


class Intake:
    """Reads a POST's body and hands the request on with the body in its scope; its channel then tells what comes after.

    Args:
        endpoint: Answers MCP.
        limits: What a body and all requests together may take.
        tally: Counts refusals and what is in flight.
        caller_of: Tells whose request it is: no caller has more in flight, nor more bytes of bodies on their way, than
            they leave free.
    """

    def __init__(
        self, endpoint: ASGIApp, limits: Limits, tally: HttpTally, caller_of: CallerOf = lambda _scope: None
    ) -> None:
        self._endpoint = endpoint
        self._limits = limits
        self._tally = tally
        self._caller_of = caller_of
        self._head_fault = OfHead(_fault_of)
        self._running_of: dict[str | None, int] = {}
        self._arriving = 0
        self._arriving_of: Counter[str | None] = Counter()
        self._too_large = Refusal(
            reason="body_too_large", status=413, message=f"A body may have {limits.max_body} bytes at most."
        )
        self._late = Refusal(
            reason="body_late",
            status=408,
            message=f"The body did not arrive within {limits.seconds:g} s.",
            close=True,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        caller = self._caller_of(scope)
        try:
            body = await self._body(scope, receive, caller)
            self._check(body, caller)
        except _Refused as refused:
            await refuse(refused.refusal, send, self._tally, rpc=True)
            return
        except _Left:
            return
        place = self._enter(caller)
        try:
            scope[BODY], scope[PLACE] = body, place.close
            await self._endpoint(scope, receive, send)
        finally:
            place.close()

    def _enter(self, caller: str | None) -> "_Place":
        self._tally.running += 1
        self._running_of[caller] = self._running_of.get(caller, 0) + 1
        return _Place(self._leave, caller)

    def _leave(self, caller: str | None) -> None:
        self._tally.running -= 1
        left = self._running_of.pop(caller) - 1
        if left:
            self._running_of[caller] = left

    async def _body(self, scope: Scope, receive: Receive, caller: str | None) -> bytes:
        fault = self._head_fault(scope)
        if fault is not None:
            raise _Refused(fault)
        if scope.get(ARRIVED, False):
            return self._whole(await receive())
        if any(name == b"content-length" and int(value) > self._limits.max_body for name, value in scope["headers"]):
            raise _Refused(self._too_large)
        return await self._read(receive, caller)

    def _check(self, body: bytes, caller: str | None) -> None:
        if is_too_deep(body):
            raise _Refused(_TOO_DEEP)
        free = self._limits.max_requests - self._tally.running
        if free <= 0:
            raise _Refused(_BUSY)
        if caller is not None and self._running_of.get(caller, 0) >= free:
            raise _Refused(_GREEDY)

    async def _read(self, receive: Receive, caller: str | None) -> bytes:
        try:
            async with asyncio.timeout(self._limits.seconds):
                message = await receive()
                if message.get("more_body", False):
                    return await self._read_on(message["body"], receive, caller)
        except TimeoutError:
            raise _Refused(self._late) from None
        return self._whole(message)

    def _whole(self, message: Message) -> bytes:
        if message["type"] == "http.disconnect":
            raise _Left
        whole: bytes = message.get("body", b"")
        return self._within(whole)

    async def _read_on(self, part: bytes, receive: Receive, caller: str | None) -> bytes:
        body, held, more = bytearray(), 0, True
        try:
            while True:
                body += part
                self._within(body)
                self._hold(len(body) - held, caller)
                held = len(body)
                if not more:
                    return bytes(body)
                self._require_room(caller)
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _Left
                part, more = message.get("body", b""), message.get("more_body", False)
        finally:
            self._hold(-held, caller)

    def _hold(self, size: int, caller: str | None) -> None:
        self._arriving += size
        self._arriving_of[caller] += size
        if not self._arriving_of[caller]:
            del self._arriving_of[caller]

    def _require_room(self, caller: str | None) -> None:
        free = self._limits.max_requests * self._limits.max_body - self._arriving
        if free < 0 or (caller is not None and self._arriving_of[caller] > free + self._limits.max_body):
            raise _Refused(_BODIES_FULL)

    def _within(self, body: T) -> T:
        if len(body) > self._limits.max_body:
            raise _Refused(self._too_large)
        return body


def _fault_of(scope: Scope) -> Refusal | None:
    """Return what is wrong with a head, whatever length it tells."""
    if scope["method"] != "POST":
        return _METHOD
    types = [value for name, value in scope["headers"] if name == b"content-type"]
    if len(types) != 1 or types[0].partition(b";")[0].strip().lower() != b"application/json":
        return _MEDIA_TYPE
    return None
