"""The follower over a log in memory: everybody who keeps something of the tenants is told of each change."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from projections.directory import Directory
from projections.follower import Follower
from projections.keyring import Keyring
from projections.phase import Phase
from projections.rebuild import Rebuilder
from projections.restoration import Restorer
from registry import codec
from registry.entries import START, Head, Position
from registry.errors import RegistryUnavailable, SecretUnreadable
from registry.events import TenantRegistered
from registry.log import Appended, KeepKey, Proposal
from registry.memory_log import MemoryLog
from registry.secrets import MasterKeys, new_master_key
from registry.signing import Signer
from registry.state import Tenant
from tests.logs import append_one


@pytest.fixture
def tries_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("projections.follower._BACKOFF", (0.0,))


class Keeper:
    """Somebody who keeps something of every tenant, and fails as often as he is bidden."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.told: list[str] = []
        self.caught_up: Exception | None = None

    async def change(self, tenants: Sequence[Tenant]) -> None:
        if self.failures:
            self.failures -= 1
            raise RegistryUnavailable("Redis cannot be reached; try again.")
        self.told += [tenant.tenant for tenant in tenants]

    async def catch_up(self) -> None:
        if self.caught_up:
            raise self.caught_up


class NoKeys:
    """Tenants' keys, none of which was written yet."""

    async def documents(self, tenants: Sequence[str]) -> Sequence[bytes | None]:
        return [None for _ in tenants]


@asynccontextmanager
async def following(log: MemoryLog, keeper: Keeper) -> AsyncIterator[Follower]:
    restorer = Restorer(
        log,
        Keyring(log, MasterKeys.parse(new_master_key("one"))),
        Signer(),
        actor="a",
        now=lambda: datetime.now(UTC),
        new_id=lambda: uuid.uuid4().hex,
    )
    follower = Follower(
        log=log,
        directory=Directory(),
        rebuilder=Rebuilder(log, NoKeys()),
        on_change=keeper.change,
        restorer=restorer,
        on_caught_up=keeper.catch_up,
    )
    task = asyncio.create_task(follower.run())
    try:
        yield follower
    finally:
        task.cancel()
        await asyncio.wait([task])


async def append(log: MemoryLog, event: TenantRegistered) -> Position:
    end = await log.end()
    assert end is not None
    head = Head(START, 1, alive=True, event_id=event.event_id, command_id=event.command_id, digest=event.digest)
    outcome = await append_one(
        log,
        Proposal(
            tenant=event.tenant,
            expected=0,
            after=end,
            type=codec.type_of(event),
            data=codec.encode(event),
            head=head,
            key=KeepKey(),
        ),
    )
    assert isinstance(outcome, Appended)
    return outcome.position


@pytest.mark.usefixtures("tries_at_once")
async def test_a_change_that_could_not_be_told_is_told_again_before_anything_else_is_said_to_be_served(
    registered: Callable[[int], TenantRegistered],
) -> None:
    log, keeper = MemoryLog(), Keeper()
    async with following(log, keeper) as follower:
        await follower.complete()
        keeper.failures = 2
        position = await append(log, registered(1))

        assert await follower.reached(position)
        assert keeper.told == ["acme"]


@pytest.mark.usefixtures("tries_at_once")
async def test_a_replica_is_not_ready_before_everybody_was_told_of_what_it_replayed(
    registered: Callable[[int], TenantRegistered],
) -> None:
    log = MemoryLog()
    async with following(log, Keeper()) as first:
        await first.complete()
        await append(log, registered(1))

    keeper = Keeper(failures=2)
    async with following(log, keeper) as follower:
        await follower.complete()
        assert keeper.told == ["acme"]


async def test_a_replica_that_halts_for_its_key_file_says_so_and_not_that_the_log_is_corrupt() -> None:
    keeper = Keeper()
    keeper.caught_up = SecretUnreadable("The key file opens none of the data keys.")
    async with following(MemoryLog(), keeper) as follower:
        async with asyncio.timeout(10):
            while not follower.status.stuck:  # noqa: ASYNC110 - the follower tells nobody that it halted
                await asyncio.sleep(0)
        assert follower.status.phase is Phase.HALTED
        assert not follower.status.ready
        with pytest.raises(SecretUnreadable, match="opens none"):
            follower.require_ready()
