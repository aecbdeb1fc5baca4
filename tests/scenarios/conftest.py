"""A small world of replicas around a log in memory, on a clock that skips every wait.

What a scenario may say is in `tests/scenarios/README.md`.
"""

import asyncio
import re
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final, TypeVar

import pytest

from projections.directory import Directory
from projections.follower import Follower
from projections.history import history_of
from projections.keyring import Keyring
from projections.phase import OnLoss
from projections.rebuild import Rebuilder
from projections.restoration import Restorer
from registry import codec
from registry.answers import Result
from registry.entries import AsOf, Cut, Entry, Epoch, Foreign, Head, Position, Unreadable, entry_order
from registry.errors import RegistryUnavailable, TenancyError
from registry.events import Event, LogCompacted, LogCreated, LogRestored, TenantRestated
from registry.fences import is_false
from registry.inputs import Limits, from_fields
from registry.log import Outcome, Proposal
from registry.memory_log import MemoryLog
from registry.planner import Caller
from registry.secrets import MasterKeys, Secret, new_master_key
from registry.service import TenantRegistry
from registry.signing import Signer
from registry.state import Live, Quarantined, Tenant
from registry.stored import document_of

_A_WHILE: Final = 30.0
"""Seconds of the skipping clock after each step: more than any time-out of the packages."""

Reply = TypeVar("Reply")


class SkippingSelector(selectors.DefaultSelector):
    """Never waits: what it is asked to wait is added to `skipped`."""

    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everybody waits for somebody else")
        self.skipped += 0.0 if ready or timeout is None else max(0.0, timeout)
        return ready


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock goes as fast as there is nothing to do."""

    def __init__(self) -> None:
        self._skipping = SkippingSelector()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.skipped


class FaultyLog(MemoryLog):
    """A log in memory that may be away, may lose replies, and may forget."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.losing = 0
        self.saved = self._all()

    async def create(self, type: str, data: bytes, epoch: str, *, anew: bool = False) -> Position | None:  # noqa: A002 - as the protocol has it
        return await self._answer(super().create(type, data, epoch, anew=anew))

    async def note(self, after: Position, type: str, data: bytes, *, opens: Epoch | None = None) -> Position | None:  # noqa: A002 - as the protocol has it
        return await self._answer(super().note(after, type, data, opens=opens))

    async def append(self, proposals: Sequence[Proposal]) -> Sequence[Outcome]:
        outcomes = await self._answer(super().append(proposals))
        if self.losing:
            self.losing -= 1
            raise RegistryUnavailable("Redis did not answer in time; try again.")
        return outcomes

    async def read(self, after: Position, limit: int, wait: float = 0) -> Sequence[Entry | Foreign]:
        return await self._answer(super().read(after, limit, wait))

    async def end(self) -> Position | None:
        return await self._answer(super().end())

    async def cut(self) -> Cut:
        return await self._answer(super().cut())

    async def epoch(self) -> Epoch | None:
        return await self._answer(super().epoch())

    async def entries(self, ids: Sequence[str]) -> Sequence[Entry | Foreign | None]:
        return await self._answer(super().entries(ids))

    async def before(self, entry: str) -> Entry | Foreign | None:
        return await self._answer(super().before(entry))

    async def heads(self, tenants: Sequence[str]) -> Sequence[Head | Unreadable | None]:
        return await self._answer(super().heads(tenants))

    async def raw_heads(self, tenants: Sequence[str]) -> Sequence[bytes | None]:
        return await self._answer(super().raw_heads(tenants))

    async def may_restore(self) -> bool:
        return await self._answer(super().may_restore())

    async def mark_epoch(self, epoch: Epoch) -> None:
        await self._answer(super().mark_epoch(epoch))

    async def data_keys(self, tenants: Sequence[str]) -> Sequence[str | None]:
        return await self._answer(super().data_keys(tenants))

    def save(self) -> None:
        self.saved = self._all()

    def fall_back(self) -> None:
        entries, self._end, self._epoch, heads, keys = self.saved
        self._entries, self._heads, self._keys = list(entries), dict(heads), dict(keys)

    def forget_stream(self) -> None:
        self._entries, self._end = [], None

    def forget(self) -> None:
        self.forget_stream()
        self._epoch, self._heads, self._keys = None, {}, {}

    def forget_entries(self, first: int, last: int) -> None:
        self._entries = [each for each in self._entries if not (first <= _number_of(each) <= last)]

    def _all(self) -> tuple[list[Entry | Foreign], Position | None, Epoch | None, dict[str, Head], dict[str, str]]:
        return (self._entries.copy(), self._end, self._epoch, self._heads.copy(), self._keys.copy())

    async def _answer(self, work: Coroutine[object, object, Reply]) -> Reply:
        if self.away:
            work.close()
            raise RegistryUnavailable("Redis cannot be reached; try again.")
        return await work


