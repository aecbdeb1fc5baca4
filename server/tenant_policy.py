"""What an operator asks of tenants' logins: where they may point, how they are encrypted, what they may not be able to.

Rules: pure. A message says what to register instead, and which setting asks for it.
"""

from collections.abc import Iterable
from typing import Final, get_args

import msgspec

from registry.errors import PolicyRefused
from registry.events import SslMode
from server.network_policy import NetworkPolicy, networks_of, ports_of
from server.powers import ANY, POWERS, refused_among
from server.settings import Settings, variable_of

MODES: Final[tuple[SslMode, ...]] = get_args(SslMode)
"""libpq's words for TLS, the weakest first."""


class TenantPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for every tenant's login, at registration and at each connection.

    Attributes:
        network: Where it may point.
        min_ssl: The weakest TLS.
        refused_powers: What the login may not be able to, by the names of `server.powers`, or `any`.
    """

    network: NetworkPolicy = NetworkPolicy()
    min_ssl: SslMode = "disable"
    refused_powers: frozenset[str] = frozenset()

    def require_ssl(self, tenant_id: str, mode: SslMode) -> None:
        """Raise `PolicyRefused` if the mode is weaker than the weakest that is allowed."""
        if MODES.index(mode) < MODES.index(self.min_ssl):
            stronger = " or ".join(MODES[MODES.index(self.min_ssl) :])
            raise PolicyRefused(
                f"Tenant {tenant_id!r} has ssl={mode}, which this server does not accept "
                f"(MCP_POSTGRES_MIN_SSLMODE={self.min_ssl}); register it with ssl={stronger}."
            )

    def require_verified(self, tenant_id: str, *, verify: bool) -> None:
        """Raise `PolicyRefused` if a login is to be registered unseen whose powers have to be looked at."""
        if self.refused_powers and not verify:
            raise PolicyRefused(
                f"Tenant {tenant_id!r} cannot be registered with verify=false: this server looks at what each login "
                "may do (MCP_POSTGRES_REFUSED_POWERS); register it when its database can be reached."
            )

    def require_bearable(self, tenant_id: str, user: str, powers: Iterable[str]) -> None:
        """Raise `PolicyRefused` if the login has a power that it may not have."""
        refused = refused_among(powers, self.refused_powers)
        if refused:
            raise PolicyRefused(
                f"User {user!r} of tenant {tenant_id!r} may do more than this server accepts: {', '.join(refused)} "
                "(MCP_POSTGRES_REFUSED_POWERS). Register a role without that, nor membership in a role that has it."
            )


def policy_of(settings: Settings) -> TenantPolicy:
    """Return what checked settings ask for."""
    return TenantPolicy(
        network=NetworkPolicy(
            allowed=networks_of(settings.allowed_networks),
            denied=networks_of(settings.denied_networks),
            ports=ports_of(settings.allowed_ports),
        ),
        min_ssl=MODES[MODES.index(settings.min_sslmode)],
        refused_powers=frozenset(settings.refused_powers),
    )


def policy_problems(settings: Settings) -> list[str]:
    """Return what is wrong with the settings of a policy, a sentence for each."""
    problems = []
    for field, read in (
        ("allowed_networks", networks_of),
        ("denied_networks", networks_of),
        ("allowed_ports", ports_of),
    ):
        try:
            read(getattr(settings, field))
        except ValueError as error:
            problems.append(f"{variable_of(field)}: {error}.")
    unknown = [power for power in settings.refused_powers if power not in {*POWERS, ANY}]
    if unknown:
        problems.append(
            f"{variable_of('refused_powers')}: {unknown[0]!r} is no power: write any, or some of {', '.join(POWERS)}."
        )
    return problems
