"""What the figures were measured on and with."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from registry.redis_client import RedisClient
from tests.benchmarks.load.results import Machine


async def machine(dsn: str, redis_url: str, load_before: float) -> Machine:
    """Return this machine, with the servers' versions as they tell them."""
    return Machine(
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        cores=len(os.sched_getaffinity(0)),
        cpu=_cpu(),
        memory_gb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        system=f"{platform.freedesktop_os_release().get('PRETTY_NAME', platform.system())}, Linux {platform.release()}",
        python=platform.python_version(),
        postgres=await _postgres(dsn),
        valkey=await _valkey(redis_url),
        commit=_commit(),
        load_before=load_before,
        load_after=os.getloadavg()[0],
    )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


async def _postgres(dsn: str) -> str:
    connection = await asyncpg.connect(dsn)
    try:
        return f"PostgreSQL {await connection.fetchval('SHOW server_version')}"
    finally:
        await connection.close()


async def _valkey(url: str) -> str:
    client = RedisClient.from_url(url)
    try:
        told = await client.run("INFO", "server")
    finally:
        await client.close()
    return f"Valkey {told['valkey_version']}" if "valkey_version" in told else f"Redis {told['redis_version']}"


def _commit() -> str:
    told = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return told.stdout.strip() or "unknown"
