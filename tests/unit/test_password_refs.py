"""References to passwords: which can be one, and what a registration with one is."""

from typing import Any

import pytest
from hypothesis import given, strategies as st

from registry.errors import InvalidInput
from registry.inputs import from_dsn, from_fields
from registry.password_refs import PasswordRef, check_password_ref, parse_password_ref
from registry.secrets import Secret
from tests.tables import table


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("file:acme", PasswordRef("file", "acme")),
        ("file:eu/acme/db-password.txt", PasswordRef("file", "eu/acme/db-password.txt")),
        ("env:TENANT_ACME", PasswordRef("env", "TENANT_ACME")),
        ("env:PASSWORD_acme-1.eu", PasswordRef("env", "PASSWORD_acme-1.eu")),
    ],
)
def test_a_file_below_the_folder_and_a_variable_can_be_named(text: str, ref: PasswordRef) -> None:
    assert parse_password_ref(text) == ref
    assert check_password_ref(text) == text


@table(
    "text",
    [
        *("", "acme", "file:", "env:", "vault:acme", "FILE:acme", "file:/etc/passwd", "file:../x", "file:a/../x"),
        *("file:a/./x", "file:.hidden", "file:a/.hidden", "file:a//x", "file:a/", "file:..", "file:a\\x", "file:a\nb"),
        *("file:a\0b", "file:-rf", "file:~/x", "file:a b", "file:acme\n", "file:%2e%2e/x", "file:\uff0e\uff0e/x"),
        *("env:1A", "env:A=B", "env:A B", "env:A\n", "env:$A", "file:" + "a" * 300),
    ],
)
def test_what_could_lead_out_of_the_folder_or_means_something_else_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_password_ref(text)
    assert refused.value.facts == {"field": "password_ref"}
    assert len(text) < 6 or text not in str(refused.value)


@given(st.text(max_size=40))
def test_whatever_is_accepted_has_no_part_that_begins_with_a_dot_and_none_that_is_empty(name: str) -> None:
    try:
        ref = parse_password_ref(f"file:{name}")
    except InvalidInput:
        return
    assert all(part and part[0] != "." for part in ref.name.split("/"))


def test_a_password_and_a_reference_together_are_refused() -> None:
    where: dict[str, Any] = {"host": "db", "database": "d", "user": "u"}
    with pytest.raises(InvalidInput, match="Both password and password_ref"):
        from_fields(**where, password=Secret("x"), password_ref="file:acme")
    with pytest.raises(InvalidInput, match="Both password and password_ref"):
        from_dsn(Secret("postgresql://u:x@db/d"), password_ref="file:acme")


def test_a_reference_takes_the_place_of_the_password_also_beside_a_dsn() -> None:
    registration = from_dsn(Secret("postgresql://u@db/d"), password_ref="file:acme")

    assert registration.password is None
    assert registration.config.password_ref == "file:acme"
