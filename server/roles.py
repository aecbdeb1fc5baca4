"""Which role a call takes on, of those that its tenant's registration lends."""

from registry.errors import InvalidInput
from registry.state import Live


def require_lent(tenant: Live, role: str | None) -> None:
    """Raise `InvalidInput` unless the tenant lends the role; None is no role."""
    lent = tenant.config.roles or ()
    if role is None or role in lent:
        return
    told = f"give one of {', '.join(lent)}" if lent else "leave role out"
    raise InvalidInput(
        f"Tenant {tenant.tenant!r} does not lend that role: {told}, or have it registered with the role in roles.",
        field="role",
    )
