"""Who wrote what to which tenant, and what became of it: one line before a write runs, and one when it has ended.

No line holds a literal, a parameter or a value: statements are told by fingerprints, which are the same for those that
differ in values alone. What was not put down before is not run. A line after the fact that cannot be put down changes
nothing of the fact: it goes to the log.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec
import structlog

from registry.errors import AuditUnavailable, OutcomeUnknown, TenancyError
from server.audit_file import AuditFile
from server.confirmation import AnswerNeeded
from server.log_fields import fields
from server.read_session import see_through
from server.sql_writes import Write

if TYPE_CHECKING:
    from server.writes import Writes

Outcome: TypeAlias = Literal["committed", "rolled_back", "refused", "failed", "cancelled", "unknown", "asked"]
Put: TypeAlias = Callable[["Line"], Awaitable[None]]
"""Puts a line down, or raises `OSError`."""

_encode: Final = msgspec.json.Encoder().encode


class Audited(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One statement of a write; `rows` that it wrote, or returned if it is a SELECT."""

    kind: str
    fingerprint: str | None
    rows: int | None = None


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line. `write` is the same for the two of one write; `ms` and what is behind it are of the second."""

    time: str
    phase: Literal["intent", "outcome"]
    write: str
    request_id: str | None = None
    tenant: str
    actor: str
    role: str | None = None
    dry_run: bool
    statements: tuple[Audited, ...]
    outcome: Outcome | None = None
    ms: float | None = None
    code: str | None = None
    sqlstate: str | None = None
    index: int | None = None


class Account:
    """What becomes of one write."""

    def __init__(self, put: Put, line: Line) -> None:
        self.done: Writes | None = None
        self._put = put
        self._line = line
        self._began = time.monotonic()
        self._intended = False

    async def intend(self) -> None:
        """Put down that it is about to run. Raises `AuditUnavailable`; then it may not run. May be cancelled."""
        try:
            await self._put(self._line)
        except OSError as error:
            structlog.get_logger("audit").error("write not audited, and refused", cause=type(error).__name__)
            raise AuditUnavailable(
                "The audit log cannot be written on this replica, so nothing else is; its operator is told why. Try "
                "again later, or on another replica."
            ) from None
        self._intended = True

    async def ended(self, error: BaseException | None) -> None:
        """Put down what became of it. Raises nothing."""
        line = msgspec.structs.replace(self._line, time=_now(), phase="outcome", **self._outcome(error))
        try:
            await self._put(line)
        except OSError as problem:
            told = msgspec.to_builtins(line)
            structlog.get_logger("audit").error("outcome not audited", cause=type(problem).__name__, line=told)

    def _outcome(self, error: BaseException | None) -> dict[str, Any]:
        spent = round((time.monotonic() - self._began) * 1000, 1)
        if self.done is not None:
            rows = (each.row_count for each in self.done.statements)
            told = zip(self._line.statements, rows, strict=True)
            statements = tuple(msgspec.structs.replace(each, rows=count) for each, count in told)
            return {
                "outcome": "committed" if self.done.committed else "rolled_back",
                "statements": statements,
                "ms": spent,
            }
        if isinstance(error, asyncio.CancelledError):
            return {"outcome": "cancelled", "ms": spent}
        if isinstance(error, AnswerNeeded):
            return {"outcome": "asked", "ms": spent}
        if not isinstance(error, TenancyError):
            return {"outcome": "failed", "code": "internal", "ms": spent}
        outcome = "unknown" if isinstance(error, OutcomeUnknown) else "failed" if self._intended else "refused"
        facts = {field: error.facts.get(field) for field in ("sqlstate", "index")}
        return {"outcome": outcome, "code": error.code, "ms": spent, **facts}


class Audit:
    """Where writes are put down: in the file, or without one in the log.

    Args:
        file: Already found to be writable; None for the log.
    """

    def __init__(self, file: AuditFile | None = None) -> None:
        self._file = file

    @asynccontextmanager
    async def account(
        self, writes: Sequence[Write], *, tenant: str, actor: str, role: str | None, dry_run: bool
    ) -> AsyncIterator[Account]:
        """Hold the account of one write; when it is left, what became of it is put down, also when it is cancelled."""
        account = Account(self._put, _line(writes, tenant=tenant, actor=actor, role=role, dry_run=dry_run))
        error: BaseException | None = None
        try:
            yield account
        except BaseException as broke:
            error = broke
            raise
        finally:
            await see_through(account.ended(error))

    async def _put(self, line: Line) -> None:
        if self._file is not None:
            await self._file.put(_encode(line) + b"\n")
        else:
            structlog.get_logger("audit").info("write", **msgspec.to_builtins(line))


def _line(writes: Sequence[Write], *, tenant: str, actor: str, role: str | None, dry_run: bool) -> Line:
    return Line(
        time=_now(),
        phase="intent",
        write=uuid.uuid4().hex,
        request_id=fields().get("request_id"),
        tenant=tenant,
        actor=actor,
        role=role,
        dry_run=dry_run,
        statements=tuple(Audited(kind=each.kind, fingerprint=each.fingerprint) for each in writes),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat()
