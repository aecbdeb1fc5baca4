"""What a failed read is called, whatever language the server speaks."""

import asyncpg
import pytest
from asyncpg.exceptions import InternalClientError

from registry.errors import ConnectionLost, QueryFailed, QueryInterrupted, QueryRefused, QueryTimeout, TenancyError
from server.sqlstates import DRIVER_ERRORS, TEXT_AT_MOST, foreign_text, read_error, too_large
from tests.tables import table


def postgres(sqlstate: str, **fields: str) -> asyncpg.PostgresError:
    return asyncpg.PostgresError.new({"S": "FEHLER", "C": sqlstate, "M": "Nachricht", **fields})


@table(
    ("error", "told"),
    [
        (postgres("57014"), QueryTimeout),
        (postgres("25006"), QueryRefused),
        (postgres("42601", R="exec_parse_message"), QueryRefused),
        (postgres("42601", R="scanner_yyerror"), QueryFailed),
        (postgres("42P01"), QueryFailed),
        (postgres("55P03"), QueryInterrupted),
        (postgres("08006"), ConnectionLost),
        (postgres("57P01"), ConnectionLost),
        (postgres("57P02"), ConnectionLost),
        (postgres("57P03"), ConnectionLost),
        (postgres("25P03"), ConnectionLost),
        (asyncpg.InterfaceError("connection is closed"), ConnectionLost),
        (ConnectionResetError(), ConnectionLost),
        (TimeoutError(), ConnectionLost),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), QueryFailed),
        (InternalClientError("unknown type"), QueryFailed),
    ],
)
def test_an_error_of_the_driver_is_one_of_the_family(error: Exception, told: type[TenancyError]) -> None:
    assert isinstance(error, DRIVER_ERRORS)
    assert type(read_error(error, 5, 5)) is told


def test_a_failure_carries_what_postgres_said_of_it() -> None:
    told = read_error(postgres("42703", H="Perhaps you meant x.", P="8", D="More."), 5, 1)
    assert told.message == "Postgres reports: Nachricht. More. Perhaps you meant x."
    assert told.facts == {"sqlstate": "42703", "hint": "Perhaps you meant x.", "position": 8}


@table(
    ("sqlstate", "then"),
    [
        ("42P01", "Look at list_tables."),
        ("42703", "Look at describe_table."),
        ("42501", "list_tables shows what this login may read."),
        ("42601", "Correct the statement."),
        ("22012", "Correct the value, or the condition that lets it in."),
        ("23505", "Correct the values; describe_table shows the constraints."),
        ("53100", "Ask for less, or try again later."),
        ("XX000", "The log of the database may say more."),
    ],
)
def test_a_failure_that_postgres_has_no_hint_about_comes_with_one(sqlstate: str, then: str) -> None:
    assert read_error(postgres(sqlstate), 5, 1).message == f"Postgres reports: Nachricht. {then}"


def test_a_timeout_names_the_limit() -> None:
    assert "0.25 s" in read_error(postgres("57014"), 0.25, 0.25).message


def test_a_cancellation_before_the_limit_is_somebodys_and_not_the_limits() -> None:
    told = read_error(postgres("57014"), 30, 3)
    assert type(told) is QueryInterrupted
    assert "was cancelled in Postgres" in told.message
    assert told.facts["sqlstate"] == "57014"


@pytest.mark.parametrize("field", ["M", "D", "H"])
def test_a_text_of_postgres_is_cut_whatever_its_length(field: str) -> None:
    told = read_error(postgres("22P02", **{field: "x" * 30_000_000}), 5, 1)
    assert len(told.message) < TEXT_AT_MOST + 100
    assert all(len(str(fact)) <= TEXT_AT_MOST for fact in told.facts.values())


def test_control_characters_of_a_text_are_written_out() -> None:
    every = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029]))
    told = read_error(postgres("22P02", M=every, H=every), 5, 1)
    assert told.message.isprintable()
    assert str(told.facts["hint"]).isprintable()
    assert "\\u0000" in told.message
    assert foreign_text("äß\u00a0\U0001f600") == "äß\u00a0\U0001f600"


@pytest.mark.parametrize(("fields", "facts"), [({"P": "soon"}, {}), ({"P": "٣"}, {}), ({"P": "12"}, {"position": 12})])
def test_a_position_that_is_none_is_not_told(fields: dict[str, str], facts: dict[str, int]) -> None:
    assert read_error(postgres("42601", **fields), 5, 1).facts == {"sqlstate": "42601", **facts}


def test_rows_that_are_too_large_come_with_a_way_out() -> None:
    assert "substring" in too_large().message
