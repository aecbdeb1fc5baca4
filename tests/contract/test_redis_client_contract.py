"""The client of Redis, the same on one server, on Sentinels and in a cluster."""

import asyncio
from collections.abc import AsyncIterator
from shutil import which

import pytest

from registry.errors import CommandRefused
from registry.redis_client import RedisClient, Script, Word


@pytest.fixture(params=["redis", "sentinel", "cluster", *(["redis-server"] if which("redis-server") else [])])
def kind(request: pytest.FixtureRequest) -> str:
    """What Redis is made of."""
    return str(request.param)


@pytest.fixture
async def narrow(log_url: str) -> AsyncIterator[RedisClient]:
    """A client with two connections to each server."""
    client = RedisClient.from_url(log_url, connections=2, timeout=20.0)
    yield client
    await client.close()


async def test_replies_have_one_shape(commands: RedisClient) -> None:
    first = (await commands.run("XADD", "s", "*", "k", "v")).decode()

    assert await commands.run("XREAD", "COUNT", 5, "STREAMS", "s", "0-0") == {b"s": [(first.encode(), {b"k": b"v"})]}
    assert not await commands.run("XREAD", "BLOCK", 1, "STREAMS", "s", first)
    assert await commands.run("XRANGE", "s", "-", "+") == [(first.encode(), {b"k": b"v"})]
    assert (await commands.run("XINFO STREAM", "s"))["last-generated-id"] == first.encode()
    assert await commands.run("HSET", "h", "f", "v") == 1
    assert await commands.run("HGETALL", "h") == {b"f": b"v"}
    assert await commands.run("EXISTS", "s") == 1


async def test_many_commands_on_keys_everywhere_are_answered_in_their_order(commands: RedisClient) -> None:
    assert await commands.pipeline([["SET", f"k{n}", n] for n in range(100)]) == [True] * 100
    replies = await commands.pipeline([words for n in range(100) for words in (["GET", f"k{n}"], ["INCR", f"k{n}"])])

    assert replies == [reply for n in range(100) for reply in (str(n).encode(), n + 1)]
    assert await commands.pipeline([]) == []


async def test_of_many_commands_one_that_is_refused_is_told_and_the_others_are_carried_out(
    commands: RedisClient,
) -> None:
    with pytest.raises(CommandRefused, match="WRONGTYPE"):
        await commands.pipeline([["SET", "a", 1], ["LPUSH", "a", 1], ["SET", "b", 2]])

    assert await commands.get_many(["a", "b"]) == [b"1", b"2"]


async def test_a_transaction_answers_as_its_commands_do_alone(commands: RedisClient) -> None:
    entry = (await commands.run("XADD", "{t}s", "*", "k", "v")).decode()

    replies = await commands.atomically(
        [["HSET", "{t}h", "f", "v"], ["HGETALL", "{t}h"], ["XRANGE", "{t}s", "-", "+"], ["GET", "{t}none"]]
    )

    assert replies == [1, {b"f": b"v"}, [(entry.encode(), {b"k": b"v"})], None]
    assert await commands.atomically([]) == []


async def test_of_a_transaction_that_cannot_be_queued_nothing_is_carried_out(commands: RedisClient) -> None:
    with pytest.raises(CommandRefused, match="arguments") as refused:
        await commands.atomically([["SET", "{t}a", "secret"], ["GET", "{t}a", "one too many"]])

    assert "secret" not in str(refused.value)
    assert await commands.run("EXISTS", "{t}a") == 0


async def test_a_refusal_within_a_transaction_is_told(commands: RedisClient) -> None:
    with pytest.raises(CommandRefused, match="WRONGTYPE"):
        await commands.atomically([["SET", "{t}a", 1], ["LPUSH", "{t}a", 1], ["SET", "{t}b", 2]])

    assert await commands.get_many(["{t}a", "{t}b"]) == [b"1", b"2"]


async def test_strings_of_many_keys_are_read_at_once_and_what_is_no_string_is_none(commands: RedisClient) -> None:
    await commands.pipeline([["SET", "a", 1], ["LPUSH", "b", 1], ["SET", "d", 4]])

    assert await commands.get_many(["a", "b", "c", "d"]) == [b"1", None, None, b"4"]
    assert await commands.get_many([]) == []


async def test_a_scan_finds_the_keys_of_every_server(commands: RedisClient) -> None:
    await commands.pipeline([["SET", f"mine:{n}", n] for n in range(300)])
    await commands.pipeline([["SET", f"other:{n}", n] for n in range(9)])

    assert {key async for key in commands.scan("mine:*", 50)} == {f"mine:{n}".encode() for n in range(300)}


async def test_a_script_is_known_everywhere_and_sent_again_where_it_was_forgotten(commands: RedisClient) -> None:
    script = Script("projections", "materialise.lua")
    for round_ in range(2):
        for tenant in range(20):
            assert (
                await commands.script(script, [f"t{tenant}", f"{{t{tenant}}}f"], ["1-0", round_, "document", 1000]) == 1
            )
        await commands.on_every_primary("SCRIPT FLUSH")


async def test_a_script_that_is_run_many_times_is_known_everywhere_too(commands: RedisClient) -> None:
    script = Script("projections", "materialise.lua")
    calls: list[tuple[list[str], list[Word]]] = [
        ([f"t{number}", f"{{t{number}}}f"], ["1-0", number, f"document {number}", 1000]) for number in range(40)
    ]

    for _ in range(2):
        assert await commands.scripts(script, calls) == [1] * 40
        await commands.on_every_primary("SCRIPT FLUSH")

    assert await commands.get_many([f"t{number}" for number in range(40)]) == [
        f"document {number}".encode() for number in range(40)
    ]
    assert await commands.scripts(script, []) == []


async def test_who_finds_all_connections_busy_waits_and_is_not_refused(narrow: RedisClient) -> None:
    assert await asyncio.gather(*(narrow.run("INCR", f"k{n}") for n in range(200))) == [1] * 200


async def test_a_read_that_waits_wakes_when_something_comes(commands: RedisClient, narrow: RedisClient) -> None:
    reading = asyncio.create_task(narrow.run("XREAD", "BLOCK", 15_000, "STREAMS", "s", "0-0"))
    await asyncio.sleep(0)
    added = await commands.run("XADD", "s", "*", "k", "v")

    assert await reading == {b"s": [(added, {b"k": b"v"})]}
