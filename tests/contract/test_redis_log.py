"""What only the log on Redis has: names, other people's hands in it, forgotten scripts and lost replies."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import pytest

from registry.entries import START, Entry, Foreign, Head, Position, Unreadable
from registry.errors import CommandRefused, RegistryUnavailable
from registry.log import Appended, Conflict, DestroyKey, Diverged, KeyChange, Proposal, Repeated, SetKey
from registry.names import Names
from registry.redis_client import RedisClient
from registry.redis_log import RedisLog
from tests.logs import append_one, entry_in, head_in

Append: TypeAlias = Callable[[Proposal], Awaitable[Position]]
Propose: TypeAlias = Callable[..., Proposal]

STREAM: Final = "mcp:postgres:tenant-events"
HEADS: Final = "{mcp:postgres:tenant-events}:heads"
DATA_KEYS: Final = "{mcp:postgres:tenant-events}:keys"
EPOCH: Final = "{mcp:postgres:tenant-events}:epoch"


@pytest.fixture
def kind() -> str:
    """All of this is about one log."""
    return "redis"


class Proxy:
    """Between a client and Redis; loses the next replies after it has forwarded what they answer."""

    def __init__(self, path: Path, redis_socket: str) -> None:
        self.url = f"unix://{path}"
        self.losing = 0
        self._path = path
        self._redis_socket = redis_socket

    async def serve(self) -> asyncio.Server:
        return await asyncio.start_unix_server(self._connected, self._path)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        redis_reader, redis_writer = await asyncio.open_unix_connection(self._redis_socket)
        forward = asyncio.create_task(self._forward(reader, redis_writer))
        with suppress(ConnectionError):
            while reply := await redis_reader.read(65536):
                if self.losing:
                    self.losing -= 1
                    break
                writer.write(reply)
        forward.cancel()
        for each in (writer, redis_writer):
            each.close()

    async def _forward(self, reader: asyncio.StreamReader, redis_writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(65536):
            redis_writer.write(request)
        redis_writer.close()


@pytest.fixture
async def proxy(redis_url: str, tmp_path: Path) -> AsyncIterator[Proxy]:
    """A proxy before the Redis of `redis_log`, which loses nothing yet."""
    proxy = Proxy(tmp_path / "proxy", urlsplit(redis_url).path)
    server = await proxy.serve()
    yield proxy
    server.close()


@pytest.fixture
async def flaky_log(proxy: Proxy) -> AsyncIterator[RedisLog]:
    """The same log through the proxy."""
    client = RedisClient.from_url(proxy.url, connections=1)
    yield RedisLog(client, client, Names())
    await client.close()
    await asyncio.sleep(0)


async def test_the_keys_have_the_names_and_types_that_the_design_promises(
    redis_log: RedisLog, start: Position, append: Append, propose: Propose, commands: RedisClient
) -> None:
    assert await redis_log.end() == start
    await append(propose(start, key=SetKey("wrapped")))

    keys = {key.decode() for key in await commands.run("KEYS", "*")}

    assert keys == {STREAM, HEADS, DATA_KEYS, EPOCH}
    assert [await commands.run("TYPE", key) for key in (STREAM, HEADS, DATA_KEYS)] == [b"stream", b"hash", b"hash"]
    assert await commands.run("GET", EPOCH) == f"epoch|{start.entry}|{start.entry}".encode()
    assert await commands.run("HGETALL", DATA_KEYS) == {b"acme": b"wrapped"}


@pytest.mark.parametrize("key", [SetKey("wrapped"), DestroyKey()], ids=["set", "destroyed"])
async def test_no_event_says_what_redis_refuses_to_do_with_the_data_key(
    key: KeyChange, redis_log: RedisLog, start: Position, propose: Propose, commands: RedisClient
) -> None:
    """A removal would be answered as done, again and again, and who holds the master key could still log in."""
    await commands.run("SET", DATA_KEYS, "of another type, as a missing permission is refused")

    with pytest.raises(CommandRefused):
        await redis_log.append([propose(start, key=key)])

    assert await redis_log.end() == start
    assert await redis_log.heads(["acme"]) == [None]


async def test_an_entry_is_readable_with_redis_cli(
    start: Position, append: Append, propose: Propose, commands: RedisClient
) -> None:
    end = await append(propose(start, data=b'{"a":1}'))

    ((entry, fields),) = await commands.run("XRANGE", STREAM, end.entry, end.entry)

    assert entry.decode() == end.entry
    assert fields == {b"type": b"t", b"seq": b"2", b"prev": start.entry.encode(), b"data": b'{"a":1}'}


async def test_a_head_is_readable_with_redis_cli(
    start: Position, append: Append, propose: Propose, commands: RedisClient
) -> None:
    end = await append(propose(start))

    head = await commands.run("HGET", HEADS, "acme")

    told = "2026-11-22T10:00:00+00:00|||0d1c2b3a49586776|ann"
    assert head.decode() == f"2|{end.entry}|1|1|event of command|command|digest|{told}"


async def test_scripts_that_redis_forgot_are_sent_again(
    redis_log: RedisLog, start: Position, append: Append, propose: Propose, commands: RedisClient
) -> None:
    await append(propose(start, tenant="a"))
    await commands.run("SCRIPT FLUSH")

    assert isinstance(await append_one(redis_log, propose(start, tenant="b")), Appended)
    await commands.run("SCRIPT FLUSH")
    assert await redis_log.create("log_created.v1", b"{}", "epoch") == await redis_log.end()


@pytest.mark.parametrize("wait", [0, 1])
async def test_an_entry_that_was_added_by_hand_is_foreign(
    wait: float, redis_log: RedisLog, start: Position, commands: RedisClient
) -> None:
    added = await commands.run("XADD", STREAM, "*", "note", "hello")

    assert await redis_log.read(start, 10, wait) == [Foreign(added.decode(), "it has no field 'type'")]
    assert await entry_in(redis_log, added.decode()) == Foreign(added.decode(), "it has no field 'type'")


async def test_an_entry_after_a_foreign_one_shows_that_something_is_in_between(
    redis_log: RedisLog, start: Position, append: Append, propose: Propose, commands: RedisClient
) -> None:
    await commands.run("XADD", STREAM, "*", "note", "hello")

    end = await append(propose(start))
    entry = await entry_in(redis_log, end.entry)

    assert isinstance(entry, Entry)
    assert not entry.follows(start)


async def test_after_its_last_entry_was_deleted_the_log_still_says_where_it_ended(
    redis_log: RedisLog, start: Position, append: Append, propose: Propose, commands: RedisClient
) -> None:
    end = await append(propose(start))
    await commands.run("XDEL", STREAM, end.entry)

    assert await redis_log.end() == end
    assert not await redis_log.read(start, 10)


async def test_whoever_has_read_an_entry_that_was_deleted_may_write_if_it_is_the_end_that_the_log_remembers(
    redis_log: RedisLog, start: Position, append: Append, propose: Propose, commands: RedisClient
) -> None:
    end = await append(propose(start))
    await commands.run("XDEL", STREAM, end.entry)

    outcome = await append_one(redis_log, propose(end, tenant="beta"))

    assert isinstance(outcome, Appended)
    assert outcome.position.seq == end.seq + 1
    assert await entry_in(redis_log, outcome.position.entry) == Entry(outcome.position, end.entry, "t", b"{}")


async def test_whoever_has_read_an_entry_that_was_deleted_may_not_write_once_the_log_went_on(
    redis_log: RedisLog, start: Position, append: Append, propose: Propose, commands: RedisClient
) -> None:
    lost = await append(propose(start))
    end = await append(propose(start, tenant="beta"))
    await commands.run("XDEL", STREAM, lost.entry)

    assert await append_one(redis_log, propose(lost, tenant="gamma")) == Diverged(end)
    assert await redis_log.end() == end


async def test_an_entry_after_a_deleted_one_shows_that_one_is_missing(
    redis_log: RedisLog, start: Position, append: Append, propose: Propose, commands: RedisClient
) -> None:
    lost = await append(propose(start))
    await commands.run("XDEL", STREAM, lost.entry)
    await append(propose(start, tenant="beta"))

    (entry,) = await redis_log.read(start, 10)

    assert isinstance(entry, Entry)
    assert not entry.follows(start)
    assert entry.position.seq == 3


async def test_a_log_in_the_wrong_place_is_reported_and_left_alone(redis_log: RedisLog, commands: RedisClient) -> None:
    await commands.run("SET", STREAM, "somebody else's")

    with pytest.raises(RegistryUnavailable):
        await redis_log.create("log_created.v1", b"{}", "epoch")
    with pytest.raises(RegistryUnavailable):
        await redis_log.end()
    assert await commands.run("GET", STREAM) == b"somebody else's"


async def test_numbers_stay_whole_far_beyond_what_a_float_prints(
    redis_log: RedisLog, start: Position, propose: Propose, commands: RedisClient
) -> None:
    many = 10**15
    await commands.run("XSETID", STREAM, start.entry, "ENTRIESADDED", many)

    outcome = await append_one(redis_log, propose(start))

    assert isinstance(outcome, Appended)
    assert outcome.position.seq == many + 1
    assert await redis_log.end() == outcome.position


async def test_when_its_reply_is_lost_an_append_is_one_event_and_says_that_nobody_knows(
    redis_log: RedisLog, flaky_log: RedisLog, proxy: Proxy, append: Append, start: Position, propose: Propose
) -> None:
    await append(propose(start, tenant="beta"))
    assert await head_in(flaky_log, "acme") is None

    proxy.losing = 1
    with pytest.raises(RegistryUnavailable):
        await append_one(flaky_log, propose(start))

    assert proxy.losing == 0
    assert len(await redis_log.read(START, 10)) == 3


async def test_sent_again_after_a_lost_reply_an_append_is_still_one_event_and_gets_the_first_answer(
    redis_log: RedisLog, flaky_log: RedisLog, proxy: Proxy, append: Append, start: Position, propose: Propose
) -> None:
    await append(propose(start, tenant="beta"))
    assert await head_in(flaky_log, "acme") is None
    proxy.losing = 1
    with pytest.raises(RegistryUnavailable):
        await append_one(flaky_log, propose(start))

    outcome = await append_one(flaky_log, propose(start))

    assert isinstance(outcome, Repeated)
    assert outcome.head.position == await redis_log.end()
    assert len(await redis_log.read(START, 10)) == 3


async def test_a_redis_that_is_not_there_is_unavailable_for_everything(tmp_path: Path, propose: Propose) -> None:
    client = RedisClient.from_url(f"unix://{tmp_path}/nobody")
    log = RedisLog(client, client, Names())

    for call in (
        log.create("log_created.v1", b"{}", "epoch"),
        append_one(log, propose(START)),
        log.read(START, 1),
        log.read(START, 1, 1),
        log.end(),
        entry_in(log, "1-1"),
        head_in(log, "acme"),
        log.data_keys(["acme"]),
    ):
        with pytest.raises(RegistryUnavailable, match="cannot be reached"):
            await call
    await client.close()


async def test_two_prefixes_in_one_redis_are_two_logs(
    redis_log: RedisLog, start: Position, commands: RedisClient
) -> None:
    other = RedisLog(commands, commands, Names("staging"))

    assert await other.end() is None
    assert await other.create("log_created.v1", b'"another"', "another") is not None
    (entry,) = await redis_log.read(START, 10)
    assert isinstance(entry, Entry)
    assert (entry.position, entry.data) == (start, b"{}")


async def test_a_head_that_cannot_be_read_is_named_in_a_cut_and_the_others_are_in_it(
    redis_log: RedisLog, start: Position, append: Append, propose: Propose, commands: RedisClient
) -> None:
    await append(propose(start, tenant="beta"))
    await commands.run("HSET", HEADS, "acme", "garbage")

    cut = await redis_log.cut()

    assert (list(cut.heads), cut.unreadable) == (["beta"], ("acme",))


async def test_a_field_among_the_heads_that_can_be_no_tenants_is_nobodys_head(
    redis_log: RedisLog, start: Position, append: Append, propose: Propose, commands: RedisClient
) -> None:
    await append(propose(start, tenant="beta"))
    await commands.run("HSET", HEADS, b"\xff\xfe", await commands.run("HGET", HEADS, "beta"))

    cut = await redis_log.cut()

    assert (list(cut.heads), cut.unreadable) == (["beta"], ())


@pytest.mark.parametrize("wrong", ["garbage", "2|1-0|1|1|e|c", "", "2|2-0|x|1|event|other|digest"])
async def test_a_head_that_was_edited_by_hand_is_corrupt_and_nothing_is_appended_over_it_but_for_other_tenants(
    wrong: str, redis_log: RedisLog, start: Position, append: Append, propose: Propose, commands: RedisClient
) -> None:
    end = await append(propose(start, tenant="beta"))
    await commands.run("HSET", HEADS, "acme", wrong)

    unreadable, beta = await redis_log.heads(["acme", "beta"])
    conflict, appended = await redis_log.append([propose(start), propose(start, tenant="other")])

    assert isinstance(unreadable, Unreadable)
    assert "edited by hand" in unreadable.why
    assert isinstance(beta, Head)
    assert beta.position == end
    assert conflict == Conflict(unreadable)
    assert isinstance(appended, Appended)


async def test_whether_a_command_was_carried_out_is_not_known_of_a_head_that_cannot_be_read(
    redis_log: RedisLog, start: Position, propose: Propose, commands: RedisClient
) -> None:
    await commands.run("HSET", HEADS, "acme", "2|2-0|x|1|event|command|digest")

    outcome = await append_one(redis_log, propose(start))

    assert isinstance(outcome, Conflict)
    assert isinstance(outcome.head, Unreadable)


async def test_a_data_key_that_is_no_text_is_one_that_opens_nothing(redis_log: RedisLog, commands: RedisClient) -> None:
    await commands.run("HSET", DATA_KEYS, "acme", b"\xff", "beta", "wrapped")

    assert (await redis_log.data_keys(["acme", "beta"]))[1] == "wrapped"


@pytest.mark.parametrize("raw", ["", "garbage", "a|b", "a|b|c|d"])
async def test_an_epoch_that_was_edited_into_none_counts_as_none(
    raw: str, redis_log: RedisLog, start: Position, commands: RedisClient
) -> None:
    await commands.run("SET", EPOCH, raw)

    assert await redis_log.epoch() is None
    assert (await redis_log.cut()).end == start


async def test_a_head_that_was_edited_into_none_is_put_back(
    redis_log: RedisLog, start: Position, append: Append, propose: Propose, commands: RedisClient
) -> None:
    end = await append(propose(start))
    right = await head_in(redis_log, "acme")
    assert right is not None
    await commands.run("HSET", HEADS, "acme", "garbage")

    assert await redis_log.mend_head("acme", right, end)
    assert await head_in(redis_log, "acme") == right


async def test_as_many_proposals_as_may_travel_together_are_one_script_and_one_step(
    redis_log: RedisLog, start: Position, propose: Propose
) -> None:
    outcomes = await redis_log.append([propose(start, tenant=f"tenant-{each}") for each in range(100)])

    assert {type(outcome) for outcome in outcomes} == {Appended}
    assert [entry.position.seq for entry in await redis_log.read(start, 200) if isinstance(entry, Entry)] == list(
        range(2, 102)
    )
