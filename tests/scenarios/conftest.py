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
from registry import codec
from registry.errors import RegistryUnavailable, TenancyError
from registry.events import LogCreated
from registry.inputs import Limits, from_fields
from registry.log import Entry, Foreign, Head, Outcome, Position, Proposal
from registry.memory_log import MemoryLog
from registry.planner import Caller
from registry.secrets import MasterKeys, Secret, new_master_key
from registry.service import Result, TenantRegistry
from registry.state import Live, Quarantined, Tenant

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
    """A log in memory that may be away, and may lose replies."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.losing = 0
        self.saved: tuple[list[Entry], dict[str, Head], dict[str, str]] = ([], {}, {})

    async def create(self, type: str, data: bytes) -> Position | None:  # noqa: A002 - as the protocol has it
        return await self._answer(super().create(type, data))

    async def append(self, proposal: Proposal) -> Outcome:
        outcome = await self._answer(super().append(proposal))
        if self.losing:
            self.losing -= 1
            raise RegistryUnavailable("Redis did not answer in time; try again.")
        return outcome

    async def read(self, after: Position, limit: int, wait: float = 0) -> Sequence[Entry | Foreign]:
        return await self._answer(super().read(after, limit, wait))

    async def end(self) -> Position | None:
        return await self._answer(super().end())

    async def entry(self, entry: str) -> Entry | Foreign | None:
        return await self._answer(super().entry(entry))

    async def head(self, tenant: str) -> Head | None:
        return await self._answer(super().head(tenant))

    async def data_keys(self, tenants: Sequence[str]) -> Sequence[str | None]:
        return await self._answer(super().data_keys(tenants))

    async def _answer(self, work: Coroutine[object, object, Reply]) -> Reply:
        if self.away:
            work.close()
            raise RegistryUnavailable("Redis cannot be reached; try again.")
        return await work


class MemoryKeys:
    """Tenant keys in memory, fenced as those in Redis are."""

    def __init__(self) -> None:
        self.fences: dict[str, int] = {}
        self.documents: dict[str, Live] = {}

    async def materialise(self, tenant: Tenant) -> bool:
        if self.fences.get(tenant.tenant, 0) > tenant.position.seq:
            return False
        self.fences[tenant.tenant] = tenant.position.seq
        if isinstance(tenant, Live):
            self.documents[tenant.tenant] = tenant
        else:
            self.documents.pop(tenant.tenant, None)
        return True


class World:
    """Everything that a scenario can talk about."""

    def __init__(self) -> None:
        self.log = FaultyLog()
        self.keys = MemoryKeys()
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
                self.replicas[actor] = Replica(self)
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
                return [f"{name} {_tenant_line(live)}" for name, live in sorted(self.keys.documents.items())]
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
                log.saved = (log._entries.copy(), log._heads.copy(), log._keys.copy())
            case "falls", "back":
                log._entries, log._heads, log._keys = log.saved
            case "forgets", "the", "stream":
                log._entries.clear()
            case "forgets", "everything":
                log._entries, log._heads, log._keys = [], {}, {}
            case _:
                raise ValueError(f"redis {fault}")


class Replica:
    """One replica; its methods are what a scenario can tell it to do."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._directory = Directory()
        self._keyring = Keyring(world.log, world.master)
        self._follower = Follower(
            log=world.log,
            directory=self._directory,
            on_change=self._keyring.refresh,
            on_caught_up=self._mend,
            now=world.now,
            new_id=world.new_id,
        )
        self._registry = TenantRegistry(
            log=world.log,
            view=self._follower,
            keys=world.keys,
            master=world.master,
            now=world.now,
            new_id=world.new_id,
        )
        self._following = asyncio.create_task(self._follower.run())

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
            for each in await history_of(self._world.log, tenant, 100)
        ]

    def status(self) -> list[str]:
        status = self._follower.status
        ready = "ready" if status.ready else "not ready"
        told = [f"{status.phase}, {ready}, at {status.position}, {status.tenants} live"]
        return [*told, status.reason] if status.reason else told

    async def _mend(self) -> None:
        for tenant in self._directory.all():
            await self._world.keys.materialise(tenant)


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


def _entry_line(entry: Entry) -> str:
    try:
        event = codec.decode(entry)
    except TenancyError:
        return f"{entry.position} {entry.type} (unreadable)"
    about = "" if isinstance(event, LogCreated) else f" {event.tenant} v{event.version}"
    return f"{entry.position} {entry.type}{about}"


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
