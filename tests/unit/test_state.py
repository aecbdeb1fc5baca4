"""The whole product of states and events: what happens is in the table, what may not happen changes nothing."""

from collections.abc import Callable, Mapping
from itertools import product
from types import NoneType
from typing import Final, TypeAlias, get_args

import msgspec
import pytest

from registry.entries import Position
from registry.errors import CorruptEntry
from registry.events import (
    SealedSecret,
    TenantConfig,
    TenantEvent,
    TenantRegistered,
    TenantRemoved,
    TenantRestated,
)
from registry.state import Live, Quarantined, Removed, Tenant, evolve, stated

State: TypeAlias = type[Tenant | None]
Makers: TypeAlias = Mapping[type[TenantEvent], Callable[[int], TenantEvent]]

STATES: Final[list[State]] = [NoneType, Live, Removed, Quarantined]
EVENTS: Final[list[type[TenantEvent]]] = [TenantRegistered, TenantRemoved, TenantRestated]
BECOMES: Final[dict[tuple[State, type[TenantEvent]], type[Tenant] | None]] = {
    (NoneType, TenantRegistered): Live,
    (NoneType, TenantRemoved): None,
    (Live, TenantRegistered): Live,
    (Live, TenantRemoved): Removed,
    (Removed, TenantRegistered): Live,
    (Removed, TenantRemoved): None,
    (Quarantined, TenantRegistered): Live,
    (Quarantined, TenantRemoved): Removed,
    (NoneType, TenantRestated): Live,
    (Live, TenantRestated): Live,
    (Removed, TenantRestated): Live,
    (Quarantined, TenantRestated): Live,
}
LEGAL: Final = [pair for pair, after in BECOMES.items() if after is not None]
ILLEGAL: Final = [pair for pair, after in BECOMES.items() if after is None]


@pytest.fixture
def makers(
    registered: Callable[[int], TenantRegistered],
    removed: Callable[[int], TenantRemoved],
    restated: Callable[[int], TenantRestated],
) -> Makers:
    return {TenantRegistered: registered, TenantRemoved: removed, TenantRestated: restated}


@pytest.fixture
def states(makers: Makers, place: Callable[[int], Position]) -> dict[State, Tenant | None]:
    live = evolve(None, makers[TenantRegistered](1), place(2))
    quarantined = Quarantined(tenant="acme", version=2, position=place(3), reason="of a newer time")
    return {
        NoneType: None,
        Live: live,
        Removed: evolve(live, makers[TenantRemoved](2), place(3)),
        Quarantined: quarantined,
    }


def _next_version(tenant: Tenant | None) -> int:
    return tenant.version + 1 if tenant else 1


def test_the_table_below_is_the_whole_product_of_states_and_events() -> None:
    assert set(BECOMES) == set(product(STATES, EVENTS))
    assert {*get_args(Tenant), NoneType} == set(STATES)
    assert set(get_args(TenantEvent)) == set(EVENTS)


@pytest.mark.parametrize(("state", "kind"), LEGAL)
def test_a_legal_event_makes_the_tenant_what_the_table_says(
    state: State, kind: type[TenantEvent], states: dict[State, Tenant | None], makers: Makers
) -> None:
    before = states[state]
    event, position = makers[kind](_next_version(before)), Position(9, "9-0")

    after = evolve(before, event, position)

    assert type(after) is BECOMES[state, kind]
    assert not isinstance(after, Quarantined)
    assert (after.tenant, after.version, after.position) == ("acme", event.version, position)
    assert (after.changed_at, after.changed_by) == (event.time, event.actor)


@pytest.mark.parametrize(("state", "kind"), ILLEGAL)
def test_an_illegal_event_is_corrupt_and_names_the_entry(
    state: State, kind: type[TenantEvent], states: dict[State, Tenant | None], makers: Makers
) -> None:
    before = states[state]

    with pytest.raises(CorruptEntry, match="9-0 says TenantRemoved of tenant 'acme'") as corrupt:
        evolve(before, makers[kind](_next_version(before)), Position(9, "9-0"))
    assert corrupt.value.facts == {"entry": "9-0"}


@pytest.mark.parametrize("skew", [-1, 1])
@pytest.mark.parametrize(("state", "kind"), [pair for pair in LEGAL if pair[1] is not TenantRestated])
def test_an_event_with_any_version_but_the_next_is_corrupt(
    skew: int, state: State, kind: type[TenantEvent], states: dict[State, Tenant | None], makers: Makers
) -> None:
    before = states[state]

    with pytest.raises(CorruptEntry, match="comes next"):
        evolve(before, makers[kind](_next_version(before) + skew), Position(9, "9-0"))


