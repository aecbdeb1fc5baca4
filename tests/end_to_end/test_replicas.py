"""Several `serve` processes on one Redis, and what happens to them when things stop."""

import asyncio
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from server.embedded.sample import SampleLogin
from tests.open_valkey import OpenValkey
from tests.processes import Fields, Process, Start, eventually, fields_of, run_command


@pytest.fixture
def acme(sample: SampleLogin) -> Fields:
    return fields_of("acme", sample)


def test_a_tenant_registered_on_one_replica_answers_on_the_other_at_once(serve: Start, acme: Fields) -> None:
    one, other = serve(), serve()
    for number in range(20):
        tenant = f"acme-{number}"
        one.call("register_tenant", **{**acme, "tenant_id": tenant, "verify": False})
        assert "tables" in other.call("list_tables", tenant_id=tenant)


def test_a_tenant_removed_on_one_replica_is_refused_on_the_other(serve: Start, acme: Fields) -> None:
    one, other = serve(), serve()
    one.call("register_tenant", **acme)
    assert "tables" in other.call("list_tables", tenant_id="acme")
    assert one.call("remove_tenant", tenant_id="acme")["status"] == "removed"
    assert one.call("list_tables", tenant_id="acme")["code"] == "removed_tenant"
    eventually(lambda: other.call("list_tables", tenant_id="acme").get("code") == "removed_tenant", "still served")


def test_all_tenants_are_there_after_every_replica_was_killed(serve: Start, acme: Fields) -> None:
    one, other = serve(), serve()
    for number in range(5):
        assert one.call("register_tenant", **{**acme, "tenant_id": f"acme-{number}"})["version"] == 1
    one.stop(signal.SIGKILL)
    other.stop(signal.SIGKILL)
    for replica in (serve(), serve()):
        assert replica.call("list_tenants")["total"] == 5
        for number in range(5):
            assert "tables" in replica.call("list_tables", tenant_id=f"acme-{number}")


def test_the_tenants_are_keys_that_other_programs_can_read_and_hold_no_password(
    serve: Start, acme: Fields, redis_url: str
) -> None:
    serve().call("register_tenant", **acme)
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        assert list(client.scan_iter("mcp:postgres:tenant:*")) == ["mcp:postgres:tenant:acme"]
        document = json.loads(client.get("mcp:postgres:tenant:acme"))
        assert (document["tenant_id"], document["host"], document["port"]) == ("acme", acme["host"], acme["port"])
        assert "password" not in document
        for key in client.scan_iter("*"):
            assert acme["password"] not in str(client.dump(key) if client.type(key) != "stream" else client.xrange(key))


def test_a_replica_that_starts_without_redis_waits_and_is_not_ready(
    serve: Start, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port = free_port()
    replica = serve(ready=False, REDIS_URL=f"redis://127.0.0.1:{port}/0")
    eventually(lambda: _answers(replica, "/livez") == 200, "not alive")
    assert _answers(replica, "/readyz") == 503
    error = replica.call("list_tables", tenant_id="acme")
    assert (error["code"], error["retryable"]) == ("registry_unavailable", True)
    with _valkey(tmp_path, port):
        eventually(lambda: _answers(replica, "/readyz") == 200, "never ready")


def test_while_redis_is_away_known_tenants_are_read_and_writes_fail_at_once(
    serve: Start, acme: Fields, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port = free_port()
    with _valkey(tmp_path, port):
        replica = serve(REDIS_URL=f"redis://127.0.0.1:{port}/0")
        replica.call("register_tenant", **acme)
        replica.call("register_tenant", **{**acme, "tenant_id": "never-used"})
    assert "tables" in replica.call("list_tables", tenant_id="acme")
    assert "tables" in replica.call("list_tables", tenant_id="never-used")
    for error in (
        replica.call("register_tenant", **{**acme, "tenant_id": "new"}),
        replica.call("remove_tenant", tenant_id="acme"),
        replica.call("list_tables", tenant_id="new"),
    ):
        assert (error["code"], error["retryable"]) == ("registry_unavailable", True)
    with _valkey(tmp_path, port):
        eventually(lambda: replica.get("/readyz")[1]["phase"] == "following", "never came back")
        assert replica.call("register_tenant", **{**acme, "tenant_id": "new"})["status"] == "registered"
        assert replica.call("list_tenants")["total"] == 3


def test_a_tenant_whose_database_is_down_delays_neither_start_nor_others(
    serve: Start, acme: Fields, free_port: Callable[[], int]
) -> None:
    one = serve()
    one.call("register_tenant", **acme)
    one.call("register_tenant", **{**acme, "tenant_id": "down", "port": free_port(), "verify": False})
    other = serve()
    assert other.call("list_tables", tenant_id="down")["code"] == "tenant_unreachable"
    assert "tables" in other.call("list_tables", tenant_id="acme")


def test_a_stopped_replica_says_goodbye_with_exit_code_zero(serve: Start) -> None:
    assert serve().stop(signal.SIGTERM) == 0
    assert serve().stop(signal.SIGINT) == 0


def _answers(replica: Process, path: str) -> int:
    try:
        return int(replica.get(path)[0])
    except (ConnectionError, TimeoutError):
        return 0


@contextmanager
def _valkey(data: Path, port: int) -> Iterator[None]:
    """Run a Valkey of this test's own; its data outlives it."""
    server = OpenValkey(data, port=port)
    asyncio.run(server.start())
    try:
        yield
    finally:
        asyncio.run(server.stop())


def test_a_replica_with_another_key_file_halts_before_it_seals_what_nobody_else_can_open(
    serve: Start, acme: Fields, tmp_path: Path
) -> None:
    serve().call("register_tenant", **acme)
    other_key = tmp_path / "other.key"
    assert run_command("keys", "new", "--out", str(other_key)).returncode == 0

    stranger = serve(ready=False, MCP_POSTGRES_KEY_FILE=str(other_key))

    eventually(
        lambda: _answers(stranger, "/readyz") == 503 and stranger.get("/readyz")[1]["phase"] == "halted", "ready"
    )
    assert "MCP_POSTGRES_KEY_FILE" in stranger.get("/readyz")[1]["reason"]
    assert "MCP_POSTGRES_KEY_FILE" in stranger.call("register_tenant", **{**acme, "tenant_id": "new"})["message"]


def test_a_replica_says_in_its_log_why_it_cannot_reach_redis(serve: Start, free_port: Callable[[], int]) -> None:
    replica = serve(ready=False, REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    eventually(lambda: "Redis cannot be reached" in replica.log.read_text(), "it waits and does not say why")


def test_a_tenants_key_that_was_deleted_by_hand_comes_back_by_itself(
    serve: Start, acme: Fields, redis_url: str
) -> None:
    replica = serve(MCP_POSTGRES_REPAIR_SECONDS="1")
    replica.call("register_tenant", **acme)
    with redis.Redis.from_url(redis_url) as client:
        before = client.get("mcp:postgres:tenant:acme")
        client.delete("mcp:postgres:tenant:acme")
        eventually(lambda: client.get("mcp:postgres:tenant:acme") == before, "the key stayed away")
    eventually(lambda: "tenant keys repaired" in replica.log.read_text(), "nobody said so")
