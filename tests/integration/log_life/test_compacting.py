"""Old entries are taken out of a log: nothing of the present goes with them, and what is missing is no loss."""

from pathlib import Path

import pytest

from projections.mending import Mended
from registry.entries import Position
from registry.errors import LogDiverged, RegistryUnavailable
from registry.redis_client import RedisClient
from server.log_access import LogAccess, open_log
from server.settings import Settings
from tests.log_lives import (
    NAMES,
    STREAM,
    Files,
    Open,
    compact,
    compactor,
    everything,
    export,
    found,
    inspect,
    mend,
    plan,
    publish,
    put,
    register,
    running,
    story,
    until,
)
from tests.security.replicas import call


async def test_old_entries_are_taken_out_and_nothing_is_wrong_then(
    start: Open, access: LogAccess, redis_url: str, files: Files
) -> None:
    places = await story(await start())

    assert await compact(access, places[4]) == 5

    inspected = await inspect(access)
    assert inspected.findings == []
    assert inspected.verifier.first == places[4]
    assert ([str(gap) for gap in inspected.verifier.compacted], inspected.by_head) == (["entries 1 to 5"], 1)
    assert inspected.verifier.unchecked == 3
    async with running(redis_url, files) as fresh:
        assert fresh.follower.status.findings == {}
        assert [each["tenant_id"] for each in (await call(fresh, "list_tenants"))["tenants"]] == ["acme", "beta", "old"]
        assert (await register(fresh, "old", "db2")).seq == 10
    assert await found(access) == []


async def test_a_history_ends_where_the_log_begins_and_says_so(start: Open, access: LogAccess) -> None:
    replica = await start()
    places = await story(replica)
    assert (await call(replica, "tenant_history", tenant_id="acme"))["complete"]

    await compact(access, places[4])

    acme = await call(replica, "tenant_history", tenant_id="acme")
    old = await call(replica, "tenant_history", tenant_id="old")
    assert ([each["version"] for each in acme["changes"]], acme["complete"]) == ([2], False)
    assert (old["changes"], old["complete"]) == ([], False)


async def test_a_command_that_is_repeated_after_a_compaction_is_still_known(start: Open, access: LogAccess) -> None:
    replica = await start()
    await story(replica)
    again = {"tenant_id": "gone", "host": "db9", "database": "app", "user": "reader", "verify": False}
    first = await call(replica, "register_tenant", **again, command_id="one")
    await compact(access, Position.parse(first["position"]))

    second = await call(replica, "register_tenant", **again, command_id="one")
    assert first["status"] == "registered"
    assert (second["status"], second["position"]) == (first["status"], first["position"])


async def test_a_removal_that_is_repeated_after_a_compaction_gets_its_first_answer(
    start: Open, access: LogAccess
) -> None:
    replica = await start()
    await story(replica)
    again = {"tenant_id": "old", "command_id": "one"}
    first = await call(replica, "remove_tenant", **again)
    await compact(access, await register(replica, "acme", "db3"))

    repeated = await call(replica, "remove_tenant", **again)
    other = await call(replica, "register_tenant", **again, host="db", database="app", user="reader", verify=False)

    assert (repeated["version"], repeated["position"]) == (first["version"], first["position"])
    assert other["error"]["code"] == "command_reused"


async def test_a_moment_is_a_place_as_well(start: Open, access: LogAccess) -> None:
    await story(await start())

    everything_older = await plan(access, await access.archive.now() + 60_000)
    nothing_older = await plan(access, 1)

    assert everything_older is not None
    assert everything_older.entries == 7  # the last one always stays
    assert nothing_older is None


async def test_a_log_is_compacted_again_and_again(start: Open, access: LogAccess) -> None:
    replica = await start()
    places = await story(replica)
    await compact(access, places[1])
    await compact(access, places[4])
    last = await register(replica, "acme", "db5")
    await compact(access, last)

    inspected = await inspect(access)

    assert inspected.findings == []
    assert inspected.by_head == 3


async def test_a_log_is_compacted_up_to_what_tells_of_its_last_compaction(start: Open, access: LogAccess) -> None:
    places = await story(await start())
    await compact(access, places[4])
    noted = (await inspect(access)).snapshot.end

    assert await compact(access, noted) == noted.seq - places[4].seq

    assert await found(access) == []


async def test_nothing_is_taken_out_when_a_key_was_edited(start: Open, access: LogAccess, redis: RedisClient) -> None:
    places = await story(await start())
    await redis.run("SET", NAMES.tenant("old"), "{}")

    with pytest.raises(LogDiverged, match="key of tenant 'old'"):
        await plan(access, places[4])

    assert await redis.run("XLEN", STREAM) == 8


