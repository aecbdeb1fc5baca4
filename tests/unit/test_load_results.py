"""What a bench makes of its samples: rows, goals, tables and plots that a reader can rely on."""

import math
import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest

from tests.benchmarks.load.bench import chosen_of, command_of, parsed
from tests.benchmarks.load.goals import verdicts
from tests.benchmarks.load.plan import Plan, called_of, compared, spread_out
from tests.benchmarks.load.plots import plots
from tests.benchmarks.load.report import BEGIN, END, replaced
from tests.benchmarks.load.results import (
    Machine,
    Memory,
    Point,
    Results,
    Sample,
    Started,
    paired,
    rate,
    read,
    rows_of,
    save,
    soaked,
)
from tests.benchmarks.load.tables import compared as compared_table, document, memory, registered, spread
from tests.benchmarks.load.timing import Measured, expecting


def _measured(per_second: float, *, errors: int = 0, p50_ms: float | None = 1.0) -> Measured:
    return Measured(
        calls=100,
        errors=errors,
        seconds=1.0,
        per_second=per_second,
        p50_ms=p50_ms,
        p99_ms=2.0,
        server_cpu_us=90.0,
        postgres_cpu_us=20.0,
        client_cpu_us=30.0,
        rss_mb=80.0,
        answer_bytes=83,
    )


def _sample(target: str, case: str, clients: int, measured: Measured, number: int = 0) -> Sample:
    return Sample(round=number, point=Point(target=target, case=case, clients=clients), measured=measured)


def _grown(count: int, per_second: float, spread: int = 1) -> Sample:
    part = "spread" if spread > 1 else "registered"
    point = Point(target="ours", case="select1", clients=16, registered=count, spread=spread, part=part)  # type: ignore[arg-type]  # one of the three
    return Sample(round=0, point=point, measured=_measured(per_second))


def _results(samples: list[Sample]) -> Results:
    machine = Machine(
        date="2026-11-25",
        cores=2,
        cpu="a fast one",
        memory_gb=24.0,
        system="Linux",
        python="3.11.7",
        postgres="PostgreSQL 18.6",
        valkey="Valkey 9.1.2",
        commit="abc",
        load_before=0.1,
        load_after=1.2,
    )
    started = [Started(target="ours", about="every guard on", version="1", seconds=0.5, rss_mb=90.0)] * 2
    return Results(
        machine=machine,
        how="make bench",
        rounds=1,
        seconds=2.0,
        started=started,
        missing=["dbhub 1.4.0: not installed (make peers)"],
        samples=samples,
    )


_ALL = [
    _sample("asyncpg", "select1", 1, _measured(50_000, p50_ms=0.02)),
    _sample("ours", "select1", 1, _measured(9_000, p50_ms=0.09)),
    _sample("toolbox", "select1", 16, _measured(8_000)),
    _sample("asyncpg", "select1", 16, _measured(40_000)),
    _sample("ours", "select1", 16, _measured(6_000)),
    _sample("ours x2", "select1", 16, _measured(10_000)),
    _sample("ours", "select1", 256, _measured(9_000)),
    _sample("ours x2", "select1", 256, _measured(9_500)),
    _grown(1, 1_000.0),
    _grown(100_000, 950.0),
    _grown(100_000, 900.0, spread=100),
]


def _judged(samples: list[Sample]) -> dict[str, bool | None]:
    return {verdict.goal.split(":")[0].split(" (")[0]: verdict.met for verdict in verdicts(samples)}


def test_a_row_has_the_medians_of_all_rounds_and_the_sum_of_errors() -> None:
    measured = [_measured(100, errors=1), _measured(300), _measured(200, errors=2, p50_ms=None)]
    samples = [_sample("ours", "select1", 16, each, number) for number, each in enumerate(measured)]
    (row,) = rows_of(samples).values()
    assert (row.per_second, row.p50_ms, row.errors) == (200.0, 1.0, 3)


