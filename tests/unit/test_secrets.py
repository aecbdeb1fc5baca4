"""Secrets: what is sealed opens for its own tenant, version and purpose alone."""

import base64
import traceback
from collections.abc import Callable
from typing import Final

import msgspec
import pytest
from hypothesis import given, strategies as st

from registry.errors import InvalidInput, SecretUnreadable
from registry.events import Login, SealedSecret
from registry.secrets import DataKey, MasterKeys, Secret, new_master_key
from tests.tables import table
from tests.waiting import now

PASSWORD: Final = Secret("s3cr3t-canary")
LOGIN: Final[Login] = ("db", 5432, "app", "reader", "verify-full", None)
BEFORE: Final = "XGUKu0P/QkiEJ8YP7oyOFifqQeK9pmlQfzkJoQAMUHIb/2aR9rIDMzI="
"""The password as it was sealed for acme, version 3, by the key of the bytes 0 to 31, when no login was bound."""
CANARY: Final = PASSWORD.reveal()
ONE: Final = new_master_key("one")
TWO: Final = new_master_key("two")
MASTER: Final = MasterKeys.parse(ONE)

texts = st.text(st.characters(codec="utf-8"), max_size=60)


@pytest.fixture
def key() -> DataKey:
    """Tenant acme's data key."""
    return now(MASTER.new_data_key("acme"))[0]


@pytest.mark.parametrize(
    "elsewhere",
    [
        ("evil.example", *LOGIN[1:]),
        ("db", 5433, *LOGIN[2:]),
        (*LOGIN[:2], "other", *LOGIN[3:]),
        (*LOGIN[:3], "other", *LOGIN[4:]),
        (*LOGIN[:4], "disable", None),
        (*LOGIN[:5], "an authority of the attacker's"),
    ],
    ids=["host", "port", "database", "user", "in clear", "authority"],
)
def test_who_may_write_to_redis_cannot_have_a_password_sent_elsewhere(key: DataKey, elsewhere: Login) -> None:
    sealed = key.seal("acme", 3, LOGIN, PASSWORD)

    with pytest.raises(SecretUnreadable):
        key.open("acme", elsewhere, sealed)


def test_what_is_bound_to_a_login_does_not_pass_for_one_that_is_not(key: DataKey) -> None:
    sealed = key.seal("acme", 3, LOGIN, PASSWORD)

    with pytest.raises(SecretUnreadable):
        key.open("acme", LOGIN, msgspec.structs.replace(sealed, sealed=sealed.sealed.removeprefix("2:")))


def test_a_password_that_was_sealed_before_logins_were_bound_opens_still() -> None:
    key = DataKey("1f2e3d4c", bytes(range(32)))
    before = SealedSecret(key="1f2e3d4c", version=3, sealed=BEFORE)

    assert key.open("acme", LOGIN, before) == PASSWORD


@given(texts)
def test_what_is_sealed_opens_again(password: str) -> None:
    key, wrapped = now(MASTER.new_data_key("acme"))
    sealed = key.seal("acme", 3, LOGIN, Secret(password))

    assert now(MASTER.unwrap("acme", wrapped)).open("acme", LOGIN, sealed) == Secret(password)


def test_a_sealed_secret_says_which_key_and_version_it_is_of(key: DataKey) -> None:
    sealed = key.seal("acme", 3, LOGIN, PASSWORD)

    assert (sealed.key, sealed.version) == (key.id, 3)


def test_equal_passwords_do_not_look_alike(key: DataKey) -> None:
    assert key.seal("acme", 3, LOGIN, PASSWORD).sealed != key.seal("acme", 3, LOGIN, PASSWORD).sealed


def test_no_password_stands_in_what_is_stored(key: DataKey) -> None:
    stored = msgspec.json.encode(key.seal("acme", 3, LOGIN, PASSWORD))

    assert CANARY.encode() not in stored
    assert base64.b64encode(CANARY.encode()).rstrip(b"=")[:-1] not in stored


