"""Replicas that go one step when they are told to, over a Redis of which any call may go wrong.

Their objects are wired as `server/parts.py` wires them, and their follower's own loop runs; only its waiting is taken
over: where it would block for the next entry, it stands still until its next turn. So nothing depends on a clock.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import pytest

import projections.compaction
import projections.follower
import projections.inspection
import projections.rebuild
import projections.reconciler
import projections.restoration
import registry.appender
from projections.directory import Directory
from projections.follower import Follower
from projections.keyring import Keyring
from projections.phase import Phase
from projections.rebuild import Rebuilder
from projections.reconciler import Reconciler
from projections.restoration import Restorer
from projections.tenant_keys import TenantKeys
from registry.decide import require_live
from registry.entries import Entry, Foreign, Position
from registry.errors import RegistryUnavailable, TenancyError
from registry.log import Outcome, Proposal
from registry.names import Names
from registry.redis_client import RedisClient, Script, Word
from registry.redis_log import RedisLog
from registry.secrets import MasterKeys, new_master_key
from registry.service import TenantRegistry
from registry.signing import Signer
from registry.state import Live, Tenant
from server.connect import Dialler
from server.pools import Pools

NAMES: Final = Names()
MASTER: Final = MasterKeys.parse(new_master_key("one"))
_ROUNDS: Final = 6
"""How often a follower may begin anew in one turn: what it cannot mend by then it cannot mend at all."""
_CIRCLES: Final = 3000
"""So many calls of Redis no turn takes; what goes on for ever gets there in a second or two."""

Kind: TypeAlias = Literal[
    "crashes before",
    "crashes after",
    "gets no reply to",
    "is refused",
    "is slow before",
    "is slow to append",
    "gets no reply to its append",
]


class Crash(BaseException):
    """The replica's process ended here."""


class Fault(NamedTuple):
    """What goes wrong with a replica's n-th call of Redis, or append; being slow lets `meanwhile` happen first."""

    kind: Kind
    call: int
    meanwhile: str = "nothing"


