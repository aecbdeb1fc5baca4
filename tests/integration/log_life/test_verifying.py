"""A log is verified while replicas run: what they write is signed, and what somebody did by hand is named."""

import asyncio

import pytest

from registry.errors import LogDiverged
from registry.redis_client import RedisClient
from server.log_access import LogAccess
from tests.log_lives import NAMES, STREAM, TICKS, Open, found, inspect, mend, register, story


async def test_what_replicas_write_is_signed_and_nothing_is_wrong_with_it(start: Open, access: LogAccess) -> None:
    await story(await start())

    inspected = await inspect(access)

    assert inspected.findings == []
    assert (inspected.verifier.signed, inspected.verifier.unchecked) == (8, 0)
    assert {name: type(truth.tenant).__name__ for name, truth in inspected.truths.items()} == {
        "acme": "Live",
        "beta": "Live",
        "gone": "Removed",
        "old": "Live",
    }


async def test_a_restored_log_is_signed_too(start: Open, access: LogAccess, redis: RedisClient) -> None:
    replica = await start()
    await story(replica)
    await redis.run("FLUSHALL")
    for _ in range(TICKS):
        if replica.follower.status.findings and replica.follower.status.phase == "following":
            break
        await asyncio.sleep(0.02)
    await mend(access)

    inspected = await inspect(access)

    assert inspected.findings == []
    assert inspected.verifier.signed == 6


async def test_without_a_signing_key_nothing_is_signed_and_with_one_that_is_told(
    start: Open, access: LogAccess
) -> None:
    await register(await start(signing_key_file=None), "acme")

    creation, registration = await found(access)

    assert (creation.kind, creation.what) == ("signature", "it is not signed")
    assert (registration.kind, registration.what) == ("signature", "it is not signed")


async def test_a_replica_without_the_key_breaks_no_chain_that_it_does_not_touch(start: Open, access: LogAccess) -> None:
    signing, plain = await start(), await start(signing_key_file=None)
    await register(signing, "acme")
    await register(plain, "beta")
    await register(signing, "acme", "db2")
    await register(signing, "beta", "db2")

    (finding,) = await found(access)

    assert finding.where.startswith("entry 3@")


@pytest.mark.parametrize(
    ("command", "kind", "named"),
    [
        (("HDEL", NAMES.heads, "acme"), "head", "acme"),
        (("HSET", NAMES.heads, "acme", "nonsense"), "head", "acme"),
        (("HSET", NAMES.heads, "stranger", "nonsense"), "head", "stranger"),
        (("HDEL", NAMES.data_keys, "acme"), "data_key", "acme"),
        (("HSET", NAMES.data_keys, "acme", "v1|k|master|AAAA"), "data_key", "acme"),
        (("HSET", NAMES.data_keys, "gone", "v1|k|master|AAAA"), "data_key", "gone"),
        (("HSET", NAMES.data_keys, "stranger", "v1|k|master|AAAA"), "data_key", "stranger"),
        (("SET", NAMES.tenant("acme"), "{}"), "tenant_key", "acme"),
        (("DEL", NAMES.tenant("acme")), "tenant_key", "acme"),
        (("SET", NAMES.tenant("gone"), "{}"), "tenant_key", "gone"),
        (("SET", NAMES.tenant("stranger"), "{}"), "tenant_key", "stranger"),
        (("HSET", NAMES.tenant("stranger"), "a", "b"), "tenant_key", "stranger"),
        (("SET", NAMES.fence("acme"), "1-0|1"), None, ""),
        (("SET", NAMES.fence("acme"), "99999999999999-0|1"), "fence", "acme"),
        (("DEL", NAMES.epoch), "epoch", ""),
        (("XADD", STREAM, "*", "a", "b"), "envelope", "not this system's"),
    ],
)
async def test_what_somebody_did_by_hand_is_named(
    start: Open, access: LogAccess, redis: RedisClient, command: tuple[str, ...], kind: str | None, named: str
) -> None:
    await story(await start())
    await redis.run(*command)

    findings = await found(access)

    assert [finding.kind for finding in findings] == ([kind] if kind else [])
    assert all(named in str(finding) for finding in findings)


async def test_an_entry_that_was_deleted_is_named(start: Open, access: LogAccess, redis: RedisClient) -> None:
    places = await story(await start())
    await redis.run("XDEL", STREAM, places[3].entry)

    findings = await found(access)

    assert findings[0].what == "entry 5 before it are missing"


async def test_a_key_that_is_only_late_is_not_wrong(start: Open, access: LogAccess, redis: RedisClient) -> None:
    await story(await start())
    late = await redis.run("GET", NAMES.tenant("acme"))
    await redis.run("DEL", NAMES.tenant("acme"))

    looking = asyncio.create_task(inspect(access))
    await asyncio.sleep(0.3)
    await redis.run("SET", NAMES.tenant("acme"), late)

    assert (await looking).findings == []


async def test_a_log_can_be_verified_while_it_is_written(start: Open, access: LogAccess) -> None:
    replica = await start()
    await story(replica)
    stop = asyncio.Event()

    async def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            await register(replica, f"t{number % 7}", f"db{number}")

    writing = asyncio.create_task(write())
    for _ in range(5):
        assert await found(access) == []
    stop.set()
    await writing


async def test_there_is_nothing_to_verify_without_a_log(access: LogAccess) -> None:
    with pytest.raises(LogDiverged, match="There is no log"):
        await inspect(access)