def test_a_secret_pasted_into_another_tenants_record_does_not_open(key: DataKey) -> None:
    with pytest.raises(SecretUnreadable, match="'other'"):
        key.open("other", LOGIN, key.seal("acme", 3, LOGIN, PASSWORD))


def test_an_old_secret_pasted_over_a_newer_one_does_not_open(key: DataKey) -> None:
    old = key.seal("acme", 3, LOGIN, PASSWORD)

    with pytest.raises(SecretUnreadable):
        key.open("acme", LOGIN, msgspec.structs.replace(old, version=4))


def test_a_secret_of_a_key_that_was_destroyed_does_not_open_with_the_next_one(key: DataKey) -> None:
    after, _ = now(MASTER.new_data_key("acme"))

    with pytest.raises(SecretUnreadable, match="register the tenant again"):
        after.open("acme", LOGIN, key.seal("acme", 3, LOGIN, PASSWORD))


def test_a_secret_that_claims_another_key_does_not_open(key: DataKey) -> None:
    after, _ = now(MASTER.new_data_key("acme"))
    forged = msgspec.structs.replace(key.seal("acme", 3, LOGIN, PASSWORD), key=after.id)

    with pytest.raises(SecretUnreadable, match="changed or copied from elsewhere"):
        after.open("acme", LOGIN, forged)


@pytest.mark.parametrize("sealed", ["", "AAAA", "not base64", "\u00e9", "A" * 60])
def test_a_damaged_secret_does_not_open(sealed: str, key: DataKey) -> None:
    with pytest.raises(SecretUnreadable, match="cannot be opened"):
        key.open("acme", LOGIN, SealedSecret(key=key.id, version=3, sealed=sealed))


def test_a_data_key_pasted_to_another_tenant_does_not_unwrap() -> None:
    _, wrapped = now(MASTER.new_data_key("acme"))

    with pytest.raises(SecretUnreadable, match="'other'"):
        now(MASTER.unwrap("other", wrapped))


def test_a_password_is_no_data_key_though_its_ciphertext_is_pasted_there(key: DataKey) -> None:
    _, wrapped = now(MASTER.new_data_key("acme"))
    sealed = key.seal("acme", 3, LOGIN, Secret("x" * 32)).sealed
    form, _, master, _ = wrapped.split("|")

    with pytest.raises(SecretUnreadable, match="cannot be opened"):
        now(MASTER.unwrap("acme", f"{form}|{key.id}|{master}|{sealed}"))


def test_a_data_key_that_claims_another_name_does_not_unwrap() -> None:
    _, wrapped = now(MASTER.new_data_key("acme"))
    form, _, master, sealed = wrapped.split("|")

    with pytest.raises(SecretUnreadable, match="cannot be opened"):
        now(MASTER.unwrap("acme", f"{form}|00000000|{master}|{sealed}"))


@pytest.mark.parametrize("wrapped", ["", "v1", "v2|k|one|AAAA", "v1|k|one|AAAA|more"])
def test_a_data_key_in_an_unknown_form_does_not_unwrap(wrapped: str) -> None:
    with pytest.raises(SecretUnreadable, match="form this version does not know"):
        now(MASTER.unwrap("acme", wrapped))


def test_a_missing_master_key_is_named_and_so_are_those_there_are() -> None:
    _, wrapped = now(MasterKeys.parse(TWO).new_data_key("acme"))

    with pytest.raises(SecretUnreadable, match=r"master key 'two'.*it has one") as refusal:
        now(MASTER.unwrap("acme", wrapped))
    assert refusal.value.facts == {"master_key": "two"}


def test_another_master_key_of_the_same_name_does_not_unwrap() -> None:
    _, wrapped = now(MasterKeys.parse(new_master_key("one")).new_data_key("acme"))

    with pytest.raises(SecretUnreadable, match="another one of the same name"):
        now(MASTER.unwrap("acme", wrapped))


