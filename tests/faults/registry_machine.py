"""Anything may happen to the registry, in any order, and afterwards everybody agrees and nothing told is forgotten.

A machine draws programs: commands on replicas that are up to date or left behind, replies lost and processes ended at
any call of Redis, a log that is emptied, shortened, full of holes, edited. After each step every replica is looked at;
when the machine lets things settle, the fold of the log, its heads, the tenants' keys and every replica must be equal,
and equal to what must have become of each tenant (`expected.py`).
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from itertools import pairwise
from typing import Any, ClassVar, Final, TypeAlias

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from projections.directory import Directory
from projections.tenant_keys import TenantKeys
from registry import codec
from registry.answers import Result
from registry.entries import START, AsOf, Entry, Head, Position
from registry.errors import (
    LogDiverged,
    RemovedTenant,
    TenancyError,
    UnknownTenant,
    VersionConflict,
)
from registry.inputs import Limits, Registration, from_fields
from registry.log import Appended, KeepKey, Proposal
from registry.planner import Caller
from registry.redis_client import RedisClient
from registry.redis_log import RedisLog, epoch_of
from registry.secrets import Secret, data_key_id
from registry.state import Live, Quarantined, Removed, Tenant
from registry.stored import document_of, head_of
from tests.faults.expected import Known, State, Story, prevailing, states_in
from tests.faults.operators import Operator, applied_by
from tests.faults.stepped import NAMES, Crash, Fault, Replica, Surroundings
from tests.folding import entry_of

TENANTS: Final = ("acme", "bolt", "core")
HOSTS: Final = ("db1", "db2")
MEANWHILE: Final = (
    "another polls",
    "another polls",
    "another registers it",
    "another removes it",
    "the log falls back",
    "everything is flushed",
    "the stream is deleted",
)

replicas = st.integers(0, 2)
tenants = st.sampled_from(TENANTS)
faults = st.one_of(
    st.none(),
    st.none(),
    st.builds(Fault, st.sampled_from(("crashes before", "crashes after")), st.integers(1, 12), st.just("nothing")),
    st.builds(Fault, st.sampled_from(("gets no reply to", "is refused")), st.integers(1, 12), st.just("nothing")),
    st.builds(Fault, st.just("is slow before"), st.integers(1, 12), st.sampled_from(MEANWHILE)),
    st.builds(Fault, st.just("is slow to append"), st.integers(1, 2), st.sampled_from(MEANWHILE)),
    st.builds(
        Fault, st.just("gets no reply to its append"), st.just(1), st.sampled_from(("nothing", "the log is trimmed"))
    ),
)


Entries: TypeAlias = list[tuple[bytes, dict[bytes, bytes]]]


class Command(msgspec.Struct):
    """What somebody asks of a replica, once or again."""

    tenant: str
    registration: Registration | None
    id: str | None


class Kept(msgspec.Struct):
    """What a slow writer still means to write under a tenant's key, and what it had read then."""

    tenant: Live | Removed
    as_of: AsOf


