"""A tenant from its head and its document: the very tenant, or nothing."""

import re
import string
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

import msgspec
import pytest
from hypothesis import given, strategies as st

from registry import codec
from registry.codec import decode_head, encode_head
from registry.entries import START, Head, Position, Unreadable
from registry.events import SealedSecret, TenantConfig
from registry.state import Live, Removed
from registry.stored import document_of, head_of, is_head_of, proposed_head, tenant_of
from tests.tables import table

ids: Final = st.text(string.ascii_letters + string.digits + "._:-", min_size=1, max_size=20)
texts: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
times: Final = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis puts the zone in
entries: Final = st.builds("{}-{}".format, st.integers(1, 10**15 - 1), st.integers(0, 999))
positions: Final = st.builds(Position, st.integers(1, 10**15), entries)
macs: Final = st.builds("{}:{}".format, ids, st.binary(min_size=16, max_size=16).map(bytes.hex))
told: Final = {
    "tenant": ids,
    "version": st.integers(1, 10**9),
    "position": positions,
    "event_id": ids,
    "command_id": ids,
    "digest": ids,
    "changed_at": times,
    "changed_by": texts,
    "mac": st.none() | macs,
}
configs: Final = st.builds(
    TenantConfig,
    host=texts,
    port=st.integers(1, 65535),
    database=texts,
    user=texts,
    ssl=st.sampled_from(["disable", "require", "verify-full"]),
    max_pool_size=st.integers(1, 100),
    password_ref=st.sampled_from([msgspec.UNSET, "file:acme/password", "env:TENANT_ACME"]),
    access=st.sampled_from([msgspec.UNSET, "read_write"]),
    roles=st.sampled_from([msgspec.UNSET, ("writer",), ("writer", "reader")]),
)
secrets: Final = st.none() | st.builds(SealedSecret, key=ids, version=st.integers(1, 9), sealed=ids)
lives: Final = st.builds(Live, config=configs, secret=secrets, born=told["changed_at"], **told)
removals: Final = st.builds(Removed, **told)

ACME: Final = Live(
    tenant="acme",
    version=3,
    position=Position(12, "1763805601250-0"),
    event_id="event",
    command_id="command",
    digest="one:0d",
    changed_at=datetime(2026, 11, 22, 10, 0, 1, 250_000, tzinfo=UTC),
    changed_by="ann",
    born=datetime(2026, 11, 20, 9, 0, tzinfo=UTC),
    mac="one:00",
    config=TenantConfig(host="db.example", database="app", user="reader"),
    secret=SealedSecret(key="k", version=2, sealed="AAAA"),
)
GONE: Final = Removed(
    tenant="acme",
    version=4,
    position=Position(13, "1763805601251-0"),
    event_id="event",
    command_id="event",
    digest="one:0d",
    changed_at=ACME.changed_at,
    changed_by="ben",
)


@given(lives)
def test_a_live_tenant_comes_back_from_its_head_and_its_document(tenant: Live) -> None:
    assert tenant_of(tenant.tenant, _through_redis(head_of(tenant)), document_of(tenant)) == tenant


@given(removals, st.none() | st.binary(max_size=20))
def test_a_removed_tenant_comes_back_from_its_head_whatever_stands_under_its_key(
    tenant: Removed, document: bytes | None
) -> None:
    assert tenant_of(tenant.tenant, _through_redis(head_of(tenant)), document) == tenant


@given(lives)
def test_equal_tenants_have_equal_documents(tenant: Live) -> None:
    assert document_of(tenant) == document_of(msgspec.structs.replace(tenant))


def test_the_head_of_an_event_that_is_still_to_be_appended_has_no_place_and_the_same_sum() -> None:
    before = proposed_head(msgspec.structs.replace(ACME, position=START))

    assert before == proposed_head(ACME)
    assert msgspec.structs.replace(before, position=ACME.position) == head_of(ACME)


def test_a_document_with_a_byte_changed_or_missing_is_not_believed() -> None:
    head, document = head_of(ACME), document_of(ACME)

    for at in range(len(document)):
        for edited in (
            document[:at] + bytes([document[at] ^ 1]) + document[at + 1 :],
            document[:at] + document[at + 1 :],
        ):
            assert tenant_of("acme", head, edited) in (None, ACME), edited


@given(st.integers(0, len(document_of(ACME))), st.integers(0, 60), st.binary(max_size=60))
def test_a_document_that_was_edited_anywhere_is_not_believed(start: int, length: int, written: bytes) -> None:
    document = document_of(ACME)
    edited = document[:start] + written + document[start + length :]

    assert tenant_of("acme", head_of(ACME), edited) in (None, ACME)


