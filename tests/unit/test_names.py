"""Tenant ids and key names: nothing a caller writes may reach another tenant's key, slot or file."""

import re
from fnmatch import fnmatchcase
from string import ascii_letters, digits

import pytest
from hypothesis import given, strategies as st

from registry.errors import InvalidInput
from registry.names import (
    MAX_TENANT_ID,
    RESERVED_TENANT_IDS,
    TENANT_ID_PATTERN,
    Names,
    are_twins,
    check_command_id,
    check_tenant_id,
)
from tests.tables import table

tenant_ids = st.from_regex(TENANT_ID_PATTERN.removesuffix("$") + r"\Z").filter(
    lambda text: text.lower() not in RESERVED_TENANT_IDS
)


@given(tenant_ids)
def test_an_id_within_the_grammar_is_taken_as_it_is(tenant_id: str) -> None:
    assert check_tenant_id(tenant_id) == tenant_id


@given(st.text().filter(lambda text: not set(text) <= set(ascii_letters + digits + "._-")))
def test_an_id_with_any_other_character_is_refused(tenant_id: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        check_tenant_id(tenant_id)
    assert refusal.value.facts == {"field": "tenant_id"}


@table(
    "tenant_id",
    [
        pytest.param("", id="nothing"),
        pytest.param("../other", id="a path"),
        pytest.param("..", id="the folder above"),
        pytest.param("a:b:config", id="a separator of key names"),
        pytest.param("{other}", id="a cluster hash tag"),
        pytest.param("ac}me", id="half a hash tag"),
        pytest.param("acm*", id="a glob"),
        pytest.param("acme\n", id="a line break at the end, which $ would let through"),
        pytest.param("ac me", id="a space"),
        pytest.param("ac\x00me", id="a NUL"),
        pytest.param("\u0430cme", id="a Cyrillic twin of acme"),
        pytest.param("acme\u0661", id="a digit that is not ASCII"),
        pytest.param("__proto__", id="what JavaScript consoles trip over"),
        pytest.param("-rf", id="what a shell takes for an option"),
        pytest.param("a" * (MAX_TENANT_ID + 1), id="one character too many"),
    ],
)
def test_an_id_that_would_mean_something_elsewhere_is_refused(tenant_id: str) -> None:
    with pytest.raises(InvalidInput):
        check_tenant_id(tenant_id)


@table("word", [*sorted(RESERVED_TENANT_IDS), "Global", "DEFAULT"])
def test_a_reserved_word_is_refused_in_any_case(word: str) -> None:
    with pytest.raises(InvalidInput, match="reserved"):
        check_tenant_id(word)


def test_the_longest_id_is_taken() -> None:
    assert check_tenant_id("a" * MAX_TENANT_ID)


def test_a_refusal_repeats_no_more_of_an_id_than_a_line_holds() -> None:
    with pytest.raises(InvalidInput) as refusal:
        check_tenant_id("x " * 10_000)
    assert len(refusal.value.message) < 300


def test_the_default_names_are_those_that_readers_were_promised() -> None:
    names = Names()

    assert names.stream == "mcp:postgres:tenant-events"
    assert names.heads == "{mcp:postgres:tenant-events}:heads"
    assert names.data_keys == "{mcp:postgres:tenant-events}:keys"
    assert names.tenant("acme") == "mcp:postgres:tenant:acme"
    assert names.fence("acme") == "{mcp:postgres:tenant:acme}:fence"


@given(tenant_ids)
def test_listing_the_tenants_by_pattern_finds_tenants_and_nothing_else(tenant_id: str) -> None:
    names = Names()
    ours = [names.stream, names.heads, names.data_keys, names.replicas, names.fence(tenant_id), names.tenant(tenant_id)]

    assert [key for key in ours if fnmatchcase(key, "mcp:postgres:tenant:*")] == [names.tenant(tenant_id)]


@given(tenant_ids)
def test_keys_that_one_script_touches_share_a_cluster_slot(tenant_id: str) -> None:
    names = Names()

    assert _hashed(names.heads) == _hashed(names.data_keys) == _hashed(names.replicas) == _hashed(names.stream)
    assert _hashed(names.fence(tenant_id)) == _hashed(names.tenant(tenant_id))


def test_a_prefix_moves_every_key() -> None:
    names = Names("staging")

    assert all("mcp:postgres" not in key for key in (names.stream, names.heads, names.data_keys, names.fence("a")))
    assert names.tenant("a") == "staging:tenant:a"


def _hashed(key: str) -> str:
    """Return the part of a key that decides on its cluster slot."""
    tag = re.search(r"\{([^}]+)\}", key)
    return tag[1] if tag else key


@pytest.mark.parametrize("text", ["a", "0192f0c1-a7b8", "a.b_c:d", "x" * 64])
def test_an_id_that_callers_use_can_be_a_commands(text: str) -> None:
    assert check_command_id(text) == text


@table("text", ["", "a|b", "a b", "é", "x" * 65, "a\n", "a/b"])
def test_a_command_id_that_would_break_a_head_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="command_id"):
        check_command_id(text)


def test_every_key_beside_the_tenants_is_in_the_logs_slot_and_is_no_tenants() -> None:
    """One script touches several of them, and `KEYS prefix:tenant:*` lists tenants and nothing else."""
    names = Names("acme:pg")
    beside = [names.heads, names.data_keys, names.rotation, names.epoch, names.permission, names.repair, names.replicas]

    assert [re.findall(r"\{(.*?)\}", key) for key in beside] == [["acme:pg:tenant-events"]] * len(beside)
    assert len({*beside, names.stream}) == len(beside) + 1
    assert not [key for key in (*beside, names.stream) if fnmatchcase(key, "acme:pg:tenant:*")]


@table(
    ("one", "other", "expected"),
    [("acme", "Acme", True), ("ACME", "aCME", True), ("acme", "acme", False), ("acme", "acme1", False)],
)
def test_ids_are_twins_that_differ_in_case_alone(one: str, other: str, expected: bool) -> None:  # noqa: FBT001 - a table
    assert are_twins(one, other) is expected
