"""Several replicas that tell each other on a real Redis where they are."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import redis
from structlog.testing import capture_logs

from projections.phase import Phase
from projections.presence import Presence, identity_of
from projections.replicas import FORGOTTEN, LEASE, Whereabouts
from registry.entries import START, Position
from registry.names import Names
from registry.redis_client import RedisClient
from registry.secrets import MasterKeys, new_master_key
from server.replica import open_replica
from server.settings import Settings

KEY: Final = Names().replicas
AT: Final = Position(5, "1763856000000-0")


class Peer:
    """A replica that is wherever the test puts it."""

    def __init__(self, url: str, name: str, *, log: str = "epoch", bound: float = 60.0) -> None:
        self.redis = RedisClient.from_url(url)
        self.position, self.log, self.linked = START, log, True
        self.seen: list[tuple[float, float]] = []
        self.presence = Presence(
            redis=self.redis,
            names=Names(),
            identity=identity_of(name, "1.2.3", bound),
            tell=lambda: Whereabouts(log=self.log, position=self.position, state="following", linked=self.linked),
            on_seen=lambda sent, answered: self.seen.append((sent, answered)),
        )
        self.name = self.presence.name

    def apply(self, position: Position) -> None:
        self.position = position
        self.presence.moved()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Peer"]:
        beating = asyncio.create_task(self.presence.run())
        try:
            await self.presence.introduced()
            yield self
        finally:
            beating.cancel()
            await asyncio.wait([beating])
            await self.presence.leave()
            await self.redis.close()


@pytest.fixture
def client(redis_url: str) -> Any:  # noqa: ANN401 - the library's client, whose replies have no types
    with redis.Redis.from_url(redis_url, decode_responses=True) as plain:
        yield plain


def age(client: Any, name: str, seconds: float) -> None:  # noqa: ANN401 - as above
    """Make a replica's line be that much older."""
    text = client.hget(KEY, name)
    head, _, seen = text.removesuffix("}").rpartition(":")
    client.hset(KEY, name, f"{head}:{int(seen) - int(seconds * 1000)}}}")


