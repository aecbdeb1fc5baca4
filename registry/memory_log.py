"""The log in memory: the same contract without a Redis, for tests, scenarios and thinking."""

import asyncio
from collections.abc import Sequence

import msgspec

from registry import codec
from registry.entries import START, Cut, Entry, Epoch, Foreign, Head, Position, Unreadable, entry_id, entry_order
from registry.log import (
    Appended,
    Conflict,
    DestroyKey,
    Diverged,
    KeepKey,
    Outcome,
    Proposal,
    Repeated,
    Reused,
    SetKey,
    Twin,
)
from registry.names import are_twins


class MemoryLog:
    """A `TenantLog` that lives as long as the object.

    Entry ids are `<seq>-0` as long as no entry is taken away; afterwards they go on rising, as a clock's do in Redis.
    """

    def __init__(self) -> None:
        self._entries: list[Entry | Foreign] = []
        self._end: Position | None = None
        self._epoch: Epoch | None = None
        self._heads: dict[str, Head] = {}
        self._keys: dict[str, str] = {}
        self._ticks = 0
        self.permitted = False
        self._grown = asyncio.Condition()

    async def create(self, type: str, data: bytes, epoch: str, *, anew: bool = False) -> Position | None:  # noqa: A002 - the field's name in the log
        """See `TenantLog.create`."""
        async with self._grown:
            if self._end is not None:
                return self._end
            if self._heads and not anew:
                return None
            first = self._add(type, data)
            self._epoch = Epoch.created(epoch, first.entry)
            return first

    async def note(self, after: Position, type: str, data: bytes, *, opens: Epoch | None = None) -> Position | None:  # noqa: A002 - the field's name in the log
        """See `TenantLog.note`."""
        async with self._grown:
            if self._end is None or self._end != after:
                return None
            added = self._add(type, data)
            if opens:
                self._epoch = msgspec.structs.replace(opens, opened=added.entry)
            return added

    async def append(self, proposals: Sequence[Proposal]) -> Sequence[Outcome]:
        """See `TenantLog.append`."""
        async with self._grown:
            return [self._append(proposal) for proposal in proposals]

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
        return self._end

    async def cut(self) -> Cut:
        """See `TenantLog.cut`."""
        return Cut(end=self._end, epoch=self._epoch, heads=dict(self._heads))

    async def epoch(self) -> Epoch | None:
        """See `TenantLog.epoch`."""
        return self._epoch

    async def entries(self, ids: Sequence[str]) -> Sequence[Entry | Foreign | None]:
        """See `TenantLog.entries`."""
        known = {entry_id(entry): entry for entry in self._entries}
        return [known.get(entry) for entry in ids]

    async def before(self, entry: str) -> Entry | Foreign | None:
        """See `TenantLog.before`."""
        earlier = [known for known in self._entries if entry_order(entry_id(known)) <= entry_order(entry)]
        return earlier[-1] if earlier else None

    async def heads(self, tenants: Sequence[str]) -> Sequence[Head | Unreadable | None]:
        """See `TenantLog.heads`."""
        return [self._heads.get(tenant) for tenant in tenants]

    async def raw_heads(self, tenants: Sequence[str]) -> Sequence[bytes | None]:
        """See `TenantLog.raw_heads`."""
        found = map(self._heads.get, tenants)
        return [None if head is None else codec.written_head(head).encode() for head in found]

    async def mend_head(self, tenant: str, head: Head, read: Position) -> bool:
        """See `TenantLog.mend_head`."""
        present = self._heads.get(tenant)
        if self._end is None or not self._holds(read):
            return False
        if present and read.seq < present.position.seq <= self._end.seq:
            return False
        self._heads[tenant] = head
        return True

    async def mark_epoch(self, epoch: Epoch) -> None:
        """See `TenantLog.mark_epoch`."""
        self._epoch = self._epoch or epoch

    async def may_restore(self) -> bool:
        """See `TenantLog.may_restore`."""
        return self.permitted

    async def data_keys(self, tenants: Sequence[str]) -> Sequence[str | None]:
        """See `TenantLog.data_keys`."""
        return [self._keys.get(tenant) for tenant in tenants]

    def _append(self, proposal: Proposal) -> Outcome:
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

    def _refusal(self, proposal: Proposal) -> Outcome | None:
        if self._end is None:
            return Diverged(None)
        head = self._heads.get(proposal.tenant)
        if head and not proposal.restated and head.command_id == proposal.head.command_id:
            return Repeated(head) if head.digest == proposal.head.digest else Reused(head)
        if not self._holds(proposal.after):
            return Diverged(self._end)
        if (head.position.seq if head else 0) != proposal.expected:
            return Conflict(head)
        return self._twin(proposal) if proposal.alone else None

    def _twin(self, proposal: Proposal) -> Twin | None:
        for tenant, head in self._heads.items():
            if head.alive and head.position.seq > proposal.after.seq and are_twins(tenant, proposal.tenant):
                return Twin(tenant)
        return None

    def _holds(self, position: Position) -> bool:
        known = (entry.position for entry in self._entries if isinstance(entry, Entry))
        return position == self._end or position in known

    def _add(self, type: str, data: bytes) -> Position:  # noqa: A002 - the field's name in the log
        last = self._end or START
        self._ticks += 1
        position = Position(last.seq + 1, f"{self._ticks}-0")
        self._entries.append(Entry(position, last.entry, type, data))
        self._end = position
        self._grown.notify_all()
        return position

    def _later(self, after: Position) -> list[Entry | Foreign]:
        return [known for known in self._entries if entry_order(entry_id(known)) > entry_order(after.entry)]
