"""The write side and the read side together on a real Redis, as two replicas that know nothing of each other."""

import asyncio
import base64
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias

import pytest

from projections.diagnosis import Finding
from projections.directory import Directory
from projections.follower import Follower
from projections.history import history_of, is_entry_of
from projections.keyring import Keyring
from projections.phase import OnLoss, Phase
from projections.rebuild import Rebuilder
from projections.restoration import Restorer
from projections.tenant_keys import TenantKeys
from registry import codec
from registry.answers import Result
from registry.appender import TRIES
from registry.entries import START, AsOf, Entry, Epoch, Foreign, Position
from registry.errors import (
    CommandReused,
    CorruptEntry,
    InvalidInput,
    LogDiverged,
    RegistryUnavailable,
    RemovedTenant,
    SecretUnreadable,
    UnknownTenant,
    VersionConflict,
)
from registry.events import LogRestored
from registry.inputs import Limits, Registration, from_fields
from registry.log import Outcome, Proposal
from registry.names import Names
from registry.planner import Caller
from registry.redis_client import RedisClient
from registry.redis_log import RedisLog
from registry.secrets import MasterKeys, Secret, new_master_key
from registry.service import Materialiser, TenantRegistry
from registry.signing import Signer
from registry.state import Live, Quarantined, Removed, Tenant
from registry.stored import document_of, head_of
from server.adopting import adopt_once
from server.embedded.valkey import EmbeddedValkey

MASTER: Final = MasterKeys.parse(new_master_key("one"))
ANN: Final = Caller(actor="ann", reason="asked to")
STREAM: Final = Names().stream
PASSWORD: Final = "s3cr3t-canary"


def login(*, host: str = "db", password: str | None = PASSWORD, limits: Limits | None = None) -> Registration:
    secret = Secret(password) if password else None
    return from_fields(host=host, database="app", user="reader", password=secret, limits=limits)


class Crash(BaseException):
    """The replica's process ended here."""


class CrashingKeys:
    """Keys whose writer dies before it writes."""

    async def materialise(self, tenant: Tenant, as_of: AsOf) -> bool:  # noqa: ARG002 - as the protocol has it
        raise Crash(tenant.tenant)

    async def unblock(self, tenants: Sequence[Tenant], as_of: AsOf) -> list[str]:  # noqa: ARG002 - as the protocol has it
        raise Crash(tenants)


class LossyLog(RedisLog):
    """A log whose next replies to an append get lost on the way back."""

    losing = 0
    meanwhile: Callable[[], Awaitable[object]] | None = None
    """What others do between the append and the loss of its reply."""

    async def append(self, proposals: Sequence[Proposal]) -> Sequence[Outcome]:
        outcomes = await super().append(proposals)
        if self.losing:
            self.losing -= 1
            if self.meanwhile:
                await self.meanwhile()
            raise RegistryUnavailable("Redis did not answer in time; try again.")
        return outcomes