async def eventually(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - Redis and the log have no event to wait for
            await asyncio.sleep(0.01)


async def test_replicas_see_each_other_by_redis_clock_and_one_that_leaves_is_gone(redis_url: str) -> None:
    one, other = Peer(redis_url, "one"), Peer(redis_url, "other", bound=math.inf)
    one.position = AT
    async with one.running():
        async with other.running():
            mine, theirs = await other.presence.replicas()
            assert (mine.identity.name, theirs.identity.name) == (one.name, other.name)
            assert (mine.whereabouts.position, theirs.whereabouts.position) == (AT, START)
            assert (mine.identity.version, theirs.identity.max_staleness) == ("1.2.3", math.inf)
            assert mine.live
            assert theirs.live
        assert [each.identity.name for each in await one.presence.replicas()] == [one.name]


async def test_nobody_is_known_to_be_live_once_redis_could_not_be_asked_for_longer_than_a_lease(redis_url: str) -> None:
    """Or the metric would go on telling of all replicas while Redis is away, and no alarm would go off."""
    one = Peer(redis_url, "one")
    await one.presence._beat()
    await one.presence.replicas()
    assert [each.live for each in one.presence.known] == [True]

    one.presence._looked -= 3 * LEASE

    assert [each.live for each in one.presence.known] == [False]
    await one.redis.close()


async def test_two_replicas_of_one_name_do_not_answer_for_each_other(redis_url: str) -> None:
    async with Peer(redis_url, "web").running() as one, Peer(redis_url, "web").running() as other:
        assert one.name != other.name
        assert len(await one.presence.replicas()) == 2


async def test_a_removal_is_confirmed_as_soon_as_all_have_applied_it(redis_url: str) -> None:
    async with (
        Peer(redis_url, "a").running() as one,
        Peer(redis_url, "b").running() as two,
        Peer(redis_url, "c").running() as three,
    ):
        one.apply(AT)
        waiting = asyncio.create_task(one.presence.confirm(AT, 60))
        two.apply(Position(6, "1763856000000-1"))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        three.apply(AT)
        told = await asyncio.wait_for(waiting, 30)
        assert (told.confirmed, told.pending) == ([one.name, two.name, three.name], [])


async def test_who_has_not_applied_it_in_time_is_pending_with_its_position(redis_url: str) -> None:
    async with Peer(redis_url, "a").running() as one, Peer(redis_url, "b").running() as late:
        one.apply(AT)
        told = await one.presence.confirm(AT, 0.3)
        assert told.confirmed == [one.name]
        (pending,) = told.pending
        assert (pending.name, pending.position) == (late.name, START)
        assert pending.last_seen < LEASE


async def test_a_frozen_replica_is_pending_while_it_may_serve_and_no_longer_waited_for(
    redis_url: str,
    client: Any,  # noqa: ANN401 - as above
) -> None:
    frozen = Peer(redis_url, "frozen")
    await frozen.presence._beat()
    async with Peer(redis_url, "a").running() as one:
        one.apply(AT)
        age(client, frozen.name, LEASE + 30)
        told = await asyncio.wait_for(one.presence.confirm(AT, 600), 30)
        (pending,) = told.pending
        assert pending.name == frozen.name
        assert pending.last_seen > LEASE + 29
        age(client, frozen.name, 60)
        told = await one.presence.confirm(AT, 600)
        assert (told.confirmed, told.pending) == ([one.name], [])
    await frozen.redis.close()


async def test_one_on_another_log_is_pending_however_far_it_is(redis_url: str) -> None:
    async with Peer(redis_url, "a").running() as one, Peer(redis_url, "b", log="another").running() as stranger:
        one.apply(AT)
        stranger.apply(Position(100, "1763857000000-0"))
        assert [each.name for each in (await one.presence.confirm(AT, 0.2)).pending] == [stranger.name]
        stranger.log = "epoch"
        stranger.presence.moved()
        assert (await one.presence.confirm(AT, 30)).pending == []


async def test_one_that_knows_its_log_was_lost_is_pending(redis_url: str) -> None:
    async with Peer(redis_url, "a").running() as one, Peer(redis_url, "b").running() as lost:
        one.apply(AT)
        lost.linked = False
        lost.apply(Position(100, "1763857000000-0"))
        assert [each.name for each in (await one.presence.confirm(AT, 0.2)).pending] == [lost.name]


async def test_a_replica_that_serves_without_bound_is_pending_until_it_is_forgotten(
    redis_url: str,
    client: Any,  # noqa: ANN401 - as above
) -> None:
    away = Peer(redis_url, "away", bound=math.inf)
    await away.presence._beat()
    async with Peer(redis_url, "a").running() as one:
        one.apply(AT)
        age(client, away.name, FORGOTTEN - 60)
        assert [each.name for each in (await one.presence.confirm(AT, 0)).pending] == [away.name]
        age(client, away.name, 120)
        assert (await one.presence.confirm(AT, 0)).pending == []
        one.presence.moved()
        await eventually(lambda: client.hkeys(KEY) == [one.name])
    await away.redis.close()


async def test_one_that_comes_back_while_it_is_being_forgotten_stays(
    redis_url: str,
    client: Any,  # noqa: ANN401 - as above
) -> None:
    one, away = Peer(redis_url, "a"), Peer(redis_url, "away")
    await away.presence._beat()
    age(client, away.name, FORGOTTEN + 100)
    assert await one.presence.replicas() == []
    await away.presence._beat()
    await one.presence._beat()
    assert set(client.hkeys(KEY)) == {one.name, away.name}
    await one.redis.close()
    await away.redis.close()


async def test_a_burst_of_entries_costs_few_heartbeats_and_the_last_is_told(
    redis_url: str,
    client: Any,  # noqa: ANN401 - as above
) -> None:
    async with Peer(redis_url, "a").running() as one:
        before = client.info("commandstats").get("cmdstat_hset", {}).get("calls", 0)
        for seq in range(1, 2001):
            one.apply(Position(seq, f"1763856000000-{seq}"))
            if seq % 100 == 0:
                await asyncio.sleep(0.001)
        last = Position(2000, "1763856000000-2000")
        assert (await one.presence.confirm(last, 30)).confirmed == [one.name]
        assert client.info("commandstats")["cmdstat_hset"]["calls"] - before < 100


async def test_a_heartbeat_tells_when_it_was_sent_and_when_it_was_answered(redis_url: str) -> None:
    async with Peer(redis_url, "a").running() as one:
        await eventually(lambda: len(one.seen) > 1)
    assert all(sent <= answered for sent, answered in one.seen)


async def test_redis_being_away_is_no_error_and_told_as_unknown(free_port: Callable[[], int]) -> None:
    peer = Peer(f"redis://127.0.0.1:{free_port()}/0", "a")
    async with peer.running() as one:
        told = await one.presence.confirm(AT, 0.1)
        assert (told.confirmed, told.pending) == ([], [])
        assert told.unknown is not None
        assert "Redis" in told.unknown
        assert one.seen == []


async def test_a_redis_that_lets_a_replica_read_and_not_tell_is_told_in_the_log(
    redis_url: str,
    client: Any,  # noqa: ANN401 - as above
) -> None:
    client.acl_setuser("deaf", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-hset"])
    try:
        peer = Peer(redis_url.replace("unix://", "unix://deaf:x@"), "a")
        with capture_logs() as lines:
            async with peer.running() as one:
                one.presence._unseen_since = 0.0
                one.presence.moved()
                await eventually(lambda: any("do not see" in line["event"] for line in lines))
                one.presence.moved()
                await asyncio.sleep(0.1)
        assert sum("do not see" in line["event"] for line in lines) == 1
    finally:
        client.acl_deluser("deaf")


async def test_without_a_name_a_replica_is_called_after_its_host_and_process() -> None:
    identity = identity_of(None, "1", 60)
    assert identity.name.startswith(f"{identity.host}-{identity.pid}-")


async def test_a_replica_that_others_cannot_see_is_not_ready_and_says_why(
    redis_url: str,
    client: Any,  # noqa: ANN401 - as above
    tmp_path: Path,
) -> None:
    keys = ("~mcp:*", "~{mcp:postgres:tenant-events}:[^r]*", f"%R~{KEY}")
    client.execute_command("ACL", "SETUSER", "deaf", "on", "nopass", "+@all", *keys)
    settings = Settings(data_dir=tmp_path)
    try:
        url = redis_url.replace("unix://", "unix://deaf:x@")
        async with open_replica(settings, url, MasterKeys.parse(new_master_key("one"))) as replica:
            await asyncio.wait_for(replica.follower.complete(), 20)
            status = replica.follower.status
            assert (status.phase, status.ready) == (Phase.FOLLOWING, False)
            assert status.reason
    finally:
        client.acl_deluser("deaf")
