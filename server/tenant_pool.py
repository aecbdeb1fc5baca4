"""One tenant's connections, as of one fingerprint: host, port, database, user, TLS, secret.

A pool is open until it drains, and never opens again. Draining refuses new leases at once, gives those that are out
their time, then cancels what still runs: the driver then cancels the query in Postgres, too.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import asyncpg
from asyncpg.exceptions import InternalClientError

from registry.errors import ConnectionLost, TenantChanged
from registry.state import Live
from server.connections import Connection
from server.sqlstates import reason_of

Open: TypeAlias = Callable[[], Awaitable[asyncpg.Connection]]
OnConnection: TypeAlias = Callable[[asyncpg.Connection], Coroutine[Any, Any, None]]

IDLE_SECONDS = 60.0
"""A connection that nobody used for so long is closed."""
_CLOSE_SECONDS = 2.0


class TenantPool:
    """Connections that one registration of a tenant opened.

    Args:
        tenant: The registration.
        open_connection: Logs in; raises `TenantUnreachable`, `LoginRefused` or `PolicyRefused`.
        prepare: Run once on each new connection.
        reset: Run each time one comes back; one that cannot be reset is closed.
    """

    def __init__(self, tenant: Live, open_connection: Open, prepare: OnConnection, reset: OnConnection) -> None:
        self.fingerprint = tenant.fingerprint
        self.tenant_id = tenant.tenant
        self.max_size = tenant.config.max_pool_size
        self._scopes: set[asyncio.Timeout] = set()
        self._draining = False
        self._drained = asyncio.Event()
        self._initialising = asyncio.Lock()
        self._initialised = False

        async def connect(*_: Any, **__: Any) -> asyncpg.Connection:  # noqa: ANN401 - what the driver hands in is unused
            return await open_connection()

        def make() -> "asyncpg.Pool[asyncpg.Record]":
            return asyncpg.create_pool(
                connect=connect,
                min_size=min(tenant.config.min_pool_size, tenant.config.max_pool_size),
                max_size=tenant.config.max_pool_size,
                max_inactive_connection_lifetime=IDLE_SECONDS,
                init=prepare,
                reset=reset,
            )

        self._make = make
        self._pool = make()

    @property
    def leased(self) -> int:
        """How many connections are out."""
        return len(self._scopes)

    @property
    def size(self) -> int:
        """How many connections are open, those of a pool that is just closing left out."""
        return 0 if self._pool.is_closing() else int(self._pool.get_size())

    @property
    def spare(self) -> int:
        """How many connections are idle beyond those that are to be kept open."""
        if not self._initialised or self._pool.is_closing():
            return 0
        return min(self._pool.get_idle_size(), self.size - self._pool.get_min_size())

    def close_spare(self) -> None:
        """Close one of the spare connections, now; there must be one."""
        pool: Any = self._pool
        # Not acquired first: where the connection has broken unseen, that would log in, and take as long as it takes.
        next(holder for holder in pool._holders if holder.is_connected() and holder.is_idle()).terminate()  # noqa: SLF001

    def close_idle(self) -> None:
        """Refuse new leases and close everything, now; nothing may be out."""
        self._draining = True
        if self._initialised:
            self._pool.terminate()

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Connection]:
        """Hold one connection. `TenantChanged` if the pool drains before or meanwhile. May be cancelled."""
        self._refuse_if_draining()
        scope = asyncio.timeout(None)
        self._scopes.add(scope)
        try:
            async with scope:
                await self._initialise()
                async with self._pool.acquire() as connection:
                    self._refuse_if_draining()
                    yield connection
        except TimeoutError:
            if scope.expired():
                raise self._changed() from None
            raise
        except (asyncpg.InterfaceError, asyncpg.PostgresConnectionError, InternalClientError) as error:
            # The pool says so when it is closed under a waiter; anything else is a connection that broke.
            if self._draining:
                raise self._changed() from None
            why = reason_of(error)
            raise ConnectionLost(f"The connection of tenant {self.tenant_id!r} broke ({why}); try again.") from None
        finally:
            self._scopes.discard(scope)
            if self._draining and not self._scopes:
                self._drained.set()

    async def drain(self, grace: float) -> None:
        """Refuse new leases, wait `grace` seconds for those out, cancel the rest, close everything. Idempotent."""
        self._draining = True
        if self._scopes:
            await self._wait_drained(grace)
        for scope in tuple(self._scopes):
            if not scope.expired():  # by an earlier drain
                scope.reschedule(asyncio.get_running_loop().time())
        if self._scopes:
            await self._wait_drained(_CLOSE_SECONDS)
        await self._close()

    async def _wait_drained(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._drained.wait()
        except TimeoutError:
            return

    async def _initialise(self) -> None:
        """Make the pool usable; it opens `min_size` connections now and the rest when they are wanted."""
        async with self._initialising:
            if self._initialised:
                return
            try:
                _ = await self._pool
            except BaseException:
                # The driver closes its pool for good when the first connections fail or their caller is cancelled.
                self._pool = self._make()
                raise
            self._initialised = True

    async def _close(self) -> None:
        if not self._initialised or self._pool.is_closing():
            return  # nothing was opened, and the driver takes closing that for a mistake; or it was closed already
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._pool.close()
        except (TimeoutError, asyncpg.InterfaceError):
            self._pool.terminate()

    def _refuse_if_draining(self) -> None:
        if self._draining:
            raise self._changed()

    def _changed(self) -> TenantChanged:
        return TenantChanged(
            f"Tenant {self.tenant_id!r} was removed or registered anew while the call ran, or this replica stops; the "
            "call was stopped. Look at the tenant (get_tenant) and call again."
        )
