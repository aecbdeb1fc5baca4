"""Replicas tell each other that they are there and how far they have applied the log, under a lease in Redis.

What follows from what they tell is in `projections.replicas`.
"""

import asyncio
import os
import socket
import uuid
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import structlog

from projections.clock import boottime
from projections.heartbeats import heartbeats
from projections.replicas import LEASE, Confirmation, Identity, ReplicaState, Whereabouts, judge, line_of
from registry.entries import Position
from registry.errors import RegistryUnavailable
from registry.names import Names
from registry.redis_client import RedisClient, Script, Word

_BEAT: Final = Script("projections", "beat.lua")
_EVERY: Final = 1.0
"""Seconds between two heartbeats when nothing is applied."""
_GAP: Final = 0.01
"""Seconds between two heartbeats at least: entries that come in a burst share one."""
_LOOK_EVERY: Final = 5.0
"""Seconds between two looks at the others, for the metrics and for those to be forgotten."""
_PAUSES: Final = (0.002, 0.005, 0.01, 0.02, 0.05)
"""Seconds between two looks of somebody who waits for confirmation."""


class Presence:
    """This replica among the others.

    Args:
        redis, names: Where they meet.
        identity: Who this is; nobody else may have the name.
        tell: Where this replica is now; asked at each heartbeat, and must be in force when it is told.
        on_seen: Told when a heartbeat was sent and when it was answered, by `boottime`: see `Freshness.seen`.
    """

    def __init__(
        self,
        *,
        redis: RedisClient,
        names: Names,
        identity: Identity,
        tell: Callable[[], Whereabouts],
        on_seen: Callable[[float, float], None] = lambda _sent, _answered: None,
    ) -> None:
        self._redis = redis
        self._names = names
        self._identity = identity
        self._tell = tell
        self._on_seen = on_seen
        self._nudged = asyncio.Event()
        self._introduced = asyncio.Event()
        self._gone: list[Word] = []
        self._unseen_since: float | None = None
        self._warned = False
        self._known: Sequence[ReplicaState] = ()
        self._looked = -_LOOK_EVERY
        self._logger = structlog.get_logger("presence")

    @property
    def name(self) -> str:
        """Under which name the others see this replica."""
        return self._identity.name

    @property
    def known(self) -> list[ReplicaState]:
        """The replicas as of the last look, this one included; older by as much as the next look is late."""
        late = max(0.0, boottime() - self._looked - _LOOK_EVERY)
        return [msgspec.structs.replace(each, last_seen=each.last_seen + late) for each in self._known]

    async def run(self) -> None:
        """Tell where this replica is until cancelled. Raises nothing of its own; Redis being away is no error."""
        while True:
            self._nudged.clear()
            try:
                await self._beat()
                if boottime() - self._looked >= _LOOK_EVERY:
                    await self.replicas()
            except RegistryUnavailable as error:
                self._note_silence(error)
            except Exception:  # the supervising loop: the next heartbeat may do better, and nobody else would tell
                self._logger.exception("presence not told")
            self._introduced.set()
            await asyncio.sleep(_GAP)
            await self._next_beat()

    async def introduced(self) -> None:
        """Wait until the first heartbeat was tried. A replica that reads the log afterwards misses no removal."""
        await self._introduced.wait()

    def moved(self) -> None:
        """Tell the others soon: something was applied. Cheap; any number of calls before the next heartbeat are one."""
        self._nudged.set()

    async def replicas(self) -> list[ReplicaState]:
        """Return all replicas that are not forgotten, by name. Raises `RegistryUnavailable`; may be cancelled."""
        states: list[ReplicaState] = []
        gone: list[Word] = []
        for each in await heartbeats(self._redis, self._names):
            if each.state is None or each.state.forgettable:
                gone += (each.name, each.text)
            else:
                states.append(each.state)
        self._gone = gone
        self._looked = boottime()
        self._known = sorted(states, key=lambda state: state.identity.name)
        return list(self._known)

    async def confirm(self, position: Position, within: float) -> Confirmation:
        """Wait up to `within` seconds until every live replica has applied `position` of this replica's log.

        Raises nothing: what cannot be asked is `unknown`. Looks once at least, and a last look that Redis does not
        answer may take its time in addition. May be cancelled.
        """
        log, found = self._tell().log, Confirmation(unknown="Nobody was asked.")
        deadline, tries = boottime() + within, 0
        while True:
            try:
                states = [self._as_now(each) for each in await self.replicas()]
            except RegistryUnavailable as error:
                waiting = True
                if found.unknown is not None:  # what was found before still holds: who confirmed does not go back
                    found = Confirmation(unknown=error.message)
            else:
                found = judge(states, position, log)
                waiting = any(each.live and not each.has_applied(position, log) for each in states)
            left = deadline - boottime()
            if not waiting or left <= 0:
                return found
            await asyncio.sleep(min(left, _PAUSES[min(tries, len(_PAUSES) - 1)]))
            tries += 1

    async def leave(self) -> None:
        """Take this replica off the list: it serves nothing any more. Raises nothing; `run` must have ended."""
        if not self._introduced.is_set():
            return
        try:
            await self._redis.run("HDEL", self._names.replicas, self.name)
        except RegistryUnavailable:
            self._logger.info("left without saying so; others count on this replica until its lease is over")

    def _as_now(self, state: ReplicaState) -> ReplicaState:
        """Return what is known of this very replica as of now, without its heartbeat's detour."""
        if state.identity.name != self.name:
            return state
        return msgspec.structs.replace(state, whereabouts=self._tell(), last_seen=0.0)

    async def _beat(self) -> None:
        sent = boottime()
        told = line_of(self._identity, self._tell())
        await self._redis.script(_BEAT, [self._names.replicas], [self.name, told, *self._gone])
        self._gone = []
        if self._warned:
            self._logger.info("other replicas see this one again", replica=self.name)
        self._unseen_since, self._warned = sent, False
        self._on_seen(sent, boottime())

    async def _next_beat(self) -> None:
        try:
            async with asyncio.timeout(_EVERY):
                await self._nudged.wait()
        except TimeoutError:
            pass

    def _note_silence(self, error: RegistryUnavailable) -> None:
        """Say once when the others no longer see this replica: a Redis that only refuses this looks well otherwise."""
        now = boottime()
        self._unseen_since = now if self._unseen_since is None else self._unseen_since
        if now - self._unseen_since > LEASE and not self._warned:
            self._warned = True
            self._logger.warning("other replicas do not see this one", replica=self.name, reason=error.message)


def identity_of(name: str | None, version: str, max_staleness: float) -> Identity:
    """Return who this process is, under `name` or else its host's name and its process id.

    A random end is always there: two replicas that were given one name must not answer for each other, and one that was
    killed may still be counted on when its successor starts.
    """
    host, pid = socket.gethostname(), os.getpid()
    unique = f"{name or f'{host}-{pid}'}-{uuid.uuid4().hex[:6]}"
    return Identity(name=unique, version=version, host=host, pid=pid, max_staleness=max_staleness)
