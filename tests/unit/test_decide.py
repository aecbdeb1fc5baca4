"""Decisions: what a command becomes on each state of the tenant, and why it is refused."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import pytest

from registry import decide
from registry.entries import START, Position
from registry.errors import InvalidInput, QuarantinedTenant, RemovedTenant, UnknownTenant, VersionConflict
from registry.events import SealedSecret, TenantConfig, TenantRegistered, TenantRemoved
from registry.restore import restated
from registry.state import Live, Quarantined, Tenant, evolve

ORIGIN: Final = decide.Origin(
    actor="cleo",
    reason="asked to",
    time=datetime(2026, 11, 23, tzinfo=UTC),
    event_id="event",
    command_id="command",
    digest="one:0d",
)
SECRET: Final = SealedSecret(key="k", version=1, sealed="AAAA")


@pytest.fixture
def live(registered: Callable[[int], TenantRegistered], place: Callable[[int], Position]) -> Live:
    tenant = evolve(None, registered(1), place(2))
    assert isinstance(tenant, Live)
    return tenant


@pytest.fixture
def gone(live: Live, removed: Callable[[int], TenantRemoved], place: Callable[[int], Position]) -> Tenant:
    return evolve(live, removed(2), place(3))


def test_a_first_registration_is_version_one_with_nothing_before_it(config: TenantConfig) -> None:
    assert decide.register("acme", None, config, SECRET, ORIGIN) == TenantRegistered(
        event_id="event",
        time=ORIGIN.time,
        actor="cleo",
        tenant="acme",
        version=1,
        command_id="command",
        digest="one:0d",
        previous=None,
        reason="asked to",
        config=config,
        secret=SECRET,
    )


def test_a_replacement_counts_on_and_names_the_entry_before(live: Live, config: TenantConfig) -> None:
    event = decide.register("acme", live, config, None, ORIGIN)

    assert (event.version, event.previous) == (2, live.position.entry)


def test_a_tenant_that_comes_back_counts_on_from_its_removal(gone: Tenant, config: TenantConfig) -> None:
    event = decide.register("acme", gone, config, None, ORIGIN)

    assert (event.version, event.previous) == (3, gone.position.entry)


def test_what_is_decided_is_what_the_fold_takes(live: Live, gone: Tenant, config: TenantConfig) -> None:
    at = Position(9, "9-0")

    for tenant in (None, live, gone):
        assert evolve(tenant, decide.register("acme", tenant, config, SECRET, ORIGIN), at).version
    assert evolve(live, decide.remove("acme", live, ORIGIN), at).version == 2


def test_a_removal_says_who_and_why(live: Live) -> None:
    event = decide.remove("acme", live, ORIGIN)

    assert (event.version, event.previous) == (2, live.position.entry)
    assert (event.actor, event.reason, event.time) == (ORIGIN.actor, ORIGIN.reason, ORIGIN.time)


def test_a_tenants_next_event_is_later_also_when_its_writers_clock_is_late(live: Live, config: TenantConfig) -> None:
    late = msgspec.structs.replace(ORIGIN, time=live.changed_at - timedelta(minutes=1))

    assert decide.register("acme", live, config, None, late).time > live.changed_at
    assert decide.remove("acme", live, late).time > live.changed_at


def test_a_tenant_that_a_late_clock_registers_anew_is_not_ended_by_the_removal_before_when_the_log_loses_it(
    live: Live, config: TenantConfig
) -> None:
    late = msgspec.structs.replace(ORIGIN, time=live.changed_at - timedelta(minutes=1), event_id="anew")
    gone = evolve(live, decide.remove("acme", live, ORIGIN), Position(3, "3-0"))
    anew = evolve(gone, decide.register("acme", gone, config, None, late), Position(4, "4-0"))

    assert restated(anew, gone, "new") == msgspec.structs.replace(anew, position=START)


def test_a_tenant_that_never_was_cannot_be_removed() -> None:
    with pytest.raises(UnknownTenant, match="list_tenants"):
        decide.remove("acme", None, ORIGIN)


def test_a_tenant_is_not_removed_twice_and_the_answer_says_when_it_was(gone: Tenant) -> None:
    with pytest.raises(RemovedTenant, match=r"2026-11-22 10:00:00 UTC \(version 2\)") as refusal:
        decide.remove("acme", gone, ORIGIN)
    assert refusal.value.facts == {"version": 2}


def test_a_live_tenant_may_be_used(live: Live) -> None:
    assert decide.require_live("acme", live) is live


def test_whoever_expects_nothing_overwrites(live: Live) -> None:
    decide.check_version("acme", live, None)


@pytest.mark.parametrize(("registrations", "version"), [(0, 0), (1, 1)])
def test_the_expected_version_is_the_present_one(registrations: int, version: int, live: Live) -> None:
    decide.check_version("acme", live if registrations else None, version)


@pytest.mark.parametrize(("registrations", "version", "current"), [(0, 1, 0), (1, 0, 1), (1, 2, 1)])
def test_any_other_expected_version_is_a_conflict_that_tells_the_present_one(
    registrations: int, version: int, current: int, live: Live
) -> None:
    with pytest.raises(VersionConflict) as conflict:
        decide.check_version("acme", live if registrations else None, version)
    assert conflict.value.facts == {"current_version": current}


def test_a_removed_tenant_still_has_a_version_to_expect(gone: Tenant) -> None:
    with pytest.raises(VersionConflict) as conflict:
        decide.check_version("acme", gone, 0)
    assert conflict.value.facts == {"current_version": 2}


def test_the_same_configuration_and_secret_change_nothing(live: Live) -> None:
    assert decide.is_unchanged(live, live.config, same_secret=True)


def test_another_secret_is_a_change(live: Live) -> None:
    assert not decide.is_unchanged(live, live.config, same_secret=False)


def test_another_limit_is_a_change(live: Live) -> None:
    config = msgspec.structs.replace(live.config, max_pool_size=99)

    assert not decide.is_unchanged(live, config, same_secret=True)


def test_registering_a_removed_tenant_as_it_was_is_a_change(live: Live, gone: Tenant) -> None:
    assert not decide.is_unchanged(gone, live.config, same_secret=True)
    assert not decide.is_unchanged(None, live.config, same_secret=True)


def test_a_quarantined_tenant_is_not_used_and_the_reason_is_told(place: Callable[[int], Position]) -> None:
    tenant = Quarantined(tenant="acme", version=2, position=place(3), reason="of a newer time")

    with pytest.raises(QuarantinedTenant, match="of a newer time") as refused:
        decide.require_live("acme", tenant)
    assert refused.value.facts == {"version": 2}


def test_a_quarantined_tenant_can_be_removed(place: Callable[[int], Position]) -> None:
    tenant = Quarantined(tenant="acme", version=2, position=place(3), reason="of a newer time")

    event = decide.remove("acme", tenant, ORIGIN)

    assert (event.version, event.previous) == (3, place(3).entry)


def test_a_tenant_that_would_be_new_beside_one_of_its_name_but_for_case_is_refused_and_told_which(gone: Tenant) -> None:
    for tenant in (None, gone):
        with pytest.raises(InvalidInput, match="'acme', and 'ACME' differs from it only in case") as refused:
            decide.check_twin("ACME", tenant, "acme")
        assert refused.value.facts == {"field": "tenant_id", "twin": "acme"}


def test_a_tenant_that_is_there_beside_another_of_its_name_may_be_registered_anew(live: Live) -> None:
    decide.check_twin("ACME", live, "acme")
    decide.check_twin("ACME", None, None)


def test_an_unknown_tenant_is_told_with_the_id_that_was_meant() -> None:
    with pytest.raises(UnknownTenant, match="No tenant 'ACME'; did you mean 'acme'"):
        decide.require_live("ACME", None, twin="acme")
