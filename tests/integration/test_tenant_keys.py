"""The tenants' keys on a real Redis: who wins, what is mended, and what stands in them."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import pytest
import structlog

from projections.directory import Directory
from projections.reconciler import Reconciler
from projections.tenant_keys import TenantKeys
from registry.entries import UNKNOWN, AsOf, Epoch, Position
from registry.events import SealedSecret, TenantConfig
from registry.log import Appended, KeepKey, Proposal
from registry.names import Names
from registry.redis_client import RedisClient, Word
from registry.redis_log import RedisLog
from registry.state import Live, Removed
from registry.stored import document_of, head_of, proposed_head
from tests.logs import append_one, head_in

TIME: Final = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
KEY: Final = "mcp:postgres:tenant:acme"
FENCE: Final = "{mcp:postgres:tenant:acme}:fence"
FIRST: Final = Epoch("first", "1-0", "1-0")
RESTORED: Final = Epoch("restored", "12-0", "1-0")
READ: Final = AsOf(FIRST, Position(11, "11-0"))
"""What most writers here have read."""


def live(seq: int, *, tenant: str = "acme", host: str = "db") -> Live:
    return Live(
        tenant=tenant,
        version=seq - 1,
        position=Position(seq, f"{seq}-0"),
        event_id=f"event-{seq}",
        command_id=f"command-{seq}",
        digest="one:0d",
        changed_at=TIME,
        changed_by="ann",
        born=TIME,
        config=TenantConfig(host=host, database="app", user="reader", ssl="require", max_pool_size=4),
        secret=SealedSecret(key="9c1f04aa", version=1, sealed="AAAA"),
    )


def removed(seq: int) -> Removed:
    return Removed(
        tenant="acme",
        version=seq - 1,
        position=Position(seq, f"{seq}-0"),
        event_id=f"event-{seq}",
        command_id=f"command-{seq}",
        digest="one:0d",
        changed_at=TIME,
        changed_by="b",
    )


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[RedisClient]:
    """A client of an empty Redis."""
    client = RedisClient.from_url(redis_url)
    yield client
    await client.close()


@pytest.fixture
def keys(redis: RedisClient) -> TenantKeys:
    """The keys under test."""
    return TenantKeys(redis, Names())


def of(epoch: Epoch) -> AsOf:
    """Return what a writer has read that follows another epoch."""
    return AsOf(epoch, Position(20, "20-0"))


async def test_a_live_tenants_key_is_one_json_text(keys: TenantKeys, redis: RedisClient) -> None:
    assert await keys.materialise(live(2), READ)

    assert await redis.run("TYPE", KEY) == b"string"
    assert json.loads(await redis.run("GET", KEY)) == {
        "tenant_id": "acme",
        "host": "db",
        "port": 5432,
        "database": "app",
        "user": "reader",
        "min_pool_size": 0,
        "max_pool_size": 4,
        "ssl": "require",
        "max_concurrent_requests": 20,
        "version": 1,
        "seq": 2,
        "entry": "2-0",
        "event_id": "event-2",
        "changed_at": "2026-11-22T10:00:00+00:00",
        "changed_by": "ann",
        "secret": {"key": "9c1f04aa", "version": 1, "sealed": "AAAA"},
    }


async def test_a_removed_tenants_key_is_gone_and_its_fence_goes_later(keys: TenantKeys, redis: RedisClient) -> None:
    await keys.materialise(live(2), READ)
    assert await keys.materialise(removed(3), READ)

    assert [key.decode() for key in await redis.run("KEYS", "*")] == [FENCE]
    assert await redis.run("PTTL", FENCE) > 0


async def test_the_fence_of_a_live_tenant_stays(keys: TenantKeys, redis: RedisClient) -> None:
    await keys.materialise(removed(3), READ)
    await keys.materialise(live(4), READ)

    assert await redis.run("PTTL", FENCE) == -1


async def test_the_same_state_twice_is_the_same_bytes(keys: TenantKeys, redis: RedisClient) -> None:
    await keys.materialise(live(2), READ)
    first = await redis.run("GET", KEY)

    assert await keys.materialise(live(2), READ)
    assert await redis.run("GET", KEY) == first


async def test_a_late_writer_does_not_undo_a_newer_state(keys: TenantKeys, redis: RedisClient) -> None:
    await keys.materialise(live(10, host="new"), READ)

    assert not await keys.materialise(live(9, host="old"), READ)
    assert json.loads(await redis.run("GET", KEY))["host"] == "new"


async def test_a_late_writer_does_not_bring_a_removed_tenant_back(keys: TenantKeys, redis: RedisClient) -> None:
    await keys.materialise(removed(10), READ)

    assert not await keys.materialise(live(9), READ)
    assert await redis.run("EXISTS", KEY) == 0


async def test_a_late_removal_does_not_delete_a_tenant_that_came_back(keys: TenantKeys, redis: RedisClient) -> None:
    await keys.materialise(live(10), READ)

    assert not await keys.materialise(removed(9), READ)
    assert await redis.run("GET", KEY) == document_of(live(10))


async def test_a_tenant_that_comes_back_has_its_key_again(keys: TenantKeys, redis: RedisClient) -> None:
    await keys.materialise(removed(9), READ)

    assert await keys.materialise(live(10), READ)
    assert await redis.run("GET", KEY) == document_of(live(10))


async def test_keys_that_are_right_are_not_touched(keys: TenantKeys) -> None:
    await keys.materialise(live(2), READ)
    await keys.materialise(live(3, tenant="beta"), READ)

    assert await keys.repair([live(2), live(3, tenant="beta")], READ) == []


async def test_the_repair_of_nothing_is_nothing(keys: TenantKeys) -> None:
    assert await keys.repair([], READ) == []


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(("DEL", KEY), id="deleted"),
        pytest.param(("SET", KEY, "{}"), id="edited"),
        pytest.param(("SET", KEY, ""), id="emptied"),
        pytest.param(("SET", KEY, document_of(live(1))), id="an older state put back"),
        pytest.param(("APPEND", KEY, " "), id="one byte more"),
        pytest.param(("RENAME", KEY, "elsewhere"), id="renamed"),
    ],
)
async def test_a_key_that_somebody_damaged_is_mended_from_the_fold(
    damage: tuple[str, ...], keys: TenantKeys, redis: RedisClient
) -> None:
    await keys.materialise(live(2), READ)
    await redis.run(*damage)

    assert await keys.repair([live(2), live(3, tenant="beta")], READ) == ["acme", "beta"]
    assert await redis.run("GET", KEY) == document_of(live(2))


async def test_a_key_of_another_type_is_mended(keys: TenantKeys, redis: RedisClient) -> None:
    await redis.run("HSET", KEY, "host", "db")

    assert await keys.repair([live(2)], READ) == ["acme"]
    assert await redis.run("GET", KEY) == document_of(live(2))


async def test_a_removed_tenant_that_somebody_put_back_is_deleted_again(keys: TenantKeys, redis: RedisClient) -> None:
    await keys.materialise(removed(3), READ)
    await redis.run("SET", KEY, document_of(live(2)))

    assert await keys.repair([removed(3)], READ) == ["acme"]
    assert await redis.run("EXISTS", KEY) == 0


async def test_a_removed_tenant_that_somebody_put_back_as_nothing_is_deleted_again(
    keys: TenantKeys, redis: RedisClient
) -> None:
    await keys.materialise(removed(3), READ)
    await redis.run("SET", KEY, "")

    assert await keys.repair([removed(3)], READ) == ["acme"]
    assert await redis.run("EXISTS", KEY) == 0


async def test_a_replica_that_is_behind_mends_nothing(keys: TenantKeys, redis: RedisClient) -> None:
    await keys.materialise(live(10, host="new"), READ)

    assert await keys.repair([live(9, host="old")], READ) == []
    assert await redis.run("GET", KEY) == document_of(live(10, host="new"))


async def test_after_a_loss_a_lower_number_of_the_new_epoch_overwrites_a_higher_one_of_the_lost(
    keys: TenantKeys, redis: RedisClient
) -> None:
    await keys.materialise(live(10, host="lost"), READ)

    assert await keys.materialise(live(9, host="new"), of(RESTORED))
    assert json.loads(await redis.run("GET", KEY))["host"] == "new"
    assert await redis.run("GET", FENCE) == b"12-0|9"


async def test_a_late_writer_of_the_lost_epoch_does_not_undo_what_the_new_one_says(
    keys: TenantKeys, redis: RedisClient
) -> None:
    await keys.materialise(removed(9), of(RESTORED))

    assert not await keys.materialise(live(10), READ)
    assert not await keys.materialise(live(10), of(UNKNOWN))
    assert await redis.run("EXISTS", KEY) == 0


async def test_epochs_are_compared_by_number_and_not_as_texts(keys: TenantKeys) -> None:
    await keys.materialise(live(2, host="later"), of(Epoch("ten", "10-0", "1-0")))

    assert not await keys.materialise(live(3), of(Epoch("nine", "9-0", "1-0")))
    assert await keys.materialise(live(2), of(Epoch("ten and one", "10-1", "1-0")))


async def test_a_fence_of_before_there_were_epochs_gives_way_to_any_and_holds_back_none(
    keys: TenantKeys, redis: RedisClient
) -> None:
    await redis.run("SET", FENCE, "10")

    assert not await keys.materialise(live(9), of(UNKNOWN))
    assert await keys.materialise(live(9), READ)


@pytest.mark.parametrize("garbage", ["", "garbage", "nan", "inf", "-1", "|", "1-0|", "x|7", "1-0|x"])
async def test_a_fence_that_nobody_can_read_does_not_lock_the_tenant_for_ever(
    garbage: str, keys: TenantKeys, redis: RedisClient
) -> None:
    await redis.run("SET", FENCE, garbage)

    assert await keys.materialise(live(2), READ)
    assert await redis.run("GET", FENCE) == b"1-0|2"


async def grow(redis: RedisClient, first: int, last: int) -> None:
    """Put entries into the log, whatever they say, the n-th as n-0."""
    for number in range(first, last + 1):
        await redis.run("XADD", Names().stream, f"{number}-0", "seq", number)


@pytest.mark.parametrize("fence", ["1-0|9", "99-0|2"], ids=["a number", "an epoch"])
async def test_a_fence_beyond_the_end_of_the_log_does_not_lock_the_tenant_for_ever(
    fence: str, keys: TenantKeys, redis: RedisClient
) -> None:
    await grow(redis, 1, 5)
    await redis.run("SET", FENCE, fence)
    await redis.run("SET", KEY, "what was lost")

    assert await keys.repair([live(3)], AsOf(FIRST, Position(3, "3-0"))) == ["acme"]
    assert await redis.run("GET", KEY) == document_of(live(3))
    assert await redis.run("GET", FENCE) == b"1-0|3"


@pytest.mark.parametrize("fence", ["1-0|9", "8-0|9", "8-0|2"], ids=["a number", "an epoch", "an epoch and no number"])
async def test_a_fence_of_what_the_log_has_lost_and_grown_past_does_not_lock_the_tenant_for_ever(
    fence: str, keys: TenantKeys, redis: RedisClient
) -> None:
    await grow(redis, 1, 20)
    await redis.run("SET", FENCE, fence)
    await redis.run("SET", KEY, "what was lost")
    directory = Directory.of(Position(20, "20-0"), FIRST, [live(3)])

    assert await reconciler_of(redis, keys, directory).mend() == ["acme"]
    assert await redis.run("GET", KEY) == document_of(live(3))


async def test_a_fence_of_what_the_log_has_and_this_replica_has_not_read_is_left_alone(
    keys: TenantKeys, redis: RedisClient
) -> None:
    await grow(redis, 1, 9)
    await keys.materialise(live(9), READ)

    assert await keys.repair([live(3)], AsOf(FIRST, Position(8, "8-0"))) == []
    assert await redis.run("GET", KEY) == document_of(live(9))


class SlowRedis(RedisClient):
    """A client behind whose look at the log's end others go on."""

    meanwhile: Callable[[], Awaitable[object]] | None = None

    async def run(self, *words: Word) -> Any:  # noqa: ANN401 - as in the client
        reply = await super().run(*words)
        if words[0] == "XINFO STREAM" and self.meanwhile:
            await self.meanwhile()
        return reply