class FaultyRedis(RedisClient):
    """A client of which one call may go wrong."""

    fault: Fault | None = None
    calls = spent = 0
    appends = 0
    meanwhile: Callable[[str, str], Awaitable[None]] | None = None

    async def run(self, *words: Word) -> Any:  # noqa: ANN401 - as in the client
        return await self._faulty(super().run(*words))

    async def script(self, script: Script, keys: Sequence[str], args: Sequence[Word]) -> Any:  # noqa: ANN401 - as in the client
        return await self._faulty(super().script(script, keys, args))

    async def scripts(self, script: Script, calls: Sequence[tuple[Sequence[str], Sequence[Word]]]) -> list[Any]:
        replies: list[Any] = await self._faulty(super().scripts(script, calls))
        return replies

    async def pipeline(self, commands: Sequence[Sequence[Word]]) -> list[Any]:
        replies: list[Any] = await self._faulty(super().pipeline(commands))
        return replies

    async def atomically(self, commands: Sequence[Sequence[Word]]) -> list[Any]:
        replies: list[Any] = await self._faulty(super().atomically(commands))
        return replies

    def due(self, *kinds: Kind) -> Fault | None:
        """Return the fault, once, if it is of one of the kinds that concern appends, and its turn has come."""
        fault = self.fault
        if fault is None or fault.kind not in kinds:
            return None
        self.appends += 1
        if self.appends != fault.call:
            return None
        self.fault = None
        return fault

    async def _faulty(self, work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - as in the client
        self.calls += 1
        self.spent += 1
        if self.spent > _CIRCLES:
            work.close()
            raise AssertionError("it goes round in circles")
        fault = self.fault
        if fault is None or self.calls != fault.call or fault.kind.endswith("append"):
            return await work
        self.fault = None
        if fault.kind == "crashes before":
            work.close()
            raise Crash
        if fault.kind == "is refused":
            work.close()
            raise RegistryUnavailable("Redis cannot be reached; try again.")
        if fault.kind == "is slow before" and self.meanwhile:
            await self.meanwhile(fault.meanwhile, "acme")
        reply = await work
        if fault.kind == "crashes after":
            raise Crash
        if fault.kind == "gets no reply to":
            raise RegistryUnavailable("Redis did not answer in time; try again.")
        return reply


class SteppedLog(RedisLog):
    """A log whose blocking reads wait for the replica's next turn instead, and that tells what is proposed."""

    def __init__(
        self,
        redis: FaultyRedis,
        stand_still: Callable[[], Awaitable[None]],
        on_propose: Callable[[Proposal], None],
    ) -> None:
        super().__init__(redis, redis, NAMES)
        self._redis = redis
        self._stand_still = stand_still
        self._on_propose = on_propose
        self._idle = False

    async def append(self, proposals: Sequence[Proposal]) -> Sequence[Outcome]:
        for proposal in proposals:
            self._on_propose(proposal)
        fault = self._redis.due("is slow to append", "gets no reply to its append")
        if fault and fault.kind == "is slow to append" and self._redis.meanwhile:
            await self._redis.meanwhile(fault.meanwhile, proposals[0].tenant)
        outcomes = await super().append(proposals)
        if fault and fault.kind == "gets no reply to its append":
            if self._redis.meanwhile:
                await self._redis.meanwhile(fault.meanwhile, proposals[0].tenant)
            raise RegistryUnavailable("Redis did not answer in time; try again.")
        return outcomes

    async def read(self, after: Position, limit: int, wait: float = 0) -> Sequence[Entry | Foreign]:
        if wait and self._idle:
            # The read before came back empty, and the follower has looked at the log's end since.
            await self._stand_still()
        found = await super().read(after, limit)
        if wait:
            self._idle = not found
        return found


class SteppedFollower(Follower):
    """A follower whose callers do not wait for its tail: they give it its turn."""

    turn: Callable[[], Awaitable[None]]
    stand_still: Callable[[], Awaitable[None]]
    rounds = 0

    async def reached(self, position: Position) -> bool:
        if not self._includes(position):
            await self.turn()
        return self._includes(position)

    async def _settle(self) -> None:
        self.rounds += 1
        if self.rounds > _ROUNDS:
            await self.stand_still()
        await super()._settle()


class Surroundings:
    """What replicas share besides Redis: a clock that never stands still, and ids that are never given twice."""

    def __init__(self, url: str, on_propose: Callable[[Directory, Proposal], None]) -> None:
        self.url = url
        self.on_propose = on_propose
        self._seconds = count(1)
        self._ids = count(1)

    def now(self) -> datetime:
        return datetime(2026, 11, 22, tzinfo=UTC) + timedelta(seconds=next(self._seconds))

    def new_id(self) -> str:
        return f"id{next(self._ids)}"


class Replica:
    """One replica: it reads in `turn`, commands in `registry`, mends in `reconciler`, and may `end` at any time."""

    def __init__(self, world: Surroundings, name: str, *, full_replay: bool) -> None:
        self.name = name
        self.redis = FaultyRedis.from_url(world.url, connections=4)
        self.directory = Directory()
        self.log = SteppedLog(
            self.redis, self._stand_still, lambda proposal: world.on_propose(self.directory, proposal)
        )
        self.keys = TenantKeys(self.redis, NAMES)
        self.keyring = Keyring(self.log, MASTER)
        self.pools = _pools(self.directory, self.keyring)
        self.recycled: list[str] = []
        self.follower = SteppedFollower(
            log=self.log,
            directory=self.directory,
            rebuilder=Rebuilder(self.log, self.keys, full_replay=full_replay, short=0),
            on_change=self._on_change,
            on_caught_up=self._on_caught_up,
            restorer=Restorer(self.log, self.keyring, Signer(), actor=name, now=world.now, new_id=world.new_id),
        )
        self.follower.turn, self.follower.stand_still = self.turn, self._stand_still
        self.reconciler = Reconciler(
            redis=self.redis,
            names=NAMES,
            log=self.log,
            keys=self.keys,
            directory=self.directory,
            is_current=lambda: self.is_following,
            owner=name,
            every=1.0,
        )
        self.registry = TenantRegistry(
            log=self.log, view=self.follower, keys=self.keys, master=MASTER, now=world.now, new_id=world.new_id
        )
        self._still, self._go = asyncio.Event(), asyncio.Event()
        self._following: asyncio.Task[None] | None = None

    @property
    def is_following(self) -> bool:
        return self.follower.status.phase is Phase.FOLLOWING

    async def turn(self) -> None:
        """Read what there is to be read, until the log is at rest or the replica is at its wits' end."""
        self.follower.rounds = self.redis.spent = 0
        self._still.clear()
        self._go.set()
        if self._following is None:
            self._following = asyncio.create_task(self.follower.run())
        still = asyncio.create_task(self._still.wait())
        await asyncio.wait([still, self._following], return_when=asyncio.FIRST_COMPLETED)
        still.cancel()
        if self._following.done():
            self._following.result()
            raise AssertionError(f"{self.name}: {self.follower.status.reason}")

    async def mend(self) -> None:
        if self.is_following:
            with contextlib.suppress(TenancyError):
                await self.reconciler.mend()

    async def end(self) -> None:
        if self._following:
            self._following.cancel()
            await asyncio.wait([self._following])
        await self.pools.close()
        await self.redis.close()

    def use(self) -> None:
        """Let every tenant have a pool, as if each had been called."""
        for tenant in self.directory.live():
            self.pools._seat(tenant.tenant)

    async def _stand_still(self) -> None:
        self._go.clear()
        self._still.set()
        await self._go.wait()
        self.follower.rounds = 1

    async def _on_change(self, tenants: Sequence[Tenant]) -> None:
        before = {name: seat.pool for name, seat in self.pools._seats.items()}
        self.pools.react(tenants)
        for name, pool in before.items():
            seat, tenant = self.pools._seats.get(name), self.directory.tenant(name)
            kept = seat is not None and seat.pool is pool
            if isinstance(tenant, Live) and kept != (tenant.fingerprint == pool.fingerprint):
                self.recycled.append(name)
        await self.keyring.refresh(tenants)

    async def _on_caught_up(self) -> None:
        await self.keyring.check()


def _pools(directory: Directory, keyring: Keyring) -> Pools:
    async def untouched(_: object) -> None: ...

    return Pools(
        lookup=lambda tenant: require_live(tenant, directory.tenant(tenant)),
        dialler=Dialler(1),
        password=keyring.password,
        prepare=untouched,
        drain_seconds=0,
        max_pools=100,
        max_connections=100,
    )


def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every pause out, and make pages and batches so small that a handful of tenants fills several."""
    monkeypatch.setattr(projections.follower, "_BACKOFF", (0.0,))
    monkeypatch.setattr(projections.follower, "_LOOK_AGAIN", 0.0)
    monkeypatch.setattr(projections.follower, "PAGE", 3)
    monkeypatch.setattr(projections.rebuild, "PAGE", 3)
    monkeypatch.setattr(projections.reconciler, "_PACE", 0.0)
    monkeypatch.setattr(projections.restoration, "_BATCH", 1)
    monkeypatch.setattr(projections.restoration, "_PAUSE", 0.0)
    monkeypatch.setattr(projections.inspection, "_SECOND_LOOK", 0.0)
    monkeypatch.setattr(projections.compaction, "_PAUSES", (0.0,))
    monkeypatch.setattr(registry.appender, "_PAUSE", 0.0)
