"""The users that docs/redis.md tells of can do what they are for, and nothing else."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Final
from urllib.parse import quote

import pytest

from projections.phase import Phase
from projections.rotation import Rotation
from registry.data_keys import DataKeys
from registry.errors import CommandRefused, RegistryUnavailable
from registry.names import Names
from registry.redis_client import RedisClient
from registry.secrets import MasterKeys, new_master_key
from server.embedded.binaries import find_valkey
from tests.servers import ClusterOfThree, Server
from tests.topology.conftest import ONE, Open, OpenClient, call, eventually, register

DOCUMENT: Final = (Path(__file__).parents[2] / "docs" / "redis.md").read_text("utf-8")
NAMES: Final = Names()
PASSWORD: Final = "let/me@in"


def told(user: str, *, sentinel: bool = False) -> list[list[str]]:
    """Return the ACL commands of a user in the document."""
    blocks: list[str] = re.findall(r"^```sh\n(redis-cli .*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    commands = [shlex.split(block.replace("\\\n", " "))[1:] for block in blocks]
    found = [words for words in commands if user in words and ("-p" in words) is sentinel]
    assert found, user
    return [[word.replace("PASSWORD", PASSWORD) for word in words] for words in found]


@pytest.fixture(params=["valkey", *(["redis-server"] if which("redis-server") else [])], scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with both users, whose default user is the operator."""
    program = find_valkey() if request.param == "valkey" else Path(which("redis-server") or "")
    server = Server(program, tmp_path_factory.mktemp("acl"))
    try:
        server.start()
        for words in (*told("mcp-postgres"), *told("auditor")):
            server.run(*words)
        yield server
    finally:
        server.kill()


@pytest.fixture
def service(server: Server) -> str:
    """Where the server's user finds an empty Redis."""
    server.run("FLUSHALL")
    server.run("ACL", "LOG", "RESET")
    return f"redis://mcp-postgres:{quote(PASSWORD, safe='')}@127.0.0.1:{server.port}/0"


@pytest.fixture
def auditor(service: str) -> str:
    return service.replace("mcp-postgres", "auditor")


async def test_the_servers_user_adopts_registers_replaces_removes_and_mends(
    server: Server, service: str, open_on: Open
) -> None:
    server.run("SET", NAMES.tenant("old"), '{"host": "db", "database": "app", "user": "u", "password": "p"}')

    a = await open_on(service)
    await eventually(lambda: a.follower.knows("old"))
    b = await open_on(service)
    assert (await register(a, "acme"))["version"] == 1
    assert (await register(b, "acme", host="other"))["version"] == 2
    assert (await call(b, "remove_tenant", tenant_id="acme"))["version"] == 3
    server.run("DEL", NAMES.tenant("old"))
    c = await open_on(service)

    await eventually(lambda: server.run("EXISTS", NAMES.tenant("old")) == 1)
    assert c.follower.status.phase is Phase.FOLLOWING
    assert server.run("ACL", "LOG") == []


def rotation(redis: RedisClient) -> Rotation:
    """Return what brings data keys under a new key."""
    both = MasterKeys.parse(f"{new_master_key('new')}\n{ONE}")
    return Rotation(DataKeys(redis, NAMES), both, lambda: "stamp")


async def test_the_servers_user_looks_at_the_data_keys_and_rotates_them(
    server: Server, service: str, open_on: Open, open_client: OpenClient
) -> None:
    await register(await open_on(service), "acme")

    assert (await rotation(open_client(service)).rotate()).rewrapped == 1

    assert server.run("HGET", NAMES.data_keys, "acme").split("|")[2] == "new"
    assert await DataKeys(open_client(service), NAMES).last_rewrapped() == "stamp"
    assert server.run("ACL", "LOG") == []


