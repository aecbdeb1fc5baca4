"""Who comes to a log for the first time: which log it is, and whether there ever was one."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import pytest

from registry.redis_client import RedisClient
from registry.secrets import MasterKeys
from server.first_read import first_read
from server.log_access import LogAccess
from server.replica import Replica, open_replica
from server.settings import Settings
from tests.log_lives import (
    NAMES,
    STREAM,
    TICKS,
    Files,
    Open,
    compact,
    compactor,
    found,
    knows_the_log,
    plan,
    register,
    story,
    until,
)
from tests.security.replicas import call

LEFT: Final = {
    "a fence": ("SET", NAMES.fence("acme"), "1-0|2"),
    "a key": ("SET", NAMES.tenant("acme"), '{"tenant_id":"acme","host":"db","seq":2}'),
    "a head": ("HSET", NAMES.heads, "acme", "2|1-0|1|1|e|c|d"),
}


@asynccontextmanager
async def halting(redis_url: str, files: Files) -> AsyncIterator[Replica]:
    """Run a replica that waits for an operator, whatever it finds."""
    told = Settings(redis_url=redis_url, on_log_loss="halt", **files)
    async with open_replica(told, redis_url, MasterKeys.parse(files["key_file"].read_text())) as replica:
        yield replica


async def test_a_newcomer_learns_from_a_compaction_which_log_it_is_and_notes_it_again(
    start: Open, access: LogAccess, redis: RedisClient
) -> None:
    first = await start()
    await compact(access, (await story(first))[4])
    noted = await redis.run("GET", NAMES.epoch)
    await redis.run("DEL", NAMES.epoch)

    newcomer = await start()

    assert newcomer.follower.as_of == first.follower.as_of
    for _ in range(TICKS):
        if await redis.run("GET", NAMES.epoch):
            break
        await asyncio.sleep(0.02)
    assert await redis.run("GET", NAMES.epoch) == noted
    assert await found(access) == []


async def test_a_newcomer_that_nothing_tells_which_log_it_is_notes_nothing_and_learns_it_from_who_knows(
    start: Open, access: LogAccess, redis: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.follower._LOOK_AGAIN", 0.1)
    first = await start()
    planned = await plan(access, (await story(first))[4])
    assert planned is not None
    await compactor(access).compact(msgspec.structs.replace(planned, epoch=None))  # as it was written before it told
    noted = await redis.run("GET", NAMES.epoch)
    await redis.run("DEL", NAMES.epoch)

    newcomer = await start()
    assert not knows_the_log(newcomer)
    await register(newcomer, "acme", "by-newcomer")
    told = await call(
        first, "register_tenant", tenant_id="acme", host="by-first", database="app", user="u", verify=False
    )
    assert told["status"] == "replaced"
    assert json.loads(await redis.run("GET", NAMES.tenant("acme")))["host"] == "by-first"
    await register(newcomer, "acme", "by-newcomer")
    assert json.loads(await redis.run("GET", NAMES.tenant("acme")))["host"] == "by-newcomer"
    assert await redis.run("GET", NAMES.epoch) is None

    await redis.run("SET", NAMES.epoch, noted)  # as the first one does in its next round
    for _ in range(TICKS):
        if knows_the_log(newcomer):
            break
        await asyncio.sleep(0.02)
    removal = await call(first, "remove_tenant", tenant_id="acme", wait_seconds=5)
    assert (len(removal["confirmed"]), removal["pending"]) == (2, [])
    assert await redis.run("GET", NAMES.tenant("acme")) is None


async def test_who_only_looks_at_an_empty_redis_leaves_it_empty(
    redis_url: str, files: Files, redis: RedisClient
) -> None:
    told, master = Settings(redis_url=redis_url, **files), MasterKeys.parse(files["key_file"].read_text())
    async with open_replica(told, redis_url, master, serving=False) as replica:
        assert (await first_read(replica.follower, 5)).ready
        assert (await call(replica, "list_tenants"))["total"] == 0

    assert await redis.run("KEYS", "*") == []


async def test_a_start_that_waits_for_an_operator_begins_no_log_while_a_replica_lives_that_holds_one(
    start: Open, redis_url: str, files: Files, redis: RedisClient
) -> None:
    first = await start(on_log_loss="halt")
    await register(first, "acme")
    await redis.run("FLUSHALL")
    await until(first, "diverged")
    for _ in range(TICKS):
        if await redis.run("EXISTS", NAMES.replicas):
            break
        await asyncio.sleep(0.02)

    async with halting(redis_url, files) as second:
        await until(second, "diverged")
        assert "which has read it, says that there was one" in (second.follower.status.reason or "")
        assert await redis.run("EXISTS", STREAM) == 0


@pytest.mark.parametrize("left", LEFT.values(), ids=LEFT.keys())
async def test_a_start_that_waits_for_an_operator_begins_no_log_where_something_is_left_of_one(
    left: tuple[str, ...], redis_url: str, files: Files, redis: RedisClient
) -> None:
    await redis.run(*left)

    async with halting(redis_url, files) as replica:
        await until(replica, "diverged")
        assert "says that there was one" in (replica.follower.status.reason or "")
        assert await redis.run("EXISTS", STREAM) == 0

        await redis.run("DEL", left[1])
        await until(replica, "following")


async def test_plain_keys_of_an_earlier_system_do_not_say_that_there_was_a_log(start: Open, redis: RedisClient) -> None:
    await redis.run("SET", NAMES.tenant("acme"), '{"tenant_id":"acme","host":"db","database":"app","user":"u"}')

    assert (await start(on_log_loss="halt")).follower.status.ready