@pytest.mark.parametrize("how", [{"linked": False}, {}])
async def test_nothing_is_taken_out_that_a_live_replica_has_not_applied(
    start: Open, access: LogAccess, redis: RedisClient, how: dict[str, bool]
) -> None:
    places = await story(await start())
    at = places[5] if how else places[2]
    await publish(access, redis, "slow", at, **how)

    with pytest.raises(LogDiverged, match="slow"):
        await plan(access, places[4])

    await publish(access, redis, "slow", at, ago=60_000, **how)
    assert await plan(access, places[4]) is not None
    await publish(access, redis, "slow", places[4])
    assert await plan(access, places[4]) is not None


async def test_nothing_is_noted_by_who_may_not_take_out(
    start: Open, redis: RedisClient, redis_url: str, files: Files
) -> None:
    places = await story(await start())
    await redis.run("ACL", "SETUSER", "service", "on", ">pw", "~*", "+@all", "-xtrim")
    limited = redis_url.replace("unix://", "unix://service:pw@")
    try:
        async with open_log(Settings(redis_url=limited, **files)) as service:
            planned = await plan(service, places[4])
            assert planned is not None
            with pytest.raises(RegistryUnavailable, match="xtrim"):
                await compactor(service).compact(planned)
    finally:
        await redis.run("ACL", "DELUSER", "service")

    assert await redis.run("XLEN", STREAM) == 8


async def test_nothing_is_taken_out_of_a_log_that_fell_back_behind_what_was_looked_at(
    start: Open, access: LogAccess, redis: RedisClient
) -> None:
    replica = await start(on_log_loss="halt")
    places = await story(replica)
    saved = await redis.run("DUMP", STREAM)
    await register(replica, "acme", "db3")
    planned = await plan(access, places[2])
    assert planned is not None
    await redis.run("RESTORE", STREAM, 0, saved, "REPLACE")

    with pytest.raises(LogDiverged, match="since it was looked at"):
        await compactor(access).compact(planned)

    assert (await redis.run("XRANGE", STREAM, "-", "+"))[0][1][b"seq"] == b"1"


async def test_a_place_that_the_log_does_not_have_is_none_to_compact_at(start: Open, access: LogAccess) -> None:
    await story(await start())

    with pytest.raises(LogDiverged, match="has no entry"):
        await plan(access, Position(4, "4-0"))


async def test_what_a_compacted_log_does_not_say_is_kept_and_what_is_lost_is_named(
    start: Open, access: LogAccess, redis: RedisClient
) -> None:
    places = await story(await start())
    await compact(access, places[4])
    document, head = await redis.run("GET", NAMES.tenant("old")), await redis.run("HGET", NAMES.heads, "old")
    await redis.run("HDEL", NAMES.heads, "acme")
    await redis.run("DEL", NAMES.tenant("beta"))

    mended = await mend(access)
    assert (mended.heads, mended.keys) == (["acme"], ["beta"])
    assert (await redis.run("GET", NAMES.tenant("old")), await redis.run("HGET", NAMES.heads, "old")) == (
        document,
        head,
    )
    assert await found(access) == []

    await redis.run("HDEL", NAMES.heads, "old")
    assert await mend(access) == Mended(heads=[], keys=[], fences=[], epoch=False)
    assert await redis.run("GET", NAMES.tenant("old")) == document
    (finding,) = await found(access)
    assert finding.where == "tenant 'old'"


async def test_a_compacted_log_is_exported_and_imported_whole(
    start: Open, access: LogAccess, redis: RedisClient, tmp_path: Path, redis_url: str, files: Files
) -> None:
    places = await story(await start(on_log_loss="halt"))
    await compact(access, places[4])
    before, path = await everything(redis), tmp_path / "log.jsonl"
    await export(access, path)
    await redis.run("FLUSHALL")

    await put(access, path)

    held = await everything(redis)
    assert held == before
    assert await found(access) == []
    async with running(redis_url, files) as fresh:
        assert (await register(fresh, "old", "db2")).seq == 10
    assert await found(access) == []


async def test_a_log_whose_beginning_was_cut_off_by_hand_is_still_reported(
    start: Open, access: LogAccess, redis: RedisClient, redis_url: str, files: Files
) -> None:
    places = await story(await start())
    await redis.run("XTRIM", STREAM, "MINID", "=", places[4].entry)

    async with running(redis_url, files) as fresh:
        assert fresh.follower.status.findings == {"resynchronised": 1}
    assert [finding.kind for finding in await found(access)] == ["gap"]


async def test_a_foreign_entry_stops_who_reads_it_also_in_a_compacted_log(
    start: Open, access: LogAccess, redis: RedisClient, redis_url: str, files: Files
) -> None:
    places = await story(await start())
    await compact(access, places[4])
    async with running(redis_url, files) as fresh:
        foreign = await redis.run("XADD", STREAM, "*", "made", "by hand")

        await until(fresh, "halted")

        await redis.run("XDEL", STREAM, foreign)
        await until(fresh, "following")
