"""The bench and the profiler, on real servers for a second or two, so that neither is found broken when needed."""

from pathlib import Path

from tests.benchmarks.load.place import Place, fresh_place
from tests.benchmarks.load.plan import Plan
from tests.benchmarks.load.profiling import count_calls, parsed_options as parsed, profile
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


async def test_every_question_is_measured_and_profiled_without_an_error(tmp_path: Path) -> None:
    async with fresh_place() as place:
        await _bench_asks_everything(place, tmp_path)
        await _profile_charges_cpu_to_the_functions_that_answer(place)
        await _function_calls_of_an_answer_are_counted(place)


async def _bench_asks_everything(place: Place, folder: Path) -> None:
    lines: list[str] = []
    chosen = Chosen(plan=_PLAN, targets=("asyncpg", "ours"), workers=(1,))
    results = await bench(chosen, "make bench", place, lines.append)
    rows = rows_of(results.samples)
    assert results.missing == []
    assert [(row.point, row.errors) for row in rows.values() if row.errors] == []
    assert {(point.target, point.case) for point in rows if point.part == "compare"} == {
        (target, case) for target in ("asyncpg", "ours") for case in _PLAN.cases
    }
    assert {point.spread for point in rows if point.part == "spread"} == {1, 3}
    assert [point.case for point in rows if point.part == "soak"] == ["mixture"]
    assert any("0 errors" in line for line in lines if " files " in line)
    assert all(row.per_second > 0 for row in rows.values())
    ours = [row for row in rows.values() if row.point.target == "ours"]
    assert all(row.server_cpu_us > 0 and row.rss_mb > 0 and row.answer_bytes > 0 for row in ours)
    written = {path.name for path in write_report(results, folder, docs=False)}
    assert {"performance.md", "latency.svg"} <= written


async def _profile_charges_cpu_to_the_functions_that_answer(place: Place) -> None:
    options = parsed(["--tool", "rows1000", "--seconds", "1", "--lead", "0.3", "--clients", "4"])
    stacks, measured = await profile(options, place)
    assert measured.errors == 0
    assert any(each.frame.startswith("Toolbox.call (server/toolbox.py:") for each in spent(stacks))
    assert "server" in dict(by_package(stacks))


async def _function_calls_of_an_answer_are_counted(place: Place) -> None:
    counted = await count_calls(parsed(["--count"]), place)
    by_name = {name: number for (_, _, name), number in counted.calls.items()}
    assert by_name["execute_query"] >= counted.answers
