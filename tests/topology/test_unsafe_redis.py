"""A Redis that would lose the log is refused at start, or when it first answers."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from projections.phase import Phase
from registry.errors import RegistryUnavailable, UnsafeRedis
from registry.redis_safety import inspect
from registry.secrets import new_master_key
from server.embedded.binaries import find_valkey
from server.replica import open_replica
from server.settings import Settings
from tests.processes import run_command
from tests.servers import ClusterOfThree, SentinelSet, Server
from tests.topology.conftest import MASTER, OpenClient, eventually


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that evicts whatever was not used lately, as caches do; not started."""
    server = Server(find_valkey(), tmp_path, "--maxmemory-policy", "allkeys-lru", "--appendonly", "yes")
    yield server
    server.kill()


@pytest.fixture
def url(server: Server) -> str:
    return f"redis://127.0.0.1:{server.port}/0"


@pytest.fixture
def env(url: str, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "master.key").write_text(new_master_key("one"))
    (tmp_path / "master.key").chmod(0o600)
    return {"REDIS_URL": url, "MCP_POSTGRES_KEY_FILE": str(tmp_path / "master.key")}


@pytest.mark.parametrize("words", [("serve", "--port", "0"), ("tenants", "list")], ids=" ".join)
def test_at_start_it_is_refused_in_one_line_that_names_what_to_change(
    words: tuple[str, ...], server: Server, env: dict[str, str]
) -> None:
    server.start()

    told = run_command(*words, env=env)

    assert told.stderr.count("\n") == 1, told.stderr
    line = told.stderr
    assert (told.returncode, told.stdout) == (1, "")
    assert "CONFIG SET maxmemory-policy noeviction" in line
    assert "--allow-unsafe-redis" in line
    assert server.run("DBSIZE") == 0


def test_no_log_is_imported_into_it(server: Server, env: dict[str, str], redis_url: str, tmp_path: Path) -> None:
    source, file = {**env, "REDIS_URL": redis_url}, str(tmp_path / "log.jsonl")
    login = ("--host", "db", "--database", "app", "--user", "reader", "--no-verify")
    assert run_command("tenants", "register", "acme", *login, env=source).returncode == 0
    assert run_command("log", "export", "--out", file, env=source).returncode == 0
    server.start()

    told = run_command("log", "import", file, env=env)

    assert told.returncode == 1
    assert "CONFIG SET maxmemory-policy noeviction" in told.stderr
    assert server.run("DBSIZE") == 0
    assert run_command("log", "import", file, "--allow-unsafe-redis", env=env).returncode == 0


def test_whoever_says_so_goes_on(server: Server, env: dict[str, str]) -> None:
    server.start()

    assert run_command("tenants", "list", "--allow-unsafe-redis", env=env).returncode == 0
    assert run_command("tenants", "list", env={**env, "MCP_POSTGRES_ALLOW_UNSAFE_REDIS": "1"}).returncode == 0


async def test_one_that_comes_later_halts_the_replica(server: Server, url: str) -> None:
    async with open_replica(Settings(), url, MASTER) as replica:
        assert not replica.follower.status.ready
        server.start()
        await eventually(lambda: replica.follower.status.phase is Phase.HALTED)

    assert "maxmemory-policy" in str(replica.follower.status.reason)


async def test_a_replica_is_refused_where_it_was_named(server: Server, url: str, free_port: Callable[[], int]) -> None:
    server.start()
    server.run("CONFIG", "SET", "maxmemory-policy", "noeviction")
    server.run("REPLICAOF", "127.0.0.1", free_port())

    with pytest.raises(UnsafeRedis, match="is a replica"):
        async with open_replica(Settings(), url, MASTER):
            pass


async def test_where_info_is_not_permitted_a_start_goes_on(server: Server, url: str) -> None:
    server.start()
    server.run("ACL", "SETUSER", "shy", "on", ">p", "~*", "+@all", "-info")

    async with open_replica(Settings(), url.replace("://", "://shy:p@"), MASTER) as replica:
        await eventually(lambda: replica.follower.status.phase is Phase.FOLLOWING)


async def test_every_primary_of_a_cluster_is_looked_at(cluster: ClusterOfThree, open_client: OpenClient) -> None:
    last = cluster.primaries()[-1]
    redis = open_client(cluster.url)
    assert await inspect(redis) == []
    try:
        last.run("CONFIG", "SET", "maxmemory-policy", "allkeys-lfu")
        assert [finding.level for finding in await inspect(redis)] == ["refuse"]
    finally:
        last.run("CONFIG", "SET", "maxmemory-policy", "noeviction")


async def test_a_primary_that_the_sentinels_are_replacing_may_pass(
    sentinels: SentinelSet, open_client: OpenClient
) -> None:
    redis = open_client(sentinels.url)
    assert await inspect(redis) == []
    primary, replica = sentinels.primary(), sentinels.replica()
    try:
        primary.run("REPLICAOF", "127.0.0.1", replica.port)
        with pytest.raises(RegistryUnavailable, match="changing"):
            await inspect(redis)
    finally:
        primary.run("REPLICAOF", "NO", "ONE")
        replica.run("REPLICAOF", "127.0.0.1", primary.port)
