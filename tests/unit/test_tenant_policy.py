"""What an operator asks of tenants' logins: the mode of TLS and the powers, each refusal with what to do."""

import pytest
from hypothesis import given, strategies as st

from registry.errors import PolicyRefused
from registry.events import SslMode
from server.network_policy import NetworkPolicy, networks_of, ports_of
from server.powers import ANY, POWERS, SUPERUSER, powers_held, refused_among
from server.settings import Settings
from server.tenant_policy import MODES, TenantPolicy, policy_of
from tests.tables import table


@table("minimum", MODES)
@pytest.mark.parametrize("mode", MODES)
def test_a_mode_is_refused_exactly_if_it_is_weaker_than_the_weakest(minimum: SslMode, mode: SslMode) -> None:
    policy = TenantPolicy(min_ssl=minimum)
    if MODES.index(mode) >= MODES.index(minimum):
        policy.require_ssl("acme", mode)
    else:
        with pytest.raises(PolicyRefused, match=f"'acme' has ssl={mode}.*register it with ssl={minimum}"):
            policy.require_ssl("acme", mode)


def test_modes_go_from_the_weakest_to_the_strongest() -> None:
    assert MODES == ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def test_settings_say_what_the_policy_is() -> None:
    settings = Settings(
        allowed_networks=("private",),
        denied_networks=("10.9.0.0/16",),
        allowed_ports=("5432",),
        min_sslmode="require",
        refused_powers=("any",),
    )

    assert policy_of(settings) == TenantPolicy(
        network=NetworkPolicy(
            allowed=networks_of(["private"]), denied=networks_of(["10.9.0.0/16"]), ports=ports_of(["5432"])
        ),
        min_ssl="require",
        refused_powers=frozenset({"any"}),
    )
    assert policy_of(Settings()) == TenantPolicy()


@given(st.sets(st.sampled_from(POWERS)), st.frozensets(st.sampled_from(POWERS)))
def test_a_power_is_refused_if_it_is_named_and_a_superuser_if_anything_is(
    held: set[str], refused: frozenset[str]
) -> None:
    expected = {power for power in held if power in refused or (power == SUPERUSER and refused)}

    assert set(refused_among(held, refused)) == expected
    assert set(refused_among(held, frozenset({ANY}))) == held
    assert refused_among(held, frozenset()) == []


@given(st.lists(st.sampled_from([*POWERS, "flies", ""])))
def test_of_what_a_server_tells_the_known_powers_are_kept_and_of_a_superuser_that(told: list[str]) -> None:
    held = powers_held(told)

    assert set(held) == ({SUPERUSER} if SUPERUSER in told else set(told) & set(POWERS))
    assert list(held) == sorted(held, key=POWERS.index)


def test_a_login_is_registered_unseen_only_where_nobody_has_to_look_at_its_powers() -> None:
    policy = TenantPolicy(refused_powers=frozenset({"any"}))

    with pytest.raises(PolicyRefused, match=r"'acme' cannot be registered with verify=false"):
        policy.require_verified("acme", verify=False)
    policy.require_verified("acme", verify=True)
    TenantPolicy().require_verified("acme", verify=False)


def test_a_refusal_names_every_power_that_it_is_for() -> None:
    policy = TenantPolicy(refused_powers=frozenset({"read_files", "bypass_rls"}))

    with pytest.raises(PolicyRefused, match=r"User 'u' of tenant 'acme' may do more than .*: read_files, bypass_rls "):
        policy.require_bearable("acme", "u", ["read_files", "monitor", "bypass_rls"])
    policy.require_bearable("acme", "u", ["monitor"])
