"""What changed, for who listens: driven by the log, so that each replica announces what happened on any of them.

An announcement says that something is no longer as it was read, never what it is now; so two of the same are one. What
is kept for a listener who is slow is therefore no queue but the set of what they have not heard: at most as many as
they named, however much happens, and nothing is lost.

Rules: no I/O. Whoever folds the log tells `changed`, which takes no longer for a listener who does not listen.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final, Self, TypeAlias

import msgspec

from registry.errors import InvalidInput, TooManySubscriptions
from registry.state import Tenant
from server import resource_uris as uris
from server.principal import Permission, Principal

MOST_URIS: Final = 200
"""Resources in one subscription."""
_NEEDS: Final[dict[str, Permission]] = {
    "list_tenants": "tenants:read",
    "tenant_history": "audit:read",
    "list_schemas": "query:read",
    "describe_table": "query:read",
}
"""Tools whose resources change with a tenant, and what reading them takes. Where replicas are changes all the time."""

Moved: TypeAlias = Callable[[], frozenset[str]]
"""Tells the tenants that came or went since it was asked last."""


class ListChanged(msgspec.Struct, frozen=True):
    """The list of resources is another one."""


class Updated(msgspec.Struct, frozen=True):
    """What is at an address is no longer what it was."""

    uri: str


Announcement: TypeAlias = ListChanged | Updated


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a listener wants to hear of."""

    list_changed: bool = False
    uris: Sequence[str] = ()


class Subscription:
    """One listener's. Used as a context: on leaving it, its place is free.

    Attributes:
        honoured: What of that which was wanted will be told.
    """

    def __init__(self, principal: Principal, wanted: Wanted, leave: Callable[["Subscription"], None]) -> None:
        self._leave = leave
        self._wanted = wanted
        self._unheard: dict[Announcement, None] = {}
        self._ring = asyncio.Event()
        self._ended = False
        self.meant_for(principal)

    def meant_for(self, principal: Principal) -> None:
        """Tell from now on what `principal` may hear: their token may say something else than it did."""
        self.principal = principal
        self._by_tenant: dict[str, list[Announcement]] = {}
        honoured = []
        for uri in dict.fromkeys(self._wanted.uris):
            target = uris.target_of(uri)
            if target is None or target.tool not in _NEEDS or not principal.may(_NEEDS[target.tool]):
                continue
            tenant = target.arguments.get("tenant_id")
            if tenant is not None and not principal.touches(tenant):
                continue
            honoured.append(uri)
            self._by_tenant.setdefault(tenant or "", []).append(Updated(uri))
        may_list = principal.may("tenants:read") and (principal.may("query:read") or principal.may("audit:read"))
        self.honoured = Wanted(list_changed=self._wanted.list_changed and may_list, uris=honoured)
        self._unheard = {each: None for each in self._unheard if self._is_promised(each)}

    def _is_promised(self, announcement: Announcement) -> bool:
        if isinstance(announcement, ListChanged):
            return self.honoured.list_changed
        return announcement.uri in self.honoured.uris

    def tell(self, changed: Iterable[str], moved: frozenset[str]) -> None:
        """Note what of the tenants that changed, and of those that came or went, is for this listener."""
        mine = list(filter(self.principal.touches, changed))
        for tenant in mine:
            self._unheard.update(dict.fromkeys(self._by_tenant.get(tenant, ())))
        if mine:
            self._unheard.update(dict.fromkeys(self._by_tenant.get("", ())))
        if self.honoured.list_changed and any(map(self.principal.touches, moved)):
            self._unheard[ListChanged()] = None
        if self._unheard:
            self._ring.set()

    def end(self) -> None:
        """Let the listener hear what is left, and that it was the last."""
        self._ended = True
        self._ring.set()

    async def goes_on(self, within: float) -> bool:
        """Wait up to `within` seconds for something to tell; False when all is told that ever will be. Cancellable."""
        if not self._unheard and not self._ended:
            with suppress(TimeoutError):
                async with asyncio.timeout(within):
                    await self._ring.wait()
        return bool(self._unheard) or not self._ended

    def heard(self) -> Sequence[Announcement]:
        """Return what happened since this was asked last."""
        self._ring.clear()
        heard, self._unheard = list(self._unheard), {}
        return heard

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(self)


class Announcements:
    """Tells listeners what the log brings.

    Args:
        most: Listeners at a time; nobody has more of them than are left free.
        moved: Tells the tenants that came or went.
    """

    def __init__(self, most: int, moved: Moved) -> None:
        self._most = most
        self._moved = moved
        self._listening: dict[Subscription, str] = {}
        self._of: Counter[str] = Counter()
        self._ended = False

    @property
    def listening(self) -> int:
        """How many listen."""
        return len(self._listening)

    def subscribe(self, principal: Principal, wanted: Wanted) -> Subscription:
        """Return a subscription, which is told from now on what happens.

        Raises `TooManySubscriptions`, and `InvalidInput` for one that names too much.
        """
        if len(wanted.uris) > MOST_URIS:
            raise InvalidInput(f"A subscription may name {MOST_URIS} resources at most.", field="notifications")
        free = self._most - len(self._listening)
        if self._ended or self._of[principal.subject] >= free:
            raise TooManySubscriptions(
                "As many listen as this replica bears, or you have as many subscriptions as are left free; end one, or "
                "ask again later."
            )
        subscription = Subscription(principal, wanted, self._left)
        self._listening[subscription] = principal.subject
        self._of[principal.subject] += 1
        return subscription

    def changed(self, tenants: Sequence[Tenant]) -> None:
        """Announce that the tenants are not as they were; the fold has them."""
        moved, changed = self._moved(), [each.tenant for each in tenants]
        for subscription in self._listening:
            subscription.tell(changed, moved)

    def end(self) -> None:
        """End all subscriptions, and begin no more: the server stops."""
        self._ended = True
        for subscription in self._listening:
            subscription.end()

    def _left(self, subscription: Subscription) -> None:
        subject = self._listening.pop(subscription)
        self._of[subject] -= 1
        if not self._of[subject]:
            del self._of[subject]
