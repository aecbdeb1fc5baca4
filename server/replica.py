"""One replica, from Redis to the tools: it is opened, goes on beside whoever holds it, and is closed.

What it is made of is in `server/parts.py`, its tools in `toolset.py`, what a change leads to in `reactions.py`.
"""

from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from typing import Final

from projections.clock import ticking
from projections.follower import Follower
from projections.phase import OnLoss
from projections.presence import Presence
from projections.rotation import follow_rotations
from registry.data_keys import DataKeys
from registry.redis_client import RedisClient
from registry.secrets import MasterKeys
from server.adopting import adopt_once
from server.audit import Audit
from server.audit_file import AuditFile
from server.backing import signer_of
from server.beyond import Beyond
from server.instruments import Instruments
from server.loops import running
from server.parts import Parts, Setup, parts_of
from server.reach import Reach
from server.redis_check import RedisCheck
from server.refusals import HttpTally
from server.settings import Settings
from server.sight import Sight
from server.tool_tally import ToolTally
from server.toolbox import Toolbox
from server.toolset import toolbox_of

_TAIL_TIMEOUT: Final = 4.0
"""Seconds that a blocking read may take: longer than it blocks, or each idle second would look like a lost server."""


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

    Raises `StartError` if the signing key or the audit file cannot be used.
    """
    signer = signer_of(settings)
    async with _clients(redis_url) as (commands, tail):
        check = RedisCheck(commands, allow_unsafe=settings.allow_unsafe_redis)
        await check.at_start()
        setup = Setup(
            settings=settings,
            commands=commands,
            tail=tail,
            check=check,
            master=master,
            signer=signer,
            serving=serving,
            on_loss=OnLoss(settings.on_log_loss) if serving else OnLoss.HALT if writing else OnLoss.LOOK_ON,
        )
        async with _run(setup) as replica:
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
async def _run(setup: Setup) -> AsyncIterator[Replica]:
    """Make it, keep its loops running, and let the others know when it is gone."""
    parts = parts_of(setup)
    with _audit(setup) as audit:
        replica = _replica(parts, setup.settings, audit)
        try:
            async with running(*_loops(parts, serving=setup.serving)):
                yield replica
        finally:
            await parts.databases.pools.close()
            await parts.presence.leave()


def _replica(parts: Parts, settings: Settings, audit: Audit) -> Replica:
    tally, sight = ToolTally(), Sight(parts.follower, parts.directory)
    toolbox = toolbox_of(parts, settings, sight, audit, tally)
    beyond = Beyond.of(toolbox, sight, parts.announcements)
    return Replica(toolbox, beyond, parts.follower, _instruments(parts, tally), parts.databases.reach)


def _instruments(parts: Parts, tools: ToolTally) -> Instruments:
    return Instruments(
        follower=parts.follower,
        directory=parts.directory,
        freshness=parts.freshness,
        presence=parts.presence,
        pools=parts.databases.pools,
        tally=parts.tally,
        tools=tools,
        announcements=parts.announcements,
        http=HttpTally(),
    )


@contextmanager
def _audit(setup: Setup) -> Iterator[Audit]:
    """Hold where writes are put down; `StartError` if that is a file that cannot be written."""
    if not (setup.settings.audit_file and setup.serving):
        yield Audit(None)
        return
    with closing(AuditFile(setup.settings.audit_file)) as file:
        file.require_writable()
        yield Audit(file)


def _loops(parts: Parts, *, serving: bool) -> list[Coroutine[None, None, None]]:
    """Return what goes on beside the calls."""
    always = [ticking(parts.follower.tick), parts.key_alarm.run()]
    if not serving:
        return [*always, parts.follower.run()]
    store = parts.store
    return [
        *always,
        _follow_seen(parts.follower, parts.presence),
        parts.presence.run(),
        parts.reconciler.run(),
        adopt_once(store.redis, store.names, parts.follower, parts.registry),
        follow_rotations(DataKeys(store.redis, store.names), store.keyring, parts.directory),
    ]


async def _follow_seen(follower: Follower, presence: Presence) -> None:
    """Follow the log as one whom the others see before it reads, so that it misses no removal."""
    await presence.introduced()
    await follower.run()
