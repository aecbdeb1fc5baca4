"""A log on a real Redis with everything that commands do to it: replicas that run beside, files, places to look."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from projections.compaction import Compactor, Plan, PublishedReplicas
from projections.exporting import Exporter
from projections.importing import FileRead, Importer, read_file
from projections.inspection import Inspected
from projections.mending import Mended, Mender
from projections.replicas import Identity, Whereabouts, line_of
from registry.entries import Position
from registry.names import Names
from registry.redis_client import RedisClient
from registry.secrets import MasterKeys
from registry.verify import Finding
from server.first_read import first_read
from server.log_access import LogAccess
from server.log_files import writing
from server.replica import Replica, open_replica
from server.settings import Settings
from tests.security.replicas import call

NAMES: Final = Names()
STREAM: Final = NAMES.stream
TICKS: Final = 500
Files: TypeAlias = dict[str, Any]
"""Settings that name key files."""


class Open(Protocol):
    """Starts a replica."""

    async def __call__(self, **settings: Any) -> Replica: ...  # noqa: ANN401 - any setting


@asynccontextmanager
async def running(redis_url: str, files: Files, **settings: Any) -> AsyncIterator[Replica]:  # noqa: ANN401 - any setting
    master = MasterKeys.parse(files["key_file"].read_text())
    told = Settings(redis_url=redis_url, repair_seconds=3600, **{**files, **settings})
    async with open_replica(told, redis_url, master) as replica:
        status = await first_read(replica.follower, 5)
        assert status.ready, status
        yield replica


async def register(replica: Replica, tenant: str, host: str = "db") -> Position:
    told = await call(
        replica,
        "register_tenant",
        tenant_id=tenant,
        host=host,
        database="app",
        user="reader",
        password="s3cr3t-canary",
        verify=False,
        reason=f"for {tenant}",
    )
    return Position.parse(told["position"])


async def story(replica: Replica) -> list[Position]:
    """Register, replace, remove; return where each happened."""
    places = [await register(replica, tenant) for tenant in ("old", "acme", "gone", "beta")]
    places.append(await register(replica, "acme", "db2"))
    places.append(Position.parse((await call(replica, "remove_tenant", tenant_id="gone"))["position"]))
    places.append(await register(replica, "beta", "db2"))
    return places


async def inspect(access: LogAccess) -> Inspected:
    return await access.inspector().inspect()


async def found(access: LogAccess) -> list[Finding]:
    return (await inspect(access)).findings


def knows_the_log(replica: Replica) -> bool:
    return replica.follower.as_of.epoch.is_known


async def until(replica: Replica, phase: str) -> None:
    for _ in range(TICKS):
        if replica.follower.status.phase == phase:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(replica.follower.status)


async def everything(redis: RedisClient) -> dict[bytes, Any]:
    """Return all that Redis holds below the prefix but leases and presence, as it is."""
    held: dict[bytes, Any] = {}
    for key in await redis.run("KEYS", "*"):
        if key.endswith((b":repair", b":replicas")):
            continue
        match await redis.run("TYPE", key):
            case b"stream":
                info = await redis.run("XINFO STREAM", key)
                end = (info["entries-added"], info["last-generated-id"])
                held[key] = (end, await redis.run("XRANGE", key, "-", "+"))
            case b"hash":
                held[key] = await redis.run("HGETALL", key)
            case _:
                held[key] = await redis.run("GET", key)
    return held


def exporter(access: LogAccess) -> Exporter:
    return Exporter(access.log, access.archive, access.keys, NAMES.prefix)


async def export(access: LogAccess, path: Path) -> None:
    with writing(path) as write:
        await exporter(access).export(write, datetime.now(UTC))


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


async def put(access: LogAccess, path: Path, name: str = "one") -> FileRead:
    read = read_file(lines_of(path), access.signer)
    await Importer(access.archive, access.keys, name).put(read, lambda: lines_of(path))
    return read


async def mend(access: LogAccess, *, dry_run: bool = False) -> Mended:
    inspected = await inspect(access)
    return await Mender(access.log, access.keys).mend(inspected, dry_run=dry_run)


def compactor(access: LogAccess) -> Compactor:
    return Compactor(
        access.log,
        access.archive,
        PublishedReplicas(access.redis, access.names),
        access.signer,
        actor="ann",
        now=lambda: datetime.now(UTC),
        new_id=lambda: "compaction",
    )


async def plan(access: LogAccess, before: int | Position) -> Plan | None:
    return await compactor(access).plan(await inspect(access), before)


async def compact(access: LogAccess, before: int | Position) -> int:
    planned = await plan(access, before)
    assert planned is not None
    return await compactor(access).compact(planned)


async def publish(access: LogAccess, redis: RedisClient, name: str, at: Position, *, ago: int = 0, **more: Any) -> None:  # noqa: ANN401 - as a replica tells it
    here = Whereabouts(log="x", position=at, state="following", **more)
    identity = Identity(name=name, version="1", host="h", pid=1, max_staleness=60.0)
    told = json.loads(line_of(identity, here))
    seen = await access.archive.now() - ago
    await redis.run("HSET", NAMES.replicas, name, json.dumps({**told, "seen": seen}))
