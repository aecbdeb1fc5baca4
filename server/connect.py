"""One login to a tenant's database.

Everything a login needs is given by the tenant; nothing is filled in from this process's environment or home folder,
so that no tenant borrows the operator's password, certificate or service file. Where it goes is judged before it goes
there (`server/reach.py`): the driver is given addresses, never a name.
"""

import asyncio
import os
import ssl
import time
from typing import Any, Final, TypeVar, cast

import asyncpg
import msgspec
from asyncpg.connect_utils import SessionAttribute

from registry.events import SslMode, TenantConfig
from registry.secrets import Secret
from server.login_errors import login_error
from server.meter import meter_of
from server.network_policy import Address
from server.powers import FOUND, powers_held
from server.reach import Reach
from server.sqlstates import DRIVER_ERRORS, foreign_text
from server.tenant_policy import TenantPolicy
from server.tls import TlsContexts
from server.wire import NotPostgres, Unencrypted, Wire

_T = TypeVar("_T")


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """What a test login found.

    Attributes:
        server: The server's version, e.g. `PostgreSQL 18.6`.
        user: The role that the session runs as.
        encrypted: Whether the connection is TLS.
        superuser: Whether the role may do anything; a role that may only read is the better choice.
        powers: What it, or a role that it may become, can do beyond its tables: see `server/powers.py`. Best: nothing.
        standby: Whether the server is a replica in recovery.
        tables: How many tables, views and the like the role may read.
        milliseconds: From the first packet to the answer.
    """

    server: str
    user: str
    encrypted: bool
    superuser: bool
    powers: tuple[str, ...]
    standby: bool
    tables: int
    milliseconds: float


