"""Whatever holds a password or a key shows it nowhere, and does not leave the process."""

import copy
import pickle
import traceback
from collections.abc import Callable
from typing import Final

import msgspec
import pytest

from registry.errors import SecretUnreadable
from registry.events import Login
from registry.secrets import DataKey, MasterKeys, Secret, new_master_key
from tests.waiting import now

PASSWORD: Final = Secret("s3cr3t-canary")
LOGIN: Final[Login] = ("db", 5432, "app", "reader", "verify-full", None)
CANARY: Final = PASSWORD.reveal()
ONE: Final = new_master_key("one")
MASTER: Final = MasterKeys.parse(ONE)


@pytest.fixture
def key() -> DataKey:
    """Tenant acme's data key."""
    return now(MASTER.new_data_key("acme"))[0]


@pytest.mark.parametrize(
    "show",
    [repr, str, "{}".format, "{!r}".format, "%s".__mod__, lambda secret: f"{[secret]}"],
    ids=["repr", "str", "format", "format as repr", "percent", "in a list"],
)
def test_a_secret_shows_nothing(show: Callable[[Secret], str]) -> None:
    assert show(PASSWORD).strip("[]") == "Secret(***)"


@pytest.mark.parametrize("copier", [pickle.dumps, copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"])
def test_a_secret_does_not_leave_the_process_or_multiply(copier: Callable[[Secret], object]) -> None:
    with pytest.raises(TypeError, match="a secret is not pickled"):
        copier(PASSWORD)


def test_a_secret_is_not_encoded_by_accident() -> None:
    with pytest.raises(TypeError) as refusal:
        msgspec.json.encode({"password": PASSWORD})
    assert CANARY not in str(refusal.value)


def test_a_secret_is_not_taken_for_a_text() -> None:
    assert PASSWORD != CANARY
    assert not hasattr(PASSWORD, "__dict__")
    with pytest.raises(TypeError, match="unhashable"):
        hash(PASSWORD)


def test_secrets_compare_by_what_they_hold() -> None:
    assert Secret("a\u00e9") == Secret("a\u00e9")
    assert Secret("a") != Secret("b")


def test_a_data_key_shows_and_pickles_nothing(key: DataKey) -> None:
    assert repr(key) == f"DataKey({key.id}, ***)"
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_the_master_keys_show_and_pickle_nothing() -> None:
    _, _, line = ONE.partition(":")

    assert line not in repr(MASTER)
    with pytest.raises(TypeError):
        pickle.dumps(MASTER)


def test_a_traceback_of_a_failed_opening_shows_neither_key_nor_password(key: DataKey) -> None:
    with pytest.raises(SecretUnreadable) as refusal:
        key.open("other", LOGIN, key.seal("acme", 3, LOGIN, PASSWORD))
    text = "".join(traceback.format_exception(refusal.value))

    assert CANARY not in text
    assert "InvalidTag" not in text
