"""Pools on their way out: each refuses new calls, lets those that run go on for a while, and closes."""

import asyncio
from collections.abc import Iterable

import structlog

from server.tenant_pool import TenantPool


class Drains:
    """All pools that drain.

    Args:
        seconds: How long calls that run may go on.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._pools: dict[asyncio.Task[None], TenantPool] = {}
        self._logger = structlog.get_logger("pools")

    def __len__(self) -> int:
        return len(self._pools)

    @property
    def pools(self) -> Iterable[TenantPool]:
        """The pools, the one that began first first."""
        return self._pools.values()

    def begin(self, pool: TenantPool, why: str) -> None:
        """Begin to drain one. Does not wait."""
        self._logger.info("draining pool", tenant=pool.tenant_id, why=why, leased=pool.leased)
        task = asyncio.get_running_loop().create_task(pool.drain(self._seconds), name=f"drain {pool.tenant_id}")
        self._pools[task] = pool
        task.add_done_callback(self._pools.pop)

    def hurry(self) -> None:
        """Wait for no call from now on: those that run are stopped, and their callers told."""
        self._seconds = 0.0
        for pool in self._pools.values():
            pool.stop_calls()

    async def ended(self) -> None:
        """Wait until all pools are closed. May be cancelled; they go on."""
        if self._pools:
            await asyncio.wait(self._pools)
