"""An earlier system's plain keys, found by replicas that start on its Redis."""

import json
from collections.abc import Iterator

import pytest
import redis

from server.embedded.sample import SampleLogin
from tests.processes import Fields, Start, eventually

PREFIX = "mcp:postgres:tenant:"


@pytest.fixture
def client(redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as connected:
        yield connected


def plain(login: SampleLogin, **changes: object) -> str:
    document: Fields = {
        "host": login.host,
        "port": login.port,
        "database": login.database,
        "user": login.user,
        "password": login.password,
        "ssl": False,
        "min_pool_size": 1,
        "max_pool_size": 4,
        "max_concurrent_requests": 8,
    }
    return json.dumps({**document, **changes})


def test_plain_keys_become_tenants_once_whichever_replica_comes_first(
    serve: Start, client: "redis.Redis", sample: SampleLogin
) -> None:
    for number in range(20):
        client.set(f"{PREFIX}old-{number}", plain(sample, tenant_id=f"old-{number}"))

    replicas = [serve(ready=False) for _ in range(3)]
    for replica in replicas:
        replica.wait_ready()
        eventually(lambda replica=replica: replica.call("list_tenants")["total"] == 20, "not adopted")  # type: ignore[misc]  # mypy cannot tell a default's type

    assert client.xlen("mcp:postgres:tenant-events") == 21
    assert "tables" in replicas[2].call("list_tables", tenant_id="old-7")
    (change,) = replicas[0].call("tenant_history", tenant_id="old-7")["changes"]
    assert (change["by"], change["version"]) == ("adoption", 1)
    for key in client.scan_iter(f"{PREFIX}*"):
        text = str(client.get(key))
        assert sample.password not in text
        assert "password" not in json.loads(text)


def test_a_tenant_that_was_adopted_and_removed_stays_removed(
    serve: Start, client: "redis.Redis", sample: SampleLogin
) -> None:
    client.set(f"{PREFIX}old", plain(sample))
    first = serve()
    eventually(lambda: first.call("list_tenants")["total"] == 1, "not adopted")
    first.call("remove_tenant", tenant_id="old")
    client.set(f"{PREFIX}old", plain(sample))
    first.stop()
    assert serve().call("list_tables", tenant_id="old")["code"] == "removed_tenant"


def test_keys_that_cannot_be_taken_over_are_named_and_left_alone(
    serve: Start, client: "redis.Redis", sample: SampleLogin
) -> None:
    broken = {
        "no-json": "host=db",
        "no-host": json.dumps({"database": "d", "user": "u", "password": "hunter2-plain"}),
        "bad-port": plain(sample, port=0),
        "a b": plain(sample),
        "ours": plain(sample, seq=7),
    }
    for tenant, text in broken.items():
        client.set(PREFIX + tenant, text)
    client.hset(f"{PREFIX}hash", "host", "db")
    client.set(f"{PREFIX}good", plain(sample))

    replica = serve()
    eventually(lambda: replica.call("list_tenants")["total"] == 1, "the good one was not adopted")
    eventually(lambda: replica.log.read_text().count("key not adopted") == 6, "not all were named")

    for tenant, text in broken.items():
        assert client.get(PREFIX + tenant) == text
        assert tenant in replica.log.read_text()
    assert "hunter2-plain" not in replica.log.read_text()
