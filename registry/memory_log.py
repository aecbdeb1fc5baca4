"""The log in memory: the same contract without a Redis, for tests, scenarios and thinking."""

import asyncio
from collections.abc import Sequence

import msgspec

from registry.log import (
    START,
    Appended,
    Conflict,
    DestroyKey,
    Diverged,
    Entry,
    Foreign,
    Head,
    KeepKey,
    Outcome,
    Position,
    Proposal,
    Repeated,
    Reused,
    SetKey,
)


class MemoryLog:
    """A `TenantLog` that lives as long as the object.

    Entry ids are `<seq>-0` as long as no entry is taken away; afterwards they go on rising, as a clock's do in Redis.
    """

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._heads: dict[str, Head] = {}
        self._keys: dict[str, str] = {}
        self._ticks = 0
        self._grown = asyncio.Condition()

    async def create(self, type: str, data: bytes) -> Position | None:  # noqa: A002 - the field's name in the log
        """See `TenantLog.create`."""
        async with self._grown:
            if not self._entries and self._heads:
                return None
            return self._entries[-1].position if self._entries else self._add(type, data)

    async def append(self, proposal: Proposal) -> Outcome:
        """See `TenantLog.append`."""
        async with self._grown:
            refusal = self._refusal(proposal)
            if refusal is not None:
                return refusal
            position = self._add(proposal.type, proposal.data)
            self._heads[proposal.tenant] = msgspec.structs.replace(proposal.head, position=position)
            match proposal.key:
                case SetKey(wrapped):
                    self._keys[proposal.tenant] = wrapped
                case DestroyKey():
                    self._keys.pop(proposal.tenant, None)
                case KeepKey():
                    pass
            return Appended(position)

    async def read(self, after: Position, limit: int, wait: float = 0) -> Sequence[Entry | Foreign]:
        """See `TenantLog.read`."""
        async with self._grown:
            if wait and not self._later(after):
                try:
                    async with asyncio.timeout(wait):
                        await self._grown.wait_for(lambda: bool(self._later(after)))
                except TimeoutError:
                    return []
        return self._later(after)[:limit]

    async def end(self) -> Position | None:
        """See `TenantLog.end`."""
        return self._entries[-1].position if self._entries else None

    async def entry(self, entry: str) -> Entry | Foreign | None:
        """See `TenantLog.entry`."""
        return next((known for known in self._entries if known.position.entry == entry), None)

    async def head(self, tenant: str) -> Head | None:
        """See `TenantLog.head`."""
        return self._heads.get(tenant)

    async def data_keys(self, tenants: Sequence[str]) -> Sequence[str | None]:
        """See `TenantLog.data_keys`."""
        return [self._keys.get(tenant) for tenant in tenants]

    def _refusal(self, proposal: Proposal) -> Outcome | None:
        if not self._entries:
            return Diverged(None)
        head = self._heads.get(proposal.tenant)
        if head and head.command_id == proposal.head.command_id:
            return Repeated(head) if head.digest == proposal.head.digest else Reused(head)
        if all(known.position != proposal.after for known in self._entries):
            return Diverged(self._entries[-1].position)
        if (head.position.seq if head else 0) != proposal.expected:
            return Conflict(head)
        return None

    def _add(self, type: str, data: bytes) -> Position:  # noqa: A002 - the field's name in the log
        last = self._entries[-1].position if self._entries else START
        self._ticks += 1
        position = Position(last.seq + 1, f"{self._ticks}-0")
        self._entries.append(Entry(position, last.entry, type, data))
        self._grown.notify_all()
        return position

    def _later(self, after: Position) -> list[Entry]:
        return [known for known in self._entries if _order(known.position.entry) > _order(after.entry)]


def _order(entry: str) -> tuple[int, int]:
    milliseconds, _, count = entry.partition("-")
    return int(milliseconds), int(count)