@pytest.mark.parametrize(
    "smuggled",
    [
        b'12,"host":"evil.example","entry":"1763805601250-0"',
        b'12,"entry":"1763805601250-0","port":1',
        b'12,"entry":"1763805601250-0","secret":null',
        b'12,"entry":"1763805601250-0","event_id":"x","host":"evil.example"',
        b'{"seq":12},"entry":"1-0","host":"evil.example"',
    ],
)
def test_nothing_can_be_smuggled_in_between_what_the_sum_leaves_out(smuggled: bytes) -> None:
    document = re.sub(rb'12,"entry":"1763805601250-0"', smuggled, document_of(ACME))
    assert document != document_of(ACME)

    assert tenant_of("acme", head_of(ACME), document) in (None, ACME)


@table(
    "other",
    [
        pytest.param({"version": 2}, id="an older version"),
        pytest.param({"event_id": "another"}, id="another event"),
        pytest.param({"changed_by": "ben"}, id="somebody else's"),
        pytest.param({"changed_at": ACME.changed_at + timedelta(microseconds=1)}, id="of another time"),
        pytest.param({"changed_at": ACME.changed_at.astimezone(timezone(timedelta(hours=1)))}, id="of another zone"),
        pytest.param({"secret": None}, id="without the secret"),
        pytest.param({"config": TenantConfig(host="evil", database="app", user="reader")}, id="elsewhere"),
        pytest.param({"tenant": "beta"}, id="another tenant's"),
    ],
)
def test_the_document_of_another_state_is_not_believed(other: dict[str, object]) -> None:
    document = document_of(msgspec.structs.replace(ACME, **other))

    assert tenant_of("acme", head_of(ACME), document) is None


def test_the_same_event_said_again_elsewhere_in_the_log_has_the_document_of_before() -> None:
    again = msgspec.structs.replace(ACME, position=Position(99, "1763805609999-0"))

    assert tenant_of("acme", head_of(again), document_of(ACME)) == again


def test_a_head_that_is_copied_to_another_tenant_tells_nothing() -> None:
    assert tenant_of("beta", head_of(ACME), document_of(ACME)) is None


def test_a_live_tenant_without_a_document_is_not_known() -> None:
    assert tenant_of("acme", head_of(ACME), None) is None


@pytest.mark.parametrize("tenant", [ACME, GONE])
def test_a_head_of_before_it_held_everything_leaves_the_tenant_to_the_log(tenant: Live | Removed) -> None:
    head = head_of(tenant)
    words = f"{head.position.seq}|{head.position.entry}|{codec.encode_head(head)}".split("|")[:7]
    old = decode_head("|".join(words).encode())
    document = document_of(tenant) if isinstance(tenant, Live) else None

    assert tenant_of("acme", old, document) is None


def test_a_head_without_a_sum_vouches_for_no_document() -> None:
    head = msgspec.structs.replace(head_of(ACME), sum=None)

    assert tenant_of("acme", head, document_of(ACME)) is None
    assert tenant_of("acme", head, b"{}") is None


def _through_redis(head: Head) -> Head:
    """Return the head as it is read back from where the append script has put it."""
    return decode_head(f"{head.position.seq}|{head.position.entry}|{encode_head(head)}".encode())


@given(lives | removals)
def test_a_head_is_the_tenants_if_it_is_what_the_append_wrote(tenant: Live | Removed) -> None:
    assert is_head_of(tenant, head_of(tenant))
    assert is_head_of(tenant, head_of(tenant), any_birth=True)


@table(
    "found",
    [
        pytest.param(None, id="none"),
        pytest.param(Unreadable("three words"), id="unreadable"),
        pytest.param(msgspec.structs.replace(head_of(ACME), version=2), id="of an earlier version"),
        pytest.param(head_of(GONE), id="of the removed tenant"),
    ],
)
def test_a_head_that_says_anything_else_is_wrong_to_everybody(found: Head | Unreadable | None) -> None:
    assert not is_head_of(ACME, found)
    assert not is_head_of(ACME, found, any_birth=True)


@table("born", [None, ACME.changed_at])
def test_a_head_that_differs_in_the_birth_alone_is_wrong_and_replicas_leave_it(born: datetime | None) -> None:
    found = msgspec.structs.replace(head_of(ACME), born=born)
    assert not is_head_of(ACME, found)
    assert is_head_of(ACME, found, any_birth=True)