class RegistryMachine(RuleBasedStateMachine):
    """Draws what happens.

    Attributes:
        calm: Nothing is wrong that somebody has still to see or to mend: commands do exactly what they say.
        written: How many events were put down since the last damage: there is something to lose.
        unharmed: Nothing was ever lost or edited: the log is as it was written, or compacted, and verifies.
        overtaken: Replicas that had not read all of what a compaction took out: they are the only ones to notice it.
        carried_out, forgotten: Commands that were in the log, and those of them that it does not lead to any more,
            because entries were lost, or compacted: sent again, they are new ones.
        reached: How often programs came to what is interesting.
    """

    url: ClassVar[str]
    reached: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.story = Story()
        self.live: list[Replica] = []
        self.seen: dict[Replica, dict[str, Tenant]] = {}
        self.opening: dict[Replica, set[str]] = {}
        self.commands: list[Command] = []
        self.kept: list[Kept] = []
        self.shown: dict[str, State] = {}
        self.saved: dict[str, tuple[int, bytes]] | None = None
        self.saved_end = START
        self.calm = self.unharmed = True
        self.overtaken: set[Replica] = set()
        self.written = 0
        self.just_saved = self.settled = self.interrupted = False
        self.carried_out: set[tuple[str, str]] = set()
        self.forgotten: set[tuple[str, str]] = set()
        self.unread: dict[str, Position] = {}
        self.started = 0
        self.whole = True
        self.world = Surroundings(self.url, self._commanded)
        self.redis = self.runner.run(self._connect())

    async def _connect(self) -> RedisClient:
        redis = RedisClient.from_url(self.url, connections=4)
        await redis.run("FLUSHALL")
        return redis

    def _commanded(self, directory: Directory, proposal: Proposal) -> None:
        self.written += 1
        self.just_saved = self.settled = False
        event = codec.decode(Entry(START, "", proposal.type, proposal.data))
        self.story.commanded(event, directory.tenant(proposal.tenant))  # type: ignore[arg-type]  # of a tenant

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Let it happen, and look at every replica afterwards."""
        self.whole = self.settled = False
        self.runner.run(work)
        self.runner.run(self._look())
        self.whole = True

    def teardown(self) -> None:
        try:
            if self.whole:
                self.run(self._settle(0))
        finally:
            self.runner.run(self._close())
            self.runner.close()

    async def _close(self) -> None:
        for replica in self.live:
            await self._end_of(replica)
        await self.redis.close()

    async def _end_of(self, replica: Replica) -> None:
        for found, often in replica.follower.status.findings.items():
            self.reached[f"a replica found {found}"] += often
        await replica.end()

    # What replicas do

    @initialize()
    def begin(self) -> None:
        for _ in range(2):
            self.run(self._start(full_replay=False, fault=None))

    @precondition(lambda self: len(self.live) < 3)
    @rule(full_replay=st.booleans(), fault=faults)
    def start(self, full_replay: bool, fault: Fault | None) -> None:  # noqa: FBT001 - drawn by name
        self.run(self._start(full_replay=full_replay, fault=fault))

    async def _start(self, *, full_replay: bool, fault: Fault | None) -> None:
        self.started += 1
        replica = Replica(self.world, f"r{self.started}", full_replay=full_replay)
        self.live.append(replica)
        self.seen[replica] = {}
        self.opening[replica] = set()
        await self._under(fault, replica, replica.turn)
        if full_replay and fault is None and await self._has_holes():
            assert replica.follower.status.findings, (
                "the log has holes, and who reads it from its first entry is content"
            )

    @precondition(lambda self: self.live)
    @rule(which=replicas)
    def kill(self, which: int) -> None:
        self.run(self._die(self._replica(which)))

    async def _die(self, replica: Replica) -> None:
        self.live.remove(replica)
        del self.seen[replica], self.opening[replica]
        self.overtaken.discard(replica)
        await self._end_of(replica)

    @precondition(lambda self: self.live)
    @rule(which=replicas, fault=faults)
    def poll(self, which: int, fault: Fault | None) -> None:
        replica = self._replica(which)
        self.run(self._under(fault, replica, replica.turn))

    @precondition(lambda self: self.live)
    @rule(which=replicas, fault=faults)
    def mend(self, which: int, fault: Fault | None) -> None:
        replica = self._replica(which)
        self.run(self._under(fault, replica, replica.mend))

    @precondition(lambda self: self.live)
    @rule(
        which=replicas,
        tenant=tenants,
        host=st.sampled_from(HOSTS),
        password=st.integers(0, 2),
        pool=st.sampled_from((5, 10)),
        expecting=st.sampled_from((None, None, "right", "wrong")),
        named=st.booleans(),
        fault=faults,
    )
    def register(
        self,
        which: int,
        tenant: str,
        host: str,
        password: int,
        pool: int,
        expecting: str | None,
        named: bool,  # noqa: FBT001 - drawn by name
        fault: Fault | None,
    ) -> None:
        self.run(self._command(which, self._new(tenant, registration(host, password, pool), named), expecting, fault))

    @precondition(lambda self: self.live)
    @rule(
        which=replicas,
        tenant=tenants,
        expecting=st.sampled_from((None, None, "right", "wrong")),
        named=st.booleans(),
        fault=faults,
    )
    def remove(self, which: int, tenant: str, expecting: str | None, named: bool, fault: Fault | None) -> None:  # noqa: FBT001 - drawn by name
        self.run(self._command(which, self._new(tenant, None, named), expecting, fault))

    @precondition(lambda self: self.live)
    @rule(
        which=replicas,
        wishes=st.lists(st.tuples(tenants, st.sampled_from((*HOSTS, None)), st.integers(0, 2)), min_size=2, max_size=6),
    )
    def work(self, which: int, wishes: list[tuple[str, str | None, int]]) -> None:
        """Let some time pass in which nothing breaks, so that there is something to lose."""
        for tenant, host, password in wishes:
            said = registration(host, password, 5) if host else None
            self.run(self._command(which, Command(tenant, said, None), None, None))

    @precondition(lambda self: self.live and self.commands)
    @rule(which=replicas, command=st.integers(0, 20), fault=faults)
    def repeat(self, which: int, command: int, fault: Fault | None) -> None:
        self.run(self._command(which, self.commands[command % len(self.commands)], None, fault))

    def _new(self, tenant: str, said: Registration | None, named: bool) -> Command:  # noqa: FBT001 - drawn
        command = Command(tenant, said, f"command{len(self.commands)}" if named else None)
        if named:
            self.commands.append(command)
        return command

    async def _command(self, which: int, command: Command, expecting: str | None, fault: Fault | None) -> None:
        replica = self._replica(which)
        # A lost reply to an append is asked for again: the caller notices nothing.
        calm = self.calm and (fault is None or fault.kind == "gets no reply to its append")
        calm = calm and await self._holds(replica) and not await self._is_left_over(command.tenant)
        before = await self._head(command.tenant) if calm else None
        first = await self._carried_out(command) if calm else None
        version = before.version if before else 0
        expected = {None: None, "right": version, "wrong": version + 3}[expecting]
        answers: list[Result | TenancyError] = []
        self._keep(replica, command.tenant)

        async def carry_out() -> None:
            try:
                answers.append(await _carry_out(replica, command, expected))
            except TenancyError as error:
                answers.append(error)

        await self._under(fault, replica, carry_out)
        for answer in answers:
            await self._hear(replica, command, answer, told_at_once=fault is None)
            if calm and first is not None and isinstance(answer, Result) and answer.position == first:
                continue  # it is the first answer
            if calm:
                assert first is None or await self._has_holes(), f"{command} was forgotten"
                self._check_answer(replica, command, answer, before, expected)

    async def _hear(
        self, replica: Replica, command: Command, answer: Result | TenancyError, *, told_at_once: bool
    ) -> None:
        """Note what a caller was told; with nothing in between, it must be there for everybody to read."""
        if isinstance(answer, TenancyError):
            return
        (entry,) = await replica.log.entries([answer.position.entry])
        if isinstance(entry, Entry) and entry.position == answer.position:
            self.story.acknowledge(codec.decode(entry))  # type: ignore[arg-type]  # a tenant's
        if not told_at_once or not await self._holds(replica):
            return  # that it repeats what it said before, or that nothing has changed, it may say of a log that is gone
        # Where the entry is gone the head tells.
        told = codec.decode(entry) if isinstance(entry, Entry) else await self._head(command.tenant)
        if command.id and answer.status != "unchanged":
            assert told is not None
            assert told.command_id == command.id, "the answer to a command names another's event"  # type: ignore[union-attr]  # a tenant's
        served = replica.directory.tenant(command.tenant)
        assert answer.served
        assert served is not None
        assert served.version >= answer.version, "what the answer says is not served"
        assert await self._key(command.tenant) == (document_of(served) if isinstance(served, Live) else None)
        if not isinstance(served, Quarantined):
            self.shown[command.tenant] = self.story.state(served)

    def _check_answer(
        self,
        replica: Replica,
        command: Command,
        answer: Result | TenancyError,
        before: Head | None,
        expected: int | None,
    ) -> None:
        """While nothing is wrong, a command does what it says."""
        version = before.version if before else 0
        if expected not in {None, version}:
            assert isinstance(answer, VersionConflict | UnknownTenant | RemovedTenant), answer
            return
        if command.registration is None and not (before and before.alive):
            assert isinstance(answer, RemovedTenant if before else UnknownTenant), answer
            return
        assert isinstance(answer, Result), answer
        now = replica.directory.tenant(command.tenant)
        assert now is not None
        assert answer.version == now.version == version + (answer.status != "unchanged")
        if command.registration is None:
            assert isinstance(now, Removed)
        else:
            assert isinstance(now, Live)
            assert now.config == command.registration.config

    # What befalls Redis

    @precondition(lambda self: self.written and not self.just_saved)
    @rule()
    def save(self) -> None:
        self.run(self._save())

    async def _save(self) -> None:
        keys = [key.decode() for key in await self.redis.run("KEYS", "*")]
        self.saved = {
            key: (max(0, await self.redis.run("PTTL", key)), await self.redis.run("DUMP", key)) for key in keys
        }
        self.story.save()
        self.just_saved = True

    @precondition(lambda self: self.saved is not None and self.written)
    @rule()
    def fall_back(self) -> None:
        self.run(self._fall_back())

    async def _fall_back(self) -> None:
        if self.saved is None:
            return
        await self.redis.run("FLUSHALL")
        for key, (left, text) in self.saved.items():
            await self.redis.run("RESTORE", key, left, text)
        await asyncio.sleep(0.002)  # no failover is done within the millisecond that names an entry
        self.story.fall_back()
        await self._damaged()

    @precondition(lambda self: self.live and self.written)
    @rule()
    def flush(self) -> None:
        self.run(self._flush())

    async def _flush(self) -> None:
        await self.redis.run("FLUSHALL")
        await asyncio.sleep(0.002)
        await self._damaged()

    @precondition(lambda self: self.written)
    @rule()
    def delete_stream(self) -> None:
        self.run(self._delete_stream())

    async def _delete_stream(self) -> None:
        await self.redis.run("DEL", NAMES.stream)
        await asyncio.sleep(0.002)
        await self._damaged()

    @precondition(lambda self: self.written)
    @rule(kept=st.integers(0, 3))
    def trim(self, kept: int) -> None:
        self.run(self._break("XTRIM", NAMES.stream, "MAXLEN", kept))

    @precondition(lambda self: self.written)
    @rule(where=st.integers(0, 20))
    def delete_entry(self, where: int) -> None:
        self.run(self._delete_entry(where))

    async def _delete_entry(self, where: int) -> None:
        entries = await self._entries()
        if entries:
            await self._break("XDEL", NAMES.stream, entries[-1 - where % len(entries)][0])

    def newer_replica_writes(self, tenant: str) -> None:
        """Let a replica of a later version write what these cannot read. Not drawn: nobody knows what it says."""
        self.run(self._newer_replica_writes(tenant))

    async def _newer_replica_writes(self, tenant: str) -> None:
        log, end, head = RedisLog(self.redis, self.redis, NAMES), await self._end(), await self._head(tenant)
        assert head is not None
        (entry,) = await log.entries([end or ""])
        assert isinstance(entry, Entry)
        fields = {"tenant": tenant, "version": head.version + 1, "event_id": self.world.new_id(), "mac": ""}
        written = msgspec.structs.replace(
            head,
            position=START,
            version=head.version + 1,
            event_id=fields["event_id"],
            command_id=fields["event_id"],
            sum=None,
        )
        proposal = Proposal(
            tenant=tenant,
            expected=head.position.seq,
            after=entry.position,
            type="tenant_registered.v1.9",
            data=msgspec.json.encode(fields),
            head=written,
            key=KeepKey(),
        )
        (outcome,) = await log.append([proposal])
        assert isinstance(outcome, Appended)
        self.calm = self.unharmed = False
        self.unread[tenant] = outcome.position

    @precondition(lambda self: self.written)
    @rule()
    def add_foreign_entry(self) -> None:
        self.run(self._add_foreign_entry())

    async def _add_foreign_entry(self) -> None:
        """Add an entry by hand, see that it stops everybody who reads it, and take it out again."""
        for replica in self.live:
            await replica.turn()
        if not await self._end():
            return
        foreign = await self.redis.run("XADD", NAMES.stream, "*", "made", "by hand")
        for replica in self.live:
            await replica.turn()
            assert not replica.is_following, f"{replica.name} skips what it cannot read"
        await self._break("XDEL", NAMES.stream, foreign)

    @precondition(lambda self: self.written)
    @rule(by=st.integers(1, 3))
    def skip_numbers(self, by: int) -> None:
        self.run(self._skip_numbers(by))

    async def _skip_numbers(self, by: int) -> None:
        """Set the stream's counter by hand, as one might who rebuilds a stream: numbers are missing, and no entry."""
        if not await self._end():
            return
        info = await self.redis.run("XINFO STREAM", NAMES.stream)
        counted = ("ENTRIESADDED", int(info["entries-added"]) + by)
        await self._break("XSETID", NAMES.stream, info["last-generated-id"], *counted)

    @precondition(lambda self: self.written)
    @rule(tenant=tenants, how=st.sampled_from(("deleted", "emptied", "edited", "edited well")))
    def damage_key(self, tenant: str, how: str) -> None:
        self.run(self._damage_key(tenant, how))

    async def _damage_key(self, tenant: str, how: str) -> None:
        key = NAMES.tenant(tenant)
        text: bytes = await self._key(tenant) or b"{}"
        match how:
            case "deleted":
                await self._break("DEL", key)
            case "emptied":
                await self._break("SET", key, "")
            case "edited":
                await self._break("SET", key, text[:-1])
            case _:
                await self._break("SET", key, text.replace(b'"db', b'"evil-db'))

    @precondition(lambda self: self.written)
    @rule(tenant=tenants, kept=st.integers(0, 20))
    def bring_key_back(self, tenant: str, kept: int) -> None:
        old = [each.tenant for each in self.kept if isinstance(each.tenant, Live) and each.tenant.tenant == tenant]
        if old:
            self.run(self._break("SET", NAMES.tenant(tenant), document_of(old[kept % len(old)])))

    @precondition(lambda self: self.live)
    @rule(which=replicas, tenant=tenants, how=st.sampled_from(("deleted", "edited", "set back")))
    def damage_head(self, which: int, tenant: str, how: str) -> None:
        self.run(self._damage_head(self._replica(which), tenant, how))

    async def _damage_head(self, replica: Replica, name: str, how: str) -> None:
        """Damage a head while a replica lives that mends it: starts from heads and keys have nothing else to go by."""
        await replica.turn()
        held = replica.directory.tenant(name)
        if held is None or isinstance(held, Quarantined) or not replica.is_following:
            return
        old = [each.tenant for each in self.kept if each.tenant.tenant == name]
        if how == "deleted":
            await self.redis.run("HDEL", NAMES.heads, name)
        elif how == "edited":
            await self.redis.run("HSET", NAMES.heads, name, "none of ours")
        elif old and old[0].position.seq <= held.position.seq:
            head = head_of(old[0])
            text = f"{head.position.seq}|{head.position.entry}|{codec.encode_head(head)}"
            await self.redis.run("HSET", NAMES.heads, name, text)
        await replica.reconciler.mend()
        assert await replica.log.heads([name]) == [head_of(held)], f"a head stays {how}"

    @precondition(lambda self: self.written)
    @rule(kept=st.integers(0, 4), unseen=st.integers(0, 5), all_have_read=st.booleans(), fault=faults)
    def compact(self, kept: int, unseen: int, all_have_read: bool, fault: Fault | None) -> None:  # noqa: FBT001 - drawn by name
        if all_have_read:
            for which in range(len(self.live)):
                self.poll(which, None)
        self.run(self._compact(kept, unseen, fault))

    async def _compact(self, kept: int, unseen: int, fault: Fault | None) -> None:
        """Let an operator compact the log, who does not see one of the replicas, so long was it frozen, or sees all."""
        entries = await self._entries()
        if not entries:
            return
        first, oldest = (entry_of(*entries[at]).position for at in (max(-1 - kept, -len(entries)), 0))  # type: ignore[union-attr]  # nobody adds foreign ones
        seen = [replica for number, replica in enumerate(self.live) if number != unseen]
        operator = Operator(self.world, lambda: [replica for replica in seen if replica in self.live])
        expected = first.seq - oldest.seq if self.calm and self.unharmed and fault is None else None
        if any(_is_behind(replica, first) for replica in seen) and first.seq > oldest.seq:
            expected = None if fault else -1
        before = await self._recoverable()
        taken = [-1]

        async def carry_out() -> None:
            with contextlib.suppress(TenancyError):
                taken[0] = await operator.compact(first)

        await self._under(fault, operator, carry_out)
        await operator.end()
        assert expected in {None, taken[0]}, f"{taken[0]} entries were taken out, not {expected}, before {first}"
        self.reached["log compacted" if taken[0] > 0 else "compaction refused, or nothing to take out"] += 1
        left = await self._entries()
        self._note_compaction(entries, left, first)
        if fault is None:
            assert taken[0] > 0 or left == entries, "a compaction that was refused has changed the log"
            after = await self._recoverable()
            for name, states in before.items():
                assert prevailing(states) in after.get(name, set()), f"a compaction has lost what {name} is"

    def _note_compaction(self, entries: Entries, left: Entries, first: Position) -> None:
        gone = states_in(entries[: max(0, len(entries) - len(left) + 1)] if left else [])
        self.forgotten |= {(event.tenant, event.command_id) for _, event in gone}
        self.overtaken |= {replica for replica in self.live if _is_behind(replica, first)}

    def start_from_an_old_head(self, tenant: str) -> None:
        """Let a replica start while a head is set back to the first state that was kept, and then mend the head.

        Not drawn: what it serves until the tenant's next event is theirs to say who edited the head.
        """
        self.run(self._start_from_an_old_head(tenant))

    async def _start_from_an_old_head(self, tenant: str) -> None:
        head = head_of(next(each.tenant for each in self.kept if each.tenant.tenant == tenant))
        text = f"{head.position.seq}|{head.position.entry}|{codec.encode_head(head)}"
        await self._break("HSET", NAMES.heads, tenant, text)
        await self._start(full_replay=False, fault=None)
        await self.live[0].mend()

    async def _break(self, *words: Any) -> None:  # noqa: ANN401 - a command's words
        await self.redis.run(*words)
        await self._damaged()

    async def _damaged(self) -> None:
        self.calm = self.unharmed = False
        self.written = int(self.written > 2)
        self.shown.clear()
        self.story.forget_all_but(await self._recoverable())
        self.forgotten |= self.carried_out - await self._remembered()

    async def _remembered(self) -> set[tuple[str, str]]:
        """Return the commands whose events lead to each other, back from the tenants' heads."""
        told = {place.entry: event for place, event in states_in(await self._entries())}
        remembered = set()
        for tenant in TENANTS:
            head = await self._head(tenant)
            event = told.get(head.position.entry) if head else None
            while event:
                remembered.add((event.tenant, event.command_id))
                event = told.get(event.previous or "")
        return remembered

    # What is late

    @precondition(lambda self: self.live)
    @rule(which=replicas, tenant=tenants)
    def keep(self, which: int, tenant: str) -> None:
        self._keep(self._replica(which), tenant)

    def _keep(self, replica: Replica, tenant: str) -> None:
        held = replica.directory.tenant(tenant)
        if held is not None and not isinstance(held, Quarantined):
            self.kept.append(Kept(held, replica.directory.as_of))

    @precondition(lambda self: self.kept)
    @rule(which=st.integers(0, 20))
    def materialise_late(self, which: int) -> None:
        self.run(self._materialise_late(self.kept[which % len(self.kept)]))

    async def _materialise_late(self, kept: Kept) -> None:
        name, state = kept.tenant.tenant, self.story.state(kept.tenant)
        before = await self._key(name)
        await TenantKeys(self.redis, NAMES).materialise(kept.tenant, kept.as_of)
        shown = self.shown.get(name)
        if shown is not None and shown != state and prevailing((shown, state)) == shown:
            assert await self._key(name) == before, "a late writer undid a newer state"

    # What must hold

    async def _look(self) -> None:
        """Check that every replica went forward, and that pools were recycled when they had to be and only then."""
        self.carried_out |= {(event.tenant, event.command_id) for _, event in states_in(await self._entries())}
        for replica in self.live:
            held = {tenant.tenant: tenant for tenant in replica.directory.all()}
            for name, before in self.seen[replica].items():
                self._check_step(replica, before, held.get(name))
            self.seen[replica] = held
            assert not replica.recycled, f"{replica.name} recycled pools for nothing, or kept them: {replica.recycled}"
            found = replica.follower.status.findings
            assert not (found and self.unharmed) or replica in self.overtaken, (
                f"{replica.name} found {found} for nothing"
            )
            replica.use()
            self._check_keys(replica)

    def _check_keys(self, replica: Replica) -> None:
        """Check that no key was given up that opens what is held. One is held from when it was fetched once."""
        for tenant in replica.directory.live():
            if tenant.secret and replica.keyring.wrapped(tenant):
                self.opening[replica].add(tenant.secret.key)
            elif tenant.secret:
                assert tenant.secret.key not in self.opening[replica], f"{replica.name} lost the key of {brief(tenant)}"

    def _check_step(self, replica: Replica, before: Tenant, after: Tenant | None) -> None:
        told = f"{replica.name}: {brief(before)} -> {brief(after)}"
        if before is after or isinstance(before, Quarantined):
            return  # of what cannot be read a replica knows nothing to say again
        assert after is not None, f"a tenant was forgotten by {told}"
        assert after.version >= before.version, f"a version went back on {told}"
        if after.version == before.version:
            assert after.event_id == before.event_id, f"a version was used twice on {told}"
        if isinstance(after, Quarantined):
            assert after.version > before.version, f"what was known is unreadable on {told}"
            return
        if self.unharmed and after.version == before.version + 1 and _is_same_login(before, after):
            assert after.fingerprint == before.fingerprint, f"connections are made anew for nothing on {told}"  # type: ignore[union-attr]  # both live
        states = (self.story.state(before), self.story.state(after))
        assert prevailing(states) == states[1], f"an older state came back on {told}"

    @precondition(lambda self: not self.settled)
    @rule(mender=replicas)
    def settle(self, mender: int) -> None:
        self.run(self._settle(mender))
        self.settled = True

    async def _settle(self, mender: int) -> None:
        if not self.live:
            await self._start(full_replay=True, fault=None)
        known, keys = await self._known(), await self._keys_known()
        await self._come_to_rest()
        await self._replica(mender).mend()
        if self._replica(mender).directory.quarantined():
            for replica in self.live:  # what it cannot read another one may, whose turn comes, too
                await replica.mend()
        await self._come_to_rest()
        await self._agree(known, keys)
        self.calm = True

    async def _come_to_rest(self) -> None:
        for _ in range(8):
            before = await self._end()
            for replica in self.live:
                await replica.turn()
            if await self._end() == before and all(self._stands(replica, before) for replica in self.live):
                return
        statuses = [(replica.name, replica.follower.status) for replica in self.live]
        raise AssertionError(f"it does not come to rest: {statuses}")

    def _stands(self, replica: Replica, end: object) -> bool:
        return replica.is_following and replica.directory.position.entry == end

    async def _end(self) -> str | None:
        if not await self.redis.run("EXISTS", NAMES.stream):
            return None
        info = await self.redis.run("XINFO STREAM", NAMES.stream)
        last: bytes = info["last-generated-id"]
        return last.decode()

    async def _agree(self, known: Known, keys: set[str]) -> None:
        """The fold, the heads, the keys and every replica are equal, and what they must be."""
        first, *others = self.live
        fold = {tenant.tenant: tenant for tenant in first.directory.all()}
        await self._count(first)
        for other in others:
            assert {tenant.tenant: tenant for tenant in other.directory.all()} == fold, "replicas differ"
        await self._check_log(fold)
        await self._check_redis(first, fold)
        if self.unharmed:
            await self._verify()
        for name, place in self.unread.items():
            assert fold[name].position.seq >= place.seq, "what nobody can read is overlooked"
            if fold[name].position == place:
                assert isinstance(fold.pop(name), Quarantined)
                known.pop(name, None)
        for name in {*fold, *known}:
            self._check_outcome(fold.get(name), known.get(name, set()))
        for replica in self.live:
            for tenant in replica.directory.live():
                if tenant.secret is None or tenant.secret.key in keys:
                    await self._check_use(replica, tenant)
        # A fence that was lost with everything is written anew with a key: a removal has none until its next one.
        self.shown = {
            name: self.story.state(tenant)
            for name, tenant in fold.items()
            if not isinstance(tenant, Quarantined) and await self.redis.run("EXISTS", NAMES.fence(name))
        }

    async def _count(self, replica: Replica) -> None:
        """Count what the programs come to, for whoever wonders whether they do."""
        begins_later = await self._replayed() is None and not await self._has_holes()
        self.reached["at rest"] += 1
        self.reached["at rest, never harmed"] += self.unharmed
        self.reached["at rest, never harmed, the log begins later"] += self.unharmed and begins_later
        self.reached["at rest, the log begins later"] += begins_later
        self.reached["at rest, the log has holes"] += await self._has_holes()
        self.reached["at rest, a tenant cannot be read"] += bool(replica.directory.quarantined())
        self.reached["at rest, a tenant is removed"] += any(
            isinstance(each, Removed) for each in replica.directory.all()
        )

    async def _check_log(self, fold: dict[str, Tenant]) -> None:
        replayed = await self._replayed()
        if replayed is not None:
            assert {tenant.tenant: tenant for tenant in replayed.all()} == fold, "the log folds to something else"
        events = states_in(await self._entries())
        commands = [(event.tenant, event.command_id) for _, event in events]
        commands = [command for command in commands if command not in self.forgotten]
        assert len(commands) == len(set(commands)), f"a command was carried out twice: {commands}"
        if replayed is not None and not self.interrupted:
            assert not await self._is_noted_in_vain(), "a restoration was noted that says nothing"
        told = {event.tenant: place for place, event in events}
        for name, place in told.items():
            assert fold[name].position.seq >= place.seq, f"{brief(fold[name])} although the log goes on to {place}"
        assert all(event.command_id != "given-up" for _, event in events), "what was given up is sent all the same"
        versions: dict[str, int] = {}
        for _, event in events:
            assert event.version > versions.get(event.tenant, 0), f"a version went back in the log: {event}"
            versions[event.tenant] = event.version

    async def _is_noted_in_vain(self) -> bool:
        """Whether nothing was said again behind the last entry that says that something will be."""
        types = [fields[b"type"] for _, fields in await self._entries()]
        return (
            b"log_restored.v1" in types
            and b"tenant_restated.v1" not in types[len(types) - types[::-1].index(b"log_restored.v1") :]
        )

    async def _check_redis(self, replica: Replica, fold: dict[str, Tenant]) -> None:
        readable = {name: tenant for name, tenant in fold.items() if not isinstance(tenant, Quarantined)}
        names = sorted(readable)
        heads = await replica.log.heads(names)
        assert heads == [head_of(readable[name]) for name in names], "heads differ from the fold"
        keys = {key.decode() for key in await self.redis.run("KEYS", NAMES.tenant("*"))}
        aside = {NAMES.tenant(name) for name in fold.keys() - readable.keys()}
        for name in names:
            tenant = readable[name]
            text = document_of(tenant) if isinstance(tenant, Live) else None
            assert await self._key(name) == text, f"the key of {name} differs from the fold: {brief(tenant)}"
            if isinstance(tenant, Removed):
                assert not await self.redis.run("HEXISTS", NAMES.data_keys, name), (
                    f"{name} was removed, and its data key not"
                )
        known = {NAMES.tenant(name) for name in names if isinstance(readable[name], Live)}
        strangers = {NAMES.tenant(name) for name in TENANTS if name not in fold}
        assert keys - aside - strangers == known

    def _check_outcome(self, tenant: Tenant | None, known: set[State]) -> None:
        if tenant is None or isinstance(tenant, Quarantined):
            assert not known, f"{brief(tenant)} although {known} was known"
            return
        state = self.story.state(tenant)
        assert prevailing({*known, state}) == state, f"{brief(tenant)} although {known} was known"

    async def _check_use(self, replica: Replica, tenant: Live) -> None:
        password = await replica.keyring.password(tenant)
        told = tenant.config.database.removeprefix("app")
        assert (password.reveal() if password else "0") == told, "a password opens to another one"
        seat = replica.pools._seats.get(tenant.tenant)
        assert seat is None or seat.pool.fingerprint == tenant.fingerprint, "a pool was not told"
        (wrapped,) = await replica.log.data_keys([tenant.tenant])
        assert tenant.secret is None or (wrapped is not None and data_key_id(wrapped) == tenant.secret.key), (
            "a key is lost"
        )

    async def _verify(self) -> None:
        operator = Operator(self.world, list)
        findings = (await operator.verify()).findings
        await operator.end()
        assert not findings, f"a log that nobody harmed does not verify: {findings}"

    # What is known

    async def _known(self) -> Known:
        """Return what callers were told and is not lost, and what any replica and the log itself hold."""
        known: Known = {name: set(states) for name, states in self.story.acknowledged.items()}
        for name, states in (await self._recoverable()).items():
            known.setdefault(name, set()).update(states)
        for replica in self.live:
            for tenant in replica.directory.all():
                if not isinstance(tenant, Quarantined):
                    known.setdefault(tenant.tenant, set()).add(self.story.state(tenant))
        return known

    async def _keys_known(self) -> set[str]:
        """Return which data keys there are, in Redis or fetched by a replica: of others the tenant is known alone."""
        wrapped = await self.redis.run("HVALS", NAMES.data_keys)
        return {data_key_id(each.decode()) for each in wrapped}.union(*self.opening.values())

    async def _recoverable(self) -> Known:
        """Return what can be known of the tenants from Redis alone."""
        known: Known = {}
        replayed = await self._replayed()
        if replayed is not None:
            for tenant in replayed.all():
                if not isinstance(tenant, Quarantined):
                    known.setdefault(tenant.tenant, set()).add(self.story.state(tenant))
        for name in TENANTS:
            head = await self._head(name)
            if head and head.changed_at and await self._tells(name, head):
                known.setdefault(name, set()).add(self.story.of(name, head.changed_at))
        return known

    async def _tells(self, name: str, head: Head) -> bool:
        """Whether what a head is about can be read: in its entry, or under the tenant's key."""
        if not head.alive:
            return True
        found = await self.redis.run("XRANGE", NAMES.stream, head.position.entry, head.position.entry)
        if any(event.event_id == head.event_id for _, event in states_in(found)):
            return True
        assert head.changed_at is not None
        state, text = self.story.of(name, head.changed_at), await self._key(name)
        try:
            document = msgspec.json.decode(text or b"", type=codec.TenantDocument)
        except msgspec.DecodeError:
            return False
        return document.event_id == head.event_id and document.config == state.config

    async def _replayed(self) -> Directory | None:
        """Return the fold of the log from its first entry, or None if entries are missing."""
        directory = Directory()
        try:
            for raw, fields in await self._entries():
                directory.apply(entry_of(raw, fields))
        except LogDiverged:
            return None
        return directory if directory.position.entry == await self._end() else None

    async def _has_holes(self) -> bool:
        """Whether entries are missing behind the first there is: not all of a tenant's events lead to each other."""
        entries = [entry_of(*each) for each in await self._entries()]
        places = [entry.position for entry in entries if isinstance(entry, Entry)]
        ends = not places or places[-1].entry == await self._end()
        links = [entry.prev for entry in entries if isinstance(entry, Entry)][1:]
        linked = [entry.entry for entry in places[:-1]] == links
        return not ends or not linked or any(after.seq != before.seq + 1 for before, after in pairwise(places))

    async def _head(self, tenant: str) -> Head | None:
        """Return the tenant's head, if it is one."""
        raw = await self.redis.run("HGET", NAMES.heads, tenant)
        return codec.decode_head(raw) if raw and raw != b"none of ours" else None

    async def _holds(self, replica: Replica) -> bool:
        """Whether the log holds what the replica has read; if not, it may have to see first what has become of it."""
        read = replica.directory.position.entry
        return read == await self._end() or bool(await self.redis.run("XRANGE", NAMES.stream, read, read))

    async def _is_left_over(self, tenant: str) -> bool:
        """Whether a log that is gone has left the tenant's head, and nothing by which anybody could say it again."""
        head, epoch = await self._head(tenant), epoch_of(await self.redis.run("GET", NAMES.epoch))
        return head is not None and epoch is not None and epoch.is_orphan(head)

    async def _carried_out(self, command: Command) -> Position | None:
        """Return where the event is or was that the command led to, if the log or the tenant's head remembers it."""
        if command.id is None:
            return None
        events = states_in(await self._entries())
        head = await self._head(command.tenant)
        places = [place for place, event in events if event.command_id == command.id]
        return next(iter(places), head.position if head and head.command_id == command.id else None)

    async def _entries(self) -> Entries:
        found: Entries = await self.redis.run("XRANGE", NAMES.stream, "-", "+")
        return found

    async def _key(self, tenant: str) -> bytes | None:
        text: bytes | None = await self.redis.run("GET", NAMES.tenant(tenant))
        return text

    # How it happens

    def _replica(self, which: int) -> Replica:
        return self.live[which % len(self.live)]

    async def _under(
        self, fault: Fault | None, replica: Replica | Operator, work: Callable[[], Awaitable[Any]]
    ) -> None:
        """Let somebody do their work under a fault; a replica that crashed is gone."""
        if fault is not None:
            self.calm = False
            self.interrupted |= fault.meanwhile != "another polls"
            replica.redis.calls, replica.redis.appends, replica.redis.fault = 0, 0, fault
            replica.redis.meanwhile = lambda what, tenant: self._meanwhile(what, tenant, replica)
        try:
            await work()
        except Crash:
            if isinstance(replica, Replica):
                await self._die(replica)
        finally:
            replica.redis.fault = None

    async def _meanwhile(self, what: str, tenant: str, slow: Replica | Operator) -> None:
        others = [replica for replica in self.live if replica is not slow]
        match what:
            case "the log falls back":
                await self._fall_back()
            case "everything is flushed":
                await self._flush()
            case "the stream is deleted":
                await self._delete_stream()
            case "the log is trimmed":
                await self._break("XTRIM", NAMES.stream, "MAXLEN", 0)
            case "a caller gives up" if isinstance(slow, Replica):
                await self._give_up(slow)
            case "another polls" if others:
                await others[0].turn()
            case "another registers it" if others:
                await self._command_of(others[0], Command(tenant, registration("db3", 1, 5), None))
            case "another removes it" if others:
                await self._command_of(others[0], Command(tenant, None, None))

    async def _give_up(self, replica: Replica) -> None:
        """Let somebody else of the same replica queue up behind the append under way, and leave before it is sent."""
        command = Command("core", registration("db9", 0, 5), "given-up")
        waiting = asyncio.create_task(_carry_out(replica, command, None))
        while not replica.registry._appender._waiting and not waiting.done():  # noqa: ASYNC110 - nothing tells when it queues
            await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting

    async def _command_of(self, replica: Replica, command: Command) -> None:
        try:
            answer: Result | TenancyError = await _carry_out(replica, command, None)
        except TenancyError as error:
            answer = error
        await self._hear(replica, command, answer, told_at_once=False)


