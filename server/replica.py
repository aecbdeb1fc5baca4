"""Wiring: one replica, from Redis to the tools. Everything is made here and handed in; nothing is found by itself."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import structlog

from projections.directory import Directory
from projections.follower import Follower
from projections.keyring import Keyring
from projections.phase import Phase
from projections.rebuild import Rebuilder
from projections.reconciler import Reconciler
from projections.restoration import Restorer
from projections.tenant_keys import TenantKeys
from registry.adoption import Adopted, adopt
from registry.decide import require_live
from registry.errors import RegistryUnavailable
from registry.names import Names
from registry.redis_client import RedisClient
from registry.redis_log import RedisLog
from registry.secrets import MasterKeys
from registry.service import TenantRegistry
from registry.state import Live, Quarantined, Tenant
from server.backing import signer_of
from server.database_tools import DatabaseTools
from server.pools import Pools
from server.reads import ReadLimits, prepare_connection, reset_connection
from server.settings import Settings
from server.tenant_tools import TenantTools
from server.toolbox import Toolbox

_TAIL_TIMEOUT: Final = 4.0
"""Seconds that a blocking read may take: longer than it blocks, or each idle second would look like a lost server."""

_ADOPTION_PAUSE: Final = 1.0
_SHOWN: Final = 20
"""Ids in a log line."""


class Replica:
    """What the outside of a replica needs: its tools, and whether it is ready."""

    def __init__(self, toolbox: Toolbox, follower: Follower) -> None:
        self.toolbox = toolbox
        self.follower = follower


@asynccontextmanager
async def open_replica(
    settings: Settings, redis_url: str, master: MasterKeys, *, serving: bool = True
) -> AsyncIterator[Replica]:
    """Run a replica; Redis may be away, now or later. On leaving, pools are drained and connections closed.

    Args:
        settings: Checked settings.
        redis_url: Where the log is.
        master: What opens and wraps the tenants' data keys.
        serving: Also adopt and mend keys; one who only looks changes nothing.

    Raises `StartError` if the signing key cannot be used.
    """
    signer = signer_of(settings)
    names = Names(settings.prefix)
    commands = RedisClient.from_url(redis_url)
    tail = RedisClient.from_url(redis_url, connections=1, timeout=_TAIL_TIMEOUT)
    log = RedisLog(commands, tail, names)
    directory, keyring = Directory(), Keyring(log, master)
    keys = TenantKeys(commands, names, lambda: directory.epoch)
    owner = _new_id()
    pools = _pools(settings, directory, keyring)

    async def on_change(tenants: Sequence[Tenant]) -> None:
        pools.react(tenants)
        _tell_quarantined(tenants)
        await keyring.refresh(tenants)

    async def on_caught_up() -> None:
        if not follower.status.ready:
            _check_keys(keyring)
        reconciler.hurry()

    restorer = Restorer(log, keyring, signer, actor=owner, now=_now, new_id=_new_id)
    follower = Follower(
        log=log,
        directory=directory,
        rebuilder=Rebuilder(log, keys, full_replay=settings.full_replay),
        on_change=on_change,
        on_caught_up=on_caught_up,
        restorer=restorer if serving and settings.on_log_loss == "restore" else None,
        now=_now,
        new_id=_new_id,
    )
    reconciler = Reconciler(
        redis=commands,
        names=names,
        log=log,
        keys=keys,
        directory=directory,
        is_current=lambda: follower.status.phase is Phase.FOLLOWING,
        owner=owner,
        every=settings.repair_seconds,
    )
    registry = TenantRegistry(log=log, view=follower, keys=keys, master=master, now=_now, new_id=_new_id, signer=signer)
    toolbox = Toolbox.of(
        TenantTools(
            registry=registry,
            follower=follower,
            directory=directory,
            log=log,
            pools=pools,
            connect_timeout=settings.connect_timeout,
        ),
        DatabaseTools(follower=follower, pools=pools, limits=_limits(settings)),
    )

    async def adopt_once() -> None:
        await follower.complete()
        await _adopt(commands, names, follower, registry)

    loops = [asyncio.create_task(follower.run(), name="follower")]
    if serving:
        loops += [asyncio.create_task(reconciler.run()), asyncio.create_task(adopt_once())]
    try:
        yield Replica(toolbox, follower)
    finally:
        for loop in loops:
            loop.cancel()
        await asyncio.wait(loops)
        await pools.close()
        await tail.close()
        await commands.close()


def _tell_quarantined(tenants: Sequence[Tenant]) -> None:
    for tenant in tenants:
        if isinstance(tenant, Quarantined):
            structlog.get_logger("replica").error("tenant quarantined", tenant=tenant.tenant, reason=tenant.reason)


def _check_keys(keyring: Keyring) -> None:
    """Say whose data keys do not open; raises `SecretUnreadable` if none does."""
    unreadable = keyring.check()
    if unreadable:
        logger = structlog.get_logger("replica")
        logger.error("data keys that do not open", count=len(unreadable), tenants=unreadable[:_SHOWN])


async def _adopt(redis: RedisClient, names: Names, follower: Follower, registry: TenantRegistry) -> None:
    """Take over an earlier system's keys, as soon as Redis lets us."""
    adopted = Adopted([], {})
    logger = structlog.get_logger("adoption")
    while True:
        try:
            await adopt(redis, names, follower, registry, adopted)
            break
        except RegistryUnavailable:
            await asyncio.sleep(_ADOPTION_PAUSE)
        except Exception:  # a supervised task: nobody awaits it, so what broke is told here or nowhere
            logger.exception("keys not adopted")
            break
    _tell_adopted(adopted)


def _tell_adopted(adopted: Adopted) -> None:
    logger = structlog.get_logger("adoption")
    if adopted.tenants:
        logger.info("plain keys adopted", count=len(adopted.tenants), tenants=adopted.tenants[:_SHOWN])
    for tenant_id, reason in adopted.refused.items():
        logger.warning("key not adopted", tenant=tenant_id[:80], reason=reason)


def _pools(settings: Settings, directory: Directory, keyring: Keyring) -> Pools:
    def lookup(tenant_id: str) -> Live:
        return require_live(tenant_id, directory.tenant(tenant_id))

    return Pools(
        lookup=lookup,
        password=keyring.password,
        prepare=prepare_connection,
        reset=reset_connection,
        connect_timeout=settings.connect_timeout,
        drain_seconds=settings.drain_seconds,
        max_pools=settings.max_pools,
        max_connections=settings.max_connections,
    )


def _limits(settings: Settings) -> ReadLimits:
    return ReadLimits(
        max_rows=settings.max_rows,
        max_bytes=settings.max_result_bytes,
        statement_timeout=settings.statement_timeout,
        lock_timeout=settings.lock_timeout,
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _new_id() -> str:
    return uuid.uuid4().hex