class Replica:
    """One replica's objects, wired as the server wires them; one that does not restore waits for an operator."""

    def __init__(self, url: str, materialiser: Materialiser | None = None, *, restores: bool = False) -> None:
        self.commands = RedisClient.from_url(url)
        self.tail = RedisClient.from_url(url, connections=1, timeout=4.0)
        self.log = LossyLog(self.commands, self.tail, Names())
        self.directory = Directory()
        self.keys = TenantKeys(self.commands, Names())
        self.keyring = Keyring(self.log, MASTER)
        self.mended: list[str] = []
        self.changed: list[tuple[str, int]] = []
        restorer = Restorer(self.log, self.keyring, Signer(), actor="replica", now=_now, new_id=_new_id)
        self.follower = Follower(
            log=self.log,
            directory=self.directory,
            rebuilder=Rebuilder(self.log, self.keys),
            restorer=restorer,
            on_loss=OnLoss.RESTORE if restores else OnLoss.HALT,
            on_change=self._on_change,
            on_caught_up=self._on_caught_up,
        )
        self.registry = TenantRegistry(
            log=self.log,
            view=self.follower,
            keys=materialiser or self.keys,
            master=MASTER,
            now=_now,
            new_id=_new_id,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Replica"]:
        following = asyncio.create_task(self.follower.run())
        try:
            yield self
        finally:
            following.cancel()
            await asyncio.wait([following])
            await self.tail.close()
            await self.commands.close()

    async def register(self, tenant: str = "acme", *, expected: int | None = None, **said: str | None) -> Result:
        return await self.registry.register(tenant, login(**said), ANN, expected_version=expected)  # type: ignore[arg-type]  # hosts and passwords are texts

    async def remove(self, tenant: str = "acme", *, expected: int | None = None) -> Result:
        return await self.registry.remove(tenant, ANN, expected_version=expected)

    def live(self, tenant: str = "acme") -> Live:
        known = self.directory.tenant(tenant)
        assert isinstance(known, Live)
        return known

    async def password(self, tenant: str = "acme") -> str | None:
        secret = await self.keyring.password(self.live(tenant))
        return secret.reveal() if secret else None

    async def document(self, tenant: str = "acme") -> bytes | None:
        document: bytes | None = await self.commands.run("GET", Names().tenant(tenant))
        return document

    async def reaches(self, phase: Phase) -> None:
        await eventually(lambda: self.follower.status.phase is phase)

    async def leaves(self, position: Position) -> None:
        """Wait until acme stands elsewhere in the log."""
        await eventually(lambda: self.live().position != position)

    async def _on_change(self, tenants: Sequence[Tenant]) -> None:
        self.changed += [(tenant.tenant, tenant.version) for tenant in tenants]
        await self.keyring.refresh(tenants)

    async def _on_caught_up(self) -> None:
        self.mended += await self.keys.repair(tuple(self.directory.all()), self.directory.as_of)


Start: TypeAlias = Callable[..., Awaitable[Replica]]


def _now() -> datetime:
    return datetime.now(UTC)


def _new_id() -> str:
    return uuid.uuid4().hex


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until it holds; how long it takes is no part of any promise here."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - what is waited for is not of one place that could tell
            await asyncio.sleep(0.01)


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """What starts a replica on a Redis, waits until it is ready, and stops it after the test."""
    async with AsyncExitStack() as stack:

        async def begin(
            url: str, materialiser: Materialiser | None = None, *, ready: bool = True, restores: bool = False
        ) -> Replica:
            replica = await stack.enter_async_context(Replica(url, materialiser, restores=restores).running())
            if ready:
                await replica.follower.complete()
                await replica.reaches(Phase.FOLLOWING)
            return replica

        yield begin


@pytest.fixture
async def a(redis_url: str, start: Start) -> Replica:
    """A replica on an empty Redis."""
    return await start(redis_url)


@pytest.fixture
async def b(redis_url: str, start: Start, a: Replica) -> Replica:
    """Another replica on the same Redis."""
    assert a.follower.status.ready
    return await start(redis_url)


@pytest.fixture
async def own_valkey(tmp_path: Path) -> AsyncIterator[EmbeddedValkey]:
    """A Valkey with an append-only file that the test may stop and start."""
    server = await EmbeddedValkey(tmp_path).start()
    yield server
    await server.stop()


async def test_when_a_registration_returns_its_key_is_there_and_this_replica_serves_it(a: Replica) -> None:
    result = await a.register()

    assert (result.status, result.version, result.served) == ("registered", 1, True)
    assert (a.live().position, a.live().config.host) == (result.position, "db")
    assert await a.document() == document_of(a.live())
    assert await a.password() == PASSWORD


async def test_when_a_removal_returns_its_key_is_gone_and_this_replica_knows(a: Replica) -> None:
    await a.register()

    result = await a.remove()

    assert (result.status, result.version) == ("removed", 2)
    assert isinstance(a.directory.tenant("acme"), Removed)
    assert await a.document() is None


async def test_the_other_replica_comes_to_serve_the_same(a: Replica, b: Replica) -> None:
    result = await a.register()

    assert await b.follower.reached(result.position)
    assert b.live() == a.live()
    assert await b.password() == PASSWORD


async def test_a_tenant_that_another_replica_just_registered_is_not_refused_from_stale_memory(
    a: Replica, b: Replica
) -> None:
    for each in range(20):
        await a.register(f"tenant-{each}")

        assert isinstance(await b.follower.tenant(f"tenant-{each}"), Live)


async def test_a_tenant_that_nobody_registered_is_unknown_everywhere(a: Replica) -> None:
    assert await a.follower.refresh("acme") is None


async def test_each_change_is_told_once_to_each_replica(a: Replica, b: Replica) -> None:
    await a.register()
    await b.register(host="other")
    await a.remove()
    await eventually(lambda: a.changed == b.changed and len(a.changed) == 3)

    assert a.changed == [("acme", 1), ("acme", 2), ("acme", 3)]


async def test_the_same_registration_again_appends_nothing(a: Replica, b: Replica) -> None:
    first = await a.register()

    again = await b.register()

    assert (again.status, again.version, again.position) == ("unchanged", 1, first.position)
    assert await a.log.end() == first.position


async def test_the_same_registration_again_mends_a_key_that_was_lost(a: Replica) -> None:
    await a.register()
    await a.commands.run("DEL", Names().tenant("acme"))

    await a.register()

    assert await a.document() == document_of(a.live())


async def test_new_limits_with_the_same_password_leave_open_connections_alone(a: Replica, b: Replica) -> None:
    await a.register()
    before = a.live().fingerprint

    result = await b.registry.register("acme", login(limits=Limits(max_pool_size=3)), ANN)

    assert (result.status, result.version) == ("replaced", 2)
    assert b.live().config.max_pool_size == 3
    assert b.live().fingerprint == before
    assert await b.password() == PASSWORD


@pytest.mark.parametrize("password", ["another", None])
async def test_another_password_opens_new_connections(password: str | None, a: Replica) -> None:
    await a.register()
    before = a.live().fingerprint

    result = await a.register(password=password)

    assert result.status == "replaced"
    assert a.live().fingerprint != before
    assert await a.password() == password


async def test_a_tenant_without_a_password_may_get_one(a: Replica) -> None:
    await a.register(password=None)
    assert (await a.register(password=None)).status == "unchanged"

    assert (await a.register()).status == "replaced"
    assert await a.password() == PASSWORD


async def test_whoever_expects_the_present_version_changes_it(a: Replica, b: Replica) -> None:
    await a.register(expected=0)
    await b.register(expected=1, host="other")

    assert (await a.remove(expected=2)).version == 3


async def test_whoever_expects_another_version_changes_nothing(a: Replica, b: Replica) -> None:
    first = await a.register()

    for attempt in (b.register(expected=0, host="other"), b.register(expected=2, host="other"), b.remove(expected=2)):
        with pytest.raises(VersionConflict) as conflict:
            await attempt
        assert conflict.value.facts == {"current_version": 1}
    assert await a.log.end() == first.position


async def test_of_two_replicas_that_expect_the_same_version_one_wins(a: Replica, b: Replica) -> None:
    for round_ in range(10):
        tenant = f"tenant-{round_}"
        outcomes = await asyncio.gather(
            a.register(tenant, expected=0, host="from-a"),
            b.register(tenant, expected=0, host="from-b"),
            return_exceptions=True,
        )

        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Result", "VersionConflict"]
        assert [outcome.facts for outcome in outcomes if isinstance(outcome, VersionConflict)] == [
            {"current_version": 1}
        ]


async def test_of_two_replicas_that_expect_nothing_both_land_in_some_order(a: Replica, b: Replica) -> None:
    for round_ in range(10):
        tenant = f"tenant-{round_}"
        results = await asyncio.gather(a.register(tenant, host="from-a"), b.register(tenant, host="from-b"))

        assert sorted((result.version, result.status) for result in results) == [(1, "registered"), (2, "replaced")]
        later = max(results, key=lambda result: result.version)
        assert isinstance(await a.follower.refresh(tenant), Live)
        assert a.live(tenant).position == later.position
        assert await a.document(tenant) == document_of(a.live(tenant))
        assert await a.password(tenant) == PASSWORD


async def test_many_writers_of_many_tenants_lose_nothing(a: Replica, b: Replica) -> None:
    replicas = (a, b)
    results = await asyncio.gather(*(replicas[each % 2].register(f"tenant-{each}") for each in range(100)))
    last = max((result.position for result in results), key=lambda position: position.seq)

    assert last.seq == 101
    for replica in replicas:
        assert await replica.follower.reached(last)
        assert len(replica.directory) == 100
    assert list(a.directory.live()) == list(b.directory.live())


async def test_removal_destroys_the_data_key_and_with_it_the_password_in_the_log(a: Replica) -> None:
    await a.register()
    before = a.live()
    (wrapped,) = await a.log.data_keys(["acme"])

    await a.remove()

    assert wrapped is not None
    assert list(await a.log.data_keys(["acme"])) == [None]
    with pytest.raises(SecretUnreadable, match="no data key any more"):
        await a.keyring.password(before)


async def test_a_tenant_that_comes_back_gets_another_data_key(a: Replica) -> None:
    await a.register()
    before = a.live()
    await a.remove()

    result = await a.register()

    assert (result.status, result.version) == ("registered", 3)
    assert await a.password() == PASSWORD
    with pytest.raises(SecretUnreadable, match="register the tenant again"):
        await a.keyring.password(before)


async def test_what_is_not_there_cannot_be_removed(a: Replica, b: Replica) -> None:
    with pytest.raises(UnknownTenant):
        await a.remove()
    await a.register()
    await a.remove()
    with pytest.raises(RemovedTenant):
        await b.remove()


async def test_the_password_stands_nowhere_in_redis(a: Replica) -> None:
    await a.register()
    await a.register(host="other")
    await a.register(password=f"{PASSWORD}-2")
    await a.register("beta")
    await a.remove("beta")
    await a.registry.remove("acme", Caller(actor="ann"))
    await a.register()

    everything = await _all_of_redis(a.commands)

    assert b"acme" in everything
    for written in _ways_to_write(PASSWORD):
        assert written not in everything


async def test_a_history_is_told_newest_first(a: Replica, b: Replica) -> None:
    await a.register()
    await b.register("beta")
    await b.register(host="other")
    await a.registry.remove("acme", Caller(actor="ben", reason="moved away"))
    await a.register()

    told = await history_of(a.log, a.live().position.entry, 10)

    assert [(each.event.version, type(each.event).__name__) for each in told] == [
        (4, "TenantRegistered"),
        (3, "TenantRemoved"),
        (2, "TenantRegistered"),
        (1, "TenantRegistered"),
    ]
    assert (told[1].event.actor, told[1].event.reason) == ("ben", "moved away")
    assert [each.event.version for each in await history_of(a.log, a.live().position.entry, 2)] == [4, 3]


async def test_a_history_goes_on_only_from_an_event_of_the_same_tenant(a: Replica) -> None:
    first, other = await a.register(), await a.register("beta")

    assert await is_entry_of(a.log, "acme", first.position.entry)
    for strange in (other.position.entry, "9999999999999-0", "x", "1-1-1", "18446744073709551616-0", "(1-0"):
        assert not await is_entry_of(a.log, "acme", strange), strange


async def test_a_history_whose_entries_are_gone_is_corrupt_and_not_short(a: Replica) -> None:
    first = await a.register()
    await a.register(host="other")
    await a.commands.run("XDEL", STREAM, first.position.entry)

    with pytest.raises(CorruptEntry, match=f"Entry {first.position.entry} is missing"):
        await history_of(a.log, a.live().position.entry, 10)


async def test_a_replica_that_starts_again_folds_the_same(a: Replica, redis_url: str, start: Start) -> None:
    for each in range(30):
        await a.register(f"tenant-{each % 7}", host=f"db-{each}")
    await a.remove("tenant-3")

    again = await start(redis_url)

    assert again.follower.position == a.follower.position
    assert again.directory.epoch == a.directory.epoch
    assert set(map(repr, again.directory.all())) == set(map(repr, a.directory.all()))
    assert again.mended == []
    assert await again.password("tenant-1") == PASSWORD


async def test_more_entries_than_a_page_holds_are_all_replayed(a: Replica, redis_url: str, start: Start) -> None:
    await asyncio.gather(*(a.register(f"tenant-{each}") for each in range(1100)))

    again = await start(redis_url)

    assert len(again.directory) == 1100


async def test_a_crash_between_event_and_key_is_mended_by_the_next_start(
    a: Replica, redis_url: str, start: Start
) -> None:
    await a.register("gone")
    dying = await start(redis_url, CrashingKeys())
    with pytest.raises(Crash):
        await dying.register()
    with pytest.raises(Crash):
        await dying.remove("gone")
    assert await a.document() is None
    assert await a.document("gone") is not None

    again = await start(redis_url)

    assert sorted(again.mended) == ["acme", "gone"]
    assert await again.document() == document_of(again.live())
    assert await again.document("gone") is None


async def test_a_lost_reply_makes_no_second_event(a: Replica) -> None:
    a.log.losing = 1

    result = await a.register()

    assert (result.status, result.version) == ("registered", 1)
    assert await a.log.end() == result.position
    assert result.position.seq == 2


async def test_a_command_whose_reply_was_lost_and_that_was_overtaken_is_not_carried_out_twice(
    a: Replica, b: Replica
) -> None:
    await a.register(host="old")
    a.log.losing = 1
    a.log.meanwhile = lambda: b.register(host="theirs")

    result = await a.register(host="ours", expected=1)

    assert (result.status, result.version) == ("replaced", 2)
    await eventually(lambda: a.live().version == 3)
    assert a.live().config.host == "theirs"
    document = await a.document()
    assert document == document_of(a.live())


def command(command_id: str) -> Caller:
    return Caller(actor="ann", command_id=command_id)


async def test_the_retry_of_a_command_gets_the_first_answer_on_any_replica_and_however_late(
    a: Replica, b: Replica
) -> None:
    first = await a.registry.register("acme", login(), command("c1"))
    second = await a.registry.register("acme", login(host="other"), command("c2"))
    removed = await b.registry.remove("acme", command("c3"))
    end = await a.log.end()

    for replica in (a, b):
        assert await replica.registry.register("acme", login(), command("c1")) == first
        assert await replica.registry.register("acme", login(host="other"), command("c2")) == second
        assert await replica.registry.remove("acme", command("c3")) == removed

    assert [first.status, second.status, removed.status] == ["registered", "replaced", "removed"]
    assert await a.log.end() == end


async def test_a_command_id_with_another_content_is_refused(a: Replica, b: Replica) -> None:
    await a.registry.register("acme", login(), command("c1"))
    end = await a.log.end()

    for again in (
        b.registry.register("acme", login(host="other"), command("c1")),
        b.registry.register("acme", login(password="another"), command("c1")),
        b.registry.remove("acme", command("c1")),
    ):
        with pytest.raises(CommandReused, match="c1"):
            await again
    assert await a.log.end() == end


async def test_the_same_command_at_the_same_moment_on_two_replicas_is_carried_out_once(a: Replica, b: Replica) -> None:
    results = await asyncio.gather(
        *(replica.registry.register("acme", login(), command("c1")) for replica in (a, b, a, b))
    )

    assert {(result.status, result.version) for result in results} == {("registered", 1)}
    end = await a.log.end()
    assert end is not None
    assert end.seq == 2
    assert await a.document() == document_of(a.live())
    assert await a.password() == PASSWORD


async def test_a_head_that_was_deleted_by_hand_is_told_instead_of_a_conflict_without_end(a: Replica) -> None:
    await a.register()
    await a.commands.run("HDEL", Names().heads, "acme")

    with pytest.raises(CorruptEntry, match="heads by hand"):
        await a.register(host="other")

    assert a.live().version == 1


async def test_a_removal_that_was_cut_short_before_its_key_is_seen_through_by_its_retry(
    redis_url: str, start: Start, a: Replica
) -> None:
    crashing = await start(redis_url, CrashingKeys())
    await a.register()
    with pytest.raises(Crash):
        await crashing.remove()
    assert await a.document() is not None

    with pytest.raises(RemovedTenant):
        await a.remove()

    assert await a.document() is None


async def test_when_nobody_knows_whether_it_happened_the_same_call_again_finds_out(a: Replica) -> None:
    a.log.losing = TRIES
    with pytest.raises(RegistryUnavailable):
        await a.register()

    result = await a.register()

    assert (result.status, result.version, result.position.seq) == ("unchanged", 1, 2)
    assert await a.document() == document_of(a.live())


async def test_while_redis_is_away_reads_go_on_and_writes_fail(own_valkey: EmbeddedValkey, start: Start) -> None:
    a = await start(own_valkey.url)
    await a.register()
    await own_valkey.stop()

    with pytest.raises(RegistryUnavailable):
        await a.register(host="other")
    with pytest.raises(RegistryUnavailable):
        await a.remove()
    await a.reaches(Phase.CUT_OFF)
    with pytest.raises(RegistryUnavailable):
        await a.register(host="other")

    assert await a.follower.tenant("acme") == a.live()
    assert await a.password() == PASSWORD
    assert a.follower.status.ready


async def test_while_redis_is_away_a_tenant_that_is_unknown_here_is_not_said_to_be_unknown(
    own_valkey: EmbeddedValkey, start: Start
) -> None:
    a = await start(own_valkey.url)
    await own_valkey.stop()
    await a.reaches(Phase.CUT_OFF)

    with pytest.raises(RegistryUnavailable):
        await a.follower.tenant("acme")


async def test_when_redis_is_back_the_replicas_go_on_by_themselves(own_valkey: EmbeddedValkey, start: Start) -> None:
    a, b = await start(own_valkey.url), await start(own_valkey.url)
    await asyncio.gather(*(a.register(f"tenant-{each}") for each in range(20)))
    await own_valkey.stop()
    await a.reaches(Phase.CUT_OFF)
    await own_valkey.start()
    await a.reaches(Phase.FOLLOWING)

    result = await a.register()

    await eventually(lambda: b.directory.tenant("acme") is not None)
    assert (len(a.directory), result.position.seq) == (21, 22)
    assert b.live() == a.live()


async def test_a_key_that_was_damaged_is_mended_when_redis_is_back(own_valkey: EmbeddedValkey, start: Start) -> None:
    a = await start(own_valkey.url)
    await a.register()
    await a.commands.run("SET", Names().tenant("acme"), "edited")
    await own_valkey.stop()
    await a.reaches(Phase.CUT_OFF)
    await own_valkey.start()
    await a.reaches(Phase.FOLLOWING)

    assert a.mended == ["acme"]
    assert await a.document() == document_of(a.live())


async def test_a_replica_that_starts_while_redis_is_away_is_not_ready_until_it_is_there(
    own_valkey: EmbeddedValkey, start: Start
) -> None:
    await (await start(own_valkey.url)).register()
    await own_valkey.stop()
    late = await start(own_valkey.url, ready=False)
    await eventually(lambda: late.follower.status.reason is not None)

    assert (late.follower.status.ready, late.follower.status.phase) == (False, Phase.CONNECTING)
    with pytest.raises(RegistryUnavailable, match="not read the whole registry"):
        await late.register()

    await own_valkey.start()
    await late.follower.complete()
    assert late.live().config.host == "db"


async def test_a_log_that_is_lost_is_seen_and_nothing_is_written_into_the_void(a: Replica) -> None:
    await a.register()
    await a.commands.run("FLUSHALL")

    # Until the replica has found out what happened it may be over in a moment; afterwards an operator has to mend it.
    with pytest.raises((RegistryUnavailable, LogDiverged), match=r"does not hold|The log is gone"):
        await a.register(host="other")
    await a.reaches(Phase.DIVERGED)
    for attempt in (a.register("beta"), a.register(host="other"), a.remove()):
        with pytest.raises(LogDiverged, match="The log is gone"):
            await attempt

    assert a.live().config.host == "db"
    assert a.follower.status.ready
    assert await a.commands.run("DBSIZE") == 0


async def test_keys_are_adopted_once_the_log_that_was_lost_when_they_were_found_is_back(a: Replica) -> None:
    await a.register()
    dump = await a.commands.run("DUMP", STREAM)
    await a.commands.run("DEL", STREAM)
    await a.reaches(Phase.DIVERGED)
    await a.commands.run("SET", Names().tenant("old"), '{"host":"db","port":5432,"database":"app","user":"reader"}')
    adopting = asyncio.create_task(adopt_once(a.commands, Names(), a.follower, a.registry))
    await asyncio.sleep(0.1)
    assert not adopting.done()

    await a.commands.run("RESTORE", STREAM, 0, dump)
    await adopting

    assert a.live("old").config.host == "db"


async def test_a_log_that_was_replaced_by_another_is_seen(a: Replica, redis_url: str, start: Start) -> None:
    await a.register()
    await a.register(host="other")
    await a.commands.run("FLUSHALL")
    newcomer = await start(redis_url)
    await newcomer.register("beta")

    await a.reaches(Phase.DIVERGED)

    assert (a.live().config.host, a.directory.tenant("beta")) == ("other", None)
    with pytest.raises(LogDiverged):
        await a.register()


async def test_a_longer_log_in_the_place_of_ours_is_seen(a: Replica, redis_url: str, start: Start) -> None:
    await a.register()
    await a.commands.run("FLUSHALL")
    newcomer = await start(redis_url)
    for each in range(5):
        await newcomer.register(f"tenant-{each}")

    await a.reaches(Phase.DIVERGED)

    assert [tenant.tenant for tenant in a.directory.live()] == ["acme"]


async def test_a_log_whose_last_entry_was_deleted_is_seen_by_whoever_has_not_read_it_and_got_over(
    a: Replica, redis_url: str, start: Start
) -> None:
    last = await a.register()
    await a.commands.run("XDEL", STREAM, last.position.entry)

    late = await start(redis_url)

    assert late.follower.status.findings == {Finding.RESYNCHRONISED: 1}
    assert late.follower.position == last.position
    assert late.live() == a.live()
    assert (await late.register(host="other")).version == 2
    await eventually(lambda: a.live() == late.live())


async def test_a_tenant_that_neither_the_log_nor_its_key_tells_of_is_set_aside_and_the_others_are_served(
    a: Replica, redis_url: str, start: Start
) -> None:
    await a.register("beta")
    last = await a.register()
    await a.commands.run("XDEL", STREAM, last.position.entry)
    await a.commands.run("DEL", Names().tenant("acme"))

    late = await start(redis_url)

    assert isinstance(late.directory.tenant("acme"), Quarantined)
    assert late.live("beta") == a.live("beta")
    assert (await late.register()).version == 2


async def test_a_log_that_is_gone_while_its_heads_are_there_is_not_begun_anew_by_a_newcomer(
    a: Replica, redis_url: str, start: Start
) -> None:
    await a.register()
    await a.commands.run("DEL", STREAM)

    late = await start(redis_url, ready=False)
    await late.reaches(Phase.DIVERGED)

    assert not late.follower.status.ready
    assert "The log is gone" in str(late.follower.status.reason)
    assert await a.commands.run("EXISTS", STREAM) == 0


async def test_a_newcomer_that_may_restore_begins_the_log_anew_from_heads_and_keys(
    a: Replica, redis_url: str, start: Start
) -> None:
    await a.register()
    await a.register("gone")
    await a.remove("gone")
    await a.commands.run("DEL", STREAM)

    late = await start(redis_url, restores=True)

    assert (late.live().config, late.live().event_id) == (a.live().config, a.live().event_id)
    assert isinstance(late.directory.tenant("gone"), Removed)
    assert await late.password() == PASSWORD
    assert (await late.register(host="other")).version == 2


async def test_what_a_log_lost_with_everything_else_is_said_again_by_whoever_holds_it(
    redis_url: str, start: Start
) -> None:
    a, b = await start(redis_url, restores=True), await start(redis_url, restores=True)
    await a.register()
    await a.register("gone")
    await a.remove("gone")
    await b.follower.refresh("gone")
    held = a.live()
    await a.commands.run("FLUSHALL")

    for replica in (a, b):
        await replica.leaves(held.position)
        await replica.reaches(Phase.FOLLOWING)

    await b.follower.refresh("acme")
    await eventually(lambda: a.follower.position == b.follower.position)
    assert set(map(repr, a.directory.all())) == set(map(repr, b.directory.all()))
    assert (a.live().event_id, a.live().version) == (held.event_id, held.version)
    assert isinstance(a.directory.tenant("gone"), Removed)
    assert await a.document() == document_of(a.live())
    assert list(await a.log.data_keys(["acme", "gone"])) == [a.keyring.wrapped(held), None]
    fresh = await start(redis_url)
    assert await fresh.password() == PASSWORD


@pytest.mark.parametrize("damaged", ["garbage", "2|1-0|x|1|event|command|digest"])
async def test_a_log_is_restored_also_where_a_head_is_damaged(damaged: str, redis_url: str, start: Start) -> None:
    replica = await start(redis_url, restores=True)
    await replica.register("acme")
    await replica.register("beta")
    before = replica.live("beta").position

    await replica.commands.atomically([("DEL", STREAM), ("HSET", Names().heads, "acme", damaged)])

    await eventually(lambda: replica.live("beta").position != before)
    await replica.reaches(Phase.FOLLOWING)
    assert await replica.log.heads(["acme"]) == [head_of(replica.live("acme"))]


async def test_what_was_decided_on_a_log_that_is_restored_meanwhile_is_refused_as_to_be_tried_again(
    redis_url: str, start: Start
) -> None:
    a = await start(redis_url, restores=True)
    for host in ("one", "two", "three"):
        await a.register(host=host)
    before = a.live().position

    async def lose_and_restore(tenants: Sequence[str]) -> Sequence[str | None]:
        """Lose everything between the decision and the append, once."""
        del a.log.data_keys  # the class's own comes to light
        told = await a.log.data_keys(tenants)
        await a.commands.run("FLUSHALL")
        await a.leaves(before)
        return told

    a.log.data_keys = lose_and_restore  # type: ignore[method-assign]  # a loss at just this moment

    with pytest.raises(RegistryUnavailable, match="does not hold"):
        await a.register(host="four")

    await a.reaches(Phase.FOLLOWING)
    assert (await a.register(host="four")).version == 4


async def test_a_removal_keeps_the_key_gone_although_an_epoch_opened_before_it_was_appended(
    redis_url: str, start: Start
) -> None:
    """Or who read the tenant in between, in the new epoch, would write it over the removal's fence."""
    a = await start(redis_url)
    await a.register()
    tenant, append = a.live(), a.log.append

    async def restore_before(proposals: Sequence[Proposal]) -> Sequence[Outcome]:
        a.log.append = append  # type: ignore[method-assign]  # once
        end, epoch = await a.log.end(), a.directory.epoch
        assert end is not None
        assert epoch is not None
        note = LogRestored(
            event_id="note", time=_now(), actor="b", epoch="second", outcome="log_gone",
            lost_epoch=None, lost_position=None, live=0, removed=0,
        )  # fmt: skip
        opened = Epoch("second", "", epoch.begun)
        assert await a.log.note(end, codec.type_of(note), codec.encode(note), opens=opened)
        await a.follower.reached(Position(end.seq + 1, ""))
        return await append(proposals)

    a.log.append = restore_before  # type: ignore[method-assign]  # somebody restores at just this moment
    await a.remove()
    read = AsOf(a.directory.as_of.epoch, tenant.position)

    assert await a.keys.materialise(tenant, read) is False
    assert await a.document() is None


async def test_a_change_that_was_lost_before_this_replica_read_it_is_not_said_to_be_served(
    redis_url: str, start: Start
) -> None:
    a = await start(redis_url, restores=True)
    read, append = a.log.read, a.log.append
    late, lost = asyncio.Event(), asyncio.Event()

    async def read_after_the_loss(after: Position, limit: int, wait: float = 0) -> Sequence[Entry | Foreign]:
        late.set()
        await lost.wait()
        return await read(after, limit, wait)

    async def append_and_lose(proposals: Sequence[Proposal]) -> Sequence[Outcome]:
        outcomes = await append(proposals)
        a.log.append = append  # type: ignore[method-assign]  # once
        await a.commands.run("FLUSHALL")
        lost.set()
        return outcomes

    a.log.read = read_after_the_loss  # type: ignore[method-assign]  # a tail that is late
    await late.wait()  # the read that was under way has come back with nothing
    a.log.append = append_and_lose  # type: ignore[method-assign]  # a loss at just this moment

    registering = asyncio.create_task(a.register("acme"))
    await lost.wait()
    await eventually(lambda: a.follower.status.phase is Phase.FOLLOWING and a.follower.status.found is not None)
    await a.register("other")

    assert not (await registering).served
    assert a.directory.tenant("acme") is None


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(("note", "hello"), id="foreign"),
        pytest.param(
            ("type", "tenant_renamed.v1", "seq", "3", "prev", "{last}", "data", "{}"), id="of a newer version"
        ),
        pytest.param(("type", "tenant_removed.v1", "seq", "3", "prev", "{last}", "data", "{"), id="damaged"),
    ],
)
async def test_an_entry_that_cannot_be_read_halts_the_replica_and_is_named(
    fields: tuple[str, ...], a: Replica, redis_url: str, start: Start
) -> None:
    last = await a.register()
    words = [word.replace("{last}", last.position.entry) for word in fields]
    added = (await a.commands.run("XADD", STREAM, "*", *words)).decode()

    await a.reaches(Phase.HALTED)
    late = await start(redis_url, ready=False)
    await late.reaches(Phase.HALTED)

    for replica in (a, late):
        assert added in str(replica.follower.status.reason)
        assert not replica.follower.status.ready
        with pytest.raises(CorruptEntry, match=added):
            await replica.register(host="other")
    assert a.follower.position == last.position
    assert a.live().config.host == "db"
    assert late.follower.position == START


