"""Heads that a client sends again: on a connection they differ in their Content-Length at most, and are read once.

Invariants: a head is known again by every byte of it but the digits of its one Content-Length, at a place where a
request begins, and with all of its body behind it; for anything else the parser is asked. What is found out of a head
is kept beside it, and is gone with its connection. Nothing is kept that depends on more than the head: who may get in,
what the time is and how busy it is, is asked for each request.

Rules: pure.
"""

import re
from collections import deque
from collections.abc import Callable, MutableMapping
from typing import Any, Final, Generic, TypeVar

import msgspec
from starlette.types import Scope

T = TypeVar("T")

_FOUND: Final = "mcp_postgres.found"
"""Where in the scope is what was found out of its head."""
_KEPT: Final = 4
"""Heads of a connection."""
_LONGEST: Final = 4096
"""Bytes of a head that is kept; with as many as are kept, some 16 KiB of a connection at most, and as much again."""
_LENGTH: Final = re.compile(rb"\r\nContent-Length: ?([0-9]{1,8})(?=\r\n)", re.IGNORECASE)
_LONGEST_LENGTH: Final = 8
"""Digits."""
_END: Final = b"\r\n\r\n"
_FRAMED_OTHERWISE: Final = frozenset({b"transfer-encoding", b"expect", b"upgrade"})
"""Lines of heads that are left to the parser: more than a length tells how the body comes, or what comes after it."""


class OfHead(Generic[T]):
    """What follows from a request's head alone, but for its Content-Length: found once for each head that is kept.

    Args:
        find: Finds it; what it returns is shared between requests.
    """

    __slots__ = ("_find",)

    def __init__(self, find: Callable[[Scope], T]) -> None:
        self._find = find

    def __call__(self, scope: Scope) -> T:
        """Return it for this request."""
        found: dict[OfHead[T], T] | None = scope.get(_FOUND)
        if found is None:
            return self._find(scope)
        if self not in found:
            found[self] = self._find(scope)
        return found[self]


class _Kept(msgspec.Struct, frozen=True):
    """A head, before and behind the digits of its length, and what it led to."""

    before: bytes
    behind: bytes
    scope: dict[str, Any]
    place: int
    """Of the Content-Length among the headers."""


class Heads:
    """The last heads of one connection."""

    def __init__(self) -> None:
        self._kept: deque[_Kept] = deque(maxlen=_KEPT)

    def again(self, data: bytes) -> tuple[dict[str, Any], bytes] | None:
        """Return the scope and the body if this is a whole request with a head that is kept, and nothing else.

        The scope is as `keep` was given it, for the caller to change.
        """
        for kept in self._kept:
            if data.startswith(kept.before):
                begin = len(kept.before)
                end = data.find(kept.behind, begin, begin + _LONGEST_LENGTH + len(kept.behind))
                digits, body = data[begin:end], data[end + len(kept.behind) :]
                if end > 0 and digits.isdigit() and int(digits) == len(body):
                    headers = [*kept.scope["headers"]]
                    headers[kept.place] = (b"content-length", digits)
                    return {**kept.scope, "headers": headers}, body
        return None

    def keep(self, data: bytes, scope: MutableMapping[str, Any]) -> None:
        """Keep the head of one whole request, which the parser took as this scope, if all readers see it alike."""
        end = data.find(_END) + len(_END)
        lengths = [*_LENGTH.finditer(data, 0, end)] if end <= _LONGEST and _is_plain(scope) else []
        if len(lengths) != 1 or int(lengths[0][1]) != len(data) - end:
            return
        scope[_FOUND] = {}
        before, behind = data[: lengths[0].start(1)], data[lengths[0].end(1) : end]
        place = [name for name, _ in scope["headers"]].index(b"content-length")
        self._kept.appendleft(_Kept(before, behind, dict(scope), place))


def _is_plain(scope: MutableMapping[str, Any]) -> bool:
    """Whether it is a POST of HTTP/1.1 that is framed by one length alone, and after which another may come."""
    names = [name for name, _ in scope["headers"]]
    return (
        (scope["method"], scope["http_version"], names.count(b"content-length")) == ("POST", "1.1", 1)
        and _FRAMED_OTHERWISE.isdisjoint(names)
        and all(value.lower() == b"keep-alive" for name, value in scope["headers"] if name == b"connection")
    )
