"""The one family of errors.

Rules: every error a caller can see is one of these classes; each has one `code`, and whether trying again can help is
decided here and nowhere else. A message says what happened and what to do next. It never carries a password.
"""

from typing import ClassVar, Self


class TenancyError(Exception):
    """What went wrong, in a sentence that says what to do about it.

    Attributes:
        code: A stable name for programs.
        retryable: Whether the same call may succeed later with nothing changed by the caller.
        facts: More for programs (a current version, a position); values are JSON types, never secrets.
        names_anybody: Whether the message may name any tenant, and not just the one that was asked for.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, **facts: str | int | bool | None) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts
        self.names_anybody = False

    def again(self) -> Self:
        """Return the same error for somebody else: without the frames that it came through, and what they hold."""
        error = type(self)(self.message, **self.facts)
        error.names_anybody = self.names_anybody
        return error


class InvalidInput(TenancyError):
    """The caller's words are wrong; the message names the field."""

    code = "invalid_input"


class Forbidden(TenancyError):
    """The caller lacks a permission for this, wherever it is tried again."""

    code = "forbidden"


class UnknownResource(TenancyError):
    """Nothing is at that address, and nothing will be: no tool tells it."""

    code = "unknown_resource"


class TooManySubscriptions(TenancyError):
    """As many listen to changes as this replica bears, or the caller has their share of them."""

    code = "too_many_subscriptions"
    retryable = True


class UnknownTenant(TenancyError):
    """No tenant of that id was ever registered."""

    code = "unknown_tenant"


class RemovedTenant(TenancyError):
    """The tenant was registered once and has been removed."""

    code = "removed_tenant"


class QuarantinedTenant(TenancyError):
    """The tenant's last event cannot be read by this replica; the others are not concerned."""

    code = "quarantined_tenant"


class VersionConflict(TenancyError):
    """Somebody else changed the tenant; `facts` has the current version where it holds still."""

    code = "version_conflict"


class CommandReused(TenancyError):
    """The command id was used before, with other content."""

    code = "command_reused"


class RegistryUnavailable(TenancyError):
    """Redis does not answer, or this replica has not caught up with the log yet."""

    code = "registry_unavailable"
    retryable = True


class StaleReplica(TenancyError):
    """This replica cannot know whether what it holds is still so: it was cut off or stood still for too long."""

    code = "stale_replica"
    retryable = True


class CommandRefused(RegistryUnavailable):
    """Redis answers, and will not do what it was told: a missing permission, a key of another type, no memory left."""


class UnsafeRedis(TenancyError):
    """Redis is set up so that it would lose the log, or cannot hold one; the message names what to change."""

    code = "unsafe_redis"


class LogDiverged(TenancyError):
    """The log is not the one this replica has read: lost, shortened or replaced."""

    code = "log_diverged"


class CorruptEntry(TenancyError):
    """An entry of the log or a head cannot be read, or may not be where it is; it is not skipped."""

    code = "corrupt_entry"


class UnexpectedEvent(CorruptEntry):
    """The entry can be read, and what it says may not come now: what was known of its tenant may be what is wrong."""

    code = "unexpected_event"


class CompactedAway(CorruptEntry):
    """The entry was before the oldest one that the log still has."""


class SecretUnreadable(TenancyError):
    """A sealed secret cannot be opened: wrong or missing master key, or a ciphertext that is not this tenant's."""

    code = "secret_unreadable"


class TenantUnreachable(TenancyError):
    """The tenant's database does not answer (yet)."""

    code = "tenant_unreachable"
    retryable = True


class ConnectionLost(TenantUnreachable):
    """A connection that had worked broke under a call."""


class LoginRefused(TenancyError):
    """The tenant's database answers and does not let us in as registered."""

    code = "login_refused"


class PolicyRefused(TenancyError):
    """The operator does not let a tenant point there, or log in like that; nothing was connected, or kept open."""

    code = "refused_by_policy"


class TenantBusy(TenancyError):
    """The tenant's share of this replica is used up, queue included."""

    code = "tenant_busy"
    retryable = True


class RateLimited(TenancyError):
    """A caller calls, or a tenant is called, more often than an operator allows; `facts` say when to come again."""

    code = "rate_limited"
    retryable = True


class TenantChanged(TenancyError):
    """The tenant was removed or re-registered while the call ran; the call was cancelled."""

    code = "tenant_changed"
    retryable = True


class QueryRefused(TenancyError):
    """The statement is not one that a read-only call may run."""

    code = "query_refused"


class QueryFailed(TenancyError):
    """Postgres ran the statement and reported an error; `facts` has the SQLSTATE."""

    code = "query_failed"


class QueryInterrupted(QueryFailed):
    """The statement was stopped by somebody else's doing: a lock, or a cancellation in Postgres."""

    code = "query_interrupted"
    retryable = True


class ReadOnlyTenant(TenancyError):
    """The tenant is registered without leave to write."""

    code = "read_only_tenant"


class OutcomeUnknown(TenancyError):
    """The connection was lost while a write was committed: nobody here knows whether it was, so nobody tries again."""

    code = "outcome_unknown"


class NotConfirmed(TenancyError):
    """The user did not confirm a write, or could not be asked and had to be."""

    code = "not_confirmed"


class NobodyToAsk(NotConfirmed):
    """The user had to be asked, and their client offers no way to; nothing the user said."""


class AuditUnavailable(TenancyError):
    """What is to be written cannot be put down in the audit log before, so it is not written."""

    code = "audit_unavailable"
    retryable = True


class QueryTimeout(TenancyError):
    """The statement ran into its time limit and was cancelled in Postgres."""

    code = "query_timeout"