@pytest.mark.parametrize("state", STATES)
def test_what_was_lost_is_said_again_as_of_a_later_version_and_never_of_an_earlier_one(
    state: State, states: dict[State, Tenant | None], makers: Makers
) -> None:
    before = states[state]
    following = _next_version(before)

    assert evolve(before, makers[TenantRestated](following + 7), Position(9, "9-0")).version == following + 7
    with pytest.raises(CorruptEntry, match="comes next"):
        evolve(before, makers[TenantRestated](following - 1), Position(9, "9-0"))


@pytest.mark.parametrize("state", STATES)
def test_a_removal_that_is_said_again_leaves_a_removed_tenant(
    state: State, states: dict[State, Tenant | None], restated: Callable[[int], TenantRestated]
) -> None:
    before = states[state]
    event = msgspec.structs.replace(restated(_next_version(before)), config=None)

    assert isinstance(evolve(before, event, Position(9, "9-0")), Removed)


@pytest.mark.parametrize(("state", "kind"), LEGAL)
def test_an_event_states_the_whole_tenant_whatever_was_before(
    state: State, kind: type[TenantEvent], states: dict[State, Tenant | None], makers: Makers
) -> None:
    event, position = makers[kind](_next_version(states[state])), Position(9, "9-0")

    after = evolve(states[state], event, position)

    assert stated(event, position, after.born if isinstance(after, Live) else None) == after


def test_a_registration_states_the_whole_tenant(
    states: dict[State, Tenant | None], registered: Callable[[int], TenantRegistered]
) -> None:
    config = TenantConfig(host="other", database="b", user="c", max_pool_size=3)
    event = msgspec.structs.replace(registered(2), config=config)

    after = evolve(states[Live], event, Position(9, "9-0"))

    assert isinstance(after, Live)
    assert (after.config, after.secret, after.event_id) == (config, None, "event-2")


@pytest.mark.parametrize(
    "change",
    [{"host": "h2"}, {"port": 1}, {"database": "d2"}, {"user": "u2"}, {"ssl": "require"}, {"password_ref": "file:b"}],
    ids=lambda change: str(*change),
)
def test_a_change_of_what_a_connection_depends_on_recycles_connections(
    change: dict[str, str | int], registered: Callable[[int], TenantRegistered]
) -> None:
    event = registered(1)
    changed = msgspec.structs.replace(event, config=msgspec.structs.replace(event.config, **change))

    assert _fingerprint(changed) != _fingerprint(event)


@pytest.mark.parametrize("limit", ["min_pool_size", "max_pool_size", "max_concurrent_requests"])
def test_a_change_of_limits_leaves_connections_alone(limit: str, registered: Callable[[int], TenantRegistered]) -> None:
    event = registered(1)
    changed = msgspec.structs.replace(event, config=msgspec.structs.replace(event.config, **{limit: 7}))

    assert _fingerprint(changed) == _fingerprint(event)


@pytest.mark.parametrize("change", [{"access": "read_write"}, {"roles": ("writer",)}])
def test_what_calls_are_allowed_leaves_connections_alone(
    change: dict[str, object], registered: Callable[[int], TenantRegistered]
) -> None:
    event = registered(1)
    changed = msgspec.structs.replace(event, config=msgspec.structs.replace(event.config, **change))

    assert changed != event
    assert _fingerprint(changed) == _fingerprint(event)


def test_other_authorities_recycle_connections(registered: Callable[[int], TenantRegistered]) -> None:
    event = registered(1)
    prints = {
        _fingerprint(msgspec.structs.replace(event, config=msgspec.structs.replace(event.config, ssl_root_ca=root_ca)))
        for root_ca in (msgspec.UNSET, "one", "other")
    }

    assert len(prints) == 3


def test_a_new_secret_recycles_connections(registered: Callable[[int], TenantRegistered]) -> None:
    event = registered(1)
    sealed = [SealedSecret(key="k", version=version, sealed="AAAA") for version in (1, 2)]
    prints = {_fingerprint(msgspec.structs.replace(event, secret=secret)) for secret in (None, *sealed)}

    assert len(prints) == 3


def _fingerprint(event: TenantRegistered) -> tuple[str | int | None, ...]:
    live = evolve(None, event, Position(2, "2-0"))
    assert isinstance(live, Live)
    return live.fingerprint
