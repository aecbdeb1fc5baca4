"""The names that the guard decides by, against real servers: what a version brings is either known or refused."""

import re

import asyncpg
import pytest

from server.sql_builtins import STEADY, VOLATILE
from server.sql_facts import Invocation, Name
from server.sql_functions import HARMLESS, is_built_in, refusal_of
from server.sql_guard import classify
from server.sql_rules import SECRET_RELATIONS
from tests.security.builtin_functions import builtins_of

CALLED_BY_THE_GRAMMAR = """
    SELECT now() AT TIME ZONE 'UTC', extract(year FROM now()), overlay('a' PLACING 'b' FROM 1), position('a' IN 'b'),
           substring('a' FROM 1), substring('a' SIMILAR 'b' ESCAPE 'c'), trim(LEADING 'a' FROM 'b'), trim('a'),
           'a' LIKE 'b' ESCAPE 'c', 'a' SIMILAR TO 'b', normalize('a'), 'a' IS NORMALIZED, collation for ('a'),
           xmlexists('a' PASSING 'b'), (1, 2) OVERLAPS (3, 4), trim(TRAILING FROM 'a'), now() AT LOCAL, system_user
"""


async def test_every_function_of_postgres_is_in_the_table(admin: asyncpg.Connection) -> None:
    found = await builtins_of(admin)
    missing = sorted((found.volatile - VOLATILE) | (found.steady - STEADY - VOLATILE))
    assert not missing, f"run `make builtins`, and look at what is volatile: {missing}"


async def test_a_volatile_function_that_nobody_has_looked_at_is_refused(admin: asyncpg.Connection) -> None:
    for name in sorted((await builtins_of(admin)).volatile - HARMLESS):
        for schema in (None, "pg_catalog"):
            assert refusal_of(Invocation(Name(schema, name), (None,))), name


async def test_no_operator_runs_a_function_that_is_refused(admin: asyncpg.Connection) -> None:
    found = await admin.fetch(
        "SELECT oprcode::regproc::text AS name FROM pg_operator WHERE oid < 16384 AND oprcode <> 0"
    )
    assert not [row["name"] for row in found if refusal_of(Invocation(Name(None, row["name"]), (None, None)))]


async def test_no_cast_runs_a_function_that_is_refused(admin: asyncpg.Connection) -> None:
    found = await admin.fetch("SELECT p.proname AS name FROM pg_cast AS c JOIN pg_proc AS p ON p.oid = c.castfunc")
    assert not [row["name"] for row in found if refusal_of(Invocation(Name(None, row["name"]), (None,)))]


async def test_no_function_that_is_refused_can_be_called_like_a_column(admin: asyncpg.Connection) -> None:
    """`t.f` is `f(t)` where f takes a row or anything at all, and stands in the tree as a column."""
    found = await admin.fetch("""
        SELECT p.proname AS name FROM pg_proc AS p JOIN pg_type AS t ON t.oid = p.proargtypes[0]
         WHERE p.oid < 16384 AND p.pronargs = 1 AND t.typtype IN ('c', 'p') AND t.typname NOT IN ('internal', 'cstring')
    """)
    names = [row["name"] for row in found if refusal_of(Invocation(Name(None, row["name"]), (None,)))]
    # They take any number of names and values in turn, so never one argument, and write, which the transaction stops.
    assert set(names) <= {"pg_restore_attribute_stats", "pg_restore_relation_stats"}


async def test_a_system_view_over_something_refused_is_refused_itself(admin: asyncpg.Connection) -> None:
    """Who reads the view of it reads it: so views are looked into, as the guard would look at their text."""
    views = await admin.fetch("""
        SELECT c.relname AS name, pg_get_viewdef(c.oid) AS text FROM pg_class AS c
         WHERE c.relkind = 'v' AND c.relnamespace IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
           AND c.oid < 16384
    """)
    bare = {view["name"] for view in views if _shows_what_is_refused(view["text"])}
    assert bare - set(SECRET_RELATIONS) == set()
    assert "pg_shadow" in bare, "the look would see one"


def _shows_what_is_refused(text: str) -> bool:
    (facts,) = classify(text)
    secrets = re.search(r"(?<!AS )\b(rolpassword|umoptions|subconninfo)\b", text)
    return secrets is not None or any(refusal_of(call) for call in facts.functions)


async def test_secret_tables_have_the_toast_tables_that_are_refused(admin: asyncpg.Connection) -> None:
    toast = await admin.fetch(
        """
        SELECT t.relname AS name FROM pg_class AS c JOIN pg_class AS t ON t.oid = c.reltoastrelid
         WHERE c.relname = ANY ($1) AND c.relnamespace = 'pg_catalog'::regnamespace
    """,
        list(SECRET_RELATIONS),
    )
    assert {row["name"] for row in toast} <= set(SECRET_RELATIONS)


def test_what_the_grammar_calls_by_itself_is_known_and_allowed() -> None:
    (facts,) = classify(CALLED_BY_THE_GRAMMAR)
    assert len(facts.functions) > 12
    assert not [str(call.name) for call in facts.functions if not is_built_in(call.name) or refusal_of(call)]


@pytest.mark.parametrize("name", sorted(HARMLESS))
def test_what_is_known_as_harmless_is_a_volatile_function_of_some_version(name: str) -> None:
    assert name in VOLATILE
