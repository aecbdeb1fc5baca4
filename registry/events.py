"""What can happen to the registry: the facts that the log keeps for ever.

Rules: an event is frozen, keyword-only and named in the past tense. A field is never renamed, retyped or given another
meaning; a new field has a default; a change that old readers cannot ignore is a new major in `registry/codec.py`.
A registration states the whole tenant, so that the last event of a tenant is all that is needed to know it.
"""

from datetime import datetime
from sys import intern
from typing import Final, Literal, TypeAlias

import msgspec

SslMode: TypeAlias = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
"""The words of libpq's `sslmode`."""
VERIFYING: Final = frozenset[SslMode]({"verify-ca", "verify-full"})
"""Those that look at whom the server's certificate is from."""
Access: TypeAlias = Literal["read_only", "read_write"]


Login: TypeAlias = tuple[str, int, str, str, SslMode, str | None]


class TenantConfig(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where a tenant's database is and how much of this server the tenant may use. No secret."""

    host: str
    port: int = 5432
    database: str
    user: str
    ssl: SslMode = "prefer"
    min_pool_size: int = 0
    max_pool_size: int = 10
    max_concurrent_requests: int = 20
    password_ref: str | msgspec.UnsetType = msgspec.UNSET
    """Where each replica finds the password (`registry/password_refs.py`); unset: sealed, or there is none."""
    ssl_root_ca: str | msgspec.UnsetType = msgspec.UNSET
    """PEM of the authorities that vouch for the server, for modes that verify; unset: those that the system trusts."""
    access: Access | msgspec.UnsetType = msgspec.UNSET
    """Whether calls may write; unset: `read_only`."""
    roles: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    """What roles a call may take on, within its transaction; unset: none."""

    @property
    def writable(self) -> bool:
        """Whether calls may write, as far as the tenant is concerned."""
        return self.access == "read_write"

    @property
    def root_ca(self) -> str | None:
        """The authorities, None where there are none of the tenant's own."""
        return self.ssl_root_ca or None

    @property
    def login(self) -> Login:
        """Where a password goes and how: what it is sealed for, and what a connection depends on beside it."""
        return (self.host, self.port, self.database, self.user, self.ssl, self.root_ca)

    def interned(self) -> "TenantConfig":
        """Return the same, sharing its texts with all that have them: many tenants are on few hosts."""
        return msgspec.structs.replace(
            self,
            host=intern(self.host),
            database=intern(self.database),
            user=intern(self.user),
            ssl_root_ca=intern(self.ssl_root_ca) if self.ssl_root_ca else msgspec.UNSET,
        )


class SealedSecret(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A password that only the tenant's data key opens.

    Attributes:
        key: Which data key sealed it.
        version: The tenant's version that brought this secret; authenticated, and what tells pools that it changed.
        sealed: base64 of nonce and AES-256-GCM ciphertext.
    """

    key: str
    version: int
    sealed: str

    def interned(self) -> "SealedSecret":
        """Return the same, sharing its key's name with all that have it."""
        return msgspec.structs.replace(self, key=intern(self.key))


class _Fact(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag_field="type"):
    event_id: str
    time: datetime
    actor: str


class _LogFact(_Fact, frozen=True, kw_only=True, gc=False):
    mac: str | msgspec.UnsetType = msgspec.UNSET
    """Of this event alone; unset where no signing key was given."""


class LogCreated(_LogFact, frozen=True, kw_only=True, gc=False, tag="log_created.v1"):
    """The first entry of every log. `epoch` is random: two logs never share it."""

    epoch: str


class LogRestored(_LogFact, frozen=True, kw_only=True, gc=False, tag="log_restored.v1"):
    """The log had lost entries; `actor`, a replica that held them, states anew behind this entry what they said.

    A new epoch begins here: it tells apart what was lost and what has its number since.
    """

    epoch: str
    lost_epoch: str | None
    """Of the log that the replica had read, and `lost_position` how far; None where heads and keys alone were left."""
    lost_position: str | None
    outcome: str
    """What the replica found: the name of a `Finding`."""
    live: int
    """How many tenants are restated as live, and how many as `removed`."""
    removed: int


class LogCompacted(_LogFact, frozen=True, kw_only=True, gc=False, tag="log_compacted.v1"):
    """Entries before `before` are taken out of the log: heads and keys say all that they did of the present."""

    before: str
    """Position of the first entry that is kept."""
    tenants: int
    """How many tenants, live or removed, heads and keys told of then."""
    epoch: str | msgspec.UnsetType = msgspec.UNSET
    """Which log it is, as `Epoch` puts it: the entries that said so are among those that go. Unset in older ones."""


class _TenantFact(_Fact, frozen=True, kw_only=True, gc=False):
    tenant: str
    version: int
    command_id: str
    digest: str
    """Of the command's content, keyed where that holds a password: tells a repeated command from another one."""
    previous: str | None = None
    """Entry id of this tenant's event before, or None for its first: its history is a linked list in the log."""
    reason: str | None = None
    mac: str | msgspec.UnsetType = msgspec.UNSET
    """Of this event and of the tenant's event before; unset where no signing key was given."""


class TenantRegistered(_TenantFact, frozen=True, kw_only=True, gc=False, tag="tenant_registered.v1"):
    """The tenant exists from here on, exactly as stated."""

    config: TenantConfig
    secret: SealedSecret | None = None
    """None when the login needs no password."""
    powers: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    """What the login could do beyond reading its tables, as a test login found it; unset where there was none."""


class TenantRemoved(_TenantFact, frozen=True, kw_only=True, gc=False, tag="tenant_removed.v1"):
    """The tenant is gone and its data key destroyed; its history stays."""


class TenantRestated(_TenantFact, frozen=True, kw_only=True, gc=False, tag="tenant_restated.v1"):
    """The tenant is what an event said that the log had lost: that event's id, version, time and actor, said again.

    Where the log had meanwhile gone another way, the version is one that neither way had, and so is the event's id.
    """

    born: datetime | None = None
    """When the tenant's present life began, and None for one that is removed: then it has none."""
    config: TenantConfig | None = None
    """None likewise."""
    secret: SealedSecret | None = None


TenantEvent: TypeAlias = TenantRegistered | TenantRemoved | TenantRestated
LogEvent: TypeAlias = LogCreated | LogRestored | LogCompacted
Event: TypeAlias = LogEvent | TenantEvent


def is_removal(event: TenantEvent) -> bool:
    """Whether the tenant is gone after the event."""
    return isinstance(event, TenantRemoved) or event.config is None
