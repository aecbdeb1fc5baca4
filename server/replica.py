"""Wiring: one replica, from Redis to the tools. Everything is made here and handed in; nothing is found by itself."""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from projections.clock import ticking
from projections.directory import Directory
from projections.follower import Follower
from projections.freshness import Freshness
from projections.keyring import Keyring
from projections.phase import STUCK, OnLoss, Phase
from projections.presence import Presence, identity_of
from projections.rebuild import Rebuilder
from projections.reconciler import Reconciler
from projections.replicas import LEASE, Whereabouts
from projections.restoration import Restorer
from projections.rotation import follow_rotations
from projections.tenant_keys import TenantKeys
from projections.traces import trace_of_a_log
from registry.data_keys import DataKeys
from registry.decide import require_live
from registry.names import Names
from registry.redis_client import RedisClient
from registry.redis_log import RedisLog
from registry.secrets import MasterKeys
from registry.service import TenantRegistry
from registry.signing import Signer
from registry.state import Live, Tenant
from registry.tally import Tally
from server import __version__
from server.adopting import adopt_once
from server.alarms import KeyAlarm, tell_quarantined
from server.announcements import Announcements
from server.audit import Audit
from server.audit_file import AuditFile
from server.backing import signer_of
from server.beyond import Beyond
from server.bounds import limits_of, pools_of, rates_of
from server.confirmation import Policy
from server.connect import Dialler
from server.database_tools import DatabaseTools
from server.instruments import Instruments
from server.loops import running
from server.reach import Reach
from server.redis_check import RedisCheck
from server.refusals import HttpTally
from server.secret_files import SecretFiles, passwords
from server.settings import Settings
from server.sight import Sight
from server.sql_guard import Guard
from server.status_tools import StatusTools
from server.tenant_policy import policy_of
from server.tenant_tools import TenantTools
from server.tool_tally import ToolTally
from server.toolbox import Toolbox
from server.write_tools import WriteTools
from server.writes import WriteLimits

_TAIL_TIMEOUT: Final = 4.0
"""Seconds that a blocking read may take: longer than it blocks, or each idle second would look like a lost server."""

_SHOWN: Final = 20
"""Ids in a log line."""


class Replica:
    """What the outside of a replica needs: its tools and what is told beside them, whether it is ready, its numbers."""

    def __init__(
        self, toolbox: Toolbox, beyond: Beyond, follower: Follower, instruments: Instruments, reach: Reach
    ) -> None:
        self.toolbox = toolbox
        self.beyond = beyond
        self.reach = reach
        self.follower = follower
        self.instruments = instruments


@asynccontextmanager
async def open_replica(
    settings: Settings, redis_url: str, master: MasterKeys, *, serving: bool = True, writing: bool = False
) -> AsyncIterator[Replica]:
    """Run a replica; Redis may be away, now or later. On leaving, pools are drained and connections closed.

    Raises `UnsafeRedis` if Redis is there and must not hold the log; if it comes later, the follower halts.

    Args:
        settings: Checked settings.
        redis_url: Where the log is.
        master: What opens and wraps the tenants' data keys.
        serving: Also adopt and mend keys, and be seen by the others; one who only looks begins and mends nothing.
        writing: Without serving, begin a log all the same where there is none and there never was.

    Raises `StartError` if the signing key cannot be used.
    """
    signer = signer_of(settings)
    async with _clients(redis_url) as (commands, tail):
        check = RedisCheck(commands, allow_unsafe=settings.allow_unsafe_redis)
        await check.at_start()
        on_loss = OnLoss(settings.on_log_loss) if serving else OnLoss.HALT if writing else OnLoss.LOOK_ON
        async with _assembled(
            settings, commands, tail, master, check, signer, serving=serving, on_loss=on_loss
        ) as replica:
            yield replica


@asynccontextmanager
async def _clients(redis_url: str) -> AsyncIterator[tuple[RedisClient, RedisClient]]:
    """Hold the connections to Redis: one set for what answers at once, and one for the tail."""
    commands = RedisClient.from_url(redis_url)
    tail = RedisClient.from_url(redis_url, connections=1, timeout=_TAIL_TIMEOUT)
    try:
        yield commands, tail
    finally:
        await tail.close()
        await commands.close()