async def test_a_removal_of_the_moment_in_which_another_replica_looks_at_the_end_is_not_undone(
    redis_url: str, keys: TenantKeys, redis: RedisClient
) -> None:
    async def remove() -> None:
        await grow(redis, 12, 12)
        await keys.materialise(removed(12), READ)

    slow = SlowRedis.from_url(redis_url)
    slow.meanwhile = remove
    await grow(redis, 1, 11)
    await keys.materialise(live(11), READ)

    assert await TenantKeys(slow, Names()).repair([live(10)], AsOf(FIRST, Position(10, "10-0"))) == []
    assert await redis.run("GET", KEY) is None
    assert await redis.run("GET", FENCE) == b"1-0|12"
    await slow.close()


async def test_more_tenants_than_a_page_holds_are_all_mended(keys: TenantKeys, redis: RedisClient) -> None:
    tenants = [live(seq, tenant=f"tenant-{seq}") for seq in range(2, 1203)]

    assert len(await keys.repair(tenants, READ)) == len(tenants)
    assert len(await redis.run("KEYS", "mcp:postgres:tenant:*")) == len(tenants)
    assert await keys.repair(tenants, READ) == []


async def test_a_tenant_without_a_password_has_no_secret_in_its_document(keys: TenantKeys, redis: RedisClient) -> None:
    await keys.materialise(msgspec.structs.replace(live(2), secret=None), READ)

    assert json.loads(await redis.run("GET", KEY))["secret"] is None


