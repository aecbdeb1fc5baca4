"""Logins with TLS, on a Postgres that has it: encrypted where asked for, verified where asked for, told when not."""

import asyncio
import os
import shutil
import ssl as ssl_module
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import asyncpg
import msgspec
import pytest
import uvloop

from registry.errors import LoginRefused, PolicyRefused, TenancyError, TenantUnreachable
from registry.events import SslMode, TenantConfig
from registry.secrets import Secret
from server.connect import Dialler
from server.embedded.binaries import POSTGRES_VARIABLE
from server.embedded.postgres import EmbeddedPostgres
from server.reach import Reach
from server.resolver import Resolver
from server.tenant_policy import TenantPolicy
from tests.certificates import certificate

PASSWORD: Final = "canary-s3cr3t"
ROLES: Final = {"anybody": "host", "only_tls": "hostssl", "only_clear": "hostnossl"}
"""Each role, and the kind of connection that the server takes from it."""


def other_postgres() -> Path | None:
    """Return a Postgres of this machine; the one that the wheel carries is built without TLS."""
    on_path = shutil.which("postgres")
    found = [Path(on_path).resolve()] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return next((each for each in reversed(found) if each.with_name("initdb").is_file()), None)


async def switch_tls_on(server: EmbeddedPostgres) -> None:
    """Give the running server its certificate, and the roles their rules."""
    cluster = server.home / "cluster"
    owner = cluster.stat()
    for name, content in zip(("server.crt", "server.key"), certificate("db.example"), strict=True):
        (cluster / name).touch(mode=0o600)
        (cluster / name).write_bytes(content)
        os.chown(cluster / name, owner.st_uid, owner.st_gid)
    rules = "".join(f"{kind} all {role} 127.0.0.1/32 scram-sha-256\n" for role, kind in ROLES.items())
    superuser = "host all postgres 127.0.0.1/32 scram-sha-256\n"
    (cluster / "pg_hba.conf").write_text(rules + superuser)
    admin = await asyncpg.connect(server.dsn("postgres"))
    try:
        for role in ROLES:
            await admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
        await admin.execute("ALTER SYSTEM SET ssl = on")
        await admin.execute("SELECT pg_reload_conf()")
    except asyncpg.PostgresError as error:
        pytest.skip(f"the Postgres of this machine has no TLS either: {error}")
    finally:
        await admin.close()


@pytest.fixture(scope="module")
def tls_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    program = other_postgres()
    if program is None:
        pytest.skip("no Postgres with TLS on this machine: install one (Debian: postgresql)")
    server = EmbeddedPostgres(tmp_path_factory.mktemp("tls"), durable=False)
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as thread:
        patch.setenv(POSTGRES_VARIABLE, str(program))
        thread.submit(asyncio.run, server.start()).result()
        try:
            thread.submit(asyncio.run, switch_tls_on(server)).result()
            yield server
        finally:
            thread.submit(asyncio.run, server.stop()).result()


def named() -> Dialler:
    """Log in where every name leads to the one server."""
    return Dialler(10, reach=Reach(resolver=Resolver(lambda _: [ip_address("127.0.0.1")])))


async def encrypted(
    server: EmbeddedPostgres, ssl: SslMode, *, user: str = "anybody", host: str = "127.0.0.1", password: str = PASSWORD
) -> bool:
    """Log in; return whether the connection is TLS, as Postgres sees it."""
    config = TenantConfig(host=host, port=server.port, database="postgres", user=user, ssl=ssl)
    connection = await Dialler(10).connect("acme", config, Secret(password))
    try:
        return bool(await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("ssl", "expected"), [("disable", False), ("allow", False), ("prefer", True), ("require", True)]
)
async def test_a_connection_is_encrypted_when_its_mode_prefers_that(
    tls_postgres: EmbeddedPostgres, ssl: SslMode, *, expected: bool
) -> None:
    assert await encrypted(tls_postgres, ssl) is expected


@pytest.mark.parametrize(("ssl", "user", "expected"), [("allow", "only_tls", True), ("prefer", "only_clear", False)])
async def test_a_mode_that_has_two_ways_takes_the_one_that_the_server_lets_in(
    tls_postgres: EmbeddedPostgres, ssl: SslMode, user: str, *, expected: bool
) -> None:
    assert await encrypted(tls_postgres, ssl, user=user) is expected


@pytest.mark.parametrize(("ssl", "user"), [("disable", "only_tls"), ("require", "only_clear")])
async def test_a_mode_that_has_one_way_is_refused_where_the_server_wants_the_other(
    tls_postgres: EmbeddedPostgres, ssl: SslMode, user: str
) -> None:
    with pytest.raises(LoginRefused, match=r"pg_hba\.conf"):
        await encrypted(tls_postgres, ssl, user=user)


@pytest.mark.parametrize("ssl", ["verify-ca", "verify-full"])
async def test_a_certificate_that_nobody_vouches_for_is_refused_where_it_is_verified(
    tls_postgres: EmbeddedPostgres, ssl: SslMode
) -> None:
    with pytest.raises(LoginRefused, match=f"CERTIFICATE_VERIFY_FAILED.*ssl={ssl}"):
        await encrypted(tls_postgres, ssl)