@asynccontextmanager
async def _assembled(
    settings: Settings,
    commands: RedisClient,
    tail: RedisClient,
    master: MasterKeys,
    check: RedisCheck,
    signer: Signer,
    *,
    serving: bool,
    on_loss: OnLoss,
) -> AsyncIterator[Replica]:
    names = Names(settings.prefix)
    log = RedisLog(commands, tail, names)
    directory, keyring = Directory(), Keyring(log, master)
    key_alarm = KeyAlarm(keyring)
    keys = TenantKeys(commands, names)

    def lookup(tenant_id: str) -> Live:
        follower.require_ready()
        return require_live(tenant_id, directory.tenant(tenant_id))

    secret_files = SecretFiles(settings.secrets_dir, settings.secrets_env_prefix)
    policy = policy_of(settings)
    reach = Reach(policy.network, redis=lambda: commands.known)
    dialler = Dialler(settings.connect_timeout, policy, reach)
    pools = pools_of(settings, lookup, dialler, passwords(secret_files, keyring.password))
    tally, tools = Tally(), ToolTally()
    announcements = Announcements(settings.max_clients // 4, directory.roster.moved)
    freshness = Freshness(LEASE, settings.max_staleness, must_be_seen=serving)

    presence = Presence(
        redis=commands,
        names=names,
        identity=identity_of(settings.replica_name, __version__, settings.max_staleness),
        tell=lambda: _whereabouts(directory, follower),
        on_seen=freshness.seen,
    )

    async def on_change(tenants: Sequence[Tenant]) -> None:
        pools.react(tenants)
        announcements.changed(tenants)
        presence.moved()  # the removed tenants' pools refuse from here on
        tally.quarantined += tell_quarantined(tenants)
        await keyring.refresh(tenants)

    async def on_caught_up() -> None:
        await check()
        if not follower.status.ready:
            await key_alarm.begin()
        reconciler.hurry()

    restorer = Restorer(
        log,
        keyring,
        signer,
        actor=presence.name,
        now=_now,
        new_id=_new_id,
        tally=tally,
        trace=lambda: trace_of_a_log(commands, names),
    )
    follower = Follower(
        log=log,
        directory=directory,
        rebuilder=Rebuilder(log, keys, full_replay=settings.full_replay),
        on_change=on_change,
        on_caught_up=on_caught_up,
        restorer=restorer,
        on_loss=on_loss,
        freshness=freshness,
    )
    reconciler = Reconciler(
        redis=commands,
        names=names,
        log=log,
        keys=keys,
        directory=directory,
        is_current=lambda: follower.status.phase is Phase.FOLLOWING,
        owner=_new_id(),
        every=settings.repair_seconds,
        tally=tally,
    )
    registry = TenantRegistry(
        log=log, view=follower, keys=keys, master=master, now=_now, new_id=_new_id, tally=tally, signer=signer
    )
    audit_file = AuditFile(settings.audit_file) if settings.audit_file and serving else None
    if audit_file:
        audit_file.require_writable()
    sight, rates = Sight(follower, directory), rates_of(settings)
    toolbox = Toolbox.of(
        TenantTools(
            registry=registry,
            sight=sight,
            log=log,
            pools=pools,
            secret_files=secret_files,
            dialler=dialler,
            confirmer=presence,
            removal_wait=settings.removal_wait,
        ),
        StatusTools(follower=follower, directory=directory, presence=presence),
        DatabaseTools(
            follower=follower,
            sight=sight,
            pools=pools,
            limits=limits_of(settings),
            guard=Guard(strict=settings.strict_reads),
            rates=rates,
        ),
        WriteTools(
            follower=follower,
            sight=sight,
            pools=pools,
            limits=WriteLimits(each=limits_of(settings), whole=settings.write_timeout),
            rates=rates,
            audit=Audit(audit_file),
            confirm=Policy(settings.confirm_writes),
        ),
        observe=tools.note,
        admit=rates.count_caller,
    )
    instruments = Instruments(
        follower=follower,
        directory=directory,
        freshness=freshness,
        presence=presence,
        pools=pools,
        tally=tally,
        tools=tools,
        announcements=announcements,
        http=HttpTally(),
    )

    loops = [ticking(freshness.tick), _follow(follower, presence if serving else None), key_alarm.run()]
    if serving:
        adopting = adopt_once(commands, names, follower, registry)
        loops += [
            presence.run(),
            reconciler.run(),
            adopting,
            follow_rotations(DataKeys(commands, names), keyring, directory),
        ]
    try:
        async with running(*loops):
            yield Replica(toolbox, Beyond.of(toolbox, sight, announcements), follower, instruments, reach)
    finally:
        await pools.close()
        if audit_file:
            audit_file.close()
        await presence.leave()


async def _follow(follower: Follower, presence: Presence | None) -> None:
    """Follow the log; with `presence`, as one whom the others see before it reads, so that it misses no removal."""
    if presence:
        await presence.introduced()
    await follower.run()


def _whereabouts(directory: Directory, follower: Follower) -> Whereabouts:
    log = directory.epoch.name if directory.epoch else ""
    phase = follower.status.phase
    return Whereabouts(log=log, position=directory.position, state=phase, linked=phase not in {*STUCK, Phase.RESTORING})


def _now() -> datetime:
    return datetime.now(UTC)


def _new_id() -> str:
    return uuid.uuid4().hex