def _number_of(entry: Entry | Foreign) -> int:
    return entry.position.seq if isinstance(entry, Entry) else -1


class MemoryKeys:
    """Tenant keys in memory, fenced as those in Redis are."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self.fences: dict[str, tuple[tuple[int, int], int]] = {}
        self.live: dict[str, Live] = {}

    async def documents(self, tenants: Sequence[str]) -> Sequence[bytes | None]:
        return [document_of(self.live[tenant]) if tenant in self.live else None for tenant in tenants]

    async def materialise(self, tenant: Tenant, as_of: AsOf) -> bool:
        fence = (entry_order(as_of.epoch.opened), tenant.position.seq)
        if self.fences.get(tenant.tenant, ((0, 0), 0)) > fence:
            return False
        self.fences[tenant.tenant] = fence
        if isinstance(tenant, Live):
            self.live[tenant.tenant] = tenant
        else:
            self.live.pop(tenant.tenant, None)
        return True

    async def unblock(self, tenants: Sequence[Tenant], as_of: AsOf) -> list[str]:
        end = await self._log.end()
        for tenant in tenants:
            (milliseconds, count), seq = self.fences.get(tenant.tenant, ((0, 0), 0))
            if end and is_false(f"{milliseconds}-{count}|{seq}".encode(), tenant, as_of, end):
                del self.fences[tenant.tenant]
        return [tenant.tenant for tenant in tenants if await self.materialise(tenant, as_of)]


class World:
    """Everything that a scenario can talk about."""

    def __init__(self) -> None:
        self.log = FaultyLog()
        self.keys = MemoryKeys(self.log)
        self.master = MasterKeys.parse(new_master_key("one"))
        self.replicas: dict[str, Replica] = {}
        self._times = count()
        self._ids = count(1)

    def now(self) -> datetime:
        return datetime(2026, 11, 22, tzinfo=UTC) + timedelta(seconds=next(self._times))

    def new_id(self) -> str:
        return f"id{next(self._ids)}"

    async def play(self, line: str) -> list[str]:
        """Carry out one line, let the world come to rest, and return what there was to see."""
        told = await asyncio.gather(*(self._command(part.strip()) for part in line.split(" & ")))
        await asyncio.sleep(_A_WHILE)
        return [answer for answers in told for answer in answers]

    async def stop(self) -> None:
        for replica in self.replicas.values():
            await replica.stop()

    async def _command(self, text: str) -> list[str]:
        actor, verb, *words = text.split()
        try:
            if actor == "redis":
                return await self._redis(verb, words)
            if verb == "starts":
                self.replicas[actor] = Replica(self, actor, halts="halting" in words)
                await asyncio.sleep(_A_WHILE)
                return self.replicas[actor].status()
            command: Callable[..., Awaitable[list[str]]] = getattr(self.replicas[actor], verb)
            named = dict(word.split("=", 1) for word in words if "=" in word)
            return await command(*(word for word in words if "=" not in word), **named)
        except TenancyError as error:
            return [f"{error.code}{' (retryable)' if error.retryable else ''}: {error.message}"]

    async def _redis(self, verb: str, words: list[str]) -> list[str]:
        log = self.log
        match verb, *words:
            case "tells", "the", "log":
                return [_entry_line(entry) for entry in log._entries]
            case "tells", "the", "keys":
                return [f"{name} {_tenant_line(live)}" for name, live in sorted(self.keys.live.items())]
            case "lets", "replicas", "restore":
                log.permitted = True
            case "gets", "an", "entry", kind, *body:
                async with log._grown:
                    log._add(kind, " ".join(body).encode())
            case _:
                self._break(" ".join((verb, *words)))
        return []

    def _break(self, fault: str) -> None:
        log = self.log
        match fault.split():
            case "goes", "away":
                log.away = True
            case "comes", "back":
                log.away = False
            case "drops", number, *_:
                log.losing = int(number)
            case "saves", "itself":
                log.save()
            case "falls", "back":
                log.fall_back()
            case "forgets", "the", "stream":
                log.forget_stream()
            case "forgets", "everything":
                log.forget()
            case "forgets", "entries", first, "to", last:
                log.forget_entries(int(first), int(last))
            case "forgets", "the", "keys":
                self.keys.live.clear()
            case _:
                raise ValueError(f"redis {fault}")


class Replica:
    """One replica; its methods are what a scenario can tell it to do."""

    def __init__(self, world: World, name: str, *, halts: bool) -> None:
        self._world = world
        self._directory = Directory()
        self._keys = world.keys
        self._keyring = Keyring(world.log, world.master)
        restorer = Restorer(world.log, self._keyring, Signer(), actor=name, now=world.now, new_id=world.new_id)
        self._follower = Follower(
            log=world.log,
            directory=self._directory,
            rebuilder=Rebuilder(world.log, world.keys),
            restorer=restorer,
            on_loss=OnLoss.HALT if halts else OnLoss.RESTORE,
            on_change=self._keyring.refresh,
            on_caught_up=self._mend,
        )
        self._registry = TenantRegistry(
            log=world.log,
            view=self._follower,
            keys=self._keys,
            master=world.master,
            now=world.now,
            new_id=world.new_id,
        )
        self._following = asyncio.create_task(self._follower.run())

    async def writes(self, *_its_keys: str) -> list[str]:
        await self._mend()
        return []

    async def freezes(self) -> list[str]:
        await self.stop()
        return []

    async def wakes(self) -> list[str]:
        self._following = asyncio.create_task(self._follower.run())
        await asyncio.sleep(_A_WHILE)
        return self.status()

    async def stops(self) -> list[str]:
        await self.stop()
        return []

    async def stop(self) -> None:
        self._following.cancel()
        with suppress(asyncio.CancelledError):
            await self._following

    async def registers(self, tenant: str, *, expecting: str | None = None, **said: str) -> list[str]:
        registration = from_fields(
            host=said.get("host", "db"),
            database="app",
            user="reader",
            password=Secret(said["password"]) if "password" in said else None,
            limits=Limits(max_pool_size=int(said.get("pool", "10"))),
        )
        return _result(
            await self._registry.register(tenant, registration, _CALLER, expected_version=_number(expecting))
        )

    async def removes(self, tenant: str, *, expecting: str | None = None) -> list[str]:
        return _result(await self._registry.remove(tenant, _CALLER, expected_version=_number(expecting)))

    async def shows(self, tenant: str) -> list[str]:
        known = self._directory.tenant(tenant)
        return ["unknown" if known is None else _tenant_line(known)]

    async def opens(self, tenant: str) -> list[str]:
        known = self._directory.tenant(tenant)
        if not isinstance(known, Live):
            return ["not live"]
        password = await self._keyring.password(known)
        return [f"password {password.reveal()}" if password else "no password"]

    async def tells(self, *words: str) -> list[str]:
        if words == ("its", "status"):
            return self.status()
        tenant = self._directory.tenant(words[-1])
        assert tenant is not None
        return [
            f"v{each.event.version} {codec.type_of(each.event)} @{each.position}"
            for each in await history_of(self._world.log, tenant.position.entry, 100)
        ]

    def status(self) -> list[str]:
        status = self._follower.status
        ready = "ready" if status.ready else "not ready"
        found = "".join(f", {finding} {times}x" for finding, times in status.findings.items())
        told = [f"{status.phase}, {ready}, at {status.position}, {status.tenants} live{found}"]
        return [*told, status.reason] if status.reason else told

    async def _mend(self) -> None:
        for tenant in self._directory.all():
            await self._keys.materialise(tenant, self._directory.as_of)


_CALLER: Final = Caller(actor="ann")


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)


def _result(result: Result) -> list[str]:
    return [f"{result.status} v{result.version} @{result.position}{'' if result.served else ', not served yet'}"]


def _tenant_line(tenant: Tenant) -> str:
    if isinstance(tenant, Quarantined):
        return f"quarantined v{tenant.version} @{tenant.position}"
    if not isinstance(tenant, Live):
        return f"removed v{tenant.version} @{tenant.position}"
    secret = f"secret of v{tenant.secret.version}" if tenant.secret else "no secret"
    return f"live v{tenant.version} @{tenant.position} on {tenant.config.host}, {secret}"


def _entry_line(entry: Entry | Foreign) -> str:
    if isinstance(entry, Foreign):
        return f"{entry.entry} (foreign)"
    try:
        event = codec.decode(entry)
    except TenancyError:
        return f"{entry.position} {entry.type} (unreadable)"
    return f"{entry.position} {entry.type}{_about(event)}"


def _about(event: Event) -> str:
    match event:
        case LogCreated():
            return ""
        case LogRestored():
            restated = f"{event.live} live, {event.removed} removed"
            return f" by {event.actor}, {event.outcome} at {event.lost_position}, {restated}"
        case LogCompacted():
            return f" before {event.before}"
        case _:
            removal = " (removed)" if isinstance(event, TenantRestated) and event.config is None else ""
            return f" {event.tenant} v{event.version}{removal}"


@pytest.fixture
def play() -> Callable[[str], str]:
    """What plays a scenario and returns it with the answers that came."""

    async def perform(text: str) -> str:
        world, told = World(), []
        for line in text.splitlines():
            if line.startswith(" "):
                continue
            told.append(line)
            if re.match(r"\w", line):
                told += [f"    {answer}" for answer in await world.play(line)]
        await world.stop()
        return "\n".join(told) + "\n"

    def play(text: str) -> str:
        with asyncio.Runner(loop_factory=SkippingLoop) as runner:
            return runner.run(perform(text))

    return play
