"""A start from heads and keys on a real Redis: the directory that a replay makes, also where none can be made."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import pytest

from projections.diagnosis import Finding
from projections.directory import Directory
from projections.follower import Follower
from projections.keyring import Keyring
from projections.phase import OnLoss
from projections.rebuild import SHORT, Rebuilder
from projections.restoration import Restorer
from projections.tenant_keys import TenantKeys
from registry import codec
from registry.entries import START, Epoch, Position
from registry.events import LogCreated, SealedSecret, TenantConfig, TenantEvent, TenantRegistered, TenantRemoved
from registry.log import Appended, KeepKey, Proposal
from registry.names import Names
from registry.redis_client import RedisClient
from registry.redis_log import RedisLog
from registry.secrets import MasterKeys, new_master_key
from registry.signing import Signer
from registry.state import Live, Quarantined, Tenant, evolve
from registry.stored import document_of, proposed_head

NAMES: Final = Names()
NOON: Final = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TENANTS: Final = 40
ENTRIES: Final = 201
"""Each tenant is registered five times; every seventh is then removed instead."""


class Registry:
    """A log on Redis with its keys, and what it should be folded into."""

    def __init__(self, redis: RedisClient) -> None:
        self.redis = redis
        self.log = RedisLog(redis, redis, NAMES)
        self.keys = TenantKeys(redis, NAMES)
        self.directory = Directory()
        self.stale: dict[str, bytes] = {}

    async def fill(self) -> None:
        """Make the log and its tenants."""
        first = LogCreated(event_id="first", time=NOON, actor="registry", epoch="epoch")
        await self.log.create(codec.type_of(first), codec.encode(first), first.epoch)
        await self._catch_up()
        for round_ in range(5):
            await self.change([_event(self.directory, number, round_) for number in range(TENANTS)])

    async def change(self, events: list[TenantEvent]) -> None:
        """Append events of different tenants, and write their keys."""
        self.stale |= {known.tenant: document_of(known) for known in self.directory.live()}
        outcomes = await self.log.append([self._proposal(event) for event in events])
        assert {type(outcome) for outcome in outcomes} == {Appended}
        await self._catch_up()
        await self.keys.repair(tuple(self.directory.all()), self.directory.as_of)

    async def started(self, *, short: int = SHORT, full_replay: bool = False) -> "Start":
        """Return what a replica has that starts now."""
        directory = Directory()
        rebuilder = Rebuilder(self.log, self.keys, short=short, full_replay=full_replay)
        keyring = Keyring(self.log, MasterKeys.parse(new_master_key("one")))
        restorer = Restorer(self.log, keyring, Signer(), actor="replica", now=lambda: NOON, new_id=lambda: "nobody")
        follower = Follower(
            log=self.log,
            directory=directory,
            rebuilder=rebuilder,
            on_change=_nothing,
            on_caught_up=_nothing,
            restorer=restorer,
            on_loss=OnLoss.HALT,
        )
        task = asyncio.create_task(follower.run())
        try:
            async with asyncio.timeout(20):
                await follower.complete()
        finally:
            task.cancel()
            await asyncio.wait([task])
        return Start(directory, rebuilder.done, follower.status.findings)

    async def damage(self, *words: str | bytes | int) -> None:
        await self.redis.run(*words)

    async def _catch_up(self) -> None:
        for entry in await self.log.read(self.directory.position, 1000):
            self.directory.apply(entry)

    def _proposal(self, event: TenantEvent) -> Proposal:
        before = self.directory.tenant(event.tenant)
        after = evolve(before, event, START)
        assert not isinstance(after, Quarantined)
        return Proposal(
            tenant=event.tenant,
            expected=before.position.seq if before else 0,
            after=self.directory.position,
            type=codec.type_of(event),
            data=codec.encode(event),
            head=proposed_head(after),
            key=KeepKey(),
        )


class Start(msgspec.Struct, frozen=True):
    """What a replica has once it is ready, how many steps that took, and what it found."""

    directory: Directory
    steps: int
    findings: dict[Finding, int]


@pytest.fixture
async def registry(redis_url: str) -> AsyncIterator[Registry]:
    """A registry of forty tenants, in 201 entries."""
    redis = RedisClient.from_url(redis_url)
    registry = Registry(redis)
    await registry.fill()
    assert registry.directory.position.seq == ENTRIES
    yield registry
    await redis.close()


async def test_a_long_log_is_started_from_heads_and_keys_and_a_short_one_is_replayed(registry: Registry) -> None:
    by_cut = await registry.started(short=ENTRIES - 1)
    by_replay = await registry.started(short=ENTRIES)
    forced = await registry.started(short=ENTRIES - 1, full_replay=True)

    assert (by_cut.steps, by_replay.steps, forced.steps) == (TENANTS, ENTRIES, ENTRIES)
    for start in (by_cut, by_replay, forced):
        assert told_by(start.directory) == told_by(registry.directory)
        assert start.findings == {}


async def test_a_log_that_is_longer_than_what_is_replayed_needs_nobody_to_say_so(registry: Registry) -> None:
    end = registry.directory.position
    await registry.damage("XSETID", NAMES.stream, end.entry, "ENTRIESADDED", SHORT + 1)

    start = await registry.started()

    assert start.steps == TENANTS
    assert told_by(start.directory)[1:] == told_by(registry.directory)[1:]
    assert start.directory.position == Position(SHORT + 1, end.entry)


async def test_keys_that_were_deleted_edited_or_put_back_cost_a_look_into_the_log_and_nothing_else(
    registry: Registry,
) -> None:
    live = [tenant.tenant for tenant in registry.directory.live()]
    for number, tenant in enumerate(live):
        key = NAMES.tenant(tenant)
        match number % 5:
            case 0:
                await registry.damage("DEL", key)
            case 1:
                await registry.damage("SET", key, (await registry.redis.run("GET", key)).replace(b"5432", b"5433"))
            case 2:
                await registry.damage("SET", key, registry.stale[tenant])
            case 3:
                await registry.damage("SET", key, await registry.redis.run("GET", NAMES.tenant(live[4])))
            case _:
                continue

    start = await registry.started(short=1)

    assert told_by(start.directory) == told_by(registry.directory)
    assert start.steps == TENANTS


async def test_keys_of_another_type_cost_no_more(registry: Registry) -> None:
    await registry.damage("DEL", NAMES.tenant("tenant-1"))
    await registry.damage("HSET", NAMES.tenant("tenant-1"), "host", "db")

    assert told_by((await registry.started(short=1)).directory) == told_by(registry.directory)


@pytest.mark.parametrize("how", ["trimmed to nothing", "trimmed in the middle", "deleted in the middle"])
async def test_what_was_taken_out_of_the_log_is_told_by_heads_and_keys(how: str, registry: Registry) -> None:
    await _take_out(registry, how)

    by_cut = await registry.started(short=1)

    assert told_by(by_cut.directory) == told_by(registry.directory)
    assert by_cut.findings == {}


@pytest.mark.parametrize("how", ["trimmed to nothing", "trimmed in the middle", "deleted in the middle"])
@pytest.mark.parametrize("full", [True, False], ids=["whose replay was asked for", "that is short"])
async def test_a_log_with_a_hole_falls_back_on_them_and_says_so(how: str, full: bool, registry: Registry) -> None:  # noqa: FBT001 - pytest gives it by name
    await _take_out(registry, how)

    start = await registry.started(full_replay=full)

    assert told_by(start.directory) == told_by(registry.directory)
    assert start.findings == {Finding.RESYNCHRONISED: 1}


async def test_a_tenant_whose_key_and_last_entry_are_both_gone_is_set_aside_and_no_other(registry: Registry) -> None:
    lost, kept = registry.directory.tenant("tenant-1"), registry.directory.tenant("tenant-2")
    assert isinstance(lost, Live)
    assert isinstance(kept, Live)
    await registry.damage("DEL", NAMES.tenant("tenant-1"), NAMES.tenant("tenant-2"))
    await registry.damage("XDEL", NAMES.stream, lost.position.entry)

    start = await registry.started(short=1)

    aside = start.directory.quarantined()
    assert [(tenant.tenant, tenant.version, tenant.position) for tenant in aside] == [
        ("tenant-1", lost.version, lost.position)
    ]
    assert start.directory.tenant("tenant-2") == kept
    assert len(start.directory) == len(registry.directory) - 1


async def test_a_start_from_heads_goes_on_with_what_is_written_behind_the_cut(registry: Registry) -> None:
    rebuilt = await Rebuilder(registry.log, registry.keys, short=1).rebuild()
    await registry.change([_event(registry.directory, number, 9) for number in range(TENANTS)])

    for entry in await registry.log.read(rebuilt.directory.position, 1000):
        rebuilt.directory.apply(entry)

    assert told_by(rebuilt.directory) == told_by(registry.directory)


async def _take_out(registry: Registry, how: str) -> None:
    match how:
        case "trimmed to nothing":
            await registry.damage("XTRIM", NAMES.stream, "MAXLEN", 0)
        case "trimmed in the middle":
            await registry.damage("XTRIM", NAMES.stream, "MAXLEN", ENTRIES // 2)
        case _:
            found = await registry.redis.run("XRANGE", NAMES.stream, "-", "+")
            ids = [entry for entry, _ in found]
            await registry.damage("XDEL", NAMES.stream, *ids[50:150:3], ids[-1])


def _event(directory: Directory, number: int, round_: int) -> TenantEvent:
    tenant = f"tenant-{number}"
    before = directory.tenant(tenant)
    told: dict[str, Any] = {
        "event_id": f"{tenant}-{round_}",
        "time": NOON + timedelta(minutes=round_),
        "actor": "ann",
        "tenant": tenant,
        "version": before.version + 1 if before else 1,
        "command_id": f"command-{tenant}-{round_}",
        "digest": "one:0d",
        "previous": before.position.entry if before else None,
    }
    if number % 7 == 0 and isinstance(before, Live):
        return TenantRemoved(**told)
    config = TenantConfig(host=f"db-{round_}", database="app", user="reader")
    secret = SealedSecret(key="k", version=1, sealed="AAAA") if number % 2 else None
    return TenantRegistered(**told, config=config, secret=secret)


def told_by(directory: Directory) -> tuple[Position, Epoch | None, dict[str, Tenant]]:
    """Return all that a directory says, to be compared."""
    return directory.position, directory.epoch, {tenant.tenant: tenant for tenant in directory.all()}


async def test_a_tenant_that_was_set_aside_is_read_again_also_while_the_head_of_another_one_is_damaged(
    registry: Registry,
) -> None:
    """Else the whole replica would halt each time it looks, for one head."""
    aside = [_set_aside(registry.directory, name) for name in ("tenant-1", "tenant-2")]
    await registry.damage("HSET", NAMES.heads, "tenant-1", "garbage")

    found = await Rebuilder(registry.log, registry.keys).reread(aside)

    assert found == [registry.directory.tenant("tenant-2")]


def _set_aside(directory: Directory, name: str) -> Quarantined:
    known = directory.tenant(name)
    assert known is not None
    return Quarantined(tenant=name, version=known.version, position=known.position, reason="its key was missing")


async def _nothing(*_: object) -> None:
    """Keep nothing of the tenants."""
