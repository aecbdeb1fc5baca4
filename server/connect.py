"""One login to a tenant's database, and what it means when it fails.

Everything a login needs is given by the tenant; nothing is filled in from this process's environment or home folder,
so that no tenant borrows the operator's password, certificate or service file.
"""

import asyncio
import os
import socket
import ssl
import time
from typing import Any, Final, cast

import asyncpg
import msgspec
from asyncpg.connect_utils import SessionAttribute

from registry.errors import LoginRefused, TenancyError, TenantUnreachable
from registry.events import SslMode, TenantConfig
from registry.secrets import Secret
from server.meter import meter_of
from server.sqlstates import DRIVER_ERRORS, foreign_text, reason_of, sqlstate_of
from server.wire import NotPostgres, Unencrypted, Wire


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """What a test login found.

    Attributes:
        server: The server's version, e.g. `PostgreSQL 18.6`.
        user: The role that the session runs as.
        encrypted: Whether the connection is TLS.
        superuser: Whether the role may do anything; a role that may only read is the better choice.
        standby: Whether the server is a replica in recovery.
        tables: How many tables, views and the like the role may read.
        milliseconds: From the first packet to the answer.
    """

    server: str
    user: str
    encrypted: bool
    superuser: bool
    standby: bool
    tables: int
    milliseconds: float