def test_goals_are_judged_by_the_best_number_of_workers() -> None:
    judged = _judged(_ALL)
    assert judged["SELECT 1, 16 clients"] is True  # 10,000 of two workers against 8,000
    assert judged["SELECT 1, one client"] is True  # 0.09 ms against 0.02
    assert judged["256 clients without an error"] is True
    assert judged["nothing slower with 100,000 tenants registered than with one"] is True


def test_a_goal_that_was_not_measured_is_not_met_by_accident() -> None:
    assert set(_judged([]).values()) == {None}
    assert _judged(_ALL)["1,000 rows, 16 clients"] is None


def test_one_error_among_256_clients_misses_the_goal() -> None:
    failed = _sample("ours x2", "rows1000", 256, _measured(9_000, errors=1))
    assert _judged([*_ALL, failed])["256 clients without an error"] is False


def test_a_question_that_256_clients_were_never_answered_misses_the_goal() -> None:
    assert _judged([*_ALL, _sample("ours", "rows1000", 16, _measured(9_000))])["256 clients without an error"] is False


def test_a_moment_in_which_the_machine_was_slow_for_both_does_not_count() -> None:
    rounds = [(100.0, 50.0), (10.0, 5.0), (100.0, 50.0), (10.0, 5.0)]
    samples = [
        _sample(target, "rows1000", 16, _measured(per_second), number)
        for number, both in enumerate(rounds)
        for target, per_second in zip(("ours", "toolbox"), both, strict=True)
    ]
    assert paired(samples, samples[0].point, samples[1].point, rate) == 2.0
    assert math.isnan(paired(samples[:1], samples[0].point, samples[1].point, rate))


def test_a_server_that_gets_slower_with_its_tenants_misses_the_goal() -> None:
    slower = [each for each in _ALL if each.point.registered == 1] + [_grown(100_000, 850.0)]
    assert _judged(slower)["nothing slower with 100,000 tenants registered than with one"] is False


def test_the_table_of_a_question_says_what_share_of_the_yardstick_each_reaches() -> None:
    lines = compared_table(rows_of(_ALL), "select1")
    assert any("| 16 | ours x2 | 10,000 | 25.0 % |" in line for line in lines)
    assert compared_table(rows_of(_ALL), "rows1000") == []


def test_the_tables_of_scale_put_the_last_number_against_the_first() -> None:
    assert "| SELECT 1 | 16 | 1,000 (1.00, 90.0) | 950 (1.00, 90.0) | 0.950 |" in registered(_ALL)
    assert any(line.startswith("| 100 | 900 |") for line in spread(rows_of(_ALL)))


def test_every_table_has_as_many_cells_in_each_line() -> None:
    blocks = [block.splitlines() for block in document(_results(_ALL)).split("\n\n")]
    tables = [[line.count("|") for line in block] for block in blocks if block[0].startswith("|")]
    assert len(tables) > 4
    assert all(len(set(cells)) == 1 for cells in tables)


def test_a_reader_is_told_what_was_not_measured_and_each_server_once() -> None:
    text = document(_results(_ALL))
    assert "- not measured: dbhub 1.4.0: not installed (make peers)" in text
    assert text.count("| ours | 1 | 0.500 |") == 1


def _soak(*held: float) -> list[Sample]:
    point = Point(target="ours", case="mixture", clients=16, part="soak")
    runs = [msgspec.structs.replace(_measured(1.0), calls=100_000, rss_mb=each) for each in held]
    return [Sample(round=number, point=point, measured=run) for number, run in enumerate(runs)]


def test_memory_that_settles_within_a_tenth_of_the_calls_does_not_grow_and_what_goes_on_does() -> None:
    settled, growing = _soak(100.0, *[101.0] * 9), _soak(*(100.0 + number for number in range(10)))
    assert [verdicts(held)[-1].met for held in (settled, growing, settled[:5])] == [True, False, None]
    assert soaked(settled)[-1] == Memory(1_000_000, 101.0)


