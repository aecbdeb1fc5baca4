"""What a failed write is called: which statement, that nothing was written, and what may be tried again."""

import asyncpg
import pytest

from registry.errors import ConnectionLost, InvalidInput, QueryFailed, TenancyError
from server.write_errors import at_commit, at_statement, clash, no_writes_there, took_too_long, unknown


@pytest.mark.parametrize(
    "error",
    [QueryFailed("It failed.", sqlstate="23505"), InvalidInput("Wrong.", field="params"), ConnectionLost("Gone.")],
)
def test_an_error_keeps_its_kind_and_facts_and_names_its_statement(error: TenancyError) -> None:
    told = at_statement(error, 3)

    assert (type(told), told.code, told.retryable) == (type(error), error.code, error.retryable)
    assert told.facts == {**error.facts, "index": 3}
    assert told.message == f"statements[3]: {error.message} Nothing was written."


@pytest.mark.parametrize("kind", [asyncpg.SerializationError, asyncpg.DeadlockDetectedError])
def test_what_another_transaction_was_in_the_way_of_may_be_tried_again(kind: type[asyncpg.PostgresError]) -> None:
    told = clash(kind("could not serialize access"))

    assert told is not None
    assert (told.retryable, told.facts["sqlstate"]) == (True, kind.sqlstate)
    assert clash(asyncpg.UniqueViolationError("twice")) is None


def test_a_server_that_takes_no_writes_is_not_told_as_a_read_that_writes() -> None:
    told = no_writes_there(asyncpg.ReadOnlySQLTransactionError("cannot execute INSERT in a read-only transaction"))

    assert told is not None
    assert "takes no writes" in told.message
    assert no_writes_there(asyncpg.UniqueViolationError("twice")) is None


def test_only_where_nobody_knows_is_it_not_said_that_nothing_was_written() -> None:
    assert at_commit(QueryFailed("It failed.")).message.endswith("Nothing was written.")
    assert took_too_long(3).message.endswith("Nothing was written.")
    assert "Look at the data" in unknown().message
    assert "Nothing was written" not in unknown().message
    assert not unknown().retryable
