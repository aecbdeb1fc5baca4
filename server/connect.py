"""One login to a tenant's database, and what it means when it fails.

Everything a login needs is given by the tenant; nothing is filled in from this process's environment or home folder,
so that no tenant borrows the operator's password, certificate or service file.
"""

import asyncio
import os
import socket
import ssl
import time
from typing import Final

import asyncpg
import msgspec
from asyncpg.connect_utils import SessionAttribute

from registry.errors import LoginRefused, TenancyError, TenantUnreachable
from registry.events import SslMode, TenantConfig
from registry.secrets import Secret


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
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise login_error(tenant_id, config, error) from None


async def try_login(tenant_id: str, config: TenantConfig, password: Secret | None, *, within: float) -> Login:
    """Log in once, look around and leave. Raises what `connect` raises."""
    begun = time.monotonic()
    connection = await connect(tenant_id, config, password, within=within)
    try:
        async with asyncio.timeout(within):
            row = await connection.fetchrow(_LOOK_AROUND)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise login_error(tenant_id, config, error) from None
    finally:
        connection.terminate()
    spent = round((time.monotonic() - begun) * 1000, 1)
    return Login(**dict(row or {}), milliseconds=spent)


def login_error(  # noqa: PLR0911 - one return a cause: this is the one place that tells them apart
    tenant_id: str, config: TenantConfig, error: Exception
) -> TenancyError:
    """Say why a login failed and what to do; what the database may get over by itself is worth another try."""
    where = f"{config.host}:{config.port}"
    whose = f"tenant {tenant_id!r}"
    match error:
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            return LoginRefused(
                f"{where} refuses the login of {whose} as user {config.user!r}: {_text(error)}. "
                "Check user, password and the server's pg_hba.conf.",
                sqlstate=error.sqlstate,
            )
        case asyncpg.InvalidCatalogNameError():
            return LoginRefused(f"{where} has no database {config.database!r} for {whose}.", sqlstate=error.sqlstate)
        case asyncpg.InsufficientPrivilegeError():
            return LoginRefused(
                f"User {config.user!r} may not connect to {config.database!r} at {where}: {_text(error)}.",
                sqlstate=error.sqlstate,
            )
        case asyncpg.PostgresError():
            return TenantUnreachable(f"{where} does not let {whose} in now: {_text(error)}.", sqlstate=error.sqlstate)
        case TimeoutError():
            return TenantUnreachable(f"{where} of {whose} did not answer in time; check host, port and firewalls.")
        case socket.gaierror():
            return TenantUnreachable(f"The host name {config.host!r} of {whose} is not known; check its spelling.")
        case ssl.SSLError():
            why = error.reason or "handshake"
            return LoginRefused(f"TLS with {where} of {whose} failed ({why}); check ssl={config.ssl}.")
        case ConnectionRefusedError():
            return TenantUnreachable(f"Nothing listens on {where} of {whose}; check host and port, or start it.")
        case _Unencrypted():
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


class _Unencrypted(ConnectionError):
    """The server offers no TLS."""


async def _connect(config: TenantConfig, password: Secret | None) -> asyncpg.Connection:
    """Dial as libpq does: `allow` begins in clear, `prefer` falls back to it, the others have one way."""
    try:
        return await _dial(config, password, encrypted=config.ssl not in {"disable", "allow"})
    except _Unencrypted:
        if config.ssl != "prefer":
            raise
        return await _dial(config, password, encrypted=False)
    except asyncpg.InvalidAuthorizationSpecificationError as refusal:
        if config.ssl != "allow":
            raise
        try:
            return await _dial(config, password, encrypted=True)
        except _Unencrypted:
            raise refusal from None


async def _dial(config: TenantConfig, password: Secret | None, *, encrypted: bool) -> asyncpg.Connection:
    try:
        return await asyncpg.connect(
            host=config.host,
            port=config.port,
            user=config.user,
            database=config.database,
            # Not None: the driver would look for one in the environment and in the home folder.
            password=password.reveal() if password else "",
            ssl=await tls_context(config.ssl) if encrypted else False,
            target_session_attrs=SessionAttribute.any,
            # A statement prepared by one call must not be there for the next, and poolers like pgbouncer lose them.
            statement_cache_size=0,
            server_settings={"application_name": "mcp-postgres"},
        )
    except ConnectionError as error:
        if encrypted and "rejected SSL upgrade" in str(error):
            raise _Unencrypted from None
        raise


def _text(error: asyncpg.PostgresError) -> str:
    return str(error.args[0] if error.args else error).rstrip(".")


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