async def test_a_foreign_entry_halts_also_a_replica_that_got_over_a_hole_by_heads_and_keys(
    a: Replica, redis_url: str, start: Start
) -> None:
    first = await a.register()
    await a.register(host="other")
    await a.commands.run("XDEL", STREAM, first.position.entry)
    late = await start(redis_url)

    added = (await a.commands.run("XADD", STREAM, "*", "hello", "world")).decode()

    await late.reaches(Phase.HALTED)
    assert added in str(late.follower.status.reason)


async def test_a_halted_replica_goes_on_once_the_entry_that_halted_it_was_taken_out(
    a: Replica, redis_url: str, start: Start
) -> None:
    await a.register()
    added = (await a.commands.run("XADD", STREAM, "*", "note", "hello")).decode()
    late = await start(redis_url, ready=False)
    for replica in (a, late):
        await replica.reaches(Phase.HALTED)

    await a.commands.run("XDEL", STREAM, added)

    for replica in (a, late):
        await replica.reaches(Phase.FOLLOWING)
        assert replica.follower.status.ready
    assert (await a.register(host="other")).version == 2
    await eventually(lambda: late.live().config.host == "other")


async def _all_of_redis(redis: RedisClient) -> bytes:
    """Return every key and value, whatever its type."""
    found = []
    for key in await redis.run("KEYS", "*"):
        match await redis.run("TYPE", key):
            case b"string":
                value = await redis.run("GET", key)
            case b"hash":
                value = await redis.run("HGETALL", key)
            case b"stream":
                value = await redis.run("XRANGE", key, "-", "+")
            case other:
                raise AssertionError(other)
        found.append(key + b"=" + str(value).encode())
    return b"\n".join(found)


