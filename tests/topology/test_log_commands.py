"""The commands on the whole log: by the Redis users that docs/log.md tells of, and in a cluster."""

import asyncio
import re
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

from registry.entries import Position
from registry.names import Names
from registry.secrets import new_master_key
from server.embedded.binaries import find_valkey
from tests.processes import run_command
from tests.servers import ClusterOfThree, Server
from tests.topology.conftest import Open, call, register

DOCUMENT: Final = (Path(__file__).parents[2] / "docs" / "log.md").read_text("utf-8")
STREAM: Final = Names().stream

Log: TypeAlias = Callable[..., Awaitable[str]]


def acl_of(user: str) -> list[str]:
    """Return the ACL command of a user in the document."""
    blocks: list[str] = re.findall(r"^```sh\n(redis-cli ACL SETUSER .*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    commands = [shlex.split(block.replace("\\\n", " "))[1:] for block in blocks]
    (found,) = [words for words in commands if user in words]
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(find_valkey(), tmp_path_factory.mktemp("acl"))
    try:
        server.start()
        for user in ("verifier", "keeper"):
            server.run(*acl_of(user))
        yield server
    finally:
        server.kill()


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """What runs a `log` command on a Redis and returns what it prints."""
    key = tmp_path / "master.key"
    key.write_text(new_master_key("one") + "\n")
    key.chmod(0o600)

    async def log(url: str, *words: str, code: int = 0) -> str:
        # In a thread: the replica of this process has to go on telling where it is.
        told = await asyncio.to_thread(run_command, "log", *words, env={"REDIS_URL": url})
        assert told.returncode == code, (told.stdout, told.stderr)
        return told.stdout if code == 0 else told.stderr

    return log


async def story(replica: Any) -> list[Position]:  # noqa: ANN401 - a replica
    """Register three tenants, and one of them anew; return where."""
    told = [await register(replica, tenant) for tenant in ("old", "acme", "gone")]
    told.append(await call(replica, "remove_tenant", tenant_id="gone", wait_seconds=0))
    told.append(await register(replica, "acme", host="db2"))
    return [Position.parse(each["position"]) for each in told]


@asynccontextmanager
async def emptied(server: Server) -> AsyncIterator[str]:
    server.run("FLUSHALL")
    server.run("ACL", "LOG", "RESET")
    yield f"redis://127.0.0.1:{server.port}/0"


def by(user: str, server: Server) -> str:
    return f"redis://{user}:PASSWORD@127.0.0.1:{server.port}/0"


async def test_the_verifier_reads_everything_and_changes_nothing(
    server: Server, open_on: Open, log: Log, tmp_path: Path
) -> None:
    async with emptied(server) as url:
        places = await story(await open_on(url))
    verifier = by("verifier", server)

    assert "nothing is wrong" in await log(verifier, "verify")
    assert len((await log(verifier, "tail")).splitlines()) == 6
    assert "6 entries" in await log(verifier, "export", "--out", str(tmp_path / "log.jsonl"))
    assert server.run("ACL", "LOG") == []
    assert "needs a Redis user with" in await log(verifier, "compact", "--before", str(places[2]), code=1)
    assert server.run("XLEN", STREAM) == 6


async def test_the_keeper_may_run_every_command(server: Server, open_on: Open, log: Log, tmp_path: Path) -> None:
    async with emptied(server) as url:
        replica = await open_on(url)
        places = await story(replica)
    keeper, path = by("keeper", server), str(tmp_path / "log.jsonl")

    assert "Took out 2 entries" in await log(keeper, "compact", "--before", str(places[1]), "--backup", path)
    server.run("HDEL", Names().heads, "acme")
    assert "Mended 1 heads" in await log(keeper, "rebuild-keys")
    other = ("--prefix", "mcp:postgres:copy")
    await log(keeper, "import", path, *other)
    assert "nothing is wrong" in await log(keeper, "verify", *other)
    assert server.run("ACL", "LOG") == []


async def test_the_log_of_a_cluster_is_verified_exported_imported_mended_and_compacted(
    whole_cluster: ClusterOfThree, open_on: Open, log: Log, tmp_path: Path
) -> None:
    url, path = whole_cluster.url, str(tmp_path / "log.jsonl")
    places = await story(await open_on(url))
    other = ("--prefix", "copy")

    assert "nothing is wrong" in await log(url, "verify")
    await log(url, "export", "--out", path)
    await log(url, "import", path, *other)
    assert "nothing is wrong" in await log(url, "verify", *other)
    for prefix in ((), other):
        assert "Took out 3 entries" in await log(url, "compact", "--before", str(places[2]), *prefix)
    whole_cluster.owner("copy:tenant:acme").run("DEL", "copy:tenant:acme")
    assert "Mended 1 keys: acme." in await log(url, "rebuild-keys", *other)
    assert "nothing is wrong" in await log(url, "verify", *other)
    assert len((await log(url, "tail", *other)).splitlines()) == 4
