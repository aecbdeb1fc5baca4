"""Where an event becomes a pool: the tenants in use, their connections, and how much of us each may use.

A pool is made on a tenant's first call and goes when the tenant is removed, is registered with another fingerprint,
is idle, or is the least recently used of too many. Limits change in place; a new password opens a new pool while the
old one drains.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterator, Sequence
from itertools import chain
from typing import Final, Literal, TypeAlias, TypeVar, get_args

import asyncpg
import structlog
from asyncpg import Connection

from registry.errors import TenantBusy
from registry.secrets import Secret
from registry.state import Live, Tenant
from server.breaker import Breaker
from server.commons import Commons
from server.connect import Dialler
from server.drains import Drains
from server.gate import Full, Gate
from server.meter import meter_of
from server.shelf import OnConnection
from server.tenant_pool import TenantPool
from server.turns import Turns

T = TypeVar("T")

PATIENCE: Final = 10.0
"""Seconds that a call waits for its turn."""
_LOGINS_EACH: Final = 8
"""Logins of one tenant at a time, once one has worked; before that, one."""

Refusal: TypeAlias = Literal["tenant", "replica", "logins", "pools"]
"""Whose bound a call met that was told `tenant_busy`."""
REFUSALS: Final[tuple[Refusal, ...]] = get_args(Refusal)
Lookup: TypeAlias = Callable[[str], Live]
Password: TypeAlias = Callable[[Live], Awaitable[Secret | None]]


class _Seat:
    """What is kept of a tenant in use, across its pools."""

    def __init__(self, pool: TenantPool, gate: Gate, breaker: Breaker) -> None:
        self.pool = pool
        self.gate = gate
        self.breaker = breaker


class Pools:
    """All pools of this replica.

    Args:
        lookup: The tenant as the directory has it now; raises `UnknownTenant` or `RemovedTenant`.
        dialler: Logs in.
        password: Opens a tenant's password, for one login.
        prepare: Run on each new connection. Whoever holds one leaves it as clean as a new one, or closed.
        drain_seconds: For calls that run when their pool goes.
        max_pools, max_connections: Bounds for this replica.
    """

    def __init__(
        self,
        *,
        lookup: Lookup,
        dialler: Dialler,
        password: Password,
        prepare: OnConnection,
        drain_seconds: float,
        max_pools: int,
        max_connections: int,
    ) -> None:
        self._lookup = lookup
        self._dialler = dialler
        self._password = password
        self._prepare = prepare
        self._max_pools = max_pools
        self._max_connections = max_connections
        self._places = Commons(max_connections, max_connections * 8)
        self._logins = Commons(max_connections, max_connections * 8, each=_LOGINS_EACH)
        self._seats: OrderedDict[str, _Seat] = OrderedDict()
        self._drains = Drains(drain_seconds)
        self._arriving = 0
        self.refused: Counter[Refusal] = Counter()
        self._closed = False
        self._too_many = False
        self._turns = Turns(lambda seconds, call: asyncio.get_running_loop().call_later(seconds, call))
        self._logger = structlog.get_logger("pools")

    def __len__(self) -> int:
        return len(self._seats)

    @property
    def draining(self) -> int:
        """How many pools are being closed."""
        return len(self._drains)

    @property
    def connections(self) -> int:
        """How many connections are open or being opened."""
        return self._connections() + self._logins.running

    @property
    def running(self) -> int:
        """How many calls have their turn."""
        return self._places.running

    @property
    def logging_in(self) -> int:
        """How many logins are under way."""
        return self._logins.running

    @property
    def waiting(self) -> tuple[int, int]:
        """How many calls wait for their tenant's own places, and for one that all tenants share."""
        return sum(seat.gate.waiting for seat in self._seats.values()), self._places.waiting

    def error_of(self, tenant_id: str) -> str | None:
        """Return why the tenant's last login failed; None if it did not, or nobody tried."""
        seat = self._seats.get(tenant_id)
        return seat.breaker.last_error.message if seat and seat.breaker.last_error else None

    async def lend(
        self, tenant_id: str, work: Callable[[Connection], Awaitable[T]], question: Hashable | None = None
    ) -> T:
        """Do the work of one call with one of the tenant's connections, and return what it returns.

        With a question, which is all that the answer depends on, it may be done once for all who ask it just now.

        Raises what the work raises, and `UnknownTenant`, `RemovedTenant`, `TenantBusy`, `TenantUnreachable`,
        `LoginRefused`, `PolicyRefused`, `SecretUnreadable`, `RegistryUnavailable` when the password cannot be fetched,
        `ConnectionLost`, and `TenantChanged` when the tenant is removed or registered anew meanwhile. May be cancelled:
        the query is then cancelled in Postgres, too.
        """
        seat = self._seat(tenant_id)
        at_once = seat.gate.enter_at_once()
        if not at_once:
            await self._come(tenant_id, seat.gate)
        try:
            if not seat.breaker.proven:
                at_once = False
                # Without a place: what hangs here has not worked yet, and others need the places for what works.
                await seat.breaker.prove(lambda: seat.pool.lend(_nothing))
            if self._too_many:
                at_once = False
                self._make_way()
            if not self._places.enter_at_once(tenant_id):
                at_once = False
                await self._take_place(tenant_id)
            try:
                # Looked up again after a wait: the tenant may have changed.
                pool = (seat if at_once else self._seat(tenant_id)).pool
                return await (pool.lend(work) if question is None else pool.share(question, work))
            finally:
                self._places.leave(tenant_id)
        finally:
            seat.gate.leave()

    async def _come(self, tenant_id: str, gate: Gate) -> None:
        try:
            await gate.enter(PATIENCE)
        except Full:
            self.refused["tenant"] += 1
            raise TenantBusy(
                f"Tenant {tenant_id!r} has {gate.running} calls running and too many waiting; try again shortly."
            ) from None

    async def _take_place(self, tenant_id: str) -> None:
        try:
            await self._places.enter(tenant_id, PATIENCE)
        except Full:
            self.refused["replica"] += 1
            raise TenantBusy(
                f"This replica has {self._places.running} calls running, {self._places.held(tenant_id)} of them of "
                f"tenant {tenant_id!r}, and too many waiting; try again shortly."
            ) from None

    def react(self, tenants: Sequence[Tenant]) -> None:
        """Bring the pools in line with tenants that changed. Does not wait: what is replaced drains by itself."""
        for tenant in tenants:
            seat = self._seats.get(tenant.tenant)
            if seat is None:
                continue
            if not isinstance(tenant, Live):
                self._drains.begin(self._seats.pop(tenant.tenant).pool, "removed")
                continue
            if tenant.fingerprint != seat.pool.fingerprint:
                self._drains.begin(seat.pool, "registered anew")
                # A breaker of its own: a login still under way for the old registration says nothing about this one.
                seat.breaker = Breaker(asyncio.get_running_loop().time)
                seat.pool = self._pool(tenant, seat.breaker)
            seat.gate.resize(*_sizes(tenant, seat.pool))

    def stop_calls(self) -> None:
        """Refuse new calls, and stop those that run: their callers are told. Does not wait; `close` does."""
        self._drains.hurry()
        self._drain_all()

    async def close(self) -> None:
        """Refuse new calls and drain everything; at most about the drain time."""
        self._drain_all()
        await self._drains.ended()

    def _drain_all(self) -> None:
        self._closed = True
        while self._seats:
            self._drains.begin(self._seats.popitem()[1].pool, "shutting down")

    def _seat(self, tenant_id: str) -> _Seat:
        # Invariant: no await between the directory and the pool, so no pool is made for a tenant that is gone.
        if self._closed:
            raise TenantBusy("This replica is shutting down; try again.")
        tenant = self._lookup(tenant_id)
        seat = self._seats.get(tenant_id)
        if seat is None:
            self._make_room()
            breaker = Breaker(asyncio.get_running_loop().time)
            pool = self._pool(tenant, breaker)
            seat = _Seat(pool, Gate(*_sizes(tenant, pool)), breaker)
            self._seats[tenant_id] = seat
        self._seats.move_to_end(tenant_id)
        return seat

    def _pool(self, tenant: Live, breaker: Breaker) -> TenantPool:
        async def log_in() -> asyncpg.Connection:
            try:
                async with self._logins.place(tenant.tenant, PATIENCE):
                    password = await self._password(tenant)
                    connection = await self._dialler.connect(tenant.tenant, tenant.config, password)
            except Full:
                self.refused["logins"] += 1
                raise TenantBusy("Too many logins of this replica are under way; try again shortly.") from None
            self._arriving += 1
            self._make_way()  # only now: a login that fails costs nobody a connection
            self._arriving -= 1
            meter_of(connection).take_turns(self._turns, tenant.tenant)
            return connection

        async def open_connection() -> asyncpg.Connection:
            return await breaker.attempt(log_in)

        return TenantPool(tenant, open_connection, self._prepare)

    def _make_room(self) -> None:
        """Let the least recently used pool go that nobody is using, when there are too many."""
        if len(self._seats) < self._max_pools:
            return
        idle = next((known for known, seat in self._seats.items() if not seat.pool.busy), None)
        if idle is None:
            self.refused["pools"] += 1
            raise TenantBusy("All pools of this replica are in use; try again shortly.")
        self._evict(idle)

    def _make_way(self) -> None:
        """Close idle connections until there are not too many: of pools that drain, then of who has the most to spare.

        Calls are fewer than connections, so that is always possible, unless tenants in use want some kept open; a
        tenant's first login may go beyond for the moment until its connection is idle, which each call looks at then.
        """
        while self._connections() > self._max_connections:
            self._too_many = True
            spare = max(self._all_pools(), key=lambda pool: pool.spare)  # of several the first, used least recently
            idle = next((known for known, seat in self._seats.items() if seat.pool.size and not seat.pool.busy), None)
            if spare.spare:
                spare.close_spare()
            elif idle is not None:
                self._evict(idle)
            else:
                return
        self._too_many = False

    def _connections(self) -> int:
        return self._arriving + sum(pool.size for pool in self._all_pools())

    def _all_pools(self) -> Iterator[TenantPool]:
        """Return the pools that drain, then the others, the least recently used first."""
        return chain(self._drains.pools, (seat.pool for seat in self._seats.values()))

    def _evict(self, tenant_id: str) -> None:
        """Close the connections of a tenant that nobody uses, now."""
        self._logger.info("closing pool", tenant=tenant_id, why="least recently used")
        self._seats.pop(tenant_id).pool.close_idle()


async def _nothing(_connection: Connection) -> None:
    """Use a connection for nothing but that it is there."""


def _sizes(tenant: Live, pool: TenantPool) -> tuple[int, int]:
    """Return places and places with queue: no more places than `pool` has connections, or calls would wait in there."""
    return min(tenant.config.max_pool_size, pool.max_size), tenant.config.max_concurrent_requests
