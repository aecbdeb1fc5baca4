"""A removal over several `serve` processes: who confirms it, who is named as pending, and what becomes of those."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from server.embedded.sample import SampleLogin
from tests.processes import Fields, Process, Start, eventually, fields_of, run_command


@pytest.fixture
def acme(sample: SampleLogin) -> Fields:
    return fields_of("acme", sample)


def name_of(replica: Process) -> str:
    return str(replica.call("registry_status")["replica"])


@contextmanager
def frozen(replica: Process) -> Iterator[None]:
    """Stop the process as a suspended machine would, and wake it in the end."""
    os.kill(replica.popen.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(replica.popen.pid, signal.SIGCONT)


def test_a_removal_is_confirmed_by_all_three_replicas(serve: Start, acme: Fields) -> None:
    replicas = [serve(MCP_POSTGRES_REPLICA_NAME=name) for name in ("one", "two", "three")]
    names = [name_of(replica) for replica in replicas]
    for number in range(5):
        tenant = f"acme-{number}"
        replicas[0].call("register_tenant", **{**acme, "tenant_id": tenant, "verify": False})
        told = replicas[number % 3].call("remove_tenant", tenant_id=tenant, wait_seconds=30)
        assert (told["status"], told["confirmed"], told["pending"]) == ("removed", sorted(names), [])
        for replica in replicas:
            assert replica.call("get_tenant", tenant_id=tenant)["code"] == "removed_tenant"


def test_a_frozen_replica_is_pending_with_when_it_was_seen_and_catches_up_when_it_wakes(
    serve: Start, acme: Fields
) -> None:
    one, other = serve(MCP_POSTGRES_REMOVAL_WAIT="0.5"), serve()
    one.call("register_tenant", **acme)
    sleeper = name_of(other)
    with frozen(other):
        told = one.call("remove_tenant", tenant_id="acme", command_id="job-1")
        assert told["status"] == "removed"
        assert told["confirmed"] == [name_of(one)]
        (pending,) = told["pending"]
        assert pending["replica"] == sleeper
        assert pending["position"] != told["position"]
        assert pending["last_seen"] >= 0
        eventually(lambda: not line_of(one, sleeper)["live"], "a frozen replica stayed live")
        again = one.call("remove_tenant", tenant_id="acme", command_id="job-1", wait_seconds=60)
        assert [each["replica"] for each in again["pending"]] == [sleeper], "waited for, or forgotten"
    eventually(lambda: bool(line_of(one, sleeper)["position"] == told["position"]), "it never caught up")
    again = one.call("remove_tenant", tenant_id="acme", command_id="job-1", wait_seconds=30)
    assert (again["confirmed"], again["pending"]) == (sorted([name_of(one), sleeper]), [])
    assert other.call("list_tables", tenant_id="acme")["code"] == "removed_tenant"


def test_a_killed_replica_is_pending_and_one_that_stops_says_goodbye(serve: Start, acme: Fields) -> None:
    one, killed, stopped = serve(), serve(), serve()
    lost, gone = name_of(killed), name_of(stopped)
    one.call("register_tenant", **acme)
    killed.stop(signal.SIGKILL)
    assert stopped.stop(signal.SIGTERM) == 0
    told = one.call("remove_tenant", tenant_id="acme", wait_seconds=0)
    assert [each["replica"] for each in told["pending"]] == [lost]
    assert gone not in {each["name"] for each in one.call("registry_status")["replicas"]}


def test_the_command_line_waits_for_the_replicas_without_being_one(
    serve: Start, acme: Fields, env: dict[str, str], redis_url: str
) -> None:
    replicas = [serve(), serve()]
    names = sorted(map(name_of, replicas))
    replicas[0].call("register_tenant", **acme)
    told = json.loads(run_command("tenants", "remove", "acme", "--removal-wait", "30", env=env).stdout)
    assert (told["status"], told["confirmed"], told["pending"]) == ("removed", names, [])
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        assert sorted(client.hkeys("{mcp:postgres:tenant-events}:replicas")) == names


def test_the_status_tells_where_everybody_is_and_who_is_quarantined(serve: Start, acme: Fields, redis_url: str) -> None:
    one, other = serve(), serve()
    position = one.call("register_tenant", **acme)["position"]
    names = sorted([name_of(one), name_of(other)])
    eventually(lambda: {each["position"] for each in one.call("registry_status")["replicas"]} == {position}, "late")
    told = one.call("registry_status")
    assert (told["phase"], told["ready"], told["tenants"]) == ("following", True, 1)
    assert told["position"] == position
    assert "quarantined" not in told
    assert [each["name"] for each in told["replicas"]] == names
    assert all(each["live"] and each["phase"] == "following" for each in told["replicas"])
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        position = spoil_the_next_event(client, position, "acme")
    eventually(lambda: "quarantined" in one.call("registry_status"), "nobody was set aside")
    told = one.call("registry_status")
    assert [each["tenant_id"] for each in told["quarantined"]] == ["acme"]
    assert told["quarantined_total"] == 1


def test_more_quarantined_tenants_than_one_status_tells_are_told_by_the_next(
    serve: Start, acme: Fields, redis_url: str
) -> None:
    one = serve()
    everybody = [f"t-{number:02}" for number in range(25)]
    for tenant in everybody:
        position = one.call("register_tenant", **{**acme, "tenant_id": tenant, "verify": False})["position"]
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        for tenant in everybody:
            position = spoil_the_next_event(client, position, tenant)
    eventually(lambda: one.call("registry_status")["position"] == position, "late")
    first = one.call("registry_status")
    rest = one.call("registry_status", after=first["next"])
    assert [each["tenant_id"] for each in first["quarantined"] + rest["quarantined"]] == everybody
    assert (first["quarantined_total"], rest["quarantined_total"]) == (25, 25)
    assert "next" not in rest


def test_a_replica_without_redis_tells_how_it_is(serve: Start) -> None:
    replica = serve(ready=False, REDIS_URL="unix:///nowhere/redis.sock")
    eventually(lambda: _alive(replica), "not alive")
    told = replica.call("registry_status")
    assert (told["phase"], told["ready"]) == ("connecting", False)
    assert "Redis" in told["replicas_unknown"]


def line_of(replica: Process, name: str) -> Any:  # noqa: ANN401 - JSON
    (line,) = (each for each in replica.call("registry_status")["replicas"] if each["name"] == name)
    return line


def spoil_the_next_event(client: Any, position: str, tenant: str) -> str:  # noqa: ANN401 - the library's client
    """Add an event whose envelope links and whose body cannot be read; return its position."""
    seq, _, entry = position.partition("@")
    body = {"tenant": tenant, "version": 2, "what": "nobody knows"}
    fields = {"type": "tenant_registered.v1", "seq": int(seq) + 1, "prev": entry, "data": json.dumps(body)}
    return f"{int(seq) + 1}@{client.xadd('mcp:postgres:tenant-events', fields)}"


def _alive(replica: Process) -> bool:
    try:
        return int(replica.get("/livez")[0]) == 200
    except (ConnectionError, TimeoutError):
        return False