def forget_libpq_environment() -> None:
    """Take `PGPASSWORD`, `PGHOST`, `PGSERVICE` and their kin out of this process's environment."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]


async def connect(
    tenant_id: str, config: TenantConfig, password: Secret | None, *, within: float
) -> asyncpg.Connection:
    """Log in to the tenant's database.

    Args:
        tenant_id: For messages.
        config: Where and as whom.
        password: None where the login needs none.
        within: Seconds for TCP, TLS and login together.

    Raises `TenantUnreachable` or `LoginRefused`, neither with the password in it. May be cancelled.
    """
    try:
        async with asyncio.timeout(within):
            return await _connect(config, password)
    except DRIVER_ERRORS as error:
        raise login_error(tenant_id, config, _unsaid(error, password)) from None


async def try_login(tenant_id: str, config: TenantConfig, password: Secret | None, *, within: float) -> Login:
    """Log in once, look around and leave. Raises what `connect` raises."""
    begun = time.monotonic()
    connection = await connect(tenant_id, config, password, within=within)
    try:
        async with asyncio.timeout(within):
            login = await _look_around(connection)
        return msgspec.structs.replace(login, milliseconds=round((time.monotonic() - begun) * 1000, 1))
    except DRIVER_ERRORS as error:
        raise login_error(tenant_id, config, _unsaid(error, password)) from None
    finally:
        connection.terminate()


def _unsaid(error: Exception, password: Secret | None) -> Exception:
    """Return the error without its words if the password is among them: a server may say what it asked for in clear."""
    if password and password.reveal() in str(error):
        error.args = ()
    return error


def login_error(  # noqa: C901, PLR0911 - one return a cause: this is the one place that tells them apart
    tenant_id: str, config: TenantConfig, error: Exception
) -> TenancyError:
    """Say why a login failed and what to do; what the database may get over by itself is worth another try."""
    where = f"{config.host}:{config.port}"
    whose = f"tenant {tenant_id!r}"
    match error:
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            return LoginRefused(
                f"{where} refuses the login of {whose} as user {config.user!r}: {reason_of(error)}. "
                "Check user, password and the server's pg_hba.conf.",
                sqlstate=sqlstate_of(error),
            )
        case asyncpg.InvalidCatalogNameError():
            return LoginRefused(
                f"{where} has no database {config.database!r} for {whose}.", sqlstate=sqlstate_of(error)
            )
        case asyncpg.InsufficientPrivilegeError():
            return LoginRefused(
                f"User {config.user!r} may not connect to {config.database!r} at {where}: {reason_of(error)}.",
                sqlstate=sqlstate_of(error),
            )
        case asyncpg.PostgresError():
            return TenantUnreachable(
                f"{where} does not let {whose} in now: {reason_of(error)}.", sqlstate=sqlstate_of(error)
            )
        case TimeoutError():
            return TenantUnreachable(f"{where} of {whose} did not answer in time; check host, port and firewalls.")
        case socket.gaierror():
            return TenantUnreachable(f"The host name {config.host!r} of {whose} is not known; check its spelling.")
        case ssl.SSLError():
            why = error.reason or "handshake"
            return LoginRefused(f"TLS with {where} of {whose} failed ({why}); check ssl={config.ssl}.")
        case ConnectionRefusedError():
            return TenantUnreachable(f"Nothing listens on {where} of {whose}; check host and port, or start it.")
        case NotPostgres():
            return TenantUnreachable(
                f"{where} of {whose} does not speak Postgres's protocol; check host and port, and what is between."
            )
        case Unencrypted():
            return LoginRefused(f"{where} of {whose} offers no TLS, and ssl={config.ssl} asks for it.")
        case _:
            why = type(error).__name__
            return TenantUnreachable(f"{where} of {whose} cannot be reached ({why}); try again later.")


async def tls_context(mode: SslMode) -> ssl.SSLContext:
    """Return what `mode` asks of TLS: verified for `verify-ca` and `verify-full`, encrypted for the rest."""
    if mode in {"verify-ca", "verify-full"}:
        # Reading the system's certificates takes some 30 ms, which would hold up every other tenant's calls.
        context = await asyncio.to_thread(ssl.create_default_context)
        context.check_hostname = mode == "verify-full"
        return context
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _connect(config: TenantConfig, password: Secret | None) -> asyncpg.Connection:
    """Dial as libpq does: `allow` begins in clear, `prefer` with TLS, both may end the other way; the rest have one."""
    first, *other = _WAYS.get(config.ssl, (True,))
    try:
        return await _dial(config, password, encrypted=first)
    except asyncpg.InvalidPasswordError:
        raise  # it would be as wrong the other way
    except (Unencrypted, asyncpg.InvalidAuthorizationSpecificationError) as refusal:
        if not other:
            raise
        try:
            return await _dial(config, password, encrypted=other[0])
        except Unencrypted:
            raise refusal from None


async def _dial(config: TenantConfig, password: Secret | None, *, encrypted: bool) -> asyncpg.Connection:
    loop = asyncio.get_running_loop()
    wire = Wire(loop, password)
    try:
        connection: asyncpg.Connection = await asyncpg.connect(
            loop=cast("asyncio.AbstractEventLoop", wire),
            host=config.host,
            port=config.port,
            user=config.user,
            database=config.database,
            # Not None: the driver would look for one in the environment and in the home folder. The wire has it.
            password="",
            ssl=await tls_context(config.ssl) if encrypted else False,
            direct_tls=encrypted,
            target_session_attrs=SessionAttribute.any,
            # A statement prepared by one call must not be there for the next, and poolers like pgbouncer lose them.
            statement_cache_size=0,
            server_settings={"application_name": "mcp-postgres"},
        )
    except BaseException as error:
        wire.abort()
        if wire.meter is None or not isinstance(error, Exception):
            raise
        if wire.meter.fault is None and isinstance(error, (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
            raise
        # What else the driver raises, it does over a login that only looks like one.
        raise NotPostgres from None
    finally:
        wire.forget()
    inside: Any = connection
    inside._loop = loop  # noqa: SLF001 - it looks its tasks up by their loop, and the wire has done its part
    return connection


_WAYS: Final[dict[SslMode, tuple[bool, ...]]] = {"disable": (False,), "allow": (False, True), "prefer": (True, False)}
"""Whether to encrypt, first and second; a mode that is not here has no way but TLS."""


async def _look_around(connection: asyncpg.Connection) -> Login:
    """Ask the server about itself; `NotPostgres` if what it says is not of the form that was asked for."""
    meter = meter_of(connection)
    try:
        row = await connection.fetchrow(_LOOK_AROUND)
        login = msgspec.convert({**dict(row or {}), "milliseconds": 0.0}, Login)
    except Exception as error:
        if meter.fault is None and isinstance(error, DRIVER_ERRORS):
            raise
        raise NotPostgres from None
    return msgspec.structs.replace(login, server=foreign_text(login.server), user=foreign_text(login.user))


_LOOK_AROUND: Final = """
    SELECT 'PostgreSQL ' || pg_catalog.current_setting('server_version') AS server,
           current_user::text AS "user",
           COALESCE((SELECT s.ssl FROM pg_catalog.pg_stat_ssl AS s WHERE s.pid = pg_catalog.pg_backend_pid()), false)
               AS encrypted,
           COALESCE((SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user), false)
               AS superuser,
           pg_catalog.pg_is_in_recovery() AS standby,
           (SELECT pg_catalog.count(*)::int FROM pg_catalog.pg_class AS c
              JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema'
               AND n.nspname !~ '^pg_' AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
               AND pg_catalog.has_table_privilege(c.oid, 'SELECT')) AS tables
"""
