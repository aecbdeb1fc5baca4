"""Beginning a log, and restoring what it has lost from the replicas that still hold it.

There is no leader. Each replica that finds a loss makes a directory of the log as it now is, compares it with what it
holds (`registry/restore.py`), and appends what is missing, each tenant on condition that its head is as it was seen.
Of several that do so at once one is first and the others find its events there by their ids. What a replica adds is
preceded by an entry that says so, and that opens a new epoch: fences and positions of the lost entries do not count any
more. A crash in between leaves what the next one continues.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

import structlog

from projections.diagnosis import Finding
from projections.directory import Directory
from projections.keyring import Keyring
from projections.pages import in_pages
from registry import codec, restore
from registry.entries import START, Epoch, Head, Position, Unreadable
from registry.errors import LogDiverged
from registry.events import LogCreated, LogRestored
from registry.log import Appended, DestroyKey, KeepKey, KeyChange, Proposal, SetKey, TenantLog
from registry.signing import Signer
from registry.state import Live, Removed, Tenant
from registry.stored import proposed_head
from registry.tally import Tally

_BATCH: Final = 100
"""Proposals in one script: 100 hold Redis for about 4 ms."""
_PAGE: Final = 1000
_PAUSE: Final = 0.02


class Restorer:
    """Restores one log from what this replica holds.

    Args:
        log: What has lost something.
        keyring: The wrapped data keys that this replica holds.
        signer: Signs what is appended, if events are signed here.
        actor: This replica's name, for the log.
        now, new_id: The clock and fresh ids.
        tally: Where what was restored is counted.
        trace: Says what tells that there was a log where there is none, if anything does.
    """

    def __init__(
        self,
        log: TenantLog,
        keyring: Keyring,
        signer: Signer,
        *,
        actor: str,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
        tally: Tally | None = None,
        trace: Callable[[], Awaitable[str | None]] | None = None,
    ) -> None:
        self._log = log
        self._keyring = keyring
        self._signer = signer
        self._actor = actor
        self._now = now
        self._new_id = new_id
        self._tally = tally or Tally()
        self._trace = trace
        self._logger = structlog.get_logger("restorer")

    async def trace(self) -> str | None:
        """Return what says that there was a log where there is none, if anything does. Raises `RegistryUnavailable`."""
        return await self._trace() if self._trace else None

    async def begin(self, *, anew: bool = False) -> Position | None:
        """Make the log's first entry if there is no log; return where the log ends.

        None if it is gone and its heads are not, unless `anew`. Raises `RegistryUnavailable`.
        """
        first = LogCreated(event_id=self._new_id(), time=self._now(), actor=self._actor, epoch=self._new_id())
        body = codec.encode(self._signer.sign(first))
        return await self._log.create(codec.type_of(first), body, first.epoch, anew=anew)

    async def restore(
        self, held: Iterable[Tenant], directory: Directory, lost: Directory, finding: Finding
    ) -> tuple[int, int]:
        """Append what `held` says and the log does not, and fold it into `directory`, which is of the log.

        Args:
            held: The tenants as this replica knows them.
            directory: The fold of the log; goes on with it.
            lost: The fold of the log that was read before: names what was lost.
            finding: What was found.

        Returns how many tenants it restated, live and removed. Raises `RegistryUnavailable`, `LogDiverged` if the log
        is lost once more, and `CorruptEntry`. May be cancelled and repeated.
        """
        told = set[str]()
        holding = tuple(held)
        live = removed = 0
        noted = False
        while missing := self.missing(holding, directory):
            before = directory.position
            if not noted:
                noted = await self._note(missing, directory, lost, finding)
                await self._go_on(directory, before)
                if not noted:
                    await asyncio.sleep(_PAUSE)  # somebody else is writing: first see what
                continue
            for batch in in_pages(missing, _BATCH):
                said = await self._say(batch, directory)
                live += sum(isinstance(each, Live) for each in said if each.tenant not in told)
                removed += sum(isinstance(each, Removed) for each in said if each.tenant not in told)
                told |= {each.tenant for each in said}
                await asyncio.sleep(0)
            await self._go_on(directory, before)
        self._tally.restorations += noted
        self._tally.restated += len(told)
        return live, removed

    def together(self, held: Iterable[Tenant], orphans: Iterable[Tenant]) -> list[Tenant]:
        """Return the tenants as this replica and what an earlier log has left know them, each as the one that holds."""
        known = {tenant.tenant: tenant for tenant in held}
        for orphan in orphans:
            name = orphan.tenant
            known[name] = restore.newest(known[name], orphan, self._new_id()) if name in known else orphan
        return list(known.values())

    def missing(self, held: Iterable[Tenant], directory: Directory) -> list[Live | Removed]:
        """Return what `held` says of tenants and the log, folded into `directory`, does not: as it is to be said."""
        missing = []
        for tenant in held:
            current = directory.tenant(tenant.tenant)
            if current is not None and current.position == tenant.position:
                continue
            said = restore.restated(tenant, current, self._new_id())
            if said is not None:
                missing.append(said)
        return missing

    async def _note(
        self, missing: list[Live | Removed], directory: Directory, lost: Directory, finding: Finding
    ) -> bool:
        """Append the entry that says what happened, unless the log has moved on. Return whether it was appended."""
        live = sum(isinstance(tenant, Live) for tenant in missing)
        note = LogRestored(
            event_id=self._new_id(),
            time=self._now(),
            actor=self._actor,
            epoch=self._new_id(),
            lost_epoch=lost.epoch.name if lost.epoch else None,
            lost_position=None if lost.position == START else str(lost.position),
            outcome=str(finding),
            live=live,
            removed=len(missing) - live,
        )
        begun = directory.as_of.epoch.begun
        words = (codec.type_of(note), codec.encode(self._signer.sign(note)))
        added = await self._log.note(directory.position, *words, opens=Epoch(note.epoch, "", begun))
        if added:
            self._logger.warning("restoring the log", finding=finding, live=live, removed=note.removed)
        return added is not None

    async def _say(self, missing: Sequence[Live | Removed], directory: Directory) -> list[Live | Removed]:
        """Append a batch; return what is in the log now. What somebody else was faster with is looked at again."""
        heads = await self._log.heads([tenant.tenant for tenant in missing])
        end = await self._log.end()
        if end is None:
            raise LogDiverged("The log is gone again.")
        proposals, proposed = [], []
        for tenant, head in zip(missing, heads, strict=True):
            if isinstance(head, Head) and _is_behind(head, directory, end):
                continue  # behind what is folded: the next round knows it
            proposals.append(self._proposal(tenant, directory, _seq_of(head)))
            proposed.append(tenant)
        outcomes = await self._log.append(proposals) if proposals else []
        if any(not isinstance(outcome, Appended) for outcome in outcomes) and await self._log.end() is None:
            raise LogDiverged("The log is gone again.")
        return [tenant for tenant, outcome in zip(proposed, outcomes, strict=True) if isinstance(outcome, Appended)]

    def _proposal(self, tenant: Live | Removed, directory: Directory, expected: int | None) -> Proposal:
        current = directory.tenant(tenant.tenant)
        event = self._signer.sign(restore.event_of(tenant, current), current)
        signed = restore.with_mac(tenant, event)
        return Proposal(
            tenant=tenant.tenant,
            expected=expected,
            after=directory.position,
            type=codec.type_of(event),
            data=codec.encode(event),
            head=proposed_head(signed),
            key=self._key(tenant),
            restated=True,
        )

    def _key(self, tenant: Live | Removed) -> KeyChange:
        if isinstance(tenant, Removed) or tenant.config.password_ref:
            return DestroyKey()
        wrapped = self._keyring.wrapped(tenant)
        return SetKey(wrapped) if wrapped else KeepKey()

    async def _go_on(self, directory: Directory, before: Position) -> None:
        """Fold what was said since. Raises `LogDiverged` if nothing can be read: the log has lost it once more."""
        await self._fold(directory)
        if directory.position == before:
            raise LogDiverged(
                f"The log does not go on behind {before}, although it did: it has lost entries once more."
            )

    async def _fold(self, directory: Directory) -> None:
        """Fold all that there is to be read. Raises `LogDiverged` if it does not link."""
        while entries := await self._log.read(directory.position, _PAGE):
            for entry in entries:
                directory.apply(entry)


def _seq_of(head: Head | Unreadable | None) -> int | None:
    """Return what the append script finds: a head that somebody damaged gives way to what is said again."""
    match head:
        case Head():
            return head.position.seq
        case Unreadable():
            return head.seq
        case None:
            return 0


def _is_behind(head: Head, directory: Directory, end: Position) -> bool:
    """Whether the head tells of an event that `directory` has not folded yet.

    An orphan's number means nothing here, and one beyond the log's end, looked up later, tells of none.
    """
    as_of = directory.as_of
    return not as_of.epoch.is_orphan(head) and as_of.position.seq < head.position.seq <= end.seq
