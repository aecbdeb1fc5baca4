"""What the settings bound: connections, calls a second, and what one read may take."""

import time

from asyncpg import Connection

from server.connect import Dialler
from server.pools import Lookup, Password, Pools
from server.quick_reads import keep_no_names
from server.rates import CallRates, Rate
from server.reads import ReadLimits, prepare_connection
from server.settings import Settings


def pools_of(settings: Settings, lookup: Lookup, dialler: Dialler, password: Password) -> Pools:
    """Return the pools of a replica, empty."""

    async def prepare(connection: Connection) -> None:
        await prepare_connection(connection)
        if not settings.keep_prepared:
            keep_no_names(connection)

    return Pools(
        lookup=lookup,
        dialler=dialler,
        password=password,
        prepare=prepare,
        drain_seconds=settings.drain_seconds,
        max_pools=settings.max_pools,
        max_connections=settings.max_connections,
    )


def rates_of(settings: Settings) -> CallRates:
    """Return what counts calls against the rates."""
    return CallRates(
        caller=Rate(settings.caller_rate, settings.rate_burst, time.monotonic),
        tenant=Rate(settings.tenant_rate, settings.rate_burst, time.monotonic),
    )


def limits_of(settings: Settings) -> ReadLimits:
    """Return what one read may take."""
    return ReadLimits(
        max_rows=settings.max_rows,
        max_bytes=settings.max_result_bytes,
        statement_timeout=settings.statement_timeout,
        lock_timeout=settings.lock_timeout,
    )