async def test_a_certificate_that_is_vouched_for_is_taken_for_its_own_name_alone(
    tls_postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls_postgres.home / "cluster" / "server.crt"))
    assert await encrypted(tls_postgres, "verify-full")
    assert await encrypted(tls_postgres, "verify-ca", host="localhost")
    with pytest.raises(LoginRefused, match="CERTIFICATE_VERIFY_FAILED"):
        await encrypted(tls_postgres, "verify-full", host="localhost")


def vouched(server: EmbeddedPostgres, host: str, ssl: SslMode = "verify-full") -> TenantConfig:
    """Return a tenant that brings the server's own certificate as the one to believe."""
    root_ca = (server.home / "cluster" / "server.crt").read_text()
    return TenantConfig(host=host, port=server.port, database="postgres", user="anybody", ssl=ssl, ssl_root_ca=root_ca)


@pytest.mark.parametrize("host", ["db.example", "db.example.", "127.0.0.1"])
async def test_whom_a_tenants_own_authorities_vouch_for_is_believed_under_the_tenants_name_for_it(
    tls_postgres: EmbeddedPostgres, host: str
) -> None:
    connection = await named().connect("acme", vouched(tls_postgres, host), Secret(PASSWORD))
    assert await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    await connection.close()


async def test_the_name_counts_and_not_the_address_that_it_leads_to(tls_postgres: EmbeddedPostgres) -> None:
    with pytest.raises(LoginRefused, match="CERTIFICATE_VERIFY_FAILED"):
        await named().connect("acme", vouched(tls_postgres, "other.example"), Secret(PASSWORD))
    connection = await named().connect("acme", vouched(tls_postgres, "other.example", "verify-ca"), Secret(PASSWORD))
    await connection.close()


async def test_a_tenants_own_authorities_are_believed_by_that_tenant_alone(tls_postgres: EmbeddedPostgres) -> None:
    through = named()
    connection = await through.connect("acme", vouched(tls_postgres, "db.example"), Secret(PASSWORD))
    await connection.close()
    others = certificate("db.example")[0].decode()
    for root_ca in (others, msgspec.UNSET):
        config = msgspec.structs.replace(vouched(tls_postgres, "db.example"), ssl_root_ca=root_ca)
        with pytest.raises(LoginRefused, match="CERTIFICATE_VERIFY_FAILED"):
            await through.connect("other", config, Secret(PASSWORD))


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_query_is_cancelled_over_tls_with_the_same_server_verified_by_the_same_name(
    tls_postgres: EmbeddedPostgres, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def cancel() -> None:
        connection = await named().connect("acme", vouched(tls_postgres, "db.example"), Secret(PASSWORD))
        running = asyncio.create_task(connection.execute("SELECT pg_sleep(50)"))
        await asyncio.sleep(0.1)
        running.cancel()
        await asyncio.wait([running])
        async with asyncio.timeout(10):
            assert await connection.fetchval("SELECT 1") == 1
        await connection.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(cancel())


@pytest.mark.parametrize("ssl", ["disable", "allow", "prefer"])
async def test_a_tenant_of_before_is_refused_when_its_mode_is_weaker_than_the_weakest_that_is_allowed(
    tls_postgres: EmbeddedPostgres, ssl: SslMode
) -> None:
    strict = Dialler(10, TenantPolicy(min_ssl="require"))
    config = TenantConfig(host="127.0.0.1", port=tls_postgres.port, database="postgres", user="anybody", ssl=ssl)

    for attempt in (strict.connect, strict.try_login):
        with pytest.raises(
            PolicyRefused, match=r"MCP_POSTGRES_MIN_SSLMODE=require.*require or verify-ca or verify-full"
        ):
            await attempt("acme", config, Secret(PASSWORD))
    connection = await strict.connect("acme", msgspec.structs.replace(config, ssl="require"), Secret(PASSWORD))
    await connection.close()


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_what_comes_encrypted_is_looked_at_before_it_is_believed(
    loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path
) -> None:
    for name, content in zip(("server.crt", "server.key"), certificate(), strict=True):
        (tmp_path / name).write_bytes(content)
    context = ssl_module.create_default_context(ssl_module.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"S")
        await writer.start_tls(context)
        await reader.read(1)
        writer.write(b"\0" * 5)
        await reader.read()
        writer.close()
        left.set()

    async def log_in() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        config = TenantConfig(host="127.0.0.1", port=port, database="postgres", user="anybody", ssl="require")
        with pytest.raises(TenantUnreachable, match="does not speak Postgres's protocol"):
            await Dialler(10).connect("acme", config, Secret(PASSWORD))
        server.close()
        await left.wait()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(log_in())


@pytest.mark.parametrize("ssl", ["allow", "prefer", "require"])
async def test_a_wrong_password_is_not_tried_again_the_other_way(tls_postgres: EmbeddedPostgres, ssl: SslMode) -> None:
    log = tls_postgres.home / "postgres.log"
    before = log.read_text().count("password authentication failed")
    with pytest.raises(TenancyError, match="password"):
        await encrypted(tls_postgres, ssl, password="wrong")
    assert log.read_text().count("password authentication failed") == before + 1