def _is_behind(replica: Replica, first: Position) -> bool:
    applied = applied_by(replica)
    return applied is None or applied.seq < first.seq


def _is_same_login(before: Tenant, after: Tenant) -> bool:
    """Whether nothing has changed that a connection depends on; passwords go by the name of their database."""
    if not isinstance(before, Live) or not isinstance(after, Live):
        return False
    (one, other), lives = (before.config, after.config), (before.born, after.born)
    return lives[0] == lives[1] and (one.host, one.database) == (other.host, other.database)


def brief(tenant: Tenant | None) -> str:
    """Return what a person needs to see of it."""
    if tenant is None:
        return "nothing"
    when = "" if isinstance(tenant, Quarantined) else f" of {tenant.changed_at:%M:%S}"
    born = f" born {tenant.born:%M:%S}" if isinstance(tenant, Live) else ""
    kind = type(tenant).__name__.lower()
    return f"{tenant.tenant} v{tenant.version} {kind}{when}{born} @{tenant.position} ({tenant.event_id})"


async def _carry_out(replica: Replica, command: Command, expected: int | None) -> Result:
    caller = Caller(actor="ann", command_id=command.id)
    if command.registration is None:
        return await replica.registry.remove(command.tenant, caller, expected_version=expected)
    return await replica.registry.register(command.tenant, command.registration, caller, expected_version=expected)


def registration(host: str, password: int, pool: int) -> Registration:
    """Return a login whose database is named after its password, so that one that opens to another one shows."""
    secret = Secret(str(password)) if password else None
    return from_fields(
        host=host, database=f"app{password}", user="reader", password=secret, limits=Limits(max_pool_size=pool)
    )
