"""Every case of the corpus of SQL, against real servers, as a superuser and as an ordinary role."""

from collections import Counter

from tests.security.sql_cases import FAULTS, Stage, cases, play


async def test_every_case_of_the_corpus_ends_as_it_must(stage: Stage) -> None:
    version = stage.admin.get_server_version().major
    played = [case for case in cases() if case.pg <= version]
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