def test_the_first_master_key_wraps_and_every_one_opens() -> None:
    rotated = MasterKeys.parse(f"{TWO}\n{ONE}")
    old_key, old = now(MASTER.new_data_key("acme"))
    new_key, new = now(rotated.new_data_key("acme"))

    assert now(rotated.unwrap("acme", old)).id == old_key.id
    assert now(MasterKeys.parse(TWO).unwrap("acme", new)).id == new_key.id


def test_a_key_file_may_hold_comments_empty_lines_and_spaces_around() -> None:
    text = f"# made in November\n\n  {ONE}  \r\n# the one before\n{TWO}\n"

    key, wrapped = now(MASTER.new_data_key("acme"))
    assert now(MasterKeys.parse(text).unwrap("acme", wrapped)).id == key.id


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing but a comment\n"])
def test_a_key_file_without_a_key_says_how_to_make_one(text: str) -> None:
    with pytest.raises(InvalidInput, match="mcp-postgres keys new"):
        MasterKeys.parse(text)


@table(
    "damage",
    [
        pytest.param(lambda line: line[:-4], id="cut short"),
        pytest.param(lambda line: line.partition(":")[2], id="no name"),
        pytest.param(lambda line: f"-{line}", id="no good name"),
        pytest.param(lambda line: f"{'n' * 40}{line}", id="name too long"),
        pytest.param(lambda line: line + "AAAA", id="too long"),
        pytest.param(lambda line: line.replace("=", "!"), id="no base64"),
        pytest.param(lambda line: line.replace(":", ":="), id="padding in front"),
        pytest.param(lambda line: line.replace(":", " : "), id="spaces within"),
        pytest.param(lambda line: f"{line} # current", id="a comment behind"),
    ],
)
def test_a_bad_line_of_a_key_file_is_told_by_its_number_and_not_shown(damage: Callable[[str], str]) -> None:
    with pytest.raises(InvalidInput, match="Line 3 of the key file") as refusal:
        MasterKeys.parse(f"# comment\n{TWO}\n{damage(ONE)}\n")
    _shows_nothing_of(ONE, refusal.value)


def test_two_keys_of_one_name_are_told_by_the_line_and_not_shown() -> None:
    with pytest.raises(InvalidInput, match="Line 3 of the key file") as refusal:
        MasterKeys.parse(f"{ONE}\n{TWO}\n{new_master_key('one')}")
    _shows_nothing_of(ONE, refusal.value)


def test_a_new_master_key_is_a_line_of_a_key_file_and_never_the_same() -> None:
    _, wrapped = now(MasterKeys.parse(new_master_key("prod-2026.1")).new_data_key("acme"))

    assert "|prod-2026.1|" in wrapped
    assert new_master_key("a") != new_master_key("a")


def test_a_digest_is_of_its_own_content_alone() -> None:
    master = MasterKeys.parse(new_master_key("one"))
    digest = now(master.digest(b"a"))
    assert now(master.digest(b"a")) == digest
    assert now(master.is_digest_of(digest, b"a")) is True
    assert now(master.is_digest_of(digest, b"b")) is False


def test_a_digest_made_before_a_rotation_is_still_told() -> None:
    old, new = new_master_key("old"), new_master_key("new")
    digest = now(MasterKeys.parse(old).digest(b"a"))
    assert now(MasterKeys.parse(f"{new}\n{old}").is_digest_of(digest, b"a")) is True


def test_without_the_master_key_a_digest_confirms_no_guess() -> None:
    digest = now(MasterKeys.parse(new_master_key("one")).digest(CANARY.encode()))
    assert now(MasterKeys.parse(new_master_key("one")).is_digest_of(digest, CANARY.encode())) is False
    assert now(MasterKeys.parse(new_master_key("other")).is_digest_of(digest, CANARY.encode())) is None


def _shows_nothing_of(line: str, error: InvalidInput) -> None:
    """Check that no eight characters of the key stand in what is logged of the error."""
    text = "".join(traceback.format_exception(error)) + repr(error.facts)
    _, _, key = line.partition(":")
    assert not any(key[start : start + 8] in text for start in range(len(key) - 8))
