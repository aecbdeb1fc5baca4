"""The parts of a replica that know the tenants: from the log in Redis, over what is folded of it, to their databases.

Rules: everything is made here and handed in; nothing is found by itself. Nothing runs yet, and Redis may be away.
"""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

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
from projections.tenant_keys import TenantKeys
from projections.traces import trace_of_a_log
from registry.decide import require_live
from registry.names import Names
from registry.redis_client import RedisClient
from registry.redis_log import RedisLog
from registry.secrets import MasterKeys
from registry.service import TenantRegistry
from registry.signing import Signer
from registry.state import Live
from registry.tally import Tally
from server import __version__
from server.alarms import KeyAlarm
from server.announcements import Announcements
from server.bounds import pools_of
from server.connect import Dialler
from server.pools import Lookup, Pools
from server.reach import Reach
from server.reactions import Reactions
from server.redis_check import RedisCheck
from server.secret_files import SecretFiles, passwords
from server.settings import Settings
from server.tenant_policy import policy_of


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What a replica is made of, and what for.

    Attributes:
        settings: Checked settings.
        commands: Connections to the Redis that has the log, for what answers at once.
        tail: Connections to the same, for reads that block.
        check: Looks whether that Redis may hold the log.
        master: What opens and wraps the tenants' data keys.
        signer: What signs events.
        serving: Whether it adopts and mends keys, and is seen by the others.
        on_loss: What it may do about a log that is not there, or has lost entries.
    """

    settings: Settings
    commands: RedisClient
    tail: RedisClient
    check: RedisCheck
    master: MasterKeys
    signer: Signer
    serving: bool
    on_loss: OnLoss


class Store(msgspec.Struct, frozen=True, kw_only=True):
    """What is in Redis: the log, and what is kept beside it."""

    redis: RedisClient
    names: Names
    log: RedisLog
    keys: TenantKeys
    keyring: Keyring


class Databases(msgspec.Struct, frozen=True, kw_only=True):
    """What leads to the tenants' databases."""

    secret_files: SecretFiles
    reach: Reach
    dialler: Dialler
    pools: Pools


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """The parts, each knowing those that it needs."""

    store: Store
    directory: Directory
    databases: Databases
    freshness: Freshness
    presence: Presence
    reconciler: Reconciler
    announcements: Announcements
    key_alarm: KeyAlarm
    follower: Follower
    registry: TenantRegistry
    tally: Tally


def parts_of(setup: Setup) -> Parts:
    """Return the parts of a replica, at rest.

    They form a circle: the follower tells the others what it has read, and some of them ask it how far it is. So it is
    made last, and whoever asks is handed a function that names it. Invariant: nobody asks before the loops run.
    """

    def lookup(tenant_id: str) -> Live:
        follower.require_ready()
        return require_live(tenant_id, directory.tenant(tenant_id))

    store, directory, tally = _store(setup), Directory(), Tally()
    freshness = Freshness(LEASE, setup.settings.max_staleness, must_be_seen=setup.serving)
    databases = _databases(setup, store, lookup)
    presence = _presence(setup, store, freshness, lambda: _whereabouts(directory, follower))
    reconciler = _reconciler(setup, store, directory, tally, lambda: follower.status.phase is Phase.FOLLOWING)
    announcements = Announcements(setup.settings.max_clients // 4, directory.roster.moved)
    reactions = Reactions(
        pools=databases.pools,
        announcements=announcements,
        presence=presence,
        keyring=store.keyring,
        check=setup.check,
        key_alarm=KeyAlarm(store.keyring),
        reconciler=reconciler,
        tally=tally,
        is_ready=lambda: follower.status.ready,
    )
    restorer = _restorer(setup, store, presence.name, tally)
    follower = _follower(setup, store, directory, freshness, restorer, reactions)
    return Parts(
        store=store,
        directory=directory,
        databases=databases,
        freshness=freshness,
        presence=presence,
        reconciler=reconciler,
        announcements=announcements,
        key_alarm=reactions.key_alarm,
        follower=follower,
        registry=_registry(setup, store, follower, tally),
        tally=tally,
    )


def _store(setup: Setup) -> Store:
    names = Names(setup.settings.prefix)
    log = RedisLog(setup.commands, setup.tail, names)
    return Store(
        redis=setup.commands,
        names=names,
        log=log,
        keys=TenantKeys(setup.commands, names),
        keyring=Keyring(log, setup.master),
    )


def _databases(setup: Setup, store: Store, lookup: Lookup) -> Databases:
    settings = setup.settings
    policy = policy_of(settings)
    secret_files = SecretFiles(settings.secrets_dir, settings.secrets_env_prefix)
    reach = Reach(policy.network, redis=lambda: store.redis.known)
    dialler = Dialler(settings.connect_timeout, policy, reach)
    pools = pools_of(settings, lookup, dialler, passwords(secret_files, store.keyring.password))
    return Databases(secret_files=secret_files, reach=reach, dialler=dialler, pools=pools)


def _presence(setup: Setup, store: Store, freshness: Freshness, whereabouts: Callable[[], Whereabouts]) -> Presence:
    settings = setup.settings
    return Presence(
        redis=store.redis,
        names=store.names,
        identity=identity_of(settings.replica_name, __version__, settings.max_staleness),
        tell=whereabouts,
        on_seen=freshness.seen,
    )


def _reconciler(
    setup: Setup, store: Store, directory: Directory, tally: Tally, is_current: Callable[[], bool]
) -> Reconciler:
    return Reconciler(
        redis=store.redis,
        names=store.names,
        log=store.log,
        keys=store.keys,
        directory=directory,
        is_current=is_current,
        owner=_new_id(),
        every=setup.settings.repair_seconds,
        tally=tally,
    )


def _restorer(setup: Setup, store: Store, actor: str, tally: Tally) -> Restorer:
    return Restorer(
        store.log,
        store.keyring,
        setup.signer,
        actor=actor,
        now=_now,
        new_id=_new_id,
        tally=tally,
        trace=lambda: trace_of_a_log(store.redis, store.names),
    )


def _follower(
    setup: Setup, store: Store, directory: Directory, freshness: Freshness, restorer: Restorer, reactions: Reactions
) -> Follower:
    return Follower(
        log=store.log,
        directory=directory,
        rebuilder=Rebuilder(store.log, store.keys, full_replay=setup.settings.full_replay),
        on_change=reactions.changed,
        on_caught_up=reactions.caught_up,
        restorer=restorer,
        on_loss=setup.on_loss,
        freshness=freshness,
    )


def _registry(setup: Setup, store: Store, follower: Follower, tally: Tally) -> TenantRegistry:
    return TenantRegistry(
        log=store.log,
        view=follower,
        keys=store.keys,
        master=setup.master,
        now=_now,
        new_id=_new_id,
        tally=tally,
        signer=setup.signer,
    )


def _whereabouts(directory: Directory, follower: Follower) -> Whereabouts:
    log = directory.epoch.name if directory.epoch else ""
    phase = follower.status.phase
    return Whereabouts(log=log, position=directory.position, state=phase, linked=phase not in {*STUCK, Phase.RESTORING})


def _now() -> datetime:
    return datetime.now(UTC)


def _new_id() -> str:
    return uuid.uuid4().hex
