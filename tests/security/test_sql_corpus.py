"""Every case of the corpus of SQL, against real servers, as a superuser and as an ordinary role."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

from tests.security.sql_cases import FAULTS, Case, Stage, cases, play

NEVER_DONE: Final = {"statement-own-36"}
"""Cases with a part that a parser refuses and Postgres never comes to do."""


async def test_every_case_of_the_corpus_ends_as_it_must(stage: Stage) -> None:
    await require_no_fault(stage, cases())


async def test_what_is_refused_is_refused_as_well_where_it_cannot_be_parsed(stage: Stage) -> None:
    """A comment makes each text too long for the parser, as a grammar to come would be too new."""
    await require_no_fault(stage, (_unparsed(case) for case in cases() if _is_refused(stage, case)))


def _is_refused(stage: Stage, case: Case) -> bool:
    expected = (case.superuser if stage.superuser else case.ordinary) or case.expected
    return expected == "blocked" and not case.steps and case.arg is None and case.id not in NEVER_DONE


def _unparsed(case: Case) -> Case:
    comment = "\n/* {long} */"
    return msgspec.structs.replace(case, sql=case.sql + comment, run_sql=case.run_sql and case.run_sql + comment)


async def require_no_fault(stage: Stage, chosen: Iterable[Case]) -> None:
    version = stage.admin.get_server_version().major
    played = [case for case in chosen if case.pg <= version]
    found = [(case, fault) for case in played if (fault := await play(stage, case)) is not None]
    count = Counter(fault for _, (fault, _) in found)
    told = (
        f"Postgres {version}, {'superuser' if stage.superuser else 'ordinary role'}, {len(played)} cases: "
        + ", ".join(f"{count[fault]} {fault}" for fault in FAULTS)
    )
    print(told)  # noqa: T201 - the figures that this test is for
    assert not found, "\n".join(
        [told, *(f"{fault} in {case.id}: {case.sql[:200]}\n    {seen}" for case, (fault, seen) in found)]
    )
