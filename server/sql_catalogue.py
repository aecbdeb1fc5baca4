"""What a tenant's own catalogue says of the functions that a statement names and Postgres does not bring.

A function of an extension acts outside of the transaction as it likes (it connects elsewhere, reads files, resets what
others count): one that is volatile is refused unless it is known to be harmless. So is one in C or of the server's
inside that no extension owns. The tenant's own functions, in SQL or a procedural language, run inside the read-only
transaction: they are refused in strict mode alone. What a statement reaches through a view, a cast or an operator of
the tenant's was put there by whoever owns the database, and is not looked at (operators are, in strict mode).

Answers are kept, so that a statement that comes again costs no round trip.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

import msgspec
from asyncpg import Connection

from server.sql_facts import Name
from server.sql_functions import HARMLESS, HARMLESS_EXTENSIONS, is_built_in
from server.sql_rules import Verdict

if TYPE_CHECKING:
    import asyncpg

KEPT_SECONDS: Final = 60.0
"""How long an answer is believed: so soon a function that was made or changed is seen as what it is."""
_KEPT: Final = 256
_TENANTS_KEPT: Final = 200

# 2078 is set_config in the parsed body that some functions have instead of a text (a column that Postgres 13 has not).
# Operators are written out because a tenant's search path may come before pg_catalog.
_FUNCTIONS: Final = """
    WITH asked AS (
        SELECT a.kind, a.schema, a.name, a.name::pg_catalog.name AS cut
          FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[]),
                          pg_catalog.unnest($3::pg_catalog.text[])) AS a(kind, schema, name)
    ), found AS (
        SELECT a.*, p.oid AS function, p.pronamespace AS place
          FROM asked AS a JOIN pg_catalog.pg_proc AS p ON p.proname OPERATOR(pg_catalog.=) a.cut
          LEFT JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) p.proargtypes[0]
         WHERE a.kind OPERATOR(pg_catalog.=) ANY ('{function,anywhere}'::pg_catalog.text[])
            OR (a.kind OPERATOR(pg_catalog.=) 'column'
                AND p.pronargs OPERATOR(pg_catalog.-) p.pronargdefaults OPERATOR(pg_catalog.<=) 1
                AND t.typtype OPERATOR(pg_catalog.=) ANY ('{c,d,p}'::pg_catalog."char"[]))
        UNION ALL
        SELECT a.*, o.oprcode, o.oprnamespace
          FROM asked AS a JOIN pg_catalog.pg_operator AS o ON o.oprname OPERATOR(pg_catalog.=) a.cut
         WHERE a.kind OPERATOR(pg_catalog.=) 'operator'
    )
    SELECT f.kind, f.schema, f.name,
           CASE WHEN p.oid OPERATOR(pg_catalog.<) 16384 THEN 'postgres'
                WHEN e.extname IS NOT NULL THEN e.extname::pg_catalog.text
                WHEN l.lanname OPERATOR(pg_catalog.=) ANY ('{c,internal}'::pg_catalog.name[]) THEN 'c'
                ELSE '' END AS owner,
           p.provolatile OPERATOR(pg_catalog.=) 'v' OR EXISTS (
               SELECT FROM pg_catalog.pg_aggregate AS g
                 JOIN pg_catalog.pg_proc AS s ON s.oid OPERATOR(pg_catalog.=) ANY (
                          ARRAY[g.aggtransfn, g.aggfinalfn, g.aggmtransfn, g.aggminvtransfn, g.aggmfinalfn,
                                g.aggcombinefn, g.aggserialfn, g.aggdeserialfn]::pg_catalog.oid[])
                WHERE g.aggfnoid::pg_catalog.oid OPERATOR(pg_catalog.=) p.oid
                  AND s.provolatile OPERATOR(pg_catalog.=) 'v'
           ) AS volatile,
           NOT l.lanname OPERATOR(pg_catalog.=) ANY ('{c,internal,sql,plpgsql}'::pg_catalog.name[])
               OR COALESCE(p.prosrc OPERATOR(pg_catalog.~*) '\\m(set(_config)?|execute)\\M', false)
               OR COALESCE(pg_catalog.to_jsonb(p) OPERATOR(pg_catalog.->>) 'prosqlbody'
                           OPERATOR(pg_catalog.~) ':funcid 2078\\M', false) AS lasting
      FROM found AS f
      JOIN pg_catalog.pg_proc AS p ON p.oid OPERATOR(pg_catalog.=) f.function
      JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) f.place
      JOIN pg_catalog.pg_language AS l ON l.oid OPERATOR(pg_catalog.=) p.prolang
      LEFT JOIN pg_catalog.pg_depend AS d
        ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid
           AND d.objid OPERATOR(pg_catalog.=) p.oid AND d.deptype OPERATOR(pg_catalog.=) 'e'
      LEFT JOIN pg_catalog.pg_extension AS e ON e.oid OPERATOR(pg_catalog.=) d.refobjid
     WHERE CASE WHEN f.kind OPERATOR(pg_catalog.=) 'anywhere' THEN true
                WHEN f.schema IS NULL THEN n.nspname OPERATOR(pg_catalog.=) ANY (pg_catalog.current_schemas(true))
                ELSE n.nspname OPERATOR(pg_catalog.=) f.schema::pg_catalog.name END
