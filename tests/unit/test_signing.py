"""Codes of events: whoever has no key can neither make, change, take out nor move one."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import msgspec
import pytest

from registry import codec
from registry.entries import Entry, Position
from registry.events import TenantConfig, TenantEvent, TenantRegistered, TenantRemoved, TenantRestated
from registry.signing import Signer, mac_of
from registry.state import Live, Quarantined, Tenant, evolve

KEYS: Final = (("new", b"k" * 32), ("old", b"o" * 32))
PLACE: Final = Position(2, "2-0")


@pytest.fixture
def signer() -> Signer:
    """A signer with a current key and an earlier one."""
    return Signer(KEYS)


@pytest.fixture
def first(signer: Signer, registered: Callable[[int], TenantRegistered]) -> TenantEvent:
    """Tenant acme's first event, signed."""
    return signer.sign(registered(1), None)


@pytest.fixture
def acme(first: TenantEvent) -> Tenant:
    """Tenant acme after it."""
    return evolve(None, first, PLACE)


def test_a_signed_event_passes_behind_the_one_that_it_was_signed_behind(
    signer: Signer, first: TenantEvent, acme: Tenant, removed: Callable[[int], TenantRemoved]
) -> None:
    second = signer.sign(removed(2), acme)

    assert signer.check(first, None) is None
    assert signer.check(second, mac_of(acme)) is None


def test_a_code_names_its_key_and_is_128_bits_in_hex(first: TenantEvent) -> None:
    assert isinstance(first.mac, str)
    name, _, code = first.mac.partition(":")

    assert name == "new"
    assert len(bytes.fromhex(code)) == 16


def test_a_code_survives_the_way_through_the_log(signer: Signer, first: TenantEvent) -> None:
    read = codec.decode(Entry(PLACE, "1-0", codec.type_of(first), codec.encode(first)))

    assert isinstance(read, TenantRegistered)
    assert signer.check(read, None) is None


@pytest.mark.parametrize(
    "change",
    [
        {"event_id": "another"},
        {"actor": "mallory"},
        {"tenant": "beta"},
        {"version": 2},
        {"command_id": "another"},
        {"digest": "another"},
        {"previous": "1-1"},
        {"reason": "another"},
        {"config": TenantConfig(host="evil", database="app", user="reader")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_event_of_which_anything_was_changed_does_not_pass(
    change: dict[str, Any], signer: Signer, first: TenantEvent
) -> None:
    assert "does not fit" in str(signer.check(msgspec.structs.replace(first, **change), None))


def test_an_event_of_another_time_does_not_pass(signer: Signer, first: TenantEvent) -> None:
    later = msgspec.structs.replace(first, time=first.time + timedelta(microseconds=1))

    assert "does not fit" in str(signer.check(later, None))


def test_an_event_cannot_become_one_of_another_kind(
    signer: Signer, registered: Callable[[int], TenantRegistered], restated: Callable[[int], TenantRestated]
) -> None:
    signed = signer.sign(registered(1), None)

    assert signer.check(msgspec.structs.replace(restated(1), mac=signed.mac), None) is not None


@pytest.mark.parametrize("before", [None, "new:" + "0" * 32])
def test_an_event_whose_predecessor_was_taken_out_or_changed_does_not_pass(
    before: str | None, signer: Signer, acme: Tenant, removed: Callable[[int], TenantRemoved]
) -> None:
    second = signer.sign(removed(2), acme)

    assert "does not fit" in str(signer.check(second, before))


def test_an_event_without_a_code_does_not_pass(signer: Signer, registered: Callable[[int], TenantRegistered]) -> None:
    assert signer.check(registered(1), None) == "it is not signed"
    assert signer.check(msgspec.structs.replace(registered(1), mac=""), None) == "it is not signed"


@pytest.mark.parametrize("mac", ["new", "new:", "new:zz", ":", "new:" + "0" * 32])
def test_what_is_no_code_does_not_pass(mac: str, signer: Signer, registered: Callable[[int], TenantRegistered]) -> None:
    assert signer.check(msgspec.structs.replace(registered(1), mac=mac), None) is not None


def test_an_earlier_key_still_checks_and_no_longer_signs(
    signer: Signer, registered: Callable[[int], TenantRegistered]
) -> None:
    old = Signer(KEYS[1:]).sign(registered(1), None)

    assert signer.check(old, None) is None
    assert str(signer.sign(registered(1), None).mac).startswith("new:")


def test_a_code_of_a_key_that_is_not_given_does_not_pass_and_the_key_is_named(
    signer: Signer, registered: Callable[[int], TenantRegistered]
) -> None:
    foreign = Signer([("theirs", b"t" * 32)]).sign(registered(1), None)

    assert "'theirs'" in str(signer.check(foreign, None))


def test_a_key_of_the_same_name_and_other_content_does_not_pass(
    signer: Signer, registered: Callable[[int], TenantRegistered]
) -> None:
    forged = Signer([("new", b"x" * 32)]).sign(registered(1), None)

    assert "does not fit" in str(signer.check(forged, None))


def test_without_a_key_nothing_is_signed_and_nothing_refused(
    first: TenantEvent, registered: Callable[[int], TenantRegistered]
) -> None:
    assert Signer().sign(registered(1), None) == registered(1)
    assert Signer().check(registered(1), None) is None
    assert Signer().check(first, "anything") is None


def test_a_tenant_carries_the_code_of_its_last_event(first: TenantEvent, acme: Tenant) -> None:
    aside = Quarantined(tenant="acme", version=2, position=PLACE, reason="newer")

    assert isinstance(acme, Live)
    assert mac_of(acme) == first.mac
    assert mac_of(None) is None
    assert mac_of(aside) is None
