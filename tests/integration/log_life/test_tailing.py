"""The events of a log told as they come, of all tenants or of one, and never a secret."""

import asyncio
import time

import pytest

from registry.entries import Position
from registry.errors import LogDiverged
from registry.redis_client import RedisClient
from server.log_access import LogAccess
from server.log_tail import Tail, Told
from tests.log_lives import STREAM, TICKS, Open, register, story


async def test_events_are_told_as_they_come_and_never_a_secret(start: Open, access: LogAccess) -> None:
    replica = await start()
    await story(replica)
    told: list[Told] = []
    tail = Tail(access.log, told.append)
    following = asyncio.create_task(tail.run(Position(0, "0-0"), follow=True))
    for _ in range(TICKS):
        if len(told) == 8:
            break
        await asyncio.sleep(0.02)
    place = await register(replica, "acme", "db9")
    for _ in range(TICKS):
        if len(told) == 9:
            break
        await asyncio.sleep(0.02)
    following.cancel()

    assert [(each.tenant, each.what, each.version) for each in told] == [
        (None, "log created", None),
        ("old", "registered", 1),
        ("acme", "registered", 1),
        ("gone", "registered", 1),
        ("beta", "registered", 1),
        ("acme", "registered", 2),
        ("gone", "removed", 2),
        ("beta", "registered", 2),
        ("acme", "registered", 3),
    ]
    assert told[-1].fields == {"host": "db9"}
    assert (told[-1].by, told[-1].reason, told[-1].position, told[-1].signed) == ("ann", "for acme", str(place), True)
    assert "s3cr3t" not in str(told)
    assert "sealed" not in str(told)


async def test_one_tenants_events_are_told_alone_and_as_differences(start: Open, access: LogAccess) -> None:
    places = await story(await start())
    told: list[Told] = []

    await Tail(access.log, told.append, "beta").run(places[4], follow=False)

    (one,) = told
    assert (one.tenant, one.version, one.fields) == ("beta", 2, {"host": "db2"})


async def test_what_may_have_been_one_tenants_events_is_told_with_them(
    start: Open, access: LogAccess, redis: RedisClient
) -> None:
    """Whoever looks for what happened to a tenant must not take a history with a hole for the whole of it."""
    places = await story(await start(on_log_loss="halt"))
    await redis.run("XDEL", STREAM, places[2].entry)
    await redis.run("XADD", STREAM, "*", "a", "stranger")
    for tenant in ("beta", "acme"):
        last = await access.log.end()
        assert last is not None
        fields = ("type", "tenant_registered.v1", "seq", last.seq + 1, "prev", last.entry)
        await redis.run("XADD", STREAM, "*", *fields, "data", f'{{"tenant":"{tenant}","version":9}}')
    told: list[Told] = []

    await Tail(access.log, told.append, "beta").run(Position(0, "0-0"), follow=False)

    gap, *_, stranger, unreadable = [(each.tenant, each.what.partition(":")[0]) for each in told]
    assert gap == (None, f"does not follow {places[1]}")
    assert stranger == (None, "not this system's")
    assert unreadable == ("beta", "unreadable")
    assert {each.tenant for each in told} == {None, "beta"}


async def test_a_log_that_ends_before_where_its_reader_is_is_told(start: Open, access: LogAccess) -> None:
    await story(await start())

    with pytest.raises(LogDiverged, match="has lost entries"):
        await Tail(access.log, print).run(Position(99, f"{int(time.time() * 1000) + 10**6}-0"), follow=True)