class SlowLog(RedisLog):
    """A log whose heads are read slowly: others go on meanwhile."""

    meanwhile: Callable[[], Awaitable[object]] | None = None

    async def raw_heads(self, tenants: Sequence[str]) -> Sequence[bytes | None]:
        found = await super().raw_heads(tenants)
        if self.meanwhile:
            await self.meanwhile()
        return found


async def test_what_was_read_before_a_loss_does_not_bring_back_a_tenant_whose_removal_was_said_again(
    keys: TenantKeys, redis: RedisClient
) -> None:
    directory = Directory.of(READ.position, FIRST, [live(10)])
    log = SlowLog(redis, redis, Names())
    reconciler = reconciler_of(redis, keys, directory, log=log)

    async def lose_and_restore() -> None:
        directory.become(Directory.of(Position(20, "20-0"), RESTORED, [removed(7)]))
        await keys.materialise(removed(7), directory.as_of)

    await keys.materialise(live(10), READ)
    log.meanwhile = lose_and_restore
    await reconciler.mend()

    assert await redis.run("GET", KEY) is None
    assert await redis.run("GET", FENCE) == b"12-0|7"


def reconciler_of(
    redis: RedisClient,
    keys: TenantKeys,
    directory: Directory,
    *,
    current: bool = True,
    owner: str = "a",
    log: RedisLog | None = None,
) -> Reconciler:
    return Reconciler(
        redis=redis,
        names=Names(),
        log=log or RedisLog(redis, redis, Names()),
        keys=keys,
        directory=directory,
        is_current=lambda: current,
        owner=owner,
        every=0.05,
    )


