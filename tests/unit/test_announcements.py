"""Announcements: each listener hears of what is theirs, once however often it happened, and for as long as they may."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

import pytest

from projections.roster import Roster
from registry.entries import START
from registry.errors import InvalidInput, TooManySubscriptions
from registry.state import Quarantined
from server import resource_uris as uris
from server.announcements import MOST_URIS, Announcement, Announcements, ListChanged, Subscription, Updated, Wanted
from server.principal import Permission, Principal

ADMIN = Principal("admin")


class Log:
    """What the fold of a log tells of who came and went, and of who changed."""

    def __init__(self, most: int = 10) -> None:
        self.roster = Roster()
        self.announcements = Announcements(most, self.roster.moved)

    def changed(self, *names: str, moved: bool = False) -> None:
        for name in names:
            if moved:
                self.roster.note(name, lives=True)
        self.announcements.changed([_tenant(name) for name in names])


def _tenant(name: str) -> Quarantined:
    return Quarantined(tenant=name, version=1, position=START, reason="")


async def heard(subscription: Subscription) -> Sequence[Announcement] | None:
    return subscription.heard() if await subscription.goes_on(0) else None


def updated(*addresses: str) -> list[Announcement]:
    return [Updated(address) for address in addresses]


async def test_what_happens_often_before_it_is_heard_is_heard_once() -> None:
    log = Log()
    with log.announcements.subscribe(ADMIN, Wanted(list_changed=True, uris=[uris.TENANTS])) as listening:
        for number in range(1000):
            log.changed(f"t-{number}", moved=True)
        assert await heard(listening) == [*updated(uris.TENANTS), ListChanged()]
        assert await heard(listening) == []


async def test_a_tenant_that_only_changed_leaves_the_list_as_it_was() -> None:
    log = Log()
    wanted = Wanted(list_changed=True, uris=[uris.history_uri("a"), uris.history_uri("b")])
    with log.announcements.subscribe(ADMIN, wanted) as listening:
        log.changed("a")
        assert await heard(listening) == updated(uris.history_uri("a"))


@pytest.mark.parametrize(
    ("permissions", "tenants", "told"),
    [
        (["tenants:read", "query:read"], ["own-*"], [uris.TENANTS, uris.schemas_uri("own-1")]),
        (["audit:read"], ["own-*"], [uris.history_uri("own-1")]),
        (["query:read"], ["*"], [uris.schemas_uri("own-1"), uris.schemas_uri("far-1")]),
        ([], ["*"], []),
        (["tenants:read", "audit:read", "query:read"], [], [uris.TENANTS]),
    ],
)
async def test_only_what_the_caller_may_read_is_promised_and_nothing_else_is_told(
    permissions: Iterable[Permission], tenants: Sequence[str], told: Sequence[str]
) -> None:
    log, caller = Log(), Principal("ann", frozenset(permissions), tenants)
    every = [uris.TENANTS, *(make(name) for name in ("own-1", "far-1") for make in MAKERS), uris.REPLICAS, "x"]
    with log.announcements.subscribe(caller, Wanted(list_changed=True, uris=every)) as listening:
        assert listening.honoured.uris == told
        log.changed("far-1", "own-1", moved=True)
        seen = await heard(listening)
        assert seen is not None
        assert {each.uri for each in seen if isinstance(each, Updated)} == {
            each for each in told if each != uris.TENANTS or tenants
        }
        assert (ListChanged() in seen) is ("tenants:read" in permissions and bool(tenants))


MAKERS: Sequence[Callable[[str], str]] = (uris.schemas_uri, uris.history_uri)


async def test_whose_token_says_less_now_hears_less_from_now_on() -> None:
    log = Log()
    wanted = Wanted(list_changed=True, uris=[uris.schemas_uri("a"), uris.TENANTS])
    with log.announcements.subscribe(ADMIN, wanted) as listening:
        log.changed("a", moved=True)
        listening.meant_for(Principal("admin", frozenset({"tenants:read"}), ["b"]))
        assert await heard(listening) == updated(uris.TENANTS), "what was not heard yet is judged anew"
        log.changed("a")
        assert await heard(listening) == []
        log.changed("b")
        assert await heard(listening) == updated(uris.TENANTS)


async def test_nobody_has_more_subscriptions_than_are_left_free_and_one_that_ends_leaves_its_place() -> None:
    log = Log(most=4)
    first, _second = (log.announcements.subscribe(ADMIN, Wanted()) for _ in range(2))
    with pytest.raises(TooManySubscriptions):
        log.announcements.subscribe(ADMIN, Wanted())
    with log.announcements.subscribe(Principal("ann"), Wanted()), pytest.raises(TooManySubscriptions):
        log.announcements.subscribe(Principal("ann"), Wanted())
    with first:
        pass
    log.announcements.subscribe(ADMIN, Wanted())
    assert log.announcements.listening == 2


async def test_a_subscription_names_so_many_resources_and_no_more() -> None:
    with pytest.raises(InvalidInput, match=f"{MOST_URIS} resources at most"):
        Log().announcements.subscribe(ADMIN, Wanted(uris=["x"] * (MOST_URIS + 1)))


async def test_when_the_server_stops_listeners_hear_what_was_left_and_then_the_end_and_nobody_begins() -> None:
    log = Log()
    listening = log.announcements.subscribe(ADMIN, Wanted(uris=[uris.TENANTS]))
    idle = log.announcements.subscribe(ADMIN, Wanted())
    waiting = asyncio.create_task(idle.goes_on(60))
    await asyncio.sleep(0)
    log.changed("a")
    log.announcements.end()

    assert await heard(listening) == updated(uris.TENANTS)
    assert await heard(listening) is None
    assert await waiting is False
    with pytest.raises(TooManySubscriptions):
        log.announcements.subscribe(Principal("ann"), Wanted())
