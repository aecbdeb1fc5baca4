"""The write side and the read side of a replica on a real Redis, wired as the server wires them, without a server."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final, TypeAlias

from projections.directory import Directory
from projections.follower import Follower
from projections.keyring import Keyring
from projections.phase import OnLoss, Phase
from projections.rebuild import Rebuilder
from projections.restoration import Restorer
from projections.tenant_keys import TenantKeys
from registry.answers import Result
from registry.entries import AsOf, Position
from registry.errors import (
    RegistryUnavailable,
)
from registry.inputs import Limits, Registration, from_fields
from registry.log import Outcome, Proposal
from registry.names import Names
from registry.planner import Caller
from registry.redis_client import RedisClient
from registry.redis_log import RedisLog
from registry.secrets import MasterKeys, Secret, new_master_key
from registry.service import Materialiser, TenantRegistry
from registry.signing import Signer
from registry.state import Live, Tenant

MASTER: Final = MasterKeys.parse(new_master_key("one"))
ANN: Final = Caller(actor="ann", reason="asked to")
STREAM: Final = Names().stream
PASSWORD: Final = "s3cr3t-canary"


def login(*, host: str = "db", password: str | None = PASSWORD, limits: Limits | None = None) -> Registration:
    secret = Secret(password) if password else None
    return from_fields(host=host, database="app", user="reader", password=secret, limits=limits)


class Crash(BaseException):
    """The replica's process ended here."""


class CrashingKeys:
    """Keys whose writer dies before it writes."""

    async def materialise(self, tenant: Tenant, as_of: AsOf) -> bool:  # noqa: ARG002 - as the protocol has it
        raise Crash(tenant.tenant)

    async def unblock(self, tenants: Sequence[Tenant], as_of: AsOf) -> list[str]:  # noqa: ARG002 - as the protocol has it
        raise Crash(tenants)


class LossyLog(RedisLog):
    """A log whose next replies to an append get lost on the way back."""

    losing = 0
    meanwhile: Callable[[], Awaitable[object]] | None = None
    """What others do between the append and the loss of its reply."""

    async def append(self, proposals: Sequence[Proposal]) -> Sequence[Outcome]:
        outcomes = await super().append(proposals)
        if self.losing:
            self.losing -= 1
            if self.meanwhile:
                await self.meanwhile()
            raise RegistryUnavailable("Redis did not answer in time; try again.")
        return outcomes


class Replica:
    """One replica's objects, wired as the server wires them; one that does not restore waits for an operator."""

    def __init__(self, url: str, materialiser: Materialiser | None = None, *, restores: bool = False) -> None:
        self.commands = RedisClient.from_url(url)
        self.tail = RedisClient.from_url(url, connections=1, timeout=4.0)
        self.log = LossyLog(self.commands, self.tail, Names())
        self.directory = Directory()
        self.keys = TenantKeys(self.commands, Names())
        self.keyring = Keyring(self.log, MASTER)
        self.mended: list[str] = []
        self.changed: list[tuple[str, int]] = []
        restorer = Restorer(self.log, self.keyring, Signer(), actor="replica", now=now, new_id=_new_id)
        self.follower = Follower(
            log=self.log,
            directory=self.directory,
            rebuilder=Rebuilder(self.log, self.keys),
            restorer=restorer,
            on_loss=OnLoss.RESTORE if restores else OnLoss.HALT,
            on_change=self._on_change,
            on_caught_up=self._on_caught_up,
        )
        self.registry = TenantRegistry(
            log=self.log,
            view=self.follower,
            keys=materialiser or self.keys,
            master=MASTER,
            now=now,
            new_id=_new_id,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Replica"]:
        following = asyncio.create_task(self.follower.run())
        try:
            yield self
        finally:
            following.cancel()
            await asyncio.wait([following])
            await self.tail.close()
            await self.commands.close()

    async def register(self, tenant: str = "acme", *, expected: int | None = None, **said: str | None) -> Result:
        return await self.registry.register(tenant, login(**said), ANN, expected_version=expected)  # type: ignore[arg-type]  # hosts and passwords are texts

    async def remove(self, tenant: str = "acme", *, expected: int | None = None) -> Result:
        return await self.registry.remove(tenant, ANN, expected_version=expected)

    def live(self, tenant: str = "acme") -> Live:
        known = self.directory.tenant(tenant)
        assert isinstance(known, Live)
        return known

    async def password(self, tenant: str = "acme") -> str | None:
        secret = await self.keyring.password(self.live(tenant))
        return secret.reveal() if secret else None

    async def document(self, tenant: str = "acme") -> bytes | None:
        document: bytes | None = await self.commands.run("GET", Names().tenant(tenant))
        return document

    async def reaches(self, phase: Phase) -> None:
        await eventually(lambda: self.follower.status.phase is phase)

    async def leaves(self, position: Position) -> None:
        """Wait until acme stands elsewhere in the log."""
        await eventually(lambda: self.live().position != position)

    async def _on_change(self, tenants: Sequence[Tenant]) -> None:
        self.changed += [(tenant.tenant, tenant.version) for tenant in tenants]
        await self.keyring.refresh(tenants)

    async def _on_caught_up(self) -> None:
        self.mended += await self.keys.repair(tuple(self.directory.all()), self.directory.as_of)


Start: TypeAlias = Callable[..., Awaitable[Replica]]


def now() -> datetime:
    return datetime.now(UTC)


def _new_id() -> str:
    return uuid.uuid4().hex


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until it holds; how long it takes is no part of any promise here."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - what is waited for is not of one place that could tell
            await asyncio.sleep(0.01)


def command(command_id: str) -> Caller:
    return Caller(actor="ann", command_id=command_id)
