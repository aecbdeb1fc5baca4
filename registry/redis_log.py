"""The log on a Redis stream, with one head and one data key per tenant beside it in the same cluster slot."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from registry import codec
from registry.entries import Cut, Entry, Epoch, Foreign, Head, Position, Unreadable
from registry.log import (
    Appended,
    Conflict,
    DestroyKey,
    Diverged,
    KeepKey,
    KeyChange,
    Outcome,
    Proposal,
    Repeated,
    Reused,
    SetKey,
    Twin,
)
from registry.names import Names
from registry.redis_client import RedisClient, Script, Word

_APPEND: Final = Script("registry", "end.lua", "append.lua")
_CREATE: Final = Script("registry", "end.lua", "create.lua")
_NOTE: Final = Script("registry", "end.lua", "note.lua")
_MEND_HEAD: Final = Script("registry", "end.lua", "mend_head.lua")


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

    async def create(self, type: str, data: bytes, epoch: str, *, anew: bool = False) -> Position | None:  # noqa: A002 - the field's name in the log
        """See `TenantLog.create`."""
        names = self._names
        keys = [names.stream, names.heads, names.epoch]
        verdict, *end = await self._commands.script(_CREATE, keys, [type, data, epoch, int(anew)])
        return None if verdict == b"gone" else _position(*end)

    async def note(self, after: Position, type: str, data: bytes, *, opens: Epoch | None = None) -> Position | None:  # noqa: A002 - the field's name in the log
        """See `TenantLog.note`."""
        words: list[Word] = [after.entry, after.seq, type, data, *((opens.name, opens.begun) if opens else ("", ""))]
        verdict, *end = await self._commands.script(_NOTE, [self._names.stream, self._names.epoch], words)
        return None if verdict == b"moved" else _position(*end)

    async def append(self, proposals: Sequence[Proposal]) -> Sequence[Outcome]:
        """See `TenantLog.append`."""
        names = self._names
        words = [word for proposal in proposals for word in _words(proposal)]
        outcomes = await self._commands.script(_APPEND, [names.stream, names.heads, names.data_keys], words)
        return [_outcome(verdict, rest) for verdict, *rest in outcomes]

    async def read(self, after: Position, limit: int, wait: float = 0) -> Sequence[Entry | Foreign]:
        """See `TenantLog.read`. Always by explicit id: `$` would forget what came between two calls."""
        if wait:
            words = (b"XREAD", "COUNT", limit, "BLOCK", int(wait * 1000), "STREAMS", self._names.stream, after.entry)
            reply = await self._tail.run(*words)
            found = next(iter(reply.values())) if reply else []
        else:
            found = await self._commands.run(b"XRANGE", self._names.stream, f"({after.entry}", "+", "COUNT", limit)
        return [codec.read_envelope(entry, words) for entry, words in found]

    async def end(self) -> Position | None:
        """See `TenantLog.end`. By XINFO: after XDEL of the last entry XREVRANGE shows an older one."""
        if not await self._commands.run("EXISTS", self._names.stream):
            return None
        return end_of(await self._commands.run("XINFO STREAM", self._names.stream))

    async def cut(self) -> Cut:
        """See `TenantLog.cut`. One transaction; HGETALL of 100,000 heads holds Redis for about 20 ms."""
        names = self._names
        exists = await self._commands.run("EXISTS", names.stream)
        end, epoch, heads = await self._commands.atomically(
            [
                ("XINFO STREAM", names.stream) if exists else ("EXISTS", names.stream),
                ("GET", names.epoch),
                ("HGETALL", names.heads),
            ]
        )
        # Invariant: a tenant's id is ASCII; what anything else is the name of is nobody's head.
        read: dict[str, Head] = {}
        unreadable: list[str] = []
        for tenant, raw in heads.items():
            if tenant.isascii():
                head = codec.read_head(raw)
                if isinstance(head, Head):
                    read[tenant.decode()] = head
                else:
                    unreadable.append(tenant.decode())
        return Cut(end=end_of(end) if exists else None, epoch=epoch_of(epoch), heads=read, unreadable=tuple(unreadable))

    async def epoch(self) -> Epoch | None:
        """See `TenantLog.epoch`."""
        return epoch_of(await self._commands.run("GET", self._names.epoch))

    async def entries(self, ids: Sequence[str]) -> Sequence[Entry | Foreign | None]:
        """See `TenantLog.entries`."""
        found = await self._commands.pipeline([(b"XRANGE", self._names.stream, entry, entry) for entry in ids])
        return [codec.read_envelope(*each[0]) if each else None for each in found]

    async def before(self, entry: str) -> Entry | Foreign | None:
        """See `TenantLog.before`."""
        found = await self._commands.run(b"XREVRANGE", self._names.stream, entry, "-", "COUNT", 1)
        return codec.read_envelope(*found[0]) if found else None

    async def heads(self, tenants: Sequence[str]) -> Sequence[Head | Unreadable | None]:
        """See `TenantLog.heads`."""
        return [None if raw is None else codec.read_head(raw) for raw in await self.raw_heads(tenants)]

    async def raw_heads(self, tenants: Sequence[str]) -> Sequence[bytes | None]:
        """See `TenantLog.raw_heads`."""
        if not tenants:
            return []
        found: Sequence[bytes | None] = await self._commands.run("HMGET", self._names.heads, *tenants)
        return found

    async def mend_head(self, tenant: str, head: Head, read: Position) -> bool:
        """See `TenantLog.mend_head`."""
        words: list[Word] = [read.entry, read.seq, tenant, codec.written_head(head)]
        return bool(await self._commands.script(_MEND_HEAD, [self._names.stream, self._names.heads], words))

    async def mark_epoch(self, epoch: Epoch) -> None:
        """See `TenantLog.mark_epoch`."""
        await self._commands.run("SET", self._names.epoch, str(epoch), "NX")

    async def may_restore(self) -> bool:
        """See `TenantLog.may_restore`."""
        return bool(await self._commands.run("EXISTS", self._names.permission))

    async def data_keys(self, tenants: Sequence[str]) -> Sequence[str | None]:
        """See `TenantLog.data_keys`."""
        if not tenants:
            return []
        found = await self._commands.run("HMGET", self._names.data_keys, *tenants)
        return [None if raw is None else raw.decode(errors="replace") for raw in found]


def _position(seq: bytes, entry: bytes) -> Position:
    return Position(int(seq), entry.decode())


def end_of(info: Mapping[str, Any]) -> Position:
    """Return the position of the last entry ever appended, from the reply to XINFO STREAM."""
    return Position(int(info["entries-added"]), info["last-generated-id"].decode())


def epoch_of(raw: bytes | None) -> Epoch | None:
    """Read what the scripts wrote; None for what somebody else did."""
    return Epoch.parse(raw.decode(errors="replace")) if raw else None


def _words(proposal: Proposal) -> tuple[Word, ...]:
    after, head = proposal.after, proposal.head
    return (
        *(after.entry, after.seq),
        *(proposal.tenant, "unreadable" if proposal.expected is None else proposal.expected),
        *(proposal.type, proposal.data),
        *(codec.encode_head(head), "" if proposal.restated else head.command_id, head.digest),
        *_key_words(proposal.key),
        proposal.tenant.lower() if proposal.alone else "",
    )


def _key_words(change: KeyChange) -> tuple[str, str]:
    match change:
        case KeepKey():
            return "keep", ""
        case SetKey(wrapped):
            return "set", wrapped
        case DestroyKey():
            return "destroy", ""


def _outcome(verdict: bytes, rest: list[Any]) -> Outcome:
    if verdict == b"appended":
        return Appended(_position(*rest))
    if verdict == b"diverged":
        end = _position(*rest)
        return Diverged(end if end.seq else None)
    if verdict == b"twin":
        return Twin(rest[0].decode())
    head = None if rest[0] is None else codec.read_head(rest[0])
    if not isinstance(head, Head) or verdict == b"conflict":
        return Conflict(head)
    return Repeated(head) if verdict == b"repeated" else Reused(head)
