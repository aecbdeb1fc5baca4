"""The plots of docs/performance.md, made of results. Pure."""

from collections.abc import Mapping
from typing import Final

from tests.benchmarks.load.cases import CASES
from tests.benchmarks.load.figures import ratio
from tests.benchmarks.load.peers import PEERS
from tests.benchmarks.load.plan import FEW
from tests.benchmarks.load.results import UNKNOWN, YARDSTICK, Point, Results, Row, rows_of
from tests.benchmarks.load.svg import Series, bars, lines

_KNOWN: Final = ("ours", "ours x2", YARDSTICK, *(peer.name for peer in PEERS))
"""Whose colours are the same in every plot."""


def plots(results: Results) -> dict[str, str]:
    """Return every plot that there are figures for, by the name of its file."""
    rows = rows_of(results.samples)
    made = {
        "share.svg": _shares(rows),
        "latency.svg": _latencies(rows),
        "cpu.svg": _cpu(rows),
        **{f"clients-{case}.svg": _by_clients(rows, case) for case in CASES},
        "registered.svg": _by_registered(rows),
    }
    return {name: plot for name, plot in made.items() if plot is not None}


def _grouped(rows: Mapping[Point, Row], clients: int) -> dict[str, dict[str, Row]]:
    """Return the rows at so many clients by question, then by server; the yardstick with JSON is left to the tables."""
    groups: dict[str, dict[str, Row]] = {}
    for point, row in rows.items():
        if (point.clients, point.part) == (clients, "compare") and "json" not in point.target:
            groups.setdefault(point.case, {})[point.target] = row
    return {case: dict(sorted(groups[case].items(), key=_yardstick_first)) for case in CASES if case in groups}


def _yardstick_first(item: tuple[str, Row]) -> tuple[bool, bool, str]:
    return (item[0] != YARDSTICK, not item[0].startswith("ours"), item[0])


def _shares(rows: Mapping[Point, Row]) -> str | None:
    groups = {
        CASES[case].title: {name: 100 * ratio(row.per_second, _base(group)) for name, row in group.items()}
        for case, group in _grouped(rows, FEW).items()
    }
    title = f"Calls a second at {FEW} clients, of what raw asyncpg does with the same question"
    return bars(title, groups, "%", _KNOWN) if groups else None


def _latencies(rows: Mapping[Point, Row]) -> str | None:
    groups = {
        CASES[case].title: {name: row.p50_ms for name, row in group.items()}
        for case, group in _grouped(rows, 1).items()
        if case != "rows100k"
    }
    return bars("Median latency of one client, in milliseconds", groups, "ms", _KNOWN) if groups else None


def _cpu(rows: Mapping[Point, Row]) -> str | None:
    groups = {
        CASES[case].title: {name: row.server_cpu_us for name, row in group.items() if name != YARDSTICK}
        for case, group in _grouped(rows, FEW).items()
        if case in {"select1", "list_tables", "describe_table"}
    }
    title = f"CPU of the server for one call at {FEW} clients, in microseconds (Postgres' is apart)"
    return bars(title, groups, "µs", _KNOWN) if groups else None


def _by_clients(rows: Mapping[Point, Row], case: str) -> str | None:
    found = {
        point: row
        for point, row in rows.items()
        if (point.case, point.part) == (case, "compare") and "json" not in point.target
    }
    counts = sorted({point.clients for point in found})
    names = sorted({point.target for point in found}, key=lambda name: (name != YARDSTICK, name))
    series = [Series(name, [_rate(found, case, name, clients) for clients in counts]) for name in names]
    title = f"{CASES[case].title}: calls a second by clients"
    places = [_people(count) for count in counts]
    return lines(title, places, series, "/s", _KNOWN) if len(counts) > 1 else None


def _by_registered(rows: Mapping[Point, Row]) -> str | None:
    counts = sorted({point.registered for point in rows if point.part == "registered"})
    asked = sorted({(point.case, point.clients) for point in rows if point.part == "registered"})
    series = [
        Series(f"{CASES[case].title}, {_people(clients)}", [_registered(rows, case, clients, each) for each in counts])
        for case, clients in asked
    ]
    places = [f"{count:,}" for count in counts]
    return lines("Calls a second by tenants registered", places, series, "/s") if series else None


def _people(clients: int) -> str:
    return "1 client" if clients == 1 else f"{clients} clients"


def _rate(rows: Mapping[Point, Row], case: str, target: str, clients: int) -> float:
    row = rows.get(Point(target=target, case=case, clients=clients))
    return row.per_second if row else UNKNOWN


def _registered(rows: Mapping[Point, Row], case: str, clients: int, count: int) -> float:
    row = rows.get(Point(target="ours", case=case, clients=clients, registered=count, part="registered"))
    return row.per_second if row else UNKNOWN


def _base(group: Mapping[str, Row]) -> float:
    return group[YARDSTICK].per_second if YARDSTICK in group else UNKNOWN
