"""One tenant's connections, as of one fingerprint: host, port, database, user, TLS, secret.

A pool is open until it drains, and never opens again. Draining refuses new leases at once, gives those that are out
their time, then cancels what still runs: the driver then cancels the query in Postgres, too.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar

import asyncpg
from asyncpg import Connection
from asyncpg.exceptions import InternalClientError

from registry.errors import ConnectionLost, TenantChanged
from registry.state import Live
from server.interruption import Interruption
from server.shared_reads import SharedReads
from server.shelf import OnConnection, Open, Shelf
from server.sqlstates import reason_of

T = TypeVar("T")

IDLE_SECONDS = 60.0
"""A connection that nobody used for so long is closed."""
_CLOSE_SECONDS = 2.0


class TenantPool:
    """Connections that one registration of a tenant opened.

    Args:
        tenant: The registration.
        open_connection: Logs in; raises `TenantUnreachable`, `LoginRefused` or `PolicyRefused`.
        prepare: Run once on each new connection. Whoever holds one leaves it as clean as a new one, or closed.
    """

    def __init__(self, tenant: Live, open_connection: Open, prepare: OnConnection) -> None:
        self.fingerprint = tenant.fingerprint
        self.tenant_id = tenant.tenant
        self.max_size = tenant.config.max_pool_size
        self._least = min(tenant.config.min_pool_size, tenant.config.max_pool_size)
        self._scopes: set[Interruption] = set()
        self._draining = False
        self._drained = asyncio.Event()
        self._initialising = asyncio.Lock()
        self._initialised = not self._least
        self._shelf = Shelf(open_connection, prepare, IDLE_SECONDS)
        self._shared = SharedReads()

    @property
    def leased(self) -> int:
        """How many connections are out."""
        return len(self._scopes)

    @property
    def busy(self) -> bool:
        """Whether anybody has a connection, or is about to."""
        return bool(self._scopes) or bool(self._shared)

    @property
    def size(self) -> int:
        """How many connections are open."""
        return self._shelf.size

    @property
    def spare(self) -> int:
        """How many connections are idle beyond those that are to be kept open."""
        return min(self._shelf.idle, self._shelf.size - self._least)

    def close_spare(self) -> None:
        """Close one of the spare connections, now; there must be one."""
        self._shelf.drop_oldest()

    def close_idle(self) -> None:
        """Refuse new leases and close everything, now; nothing may be out."""
        self._draining = True
        self._shelf.terminate()

    async def lend(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do the work with a connection that nobody else has meanwhile, and return what it returns.

        Raises what the work raises, `TenantChanged` if the pool drains before or meanwhile, and `ConnectionLost`. May
        be cancelled.
        """
        self._refuse_if_draining()
        scope = Interruption()
        self._scopes.add(scope)
        try:
            with scope:
                if not self._initialised:
                    await self._initialise()
                connection = await self._shelf.take()
                try:
                    self._refuse_if_draining()
                    return await work(connection)
                finally:
                    self._shelf.give(connection)
        except TimeoutError:
            if scope.struck:
                raise self._changed() from None
            raise
        except (asyncpg.InterfaceError, asyncpg.PostgresConnectionError, InternalClientError) as error:
            # The driver says so when a drain closed the connection; anything else is one that broke.
            if self._draining:
                raise self._changed() from None
            why = reason_of(error)
            raise ConnectionLost(f"The connection of tenant {self.tenant_id!r} broke ({why}); try again.") from None
        finally:
            self._scopes.discard(scope)
            if self._draining and not self._scopes:
                self._drained.set()

    async def share(self, question: Hashable, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do as `lend` does, once for all who have the same question at the same time (`server/shared_reads.py`)."""
        return await self._shared.ask(question, lambda: self.lend(work))

    async def drain(self, grace: float) -> None:
        """Refuse new leases, wait `grace` seconds for those out, cancel the rest, close everything. Idempotent."""
        self._draining = True
        if self._scopes:
            await self._wait_drained(grace)
        if self._scopes:
            self.stop_calls()
            await self._wait_drained(_CLOSE_SECONDS)
        await self._shelf.close(_CLOSE_SECONDS)

    def stop_calls(self) -> None:
        """Cancel what still runs in a pool that drains; its callers are told `TenantChanged`."""
        for scope in tuple(self._scopes):
            scope.strike()

    async def _wait_drained(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._drained.wait()
        except TimeoutError:
            return

    async def _initialise(self) -> None:
        """Open as many connections as are to be kept; more are opened when they are wanted."""
        async with self._initialising:
            if not self._initialised:
                await self._shelf.fill(self._least)
                self._initialised = True

    def _refuse_if_draining(self) -> None:
        if self._draining:
            raise self._changed()

    def _changed(self) -> TenantChanged:
        return TenantChanged(
            f"Tenant {self.tenant_id!r} was removed or registered anew while the call ran, or this replica stops; the "
            "call was stopped. Look at the tenant (get_tenant) and call again."
        )