@asynccontextmanager
async def reconciling(
    redis: RedisClient, keys: TenantKeys, *, current: bool = True, owner: str = "a"
) -> AsyncIterator[Directory]:
    """A reconciler at work, many times a second, over a directory that knows tenant acme alone."""
    directory = Directory()
    directory._put(live(2))
    task = asyncio.create_task(reconciler_of(redis, keys, directory, current=current, owner=owner).run())
    try:
        yield directory
    finally:
        task.cancel()
        await asyncio.wait([task])


async def settled(redis: RedisClient, document: bytes | None) -> None:
    """Wait until the key is `document`."""
    async with asyncio.timeout(20):
        while await redis.run("GET", KEY) != document:  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.01)


async def test_a_key_that_was_edited_deleted_or_brought_back_by_hand_is_mended_while_nothing_else_happens(
    keys: TenantKeys, redis: RedisClient
) -> None:
    async with reconciling(redis, keys) as directory:
        await settled(redis, document_of(live(2)))
        await redis.run("SET", KEY, "edited")
        await settled(redis, document_of(live(2)))
        await redis.run("DEL", KEY, FENCE)
        await settled(redis, document_of(live(2)))
        directory._put(removed(3))
        await settled(redis, None)
        await redis.run("SET", KEY, "zombie")
        await settled(redis, None)


