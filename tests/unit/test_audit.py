"""The account of a write: what is put down where there is no file, and what becomes of it whatever happens."""

import asyncio
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from registry.errors import OutcomeUnknown, QueryFailed, TenancyError
from server.audit import Account, Audit
from server.confirmation import AnswerNeeded, Question
from server.log_fields import Telling
from server.logs import configure
from server.sql_writes import judged
from server.write_step import Written
from server.writes import Writes

Told = Callable[[], list[dict[str, Any]]]
WRITES = [judged("INSERT INTO t VALUES ('hunter2')", dry_run=False), judged("hunter2", dry_run=False)]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """Have the log as a process at its quietest has it; call it for its lines."""
    root, written = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "stderr", written)
    configure("error", "json")
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


async def account_of(end: Callable[[Account], None], *, intended: bool = True) -> None:
    audit = Audit()
    async with audit.account(WRITES, tenant="acme", actor="ann", role="writer", dry_run=False) as account:
        if intended:
            await account.intend()
        end(account)


def raising(error: BaseException) -> Callable[[Account], None]:
    def end(_account: Account) -> None:
        raise error

    return end


def committing(account: Account) -> None:
    account.done = Writes(committed=True, statements=[Written(kind="INSERT", row_count=3), Written(kind="SELECT")])


async def test_without_a_file_both_lines_are_in_the_log_at_every_level(told: Told) -> None:
    with Telling("request_id", "r1"):
        await account_of(committing)

    intent, outcome = told()
    assert (intent["phase"], outcome["phase"], outcome["outcome"]) == ("intent", "outcome", "committed")
    for line in (intent, outcome):
        assert (line["logger"], line["tenant"], line["actor"], line["role"]) == ("audit", "acme", "ann", "writer")
        assert (line["write"], line["request_id"]) == (intent["write"], "r1")
    assert [each.get("rows") for each in outcome["statements"]] == [3, None]
    assert [each["fingerprint"] for each in intent["statements"]] == [WRITES[0].fingerprint, None]
    assert "hunter2" not in json.dumps([intent, outcome])


@pytest.mark.parametrize(
    ("error", "outcome", "code"),
    [
        (QueryFailed("no", sqlstate="23505", index=1), "failed", "query_failed"),
        (OutcomeUnknown("?"), "unknown", "outcome_unknown"),
        (asyncio.CancelledError(), "cancelled", None),
        (RuntimeError("hunter2"), "failed", "internal"),
        (AnswerNeeded(Question("hunter2", "0")), "asked", None),
    ],
)
async def test_whatever_ends_a_write_is_put_down_and_goes_on(
    told: Told, error: BaseException, outcome: str, code: str | None
) -> None:
    with pytest.raises(type(error)):
        await account_of(raising(error))

    last = told()[-1]
    assert (last["outcome"], last.get("code")) == (outcome, code)
    assert last.get("index") == (1 if isinstance(error, QueryFailed) else None)
    assert "hunter2" not in json.dumps(last)


async def test_what_was_refused_before_it_ran_is_told_apart_from_what_failed(told: Told) -> None:
    with pytest.raises(TenancyError):
        await account_of(raising(QueryFailed("no")), intended=False)

    assert [line["outcome"] for line in told()] == ["refused"]


async def test_a_write_that_was_committed_stays_so_whatever_breaks_afterwards(told: Told) -> None:
    def end(account: Account) -> None:
        committing(account)
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await account_of(end)

    assert told()[-1]["outcome"] == "committed"
