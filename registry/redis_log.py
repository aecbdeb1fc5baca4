"""The log on a Redis stream, with one head and one data key per tenant beside it in the same cluster slot."""

from collections.abc import Sequence
from typing import Any, Final

from registry import codec
from registry.log import (
    Appended,
    Conflict,
    DestroyKey,
    Diverged,
    Entry,
    Foreign,
    Head,
    KeepKey,
    KeyChange,
    Outcome,
    Position,
    Proposal,
    Repeated,
    Reused,
    SetKey,
)
from registry.names import Names
from registry.redis_client import RedisClient, Script

_APPEND: Final = Script("registry", "append.lua")
_CREATE: Final = Script("registry", "create.lua")


class RedisLog:
    """A `TenantLog` on one stream.

    Args:
        commands: For everything that answers at once.
        tail: For blocking reads; its timeout must be longer than any `wait`.
        names: What the keys are called.
    """

    def __init__(self, commands: RedisClient, tail: RedisClient, names: Names) -> None:
        self._commands = commands
        self._tail = tail
        self._names = names

    async def create(self, type: str, data: bytes) -> Position | None:  # noqa: A002 - the field's name in the log
        """See `TenantLog.create`."""
        names = self._names
        verdict, *end = await self._commands.script(_CREATE, [names.stream, names.heads], [type, data])
        return None if verdict == b"gone" else _position(*end)

    async def append(self, proposal: Proposal) -> Outcome:
        """See `TenantLog.append`."""
        names, after, head = self._names, proposal.after, proposal.head
        verdict, *rest = await self._commands.script(
            _APPEND,
            [names.stream, names.heads, names.data_keys],
            [
                *(after.entry, after.seq),
                *(proposal.tenant, proposal.expected),
                *(proposal.type, proposal.data),
                *(codec.encode_head(head), head.command_id, head.digest),
                *_key_words(proposal.key),
            ],
        )
        return _outcome(verdict, rest)

    async def read(self, after: Position, limit: int, wait: float = 0) -> Sequence[Entry | Foreign]:
        """See `TenantLog.read`. Always by explicit id: `$` would forget what came between two calls."""
        if wait:
            words = ("XREAD", "COUNT", limit, "BLOCK", int(wait * 1000), "STREAMS", self._names.stream, after.entry)
            reply = await self._tail.run(*words)
            found = next(iter(reply.values())) if reply else []
        else:
            found = await self._commands.run("XRANGE", self._names.stream, f"({after.entry}", "+", "COUNT", limit)
        return [codec.read_envelope(entry, fields) for entry, fields in found or ()]

    async def end(self) -> Position | None:
        """See `TenantLog.end`. By XINFO: after XDEL of the last entry XREVRANGE shows an older one."""
        if not await self._commands.run("EXISTS", self._names.stream):
            return None
        info = await self._commands.run("XINFO STREAM", self._names.stream)
        return Position(int(info["entries-added"]), info["last-generated-id"].decode())

    async def entry(self, entry: str) -> Entry | Foreign | None:
        """See `TenantLog.entry`."""
        found = await self._commands.run("XRANGE", self._names.stream, entry, entry)
        return codec.read_envelope(*found[0]) if found else None

    async def head(self, tenant: str) -> Head | None:
        """See `TenantLog.head`."""
        raw = await self._commands.run("HGET", self._names.heads, tenant)
        return None if raw is None else codec.decode_head(raw)

    async def data_keys(self, tenants: Sequence[str]) -> Sequence[str | None]:
        """See `TenantLog.data_keys`."""
        if not tenants:
            return []
        found = await self._commands.run("HMGET", self._names.data_keys, *tenants)
        return [None if raw is None else raw.decode() for raw in found]


def _position(seq: bytes, entry: bytes) -> Position:
    return Position(int(seq), entry.decode())


def _key_words(change: KeyChange) -> tuple[str, str]:
    match change:
        case KeepKey():
            return "keep", ""
        case SetKey(wrapped):
            return "set", wrapped
        case DestroyKey():
            return "destroy", ""


def _outcome(verdict: bytes, rest: list[Any]) -> Outcome:
    match verdict:
        case b"appended":
            return Appended(_position(*rest))
        case b"repeated":
            return Repeated(codec.decode_head(rest[0]))
        case b"reused":
            return Reused(codec.decode_head(rest[0]))
        case b"conflict":
            return Conflict(None if rest[0] is None else codec.decode_head(rest[0]))
        case _:
            end = _position(*rest)
            return Diverged(end if end.seq else None)