async def test_what_another_log_says_is_not_overwritten_by_a_replica_that_holds_the_old_one(
    keys: TenantKeys, redis: RedisClient
) -> None:
    await redis.run("SET", KEY, "of the new log")
    async with reconciling(redis, keys, current=False):
        await asyncio.sleep(0.3)
    assert await redis.run("GET", KEY) == b"of the new log"


async def test_one_replica_at_a_time_mends(keys: TenantKeys, redis: RedisClient) -> None:
    await redis.run("SET", Names().repair, "somebody else", "PX", 60_000)
    async with reconciling(redis, keys):
        await asyncio.sleep(0.3)
        assert await redis.run("GET", KEY) is None
        await redis.run("DEL", Names().repair)
        await settled(redis, document_of(live(2)))


async def test_a_reconciler_outlives_a_redis_that_went_away(keys: TenantKeys, redis: RedisClient) -> None:
    async with reconciling(redis, keys):
        await settled(redis, document_of(live(2)))
        await redis.run("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await redis.run("DEL", KEY)
        await settled(redis, document_of(live(2)))


async def test_why_nothing_can_be_mended_is_said_once_and_again_when_it_is_something_else(
    keys: TenantKeys, redis: RedisClient
) -> None:
    def told() -> list[str]:
        return [line["reason"] for line in lines if line["event"] == "keys and heads are not mended"]

    async def tells(times: int) -> None:
        async with asyncio.timeout(20):
            while len(told()) < times:  # noqa: ASYNC110 - a log line tells nobody
                await asyncio.sleep(0.01)

    await redis.run("HSET", FENCE, "of", "another type")
    with structlog.testing.capture_logs() as lines:
        async with reconciling(redis, keys):
            await tells(1)
            await asyncio.sleep(0.3)
            assert len(told()) == 1
            assert "WRONGTYPE" in told()[0]
            await redis.run("CONFIG", "SET", "maxmemory", "1")
            try:
                await tells(2)
            finally:
                await redis.run("CONFIG", "SET", "maxmemory", "0")
            assert "maxmemory" in told()[1]
            await tells(3)
            await redis.run("DEL", FENCE)
            await settled(redis, document_of(live(2)))
            assert len(told()) == 3


async def appended(log: RedisLog, tenant: Live, after: Position, *, expected: int = 0) -> Live:
    """Put the tenant's event into the log; return the tenant as of it."""
    proposal = Proposal(
        tenant=tenant.tenant,
        expected=expected,
        after=after,
        type="t",
        data=b"{}",
        head=proposed_head(tenant),
        key=KeepKey(),
    )
    outcome = await append_one(log, proposal)
    assert isinstance(outcome, Appended)
    return msgspec.structs.replace(tenant, position=outcome.position)


@pytest.fixture
async def log(redis: RedisClient) -> RedisLog:
    """A log with nothing but its first entry."""
    log = RedisLog(redis, redis, Names())
    await log.create("log_created.v1", b"{}", "first")
    return log


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(("HDEL", Names().heads, "acme"), id="deleted"),
        pytest.param(("HSET", Names().heads, "acme", "garbage"), id="edited into none"),
        pytest.param(("HSET", Names().heads, "acme", "1|1-0|7|1|e|c|d"), id="edited into another"),
        pytest.param(("HSET", Names().heads, "acme", "999|999-0|7|1|e|c|d"), id="edited into one beyond the log"),
        pytest.param(("DEL", Names().heads), id="all of them deleted"),
    ],
)
async def test_a_head_that_somebody_damaged_is_mended_from_the_fold(
    damage: tuple[str, ...], log: RedisLog, keys: TenantKeys, redis: RedisClient
) -> None:
    start = await log.end()
    assert start is not None
    acme = await appended(log, live(2), start)
    beta = await appended(log, live(3, tenant="beta"), acme.position)
    directory = Directory.of(beta.position, FIRST, [acme, beta])
    await redis.run(*damage)

    await reconciler_of(redis, keys, directory).mend()

    assert list(await log.heads(["acme", "beta"])) == [head_of(acme), head_of(beta)]


