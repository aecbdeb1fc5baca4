"""Where an event is appended: once, however often its reply is lost.

A lost reply leaves open whether the event is in the log. The same proposal is sent again: its command's id lets the log
tell a repetition from a second command, and where somebody else has been faster, the tenant's events tell.
"""

import asyncio
import contextlib
from typing import Final

from registry.chain import Recorded, events_back
from registry.entries import Head, Position
from registry.errors import CorruptEntry, RegistryUnavailable
from registry.log import Appended, Conflict, Diverged, Outcome, Proposal, Repeated, Reused, TenantLog, Twin
from registry.tally import Tally

REMEMBERED: Final = 32
"""How many of a tenant's last commands are known again when they are repeated."""
TRIES: Final = 3
"""How often a proposal is sent, in all."""
_PAUSE: Final = 0.05
_TOGETHER: Final = 64
"""How many proposals travel together: each holds Redis for about 40 microseconds, and nobody should wait for many."""


class Appender:
    """Appends to one log; what is proposed while a batch is under way travels together in the next.

    May be cancelled: an event is then in the log whole or not at all.
    """

    def __init__(self, log: TenantLog, tally: Tally | None = None) -> None:
        self._log = log
        self._tally = tally or Tally()
        self._turn = asyncio.Lock()
        self._waiting: list[tuple[Proposal, asyncio.Future[Outcome]]] = []

    async def append(self, proposal: Proposal) -> Outcome:
        """Append, or say why not; `RegistryUnavailable` if the last try got no reply either."""
        outcome, tries = await self._try(proposal, 1)
        if tries > 1 and isinstance(outcome, Conflict) and isinstance(outcome.head, Head):
            # The first try may have been appended and overtaken: then the head tells of the other's command alone.
            # Invariant: all behind what it was decided on are looked at, or one command may be carried out twice.
            found = await self.find(proposal.head.command_id, outcome.head.position, proposal.expected or 0, most=None)
            outcome = Appended(found.position) if found else outcome
        self._count(outcome)
        return outcome

    async def find(self, command_id: str, last: Position, after: int, most: int | None = REMEMBERED) -> Recorded | None:
        """Look for a command among a tenant's events, from its `last` back to the one behind entry number `after`.

        Looks at `most` of them, and not past one that cannot be read. Raises `RegistryUnavailable`.
        """
        looked_at = 0
        with contextlib.suppress(CorruptEntry):
            async for recorded in events_back(self._log, last.entry):
                if recorded.position.seq <= after or looked_at == most:
                    return None
                if recorded.event.command_id == command_id:
                    return recorded
                looked_at += 1
        return None

    async def _try(self, proposal: Proposal, number: int) -> tuple[Outcome, int]:
        try:
            return await self._travel(proposal), number
        except RegistryUnavailable:
            if number == TRIES:
                raise
        self._tally.append_retries += 1
        await asyncio.sleep(_PAUSE * (number - 1))
        return await self._try(proposal, number + 1)

    async def _travel(self, proposal: Proposal) -> Outcome:
        """Wait for the batch under way, then send what has gathered, unless somebody has done so for us."""
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        place = (proposal, answer)
        self._waiting.append(place)
        try:
            async with self._turn:
                while not answer.done():
                    await self._send()
        finally:
            # Invariant: what its caller has given up is not sent with a later batch.
            if place in self._waiting:
                self._waiting.remove(place)
        return answer.result()

    async def _send(self) -> None:
        batch, self._waiting = self._waiting[:_TOGETHER], self._waiting[_TOGETHER:]
        try:
            outcomes = await self._log.append([proposal for proposal, _ in batch])
        except BaseException as error:
            # If this caller is cancelled, it is not known what became of the others' proposals: they send them again.
            told = (
                error if isinstance(error, Exception) else RegistryUnavailable("The append was cut short; try again.")
            )
            for _, answer in batch:
                _tell(answer, told)
            if not isinstance(error, Exception):
                raise
            return
        for (_, answer), outcome in zip(batch, outcomes, strict=True):
            answer.set_result(outcome)

    def _count(self, outcome: Outcome) -> None:
        match outcome:
            case Appended():
                self._tally.appended += 1
            case Repeated():
                self._tally.repeated += 1
            case Conflict():
                self._tally.conflicts += 1
            case Diverged():
                self._tally.diverged += 1
            case Reused() | Twin():
                pass  # the caller's mistake


def _tell(answer: asyncio.Future[Outcome], error: Exception) -> None:
    answer.set_exception(error)
    answer.exception()  # its owner may have left: an error that nobody fetches would be logged as forgotten
