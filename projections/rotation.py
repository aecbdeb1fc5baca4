"""Which master keys the tenants' data keys are under, and bringing them under the one that wraps now.

The log is not touched: what a data key sealed stays as it is. Each data key is replaced by itself, if nobody changed it
meanwhile. So a rotation may be cut short and run again, and tenants may come and go while it runs.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import structlog

from projections.directory import Directory
from projections.keyring import Keyring
from projections.pages import in_pages
from registry.data_keys import DataKeys, Rewrapped
from registry.errors import RegistryUnavailable, SecretUnreadable
from registry.secrets import MasterKeys, master_of
from registry.state import Live

_BATCH: Final = 200
_ROUNDS: Final = 8
"""How often what came meanwhile is looked at: replicas that have not read the new key file wrap with the old key."""
_EVERY: Final = 5.0
"""Seconds between two looks of a replica for a rotation: one small question to Redis."""


class UnreadableKey(msgspec.Struct, frozen=True):
    """A data key that does not open, and why."""

    tenant: str
    why: str


class UnderKey(msgspec.Struct, frozen=True, kw_only=True):
    """How many data keys a master key wraps, whether it wraps new ones, and whether it is there."""

    name: str
    data_keys: int
    wraps: bool
    held: bool


class KeyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What there is.

    Attributes:
        where: What has the master keys.
        keys: Each master key that is there, the one that wraps first, then those that are missing.
        data_keys: How many there are.
        left: How many of them are not under the key that wraps, and open: what a rotation has to do.
        unreadable: Those that do not open, by tenant.
    """

    where: str
    keys: list[UnderKey]
    data_keys: int
    left: int
    unreadable: list[UnreadableKey]

    @property
    def ok(self) -> bool:
        """Whether every data key opens."""
        return not self.unreadable


class Rotated(msgspec.Struct, frozen=True, kw_only=True):
    """What a rotation did: how many data keys it wrapped anew, and how things are after it."""

    rewrapped: int
    status: KeyStatus


class Rotation:
    """Looks at all data keys of one log, and wraps them anew.

    Every method raises `RegistryUnavailable`, also where the master keys are elsewhere and do not answer; may be
    cancelled and repeated.
    """

    def __init__(self, data_keys: DataKeys, master: MasterKeys, new_id: Callable[[], str]) -> None:
        self._data_keys = data_keys
        self._master = master
        self._new_id = new_id

    async def status(self) -> KeyStatus:
        """Try every data key."""
        return await self._status_of(await self._data_keys.all())

    async def rotate(self) -> Rotated:
        """Bring every data key that opens under the master key that wraps."""
        rewrapped = 0
        for _ in range(_ROUNDS):
            done = await self._round()
            rewrapped += done
            if not done:
                break
        return Rotated(rewrapped=rewrapped, status=await self.status())

    async def _round(self) -> int:
        first = (await self._master.names())[0]
        found = await self._data_keys.all()
        left = [(tenant, wrapped) for tenant, wrapped in found.items() if master_of(wrapped) != first]
        return sum([await self._rewrap(batch) for batch in in_pages(left, _BATCH)])

    async def _rewrap(self, batch: Sequence[tuple[str, str]]) -> int:
        anew = [key for tenant, wrapped in batch if (key := await self._anew(tenant, wrapped))]
        return await self._data_keys.replace(anew, self._new_id()) if anew else 0

    async def _anew(self, tenant: str, wrapped: str) -> Rewrapped | None:
        try:
            return Rewrapped(tenant, wrapped, await self._master.rewrap(tenant, wrapped))
        except SecretUnreadable:
            return None

    async def _status_of(self, found: dict[str, str]) -> KeyStatus:
        names = await self._master.names()
        under = Counter(master_of(wrapped) or "unknown form" for wrapped in found.values())
        keys = [
            UnderKey(name=name, data_keys=under[name], wraps=name == names[0], held=name in names)
            for name in (*names, *sorted(under.keys() - set(names)))
        ]
        first, unreadable = names[0], [each for item in sorted(found.items()) if (each := await self._problem(*item))]
        return KeyStatus(
            where=self._master.where,
            keys=keys,
            data_keys=len(found),
            left=sum(
                master_of(found[tenant]) != first for tenant in found.keys() - {each.tenant for each in unreadable}
            ),
            unreadable=unreadable,
        )

    async def _problem(self, tenant: str, wrapped: str) -> UnreadableKey | None:
        try:
            await self._master.unwrap(tenant, wrapped)
        except SecretUnreadable as error:
            return UnreadableKey(tenant, error.message)
        return None


async def follow_rotations(data_keys: DataKeys, keyring: Keyring, directory: Directory, every: float = _EVERY) -> None:
    """Fetch the data keys anew when they were wrapped anew, until cancelled. Raises nothing.

    What a replica holds is what it opens, and says again after a loss: it is not to be under a key that is given up.
    """
    seen: str | None = None
    while True:
        await asyncio.sleep(every)
        try:
            last = await data_keys.last_rewrapped()
            if last is not None and last != seen:
                await keyring.refresh([tenant for tenant in directory.all() if isinstance(tenant, Live)])
                seen = last
                structlog.get_logger("keys").info("data keys fetched that were wrapped anew")
        except RegistryUnavailable:
            continue
