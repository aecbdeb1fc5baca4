"""Who may do what, and which tenants are theirs."""

from string import ascii_letters, digits
from typing import Final

import pytest
from hypothesis import given, strategies as st

from registry.errors import Forbidden
from server.principal import PERMISSIONS, Principal
from tests.tables import table

ALNUM: Final = ascii_letters + digits


def test_a_caller_has_the_permissions_that_were_given_and_no_others() -> None:
    caller = Principal("ann", frozenset({"query:read"}))

    assert [each for each in sorted(PERMISSIONS) if caller.may(each)] == ["query:read"]


def test_a_permission_that_is_missing_is_named_so_that_the_operator_can_give_it() -> None:
    with pytest.raises(Forbidden, match="tenants:write, which 'ann' does not have") as refused:
        Principal("ann", frozenset()).require("tenants:write")

    assert refused.value.facts == {"permission": "tenants:write"}


@table(
    ("globs", "tenant", "theirs"),
    [
        (["*"], "acme", True),
        (["acme"], "acme", True),
        (["acme"], "acme2", False),
        (["acme"], "Acme", False),
        (["acme-*"], "acme-eu", True),
        (["acme-*"], "acme", False),
        (["acme-*"], "not-acme-eu", False),
        (["shop", "acme-?"], "acme-1", True),
        (["shop", "acme-?"], "shop", True),
        (["shop", "acme-?"], "acme-12", False),
        (["[ab]*"], "beta", True),
        (["[ab]*"], "gamma", False),
        ([], "acme", False),
        ([""], "acme", False),
        (["acme"], "acme\n", False),
        (["a.me"], "acme", False),
        (["acme|shop"], "shop", False),
    ],
)
def test_a_tenant_is_a_callers_if_one_of_their_globs_fits_all_of_its_id(
    globs: list[str], tenant: str, *, theirs: bool
) -> None:
    assert Principal("ann", tenants=globs).touches(tenant) is theirs


@given(st.text(max_size=20), st.builds(str.__add__, st.sampled_from(ALNUM), st.text(ALNUM + "._-", max_size=10)))
def test_an_id_alone_lets_nobody_at_another_tenant(other: str, mine: str) -> None:
    assert Principal("ann", tenants=[mine]).touches(other) is (other == mine)


def test_whoever_has_every_tenant_has_one_of_any_name() -> None:
    caller = Principal("root")

    assert caller.touches_all
    assert caller.touches("")
    assert not Principal("ann", tenants=["a*"]).touches_all


def test_a_registration_beyond_a_callers_tenants_is_refused_with_those_it_may_have() -> None:
    with pytest.raises(Forbidden, match=r"'ann' may not register 'shop', but only tenants of these ids: acme-\*\."):
        Principal("ann", tenants=["acme-*"]).require_touch("shop")


def test_a_caller_without_any_tenant_is_told_so() -> None:
    with pytest.raises(Forbidden, match=r"of these ids: none\."):
        Principal("ann", tenants=[]).require_touch("shop")


IDS = st.text("ab.", max_size=4)
GLOBS = st.lists(st.text("ab.*?[]", max_size=4), max_size=4)


@given(globs=GLOBS, tenant=IDS)
def test_a_tenant_of_the_callers_is_found_under_exactly_one_of_the_beginnings(globs: list[str], tenant: str) -> None:
    caller = Principal("ann", tenants=globs)
    found = sum(map(tenant.startswith, caller.beginnings()))

    assert found <= 1
    if caller.touches(tenant):
        assert found == 1


def test_globs_narrow_where_to_look_as_far_as_their_first_wildcard() -> None:
    assert Principal("ann", tenants=["acme-*", "acme-eu-*", "shop", "x?z"]).beginnings() == ["acme-", "shop", "x"]
