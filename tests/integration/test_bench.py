"""The bench itself, on real servers for a second or two, so that it is not found broken on the day it is needed."""

from pathlib import Path

from tests.benchmarks.load.plan import Plan
from tests.benchmarks.load.profiling import parsed_options as parsed, profile
from tests.benchmarks.load.report import write_report
from tests.benchmarks.load.results import rows_of
from tests.benchmarks.load.run import Chosen, bench
from tests.benchmarks.load.stacks import by_package, spent
from tests.benchmarks.load.timing import Pace

_PLAN = Plan(
    parts=("compare", "spread", "soak"),
    cases=("select1", "list_tables", "describe_table", "rows1000", "rows100k"),
    clients=(1,),
    registered=(5,),
    spread=(1, 3),
    calls=1,
    rounds=1,
    pace=Pace(0.02, warm_up=0.0),
)


async def test_a_bench_measures_every_question_without_an_error_and_writes_its_tables(tmp_path: Path) -> None:
    lines: list[str] = []
    chosen = Chosen(plan=_PLAN, targets=("asyncpg", "ours"), workers=(1,))
    results = await bench(chosen, "make bench", lines.append)
    rows = rows_of(results.samples)
    assert results.missing == []
    assert [(row.point, row.errors) for row in rows.values() if row.errors] == []
    assert {(point.target, point.case) for point in rows if point.part == "compare"} == {
        (target, case) for target in ("asyncpg", "ours") for case in _PLAN.cases
    }
    assert {point.spread for point in rows if point.part == "spread"} == {1, 3}
    assert all(row.per_second > 0 for row in rows.values())
    assert rows
    ours = [row for row in rows.values() if row.point.target == "ours"]
    assert all(row.server_cpu_us > 0 and row.rss_mb > 0 and row.answer_bytes > 0 for row in ours)
    assert [row.point.case for row in rows.values() if row.point.part == "soak"] == ["select1"]
    written = {path.name for path in write_report(results, tmp_path, docs=False)}
    assert {"performance.md", "latency.svg"} <= written


async def test_a_profile_charges_the_cpu_of_calls_to_the_functions_that_answer_them() -> None:
    options = parsed(["--tool", "rows1000", "--seconds", "1", "--lead", "0.3", "--clients", "4"])
    stacks, measured = await profile(options)
    assert measured.errors == 0
    frames = [each.frame for each in spent(stacks)]
    assert any(frame.startswith("Toolbox.call (server/toolbox.py:") for frame in frames)
    assert "server" in dict(by_package(stacks))