def _ways_to_write(password: str) -> list[bytes]:
    """Return the password in clear, and what its base64 and hex have in common wherever it begins."""
    raw = password.encode()
    return [raw, raw.hex().encode(), *(base64.b64encode(raw[shift:])[:12] for shift in range(3))]


async def test_the_operators_way_to_remove_a_foreign_entry_brings_every_replica_back(
    a: Replica, redis_url: str, start: Start
) -> None:
    await a.register()
    added = (await a.commands.run("XADD", STREAM, "*", "hello", "world")).decode()
    await a.reaches(Phase.HALTED)
    told = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    (words,) = re.findall(r"redis-cli (XDEL .*) ID\n", told)

    await a.commands.run(*words.split(), added)

    await a.reaches(Phase.FOLLOWING)
    restarted = await start(redis_url)
    assert restarted.live().version == 1
    assert (await restarted.register(host="other")).version == 2
    await eventually(lambda: a.live().config.host == "other")


async def test_of_two_replicas_that_register_ids_differing_in_case_alone_one_is_refused(a: Replica, b: Replica) -> None:
    for each in range(10):
        told = await asyncio.gather(
            a.register(f"tenant-{each}"),
            b.register(f"Tenant-{each}"),
            a.register(f"TENANT-{each}"),
            return_exceptions=True,
        )

        refused = [one for one in told if isinstance(one, InvalidInput)]
        assert len(refused) == 2, told
        (there,) = (name for name in a.directory.names() if name.lower() == f"tenant-{each}")
        assert all(there in error.message for error in refused)


async def test_a_name_that_was_given_up_is_free_in_any_case_and_then_taken(a: Replica, b: Replica) -> None:
    await a.register("Acme")
    with pytest.raises(InvalidInput, match="'Acme'"):
        await b.register("acme")
    await a.remove("Acme")

    await b.register("acme")

    with pytest.raises(InvalidInput, match="'acme'"):
        await a.register("Acme")


async def test_a_log_with_ids_that_differ_in_case_alone_goes_on_with_both(a: Replica) -> None:
    await a.register("acme")
    await a.registry.register("ACME", login(), ANN, beside_twin=True)

    assert (await a.register("ACME", host="other")).status == "replaced"
    assert (await a.register("acme", host="other")).status == "replaced"
    await a.remove("acme")
    with pytest.raises(InvalidInput, match="'ACME'"):
        await a.register("acme")