async def test_of_many_tenants_that_all_fitted_those_that_somebody_touched_are_mended_wherever_they_are(
    log: RedisLog, keys: TenantKeys, redis: RedisClient
) -> None:
    """They are compared in pages, and in groups of which one number is kept."""
    start = await log.end()
    assert start is not None
    crowd = [await appended(log, live(each + 2, tenant=f"tenant-{each}"), start) for each in range(511)]
    reconciler = reconciler_of(redis, keys, Directory.of(crowd[-1].position, FIRST, crowd))
    assert len(await reconciler.mend()) == len(crowd)
    assert await reconciler.mend() == []
    names = [crowd[number].tenant for number in (0, 19, 20, 499, 500, 510)]

    for edited, deleted in (names[::2], names[1::2]), (names[1::2], names[::2]):
        for name in deleted:
            await redis.run("DEL", f"mcp:postgres:tenant:{name}")
            await redis.run("HSET", Names().heads, name, "2|1-0|1|1|e|c")
        for name in edited:
            await redis.run("SET", f"mcp:postgres:tenant:{name}", "{}")
            await redis.run("HDEL", Names().heads, name)

        assert await reconciler.mend() == names
        assert await keys.documents([each.tenant for each in crowd]) == [document_of(each) for each in crowd]
        assert list(await log.heads([each.tenant for each in crowd])) == [head_of(each) for each in crowd]


async def test_replicas_that_know_different_beginnings_of_a_tenants_life_do_not_mend_its_head_by_turns(
    log: RedisLog, keys: TenantKeys, redis: RedisClient
) -> None:
    """One had set the tenant aside for an event that it could not read, and has registered it anew."""
    start = await log.end()
    assert start is not None
    anew = await appended(log, live(2), start)
    longer = msgspec.structs.replace(anew, born=anew.born - timedelta(days=1))

    await reconciler_of(redis, keys, Directory.of(anew.position, FIRST, [longer])).mend()

    assert await head_in(log, "acme") == head_of(anew)


async def test_a_head_of_behind_what_was_read_is_left_alone(
    log: RedisLog, keys: TenantKeys, redis: RedisClient
) -> None:
    start = await log.end()
    assert start is not None
    acme = await appended(log, live(2), start)
    later = await appended(log, live(3), acme.position, expected=acme.position.seq)

    await reconciler_of(redis, keys, Directory.of(acme.position, FIRST, [acme])).mend()

    assert await head_in(log, "acme") == head_of(later)


async def test_who_knows_which_log_it_is_notes_it_where_nobody_did_and_nobody_else_notes_anything(
    log: RedisLog, keys: TenantKeys, redis: RedisClient
) -> None:
    await redis.run("DEL", Names().epoch)

    await reconciler_of(redis, keys, Directory.of(READ.position, UNKNOWN, [])).mend()
    assert await log.epoch() is None
    await reconciler_of(redis, keys, Directory.of(READ.position, FIRST, [])).mend()
    assert await log.epoch() == FIRST
    await reconciler_of(redis, keys, Directory.of(READ.position, RESTORED, [])).mend()
    assert await log.epoch() == FIRST


async def test_a_log_that_does_not_hold_what_was_read_gets_none_of_its_heads(
    log: RedisLog, keys: TenantKeys, redis: RedisClient
) -> None:
    await reconciler_of(redis, keys, Directory.of(live(2).position, FIRST, [live(2)])).mend()

    assert await head_in(log, "acme") is None