"""
_SETTINGS: Final = """
    SELECT s.name FROM pg_catalog.pg_settings AS s
     WHERE (s.name OPERATOR(pg_catalog.=) 'ssl_passphrase_command' AND s.setting OPERATOR(pg_catalog.<>) '')
        OR (s.name OPERATOR(pg_catalog.=) 'primary_conninfo' AND s.setting OPERATOR(pg_catalog.~*) 'password|passfile')
        OR (s.name OPERATOR(pg_catalog.~) '_command$'
            AND s.setting OPERATOR(pg_catalog.~*) 'passw|secret|token|access.?key|api.?key|://[^/]*:[^/]*@')
"""
"""Settings that this login sees and that hold a secret now."""
_SAMPLES: Final = """
    SELECT s.tablename::pg_catalog.text AS name FROM pg_catalog.pg_stats AS s
     WHERE s.schemaname OPERATOR(pg_catalog.=) 'pg_catalog'
       AND (s.most_common_vals IS NOT NULL OR s.histogram_bounds IS NOT NULL)
       AND s.attname OPERATOR(pg_catalog.=) ANY ('{rolpassword,umoptions,subconninfo}'::pg_catalog.name[])
"""
"""Tables with passwords of which this login sees samples."""


class Answer(msgspec.Struct, frozen=True):
    """What the catalogue says of one name.

    Attributes:
        harmful: Why no read calls it; None if nothing speaks against it.
        own: Whether it is the tenant's own and volatile, which strict mode refuses.
        lasting: Whether it may leave in the session what no reset reaches: names of settings, globals of a language.
    """

    harmful: str | None = None
    own: bool = False
    lasting: bool = False


_Question = tuple[str, str | None, str]


class Known:
    """What is known of one tenant's functions; of one registration of it, as a pool's connections are.

    Args:
        now: Seconds of a clock that does not go back.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._until = 0.0
        self._answers: dict[_Question, Answer] = {}
        self._large: set[int] = set()  # hashes: a text may have a megabyte, and a wrong guess does no harm

    def note_large(self, text: str) -> None:
        """Remember that the result of a statement does not fit, and is better fetched in steps."""
        if len(self._large) > _KEPT:
            self._large.clear()
        self._large.add(hash(text))

    def is_large(self, text: str) -> bool:
        """Whether the result of the statement did not fit lately."""
        return hash(text) in self._large

    def settled(self, verdict: Verdict, *, strict: bool) -> tuple[str | None, bool] | None:
        """Return what `refusal` would without asking; None if the database is to be asked."""
        if verdict.settings or verdict.samples:
            return None
        questions = _questions(verdict, strict=strict)
        if not questions:
            return _HARMLESS
        if self._now() > self._until or not questions <= self._answers.keys():
            return None
        return self._judged({question: self._answers[question] for question in questions}, strict=strict)

    async def refusal(self, connection: Connection, verdict: Verdict, *, strict: bool) -> tuple[str | None, bool]:
        """Return why a statement may not run, or None; and whether it may leave something behind.

        Two round trips if there is a name that was not asked about lately, and none otherwise; as many for a statement
        that shows all settings or samples of columns. Runs in the caller's transaction. Raises what the driver raises.
        """
        refusal, lasting = self._judged(
            await self._answered(connection, _questions(verdict, strict=strict)), strict=strict
        )
        if refusal is None and verdict.settings:
            refusal = _of_settings(await connection.fetch(_SETTINGS))
        if refusal is None and verdict.samples:
            refusal = _of_samples(await connection.fetch(_SAMPLES))
        return refusal, lasting

    def _judged(self, answers: Mapping[_Question, Answer], *, strict: bool) -> tuple[str | None, bool]:
        refusal = next((why for why in (_refusal(*each, strict=strict) for each in answers.items()) if why), None)
        return refusal, any(answer.lasting for answer in answers.values())

    async def _answered(self, connection: Connection, questions: frozenset[_Question]) -> Mapping[_Question, Answer]:
        if not questions:
            return {}
        if self._now() > self._until or len(self._answers) > _KEPT:
            self._answers, self._until = {}, self._now() + KEPT_SECONDS
        answers = self._answers
        new = sorted(questions - answers.keys(), key=str)
        if new:
            rows = await connection.fetch(_FUNCTIONS, *(list(column) for column in zip(*new, strict=True)))
            answers.update(dict.fromkeys(new, Answer()))
            for row in rows:
                question = (row["kind"], row["schema"], row["name"])
                answers[question] = _worse(answers[question], _answer(question, row))
        return {question: answers[question] for question in questions}


