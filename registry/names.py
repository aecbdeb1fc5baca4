"""What things are called: tenant ids and the keys in Redis.

Rules: every key name in the system is made here. Nothing but tenants may match `<prefix>:tenant:*`. The helpers of the
log carry the stream's name as their hash tag, so that they share its cluster slot and one script may touch them all; a
tenant's fence carries the tenant key's name for the same reason.
"""

import re

import msgspec

from registry.errors import InvalidInput

MAX_TENANT_ID = 63
"""Characters in a tenant id: what fits in a Postgres identifier and in a DNS label."""

TENANT_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"

RESERVED_TENANT_IDS = frozenset({"all", "any", "constructor", "default", "global", "none", "null", "prototype"})
"""Words that a person, a model or a script would take for something else than one tenant."""

_COMMAND_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}\Z")
_TENANT_ID = re.compile(TENANT_ID_PATTERN.removesuffix("$") + r"\Z")


def check_tenant_id(text: str) -> str:
    """Return `text` if it can be a tenant's id; `InvalidInput` otherwise.

    The grammar leaves out what would mean something in a key: braces (they move it to another cluster slot), colons
    (they separate), spaces, globs and slashes.
    """
    if not _TENANT_ID.match(text):
        raise InvalidInput(
            f"tenant_id must be 1 to {MAX_TENANT_ID} ASCII letters, digits, '.', '_' or '-', and begin with a letter "
            f"or a digit; got {text[:80]!r}.",
            field="tenant_id",
        )
    if text.lower() in RESERVED_TENANT_IDS:
        raise InvalidInput(f"tenant_id {text!r} is a reserved word; choose another one.", field="tenant_id")
    return text


def are_twins(one: str, other: str) -> bool:
    """Whether two ids differ, and in case alone: a person or a model would take them for one tenant."""
    return one != other and one.lower() == other.lower()


def check_command_id(text: str) -> str:
    """Return `text` if it can be a command's id; `InvalidInput` otherwise. Heads are split at what it leaves out."""
    if not _COMMAND_ID.match(text):
        raise InvalidInput(
            "command_id must be 1 to 64 ASCII letters, digits, '.', '_', ':' or '-', for example a UUID.",
            field="command_id",
        )
    return text


class Names(msgspec.Struct, frozen=True):
    """The names of all keys below one prefix."""

    prefix: str = "mcp:postgres"

    @property
    def stream(self) -> str:
        """The log: the only truth."""
        return f"{self.prefix}:tenant-events"

    @property
    def heads(self) -> str:
        """Hash: tenant -> its last event."""
        return f"{{{self.stream}}}:heads"

    @property
    def data_keys(self) -> str:
        """Hash: tenant -> its wrapped data key."""
        return f"{{{self.stream}}}:keys"

    @property
    def rotation(self) -> str:
        """Hash: what says when data keys were last wrapped anew."""
        return f"{{{self.stream}}}:rotation"

    @property
    def epoch(self) -> str:
        """Which log this is: name and opening entry of its epoch, and its first entry."""
        return f"{{{self.stream}}}:epoch"

    @property
    def permission(self) -> str:
        """There while an operator lets replicas that wait for one restore the log."""
        return f"{{{self.stream}}}:restore"

    @property
    def repair(self) -> str:
        """The lease of the replica that is mending the tenants' keys."""
        return f"{{{self.stream}}}:repair"

    @property
    def replicas(self) -> str:
        """Hash: replica -> how far it has applied the log, and when it last said so."""
        return f"{{{self.stream}}}:replicas"

    def tenant(self, tenant_id: str) -> str:
        """The tenant's current configuration, materialised."""
        return f"{self.prefix}:tenant:{tenant_id}"

    def fence(self, tenant_id: str) -> str:
        """The state that was last materialised for the tenant: its epoch and its sequence number."""
        return f"{{{self.tenant(tenant_id)}}}:fence"