def forget_libpq_environment() -> None:
    """Take `PGPASSWORD`, `PGHOST`, `PGSERVICE` and their kin out of this process's environment."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]


class Dialler:
    """Logs in to tenants' databases, as far as the operator lets it.

    Args:
        within: Seconds for the name, TCP, TLS and login together, of all addresses that are tried.
        policy: What the operator asks of every login.
        reach: Where tenants may point; without one, where the policy says.
    """

    def __init__(self, within: float, policy: TenantPolicy | None = None, reach: Reach | None = None) -> None:
        self._within = within
        self._policy = policy or TenantPolicy()
        self._reach = reach or Reach(self._policy.network)
        self._contexts = TlsContexts()

    async def check(self, tenant_id: str, config: TenantConfig, *, verify: bool) -> None:
        """Raise `PolicyRefused` where no login is needed to know that it would be refused.

        Args:
            tenant_id: For messages.
            config: Where and how.
            verify: Whether a login follows.
        """
        self._policy.require_ssl(tenant_id, config.ssl)
        self._policy.require_verified(tenant_id, verify=verify)
        await self._reach.check(tenant_id, config.host, config.port)

    async def connect(self, tenant_id: str, config: TenantConfig, password: Secret | None) -> asyncpg.Connection:
        """Log in to the tenant's database.

        Args:
            tenant_id: For messages.
            config: Where and as whom.
            password: None where the login needs none.

        Raises `TenantUnreachable`, `LoginRefused` or `PolicyRefused`, none with the password in it. May be cancelled.
        One round trip more where the operator refuses powers: they are looked at on every connection.
        """
        connection = await self._open(tenant_id, config, password)
        if self._policy.refused_powers:
            await self._require_bearable(tenant_id, config, password, connection)
        return connection

    async def try_login(self, tenant_id: str, config: TenantConfig, password: Secret | None) -> Login:
        """Log in once, look around and leave. Raises what `connect` raises."""
        begun = time.monotonic()
        connection = await self._open(tenant_id, config, password)
        try:
            async with asyncio.timeout(self._within):
                login = await _look_around(connection)
        except DRIVER_ERRORS as error:
            raise login_error(tenant_id, config, _unsaid(error, password)) from None
        finally:
            connection.terminate()
        self._policy.require_bearable(tenant_id, config.user, login.powers)
        return msgspec.structs.replace(login, milliseconds=round((time.monotonic() - begun) * 1000, 1))

    async def _open(self, tenant_id: str, config: TenantConfig, password: Secret | None) -> asyncpg.Connection:
        # Again, though it was looked at when it was registered: the policy may be another one by now.
        self._policy.require_ssl(tenant_id, config.ssl)
        try:
            async with asyncio.timeout(self._within) as whole:
                addresses = list(await self._reach.addresses(tenant_id, config.host, config.port))
                while True:
                    address, *addresses = addresses
                    try:
                        async with asyncio.timeout_at(_share(whole, len(addresses))):
                            return await self._log_in(address, config, password)
                    except (OSError, asyncpg.CannotConnectNowError):
                        if not addresses:
                            raise
        except DRIVER_ERRORS as error:
            raise login_error(tenant_id, config, _unsaid(error, password)) from None

    async def _require_bearable(
        self, tenant_id: str, config: TenantConfig, password: Secret | None, connection: asyncpg.Connection
    ) -> None:
        try:
            async with asyncio.timeout(self._within):
                powers = await _ask(connection, f"SELECT {FOUND} AS powers", _Powers)
            self._policy.require_bearable(tenant_id, config.user, powers_held(powers.powers))
        except DRIVER_ERRORS as error:
            connection.terminate()
            raise login_error(tenant_id, config, _unsaid(error, password)) from None
        except BaseException:
            connection.terminate()
            raise

    async def _log_in(self, address: Address, config: TenantConfig, password: Secret | None) -> asyncpg.Connection:
        """Dial as libpq does: `allow` begins in clear, `prefer` with TLS, both may end the other way."""
        first, *other = _WAYS.get(config.ssl, (True,))
        try:
            return await self._dial(address, config, password, encrypted=first)
        except asyncpg.InvalidPasswordError:
            raise  # it would be as wrong the other way
        except (Unencrypted, asyncpg.InvalidAuthorizationSpecificationError) as refusal:
            if not other:
                raise
            try:
                return await self._dial(address, config, password, encrypted=other[0])
            except Unencrypted:
                raise refusal from None

    async def _dial(
        self, address: Address, config: TenantConfig, password: Secret | None, *, encrypted: bool
    ) -> asyncpg.Connection:
        return await _dial(address, config, password, await self._contexts.of(config) if encrypted else None)


async def _dial(
    address: Address, config: TenantConfig, password: Secret | None, context: ssl.SSLContext | None
) -> asyncpg.Connection:
    loop = asyncio.get_running_loop()
    wire = Wire(loop, password)
    try:
        connection: asyncpg.Connection = await asyncpg.connect(
            loop=cast("asyncio.AbstractEventLoop", wire),
            # It connects there again by itself to cancel a query: were it a name, that would be looked up anew.
            host=str(address),
            port=config.port,
            user=config.user,
            database=config.database,
            # Not None: the driver would look for one in the environment and in the home folder. The wire has it.
            password="",
            ssl=context or False,
            direct_tls=context is not None,
            target_session_attrs=SessionAttribute.any,
            timeout=_LONGEST,
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


_LONGEST: Final = 86_400.0
"""Seconds after which the driver gives up: it has a limit of its own, and ours is the one that counts."""
_WAYS: Final[dict[SslMode, tuple[bool, ...]]] = {"disable": (False,), "allow": (False, True), "prefer": (True, False)}
"""Whether to encrypt, first and second; a mode that is not here has no way but TLS."""


def _unsaid(error: Exception, password: Secret | None) -> Exception:
    """Return the error without its words if the password is among them: a server may say what it asked for in clear."""
    if password and password.reveal() in str(error):
        error.args = ()
    return error


def _share(whole: asyncio.Timeout, others: int) -> float | None:
    """Return until when an address may be tried while others are left: a dead one must not take all the time."""
    until, now = whole.when(), asyncio.get_running_loop().time()
    return None if until is None else now + (until - now) / (others + 1)


class _Powers(msgspec.Struct):
    powers: list[str]


async def _look_around(connection: asyncpg.Connection) -> Login:
    """Ask the server about itself; `NotPostgres` if what it says is not of the form that was asked for."""
    login = await _ask(connection, _LOOK_AROUND, Login)
    told = {"server": foreign_text(login.server), "user": foreign_text(login.user)}
    return msgspec.structs.replace(login, **told, powers=powers_held(login.powers))


async def _ask(connection: asyncpg.Connection, query: str, kind: type[_T]) -> _T:
    meter = meter_of(connection)
    try:
        return msgspec.convert(dict(await connection.fetchrow(query) or {}), kind)
    except Exception as error:
        if meter.fault is None and isinstance(error, DRIVER_ERRORS):
            raise
        raise NotPostgres from None


_LOOK_AROUND: Final = f"""
    SELECT 'PostgreSQL ' || pg_catalog.current_setting('server_version') AS server,
           current_user::text AS "user",
           COALESCE((SELECT s.ssl FROM pg_catalog.pg_stat_ssl AS s WHERE s.pid = pg_catalog.pg_backend_pid()), false)
               AS encrypted,
           COALESCE((SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user), false)
               AS superuser,
           {FOUND} AS powers,
           pg_catalog.pg_is_in_recovery() AS standby,
           0.0::float8 AS milliseconds,
           (SELECT pg_catalog.count(*)::int FROM pg_catalog.pg_class AS c
              JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema'
               AND n.nspname !~ '^pg_' AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
               AND pg_catalog.has_table_privilege(c.oid, 'SELECT')) AS tables
"""  # noqa: S608 - all of it is ours