@pytest.mark.parametrize(
    "words",
    [
        ("XTRIM", NAMES.stream, "MAXLEN", "0"),
        ("XDEL", NAMES.stream, "1-1"),
        ("DEL", NAMES.stream),
        ("SET", NAMES.stream, "x"),
        ("UNLINK", NAMES.stream),
        ("RENAME", NAMES.stream, NAMES.tenant("x")),
        ("XSETID", NAMES.stream, "1-1"),
        ("EXPIRE", NAMES.stream, "1"),
        ("DEL", NAMES.heads),
        ("FLUSHALL",),
        ("CONFIG", "SET", "maxmemory", "1"),
        ("KEYS", "*"),
        ("GET", "somebody-elses"),
        ("EVAL", "return redis.call('DEL', KEYS[1])", 1, NAMES.stream),
        ("ACL", "LIST"),
    ],
    ids=lambda words: " ".join(map(str, words)),
)
async def test_the_servers_user_cannot(words: tuple[str, ...], service: str, open_client: OpenClient) -> None:
    redis = open_client(service)
    await redis.run("XADD", NAMES.stream, "*", "k", "v")

    with pytest.raises(CommandRefused, match=r"check its ACL|ACL failure|can't access"):
        await redis.run(*words)

    assert len(await redis.run("XRANGE", NAMES.stream, "-", "+")) == 1


async def test_an_auditor_reads_the_log_the_heads_and_the_documents(
    service: str, auditor: str, open_on: Open, open_client: OpenClient
) -> None:
    await register(await open_on(service), "acme")
    redis = open_client(auditor)

    assert len(await redis.run("XRANGE", NAMES.stream, "-", "+")) == 2
    assert (await redis.run("XINFO STREAM", NAMES.stream))["length"] == 2
    assert list(await redis.run("HGETALL", NAMES.heads)) == [b"acme"]
    assert [key async for key in redis.scan(NAMES.tenant("*"))] == [NAMES.tenant("acme").encode()]
    assert (await redis.get_many([NAMES.tenant("acme")]))[0]


@pytest.mark.parametrize(
    "words",
    [
        ("HGETALL", NAMES.data_keys),
        ("XADD", NAMES.stream, "*", "k", "v"),
        ("HSET", NAMES.heads, "acme", "x"),
        ("SET", NAMES.tenant("acme"), "x"),
        ("DEL", NAMES.tenant("acme")),
        ("EVAL", "return 1", 0),
        ("INFO",),
    ],
    ids=lambda words: " ".join(map(str, words)),
)
async def test_an_auditor_cannot(words: tuple[str, ...], auditor: str, open_client: OpenClient) -> None:
    with pytest.raises(CommandRefused, match="check its ACL"):
        await open_client(auditor).run(*words)


async def test_the_servers_user_is_enough_in_a_cluster(
    cluster: ClusterOfThree, open_on: Open, open_client: OpenClient
) -> None:
    for primary in cluster.primaries():
        primary.run("FLUSHALL")
    for server in cluster.servers:
        for words in told("mcp-postgres"):
            server.run(*words)

    url = cluster.url.replace("://", f"://mcp-postgres:{quote(PASSWORD, safe='')}@")
    a = await open_on(url)

    assert (await register(a, "acme"))["version"] == 1
    assert (await rotation(open_client(url)).rotate()).rewrapped == 1
    assert (await call(a, "remove_tenant", tenant_id="acme"))["version"] == 2


async def test_a_sentinel_that_wants_a_login_gets_one_of_its_own(
    server: Server, service: str, tmp_path: Path, open_client: OpenClient
) -> None:
    ((_, port, *words),) = told("mcp-postgres", sentinel=True)
    assert port == "26379"
    sentinel = Server(find_valkey(), tmp_path, sentinel=True)
    (sentinel.home / "sentinel.conf").write_text(f"sentinel monitor tenants 127.0.0.1 {server.port} 1\n")
    try:
        sentinel.start()
        sentinel.run(*words)
        sentinel.run("ACL", "SETUSER", "default", "off")
        url = service.replace("redis:", "redis+sentinel:").replace(f"{server.port}/0", f"{sentinel.port}/tenants/0")
        login = f"sentinel_username=mcp-postgres&sentinel_password={quote(PASSWORD, safe='')}"

        assert await open_client(f"{url}?{login}").run("TIME")
        with pytest.raises(RegistryUnavailable, match="sentinel_password"):
            await open_client(url).run("TIME")
    finally:
        sentinel.kill()


async def test_a_redis_that_wants_a_password_says_where_to_put_it(server: Server, open_client: OpenClient) -> None:
    wrong = open_client(f"redis://mcp-postgres:wrong@127.0.0.1:{server.port}/0")

    with pytest.raises(RegistryUnavailable, match="put them into REDIS_URL"):
        await wrong.run("TIME")