class KnownByTenant:
    """What is known of each tenant's functions, of the tenants that were asked last."""

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, Known] = OrderedDict()

    def of(self, fingerprint: Hashable) -> Known:
        """Return what is known of a database as of one registration, to be asked and added to."""
        known = self._known.get(fingerprint)
        if known is None:
            known = self._known[fingerprint] = Known()
        self._known.move_to_end(fingerprint)
        if len(self._known) > _TENANTS_KEPT:
            self._known.popitem(last=False)
        return known


def _questions(verdict: Verdict, *, strict: bool) -> frozenset[_Question]:
    if not (strict or verdict.functions):
        return _NONE
    if verdict.anywhere:
        return frozenset(_question("anywhere", name) for name in verdict.functions)
    functions = verdict.functions if strict else (name for name in verdict.functions if not is_built_in(name))
    asked = {_question("function", name) for name in functions}
    if strict:
        asked |= {_question("operator", name) for name in verdict.operators}
        asked |= {("column", None, column) for column in verdict.columns}
    return frozenset(asked)


_NONE: Final = frozenset[_Question]()
_HARMLESS: Final = (None, False)


def _question(kind: str, name: Name) -> _Question:
    return kind, name.schema, name.name


def _answer(question: _Question, row: "Mapping[str, object] | asyncpg.Record") -> Answer:
    owner, volatile = str(row["owner"]), bool(row["volatile"])
    harmless = question[2] in (HARMLESS if owner == "postgres" else HARMLESS_EXTENSIONS)
    if not volatile or harmless:
        return Answer(lasting=not owner and bool(row["lasting"]))
    if not owner:
        return Answer(own=True, lasting=bool(row["lasting"]))
    return Answer(f"it is volatile, of {_OWNERS.get(owner, f'the extension {owner}')}, and not known to be harmless")


_OWNERS: Final = {"postgres": "Postgres itself", "c": "a library of the server"}


def _worse(one: Answer, other: Answer) -> Answer:
    return Answer(one.harmful or other.harmful, one.own or other.own, one.lasting or other.lasting)


def _refusal(question: _Question, answer: Answer, *, strict: bool) -> str | None:
    kind, schema, name = question
    said = f"The {'operator' if kind == 'operator' else 'function'} {Name(schema, name)} may not be called here"
    if answer.harmful:
        return f"{said}: {answer.harmful}"
    if strict and answer.own:
        return f"{said}: it is volatile, which MCP_POSTGRES_STRICT_READS refuses; mark it STABLE if it only reads"
    return None


def _of_settings(secret: Iterable["asyncpg.Record"]) -> str | None:
    names = [str(row["name"]) for row in secret]
    if not names:
        return None
    return f"All settings together hold a secret here ({', '.join(names)}); name the ones you want: SHOW work_mem"


def _of_samples(secret: Iterable["asyncpg.Record"]) -> str | None:
    names = sorted(str(row["name"]) for row in secret)
    if not names:
        return None
    return f"Postgres's samples of columns hold passwords here (of {', '.join(names)}); ask with a login that sees none"
