"""The corpus of SQL, and what becomes of a case: run as a caller's through the whole guard, then judged by its effects.

A case says what must come of its `sql` (or of its `steps`, one call each, or of `EXPLAIN` and its `arg`):

- `blocked`: no call may give a result, and afterwards `verify` (asked by an administrator) is not true, the `file` is
  not there, `leak` stands in no answer, the `decoy` session lives, and the next caller's `probe` shows no `probe_leak`,
  shows `probe_must`, and no limit of zero (`probe_zero`);
- `allowed`: a result, and none of these effects either;
- `capped`: a result that was cut, or a refusal to read so much, with the process hardly larger than before (`rss`);
- `timeout`: the statement ended at its limit, in Postgres, too.

`run_sql` stands in for a statement that a server without guard could not bear. `pg` is the first version of Postgres
that knows the statement; `ordinary` and `superuser` may expect something else of one login. A server may have been
built without what a case needs (`may_lack`): its saying so is no false alarm. `{long}` stands for a word of 40,000
letters, which makes a text too long to be parsed, and `{scratch}` for a folder.
"""

import asyncio
import json
from pathlib import Path
from typing import Final, Literal, TypeAlias

import asyncpg
import msgspec

from registry.errors import ConnectionLost, QueryFailed, QueryTimeout, TenancyError
from server.reads import ReadLimits, Rows, read
from server.sql_catalogue import Known
from server.sql_guard import Guard
from tests.databases import OneConnection

Expected: TypeAlias = Literal["blocked", "allowed", "capped", "timeout"]
Fault: TypeAlias = Literal["bypass", "run", "uncapped", "false alarm"]
FAULTS: Final[tuple[Fault, ...]] = ("bypass", "run", "uncapped", "false alarm")

LIMITS: Final = ReadLimits(max_rows=1000, max_bytes=1 << 20, statement_timeout=10, lock_timeout=1)
SHORT: Final = msgspec.structs.replace(LIMITS, statement_timeout=0.3)
CORPUS: Final = Path(__file__).with_name("corpus")


class Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One case; the module tells what its fields mean."""

    id: str
    category: str
    sql: str
    expected: Expected
    why: str
    steps: list[str] = []
    tool: str | None = None
    arg: str | None = None
    params: list[object] = []
    run_sql: str | None = None
    verify: str | None = None
    reset: str | list[str] = []
    reset_after: str | list[str] = []
    needs: str | None = None
    pg: int = 0
    superuser: Expected | None = None
    ordinary: Expected | None = None
    file: str | None = None
    leak: str | None = None
    decoy: str | None = None
    probe: str | None = None
    probe_leak: str | None = None
    probe_must: str | None = None
    probe_zero: bool = False
    probe_wait: bool = False
    rss: bool = False
    slow: bool = False
    may_lack: bool = False


def cases() -> list[Case]:
    """Return all cases of all files."""
    found = [case for file in sorted(CORPUS.glob("*_sql.json")) for case in json.loads(file.read_text())]
    return msgspec.convert(found, list[Case])


class Stage(msgspec.Struct, kw_only=True):
    """Where cases are played.

    Attributes:
        pool: One connection of the login under test, so that each caller gets what the one before left.
        admin: A superuser's.
        scratch: A folder that the server may write to.
        superuser: Whether the login under test is one.
        guard: What looks at statements.
    """

    pool: OneConnection
    admin: asyncpg.Connection
    scratch: Path
    superuser: bool
    guard: Guard


class Played(msgspec.Struct):
    """What became of one statement: a result or an error."""

    rows: Rows | None = None
    error: TenancyError | None = None

    @property
    def text(self) -> str:
        return (
            msgspec.json.encode(self.rows).decode() if self.rows else f"{self.error} {self.error and self.error.facts}"
        )

    @property
    def lacking(self) -> bool:
        return isinstance(self.error, QueryFailed) and self.error.facts.get("sqlstate") == "0A000"

    @property
    def capped(self) -> bool:
        return self.rows.truncated if self.rows else isinstance(self.error, QueryFailed) and "too large" in self.text


async def play(stage: Stage, case: Case) -> tuple[Fault, str] | None:
    """Play one case and return what is wrong, with what was seen; None if all is as it must be."""
    expected = (case.superuser if stage.superuser else case.ordinary) or case.expected
    await _administer(stage, case.reset)
    before = _resident()
    played = [await _run(stage, case, text) for text in _texts(case)]
    grown = _resident() - before
    seen = " | ".join(each.text[:300] for each in played)
    try:
        effect = await _effect(stage, case, played)
    finally:
        await _administer(stage, case.reset_after)
    if effect is not None:
        return "bypass", f"{effect}: {seen}"
    fault = _fault(case, expected, played) or ("uncapped" if case.rss and grown > RESIDENT_AT_MOST else None)
    return fault and (fault, seen)


RESIDENT_AT_MOST: Final = 64 << 20
"""Bytes that this process may be larger after a result that was capped: a step of a fetch, and its rows decoded."""


def _fault(case: Case, expected: Expected, played: list[Played]) -> Fault | None:
    last = played[-1]
    match expected:
        case "blocked":
            return "run" if any(each.rows for each in played) else None
        case "allowed":
            return None if last.rows or (case.may_lack and last.lacking) else "false alarm"
        case "capped":
            return None if last.capped else "uncapped"
        case "timeout":
            return None if isinstance(last.error, QueryTimeout) else "uncapped"


async def _administer(stage: Stage, statements: str | list[str]) -> None:
    for statement in [statements] if isinstance(statements, str) else statements:
        await stage.admin.execute(statement)


def _texts(case: Case) -> list[str]:
    if case.arg is not None:
        return [("EXPLAIN (ANALYZE) " if case.tool == "explain_analyze" else "EXPLAIN ") + case.arg]
    return case.steps or [case.run_sql or case.sql]


async def _run(stage: Stage, case: Case, text: str) -> Played:
    text = text.replace("{scratch}", str(stage.scratch)).replace("{long}", "x" * 40_000)
    known = Known()
    try:
        try:
            return await _once(stage, case, text, known)
        except ConnectionLost:  # as the tool does: what was too much to come at once comes in steps
            return await _once(stage, case, text, known)
    except TenancyError as error:
        return Played(error=error)


async def _once(stage: Stage, case: Case, text: str, known: Known) -> Played:
    statement = stage.guard.vet(text)
    async with stage.pool.acquire() as connection:
        limits = SHORT if case.slow else LIMITS
        return Played(rows=await read(connection, statement, case.params, limits=limits, known=known))


async def _effect(stage: Stage, case: Case, played: list[Played]) -> str | None:
    """Return which effect is to be seen that no case may have."""
    if case.verify and await stage.admin.fetchval(case.verify):
        return "verify is true"
    if case.file is not None and await asyncio.to_thread(_exists, case.file.replace("{scratch}", str(stage.scratch))):
        return "the file is there"
    if case.leak and any(case.leak in each.text for each in played):
        return "it leaks"
    if await stage.admin.fetchval("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'decoy')"):
        return "the decoy is gone"
    if not await _comes_to_rest(stage.admin):
        return "it still runs in Postgres"
    return await _next_caller(stage, case) if case.probe else None


_STILL_RUNNING: Final = """
    SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'under test' AND state <> 'idle')
"""


async def _comes_to_rest(admin: asyncpg.Connection) -> bool:
    """Wait until nothing runs for the login under test: a backend whose connection was cut sees that when it sends."""
    for _ in range(200):
        if not await admin.fetchval(_STILL_RUNNING):
            return True
        await asyncio.sleep(0.01)
    return False


async def _next_caller(stage: Stage, case: Case) -> str | None:
    """Return what the next caller sees of this one."""
    probed = await _run(stage, msgspec.structs.replace(case, params=[], slow=False), case.probe or "")
    if case.probe_leak and case.probe_leak in probed.text:
        return f"the next caller sees {case.probe_leak}"
    if case.probe_must and case.probe_must not in probed.text:
        return f"the next caller does not see {case.probe_must}"
    if case.probe_zero and probed.rows and probed.rows.rows == [["0"]]:
        return "the next caller has no limit"
    return None


def _exists(path: str) -> bool:
    return Path(path).exists()


def _resident() -> int:
    """Return how many bytes of memory this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1]) if Path("/proc/self/statm").exists() else 0
    return pages * 4096
