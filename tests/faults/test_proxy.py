"""The proxy breaks what it says it breaks, between a client and a real Redis."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.faults.proxy import Mode, Proxies, Proxy
from tests.open_valkey import OpenValkey


@pytest.fixture
def proxy(valkey: OpenValkey, redis_url: str) -> Iterator[Proxy]:
    """A proxy to a Redis that is empty."""
    assert redis_url
    with Proxies() as proxies:
        yield proxies.add(int(valkey.tcp_url.rsplit(":", 1)[1].split("/")[0]))


def client(proxy: Proxy, timeout: float = 10.0) -> "redis.Redis":
    return redis.Redis(port=proxy.port, socket_timeout=timeout, protocol=2, retry=Retry(NoBackoff(), 0))


def test_it_forwards_both_ways(proxy: Proxy) -> None:
    with client(proxy) as through:
        through.set("key", "v" * 1_000_000)
        assert through.get("key") == b"v" * 1_000_000


def test_a_reset_breaks_the_connections_there_are_and_refuses_new_ones_until_it_is_mended(proxy: Proxy) -> None:
    with client(proxy) as through:
        through.ping()
        proxy.break_(Mode.RESET)
        for _ in range(2):
            with pytest.raises(redis.ConnectionError):
                through.ping()
        proxy.break_(Mode.PASS)
        assert through.ping()


def test_what_is_sent_into_a_black_hole_is_not_answered_and_arrives_when_it_is_closed(
    proxy: Proxy, redis_url: str
) -> None:
    with client(proxy, timeout=0.2) as hasty, client(proxy) as patient, redis.Redis.from_url(redis_url) as direct:
        hasty.ping()
        patient.ping()
        proxy.break_(Mode.BLACK_HOLE)
        with pytest.raises(redis.TimeoutError):
            hasty.incr("count")
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(patient.incr, "count")
            assert direct.get("count") is None
            proxy.break_(Mode.PASS)
            waiting.result(10)
        with client(proxy) as again:
            again.ping()
        _eventually_two(direct)


def test_a_dropped_reply_is_that_of_a_command_that_was_carried_out(proxy: Proxy, redis_url: str) -> None:
    with client(proxy) as through, redis.Redis.from_url(redis_url) as direct:
        through.ping()
        proxy.drop_next_reply(b"INCR")
        assert through.ping()  # not the one that is waited for
        with pytest.raises(redis.ConnectionError):
            through.incr("count")
        assert direct.get("count") == b"1"
        assert through.incr("count") == 2
        assert proxy.dropped == 1


def test_a_drop_that_was_taken_back_drops_nothing(proxy: Proxy) -> None:
    with client(proxy) as through:
        proxy.drop_next_reply()
        proxy.forget_to_drop()
        assert through.ping()


def test_a_redis_that_is_away_resets_who_comes_through(proxy: Proxy) -> None:
    proxy.target = 1
    with client(proxy) as through, pytest.raises(redis.ConnectionError):
        through.ping()


def _eventually_two(direct: "redis.Redis") -> None:
    """Wait until both commands have arrived: the one that was given up on, too."""
    for _ in range(500):
        if direct.get("count") == b"2":
            return
        with contextlib.suppress(redis.TimeoutError):
            direct.blpop(["nothing"], timeout=0.02)
    raise AssertionError(direct.get("count"))