def test_the_table_of_memory_ends_with_the_last_call() -> None:
    lines = memory(soaked(_soak(*(100.0 + number for number in range(60)))))
    assert lines[-1] == "| 6,000,000 | 159 |"
    assert len(lines) < 20


def test_results_come_back_from_their_file_as_they_were(tmp_path: Path) -> None:
    results = _results(_ALL)
    save(results, tmp_path / "deep" / "results.json")
    assert read(tmp_path / "deep" / "results.json") == results


def test_a_file_that_is_no_result_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(msgspec.ValidationError):
        read(tmp_path / "other.json")


def test_plots_are_well_formed_and_name_everybody_on_light_and_dark_pages() -> None:
    made = plots(_results(_ALL))
    assert {"share.svg", "latency.svg", "clients-select1.svg", "registered.svg"} <= set(made)
    for plot in made.values():
        assert "prefers-color-scheme: dark" in plot
        assert ET.fromstring(plot).tag.endswith("svg")  # noqa: S314 - we wrote it
    assert ">ours x2</text>" in made["share.svg"]
    assert plots(_results([])) == {}


def test_a_server_has_the_same_colour_in_every_plot() -> None:
    made = plots(_results(_ALL))
    colours = {
        plot.partition(">ours</text>")[0].rpartition('fill="')[2].partition('"')[0]
        for name, plot in made.items()
        if name in {"share.svg", "latency.svg", "clients-select1.svg"}
    }
    assert len(colours) == 1


def test_what_was_measured_replaces_what_was_measured_before_and_nothing_else() -> None:
    page = f"# Performance\n\n{BEGIN}\n\nold\n\n{END}\n\nend\n"
    once = replaced(page, "new")
    assert once == f"# Performance\n\n{BEGIN}\n\nnew\n\n{END}\n\nend\n"
    assert replaced(once, "new") == once
    with pytest.raises(ValueError, match="no <!-- measured"):
        replaced("# Performance\n", "new")


def test_a_round_asks_everybody_the_same_and_another_one_first() -> None:
    plan = Plan(cases=("select1",), clients=(1, 16))
    first, second = ([point.target for point in compared(plan, ["a", "b"], number)] for number in (0, 1))
    assert (first, second) == (["a", "b", "a", "b"], ["b", "a", "b", "a"])


def test_calls_are_spread_in_the_longest_log_alone() -> None:
    plan = Plan(registered=(1, 1_000), spread=(1, 100, 5_000))
    assert [called_of(plan, count) for count in (1, 1_000)] == [1, 100]
    points = spread_out(plan, "ours", 0)
    assert [(point.registered, point.spread) for point in points] == [(1_000, 1), (1_000, 100)]


def test_options_choose_parts_of_the_plan() -> None:
    chosen = chosen_of(parsed(["--quick", "--cases", "select1", "--clients", "4", "--targets", "ours,ours x2"]))
    assert (chosen.plan.cases, chosen.plan.clients) == (("select1",), (4,))
    assert [chosen.wants(name) for name in ("ours", "ours x2", "toolbox")] == [True, True, False]


def test_a_reader_is_told_the_command_that_measures_the_same_again() -> None:
    assert command_of(["--quick", "--docs", "--cases", "select1"]) == "make bench QUICK=1 'ARGS=--cases select1'"
    assert command_of([]) == "make bench"


@pytest.mark.parametrize("body", [b'{"result":{"isError":true}}', b'{"error":{"code":1}}', b'{"result":{}}'])
def test_an_answer_that_is_an_error_or_lacks_what_it_must_hold_is_no_success(body: bytes) -> None:
    assert expecting([b"x"])(body) is not None


def test_an_answer_that_holds_all_is_one() -> None:
    assert expecting([b'"x"', b"1"])(b'{"result":{"isError":false,"x":1}}') is None
