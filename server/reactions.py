"""What follows when the follower has read something: who else is told, and in which order."""

from collections.abc import Callable, Sequence

import msgspec

from projections.keyring import Keyring
from projections.presence import Presence
from projections.reconciler import Reconciler
from registry.state import Tenant
from registry.tally import Tally
from server.alarms import KeyAlarm, tell_quarantined
from server.announcements import Announcements
from server.pools import Pools
from server.redis_check import RedisCheck


class Reactions(msgspec.Struct, frozen=True, kw_only=True):
    """Who is told.

    Attributes:
        is_ready: Whether the replica serves already.
    """

    pools: Pools
    announcements: Announcements
    presence: Presence
    keyring: Keyring
    check: RedisCheck
    key_alarm: KeyAlarm
    reconciler: Reconciler
    tally: Tally
    is_ready: Callable[[], bool]

    async def changed(self, tenants: Sequence[Tenant]) -> None:
        """Pass on which tenants are not as they were. May be cancelled."""
        self.pools.react(tenants)
        self.announcements.changed(tenants)
        self.presence.moved()  # the removed tenants' pools refuse from here on
        self.tally.quarantined += tell_quarantined(tenants)
        await self.keyring.refresh(tenants)

    async def caught_up(self) -> None:
        """See that this Redis and these keys will do, before the replica is ready, and have heads and keys looked at.

        Raises `UnsafeRedis` and `SecretUnreadable` if not, and `RegistryUnavailable`. May be cancelled.
        """
        await self.check()
        if not self.is_ready():
            await self.key_alarm.begin()
        self.reconciler.hurry()
