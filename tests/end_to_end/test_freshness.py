"""What a `serve` process serves when it cannot know what has become of the tenants: cut off from Redis, or frozen."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from server.embedded.sample import SampleLogin
from tests.open_valkey import OpenValkey
from tests.processes import Fields, Process, Start, eventually, fields_of

SURELY_FROZEN: Final = 8.0
"""Seconds since a replica was last seen, after which it has stood still for longer than its lease."""


class Redis:
    """A Valkey of one test's own, which goes and comes back with its data."""

    def __init__(self, data: Path, port: int) -> None:
        self._server = OpenValkey(data, port=port)
        self.url = f"redis://127.0.0.1:{port}/0"

    def start(self) -> None:
        asyncio.run(self._server.start())

    def configure(self, name: str, value: str) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.config_set(name, value)

    def stop(self) -> None:
        asyncio.run(self._server.stop())


@pytest.fixture
def own_redis(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Redis]:
    server = Redis(tmp_path, free_port())
    server.start()
    yield server
    server.stop()


@pytest.fixture
def acme(sample: SampleLogin) -> Fields:
    return fields_of("acme", sample)


@contextmanager
def frozen(replica: Process) -> Iterator[None]:
    os.kill(replica.popen.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(replica.popen.pid, signal.SIGCONT)


def test_a_replica_that_wakes_without_redis_serves_nothing_until_it_has_read_what_it_missed(
    serve: Start, acme: Fields, own_redis: Redis
) -> None:
    one, other = (serve(REDIS_URL=own_redis.url, MCP_POSTGRES_MAX_STALENESS="3600") for _ in range(2))
    one.call("register_tenant", **acme)
    sleeper = one.call("registry_status")["replica"], other.call("registry_status")["replica"]
    assert "tables" in other.call("list_tables", tenant_id="acme")
    with frozen(other):
        assert one.call("remove_tenant", tenant_id="acme", wait_seconds=0)["status"] == "removed"
        eventually(lambda: last_seen(one, sleeper[1]) > SURELY_FROZEN, "it is still seen")
        own_redis.stop()
    for tool in ("list_tables", "list_schemas", "get_tenant"):
        error = other.call(tool, tenant_id="acme")
        assert (error["code"], error["retryable"]) == ("stale_replica", True), "it served what it remembered"
    status, told = other.get("/readyz")
    assert (status, told["ready"]) == (503, False)
    assert told["reason"]
    own_redis.start()
    eventually(lambda: other.get("/readyz")[0] == 200, "it never caught up")
    assert other.call("list_tables", tenant_id="acme")["code"] == "removed_tenant"


def test_a_replica_that_wakes_with_redis_catches_up_and_goes_on(serve: Start, acme: Fields, own_redis: Redis) -> None:
    one, other = (serve(REDIS_URL=own_redis.url) for _ in range(2))
    one.call("register_tenant", **acme)
    sleeper = other.call("registry_status")["replica"]
    with frozen(other):
        eventually(lambda: last_seen(one, sleeper) > SURELY_FROZEN, "it is still seen")
        one.call("remove_tenant", tenant_id="acme", wait_seconds=0)
    codes: list[str | None] = []

    def refuses_it_as_removed() -> bool:
        codes.append(code_of(other))
        return codes[-1] == "removed_tenant"

    eventually(refuses_it_as_removed, "it never caught up")
    assert set(codes) <= {"stale_replica", "removed_tenant"}, "it served a tenant that was removed"
    one.call("register_tenant", **acme)
    assert "tables" in other.call("list_tables", tenant_id="acme")


def test_a_replica_cut_off_from_redis_serves_for_as_long_as_it_may(
    serve: Start, acme: Fields, own_redis: Redis
) -> None:
    strict, lenient = (serve(REDIS_URL=own_redis.url, MCP_POSTGRES_MAX_STALENESS=bound) for bound in ("0", "inf"))
    strict.call("register_tenant", **acme)
    for replica in (strict, lenient):
        assert "tables" in replica.call("list_tables", tenant_id="acme")
    own_redis.stop()
    eventually(lambda: code_of(strict) == "stale_replica", "it serves what may not be so any more")
    eventually(lambda: bool(lenient.get("/readyz")[1]["phase"] == "cut_off"), "it does not notice")
    assert code_of(lenient) is None
    own_redis.start()
    eventually(lambda: code_of(strict) is None, "it never came back")


def test_a_replica_that_redis_takes_no_writes_from_says_so_and_not_that_redis_is_away(
    serve: Start, acme: Fields, own_redis: Redis
) -> None:
    replica = serve(REDIS_URL=own_redis.url, MCP_POSTGRES_MAX_STALENESS="2")
    replica.call("register_tenant", **acme)
    own_redis.configure("maxmemory", "1")

    error = replica.call("register_tenant", **{**acme, "tenant_id": "other"})

    assert error["code"] == "registry_unavailable"
    assert "CONFIG SET maxmemory" in error["message"]
    eventually(lambda: replica.get("/readyz")[0] == 503, "it serves what removals do not wait for")
    assert "Redis answers" in replica.get("/readyz")[1]["reason"]
    eventually(lambda: "replica too old to serve" in replica.log.read_text(), "its log does not say so")
    own_redis.configure("maxmemory", "0")
    eventually(lambda: code_of(replica) is None, "it never came back")
    told = ("replica serves again", "other replicas see this one again")
    eventually(lambda: all(line in replica.log.read_text() for line in told), "its log does not say so")


def code_of(replica: Process) -> str | None:
    code: str | None = replica.call("list_tables", tenant_id="acme").get("code")
    return code


def last_seen(replica: Process, name: str) -> float:
    lines: list[dict[str, Any]] = replica.call("registry_status")["replicas"]
    return float(next(line["last_seen"] for line in lines if line["name"] == name))
