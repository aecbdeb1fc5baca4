"""The tables of docs/performance.md, made of results. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from tests.benchmarks.load.cases import CASES
from tests.benchmarks.load.figures import ratio, shown
from tests.benchmarks.load.goals import verdicts
from tests.benchmarks.load.results import (
    UNKNOWN,
    YARDSTICK,
    Machine,
    Memory,
    Point,
    Results,
    Row,
    Sample,
    Started,
    paired,
    rate,
    rows_of,
    soaked,
)

_COLUMNS = (
    *("clients", "server", "calls/s", "of asyncpg", "p50 ms", "p99 ms"),
    *("server's CPU µs", "Postgres'", "client's", "all of it", "RSS MB", "answer bytes", "errors"),
)

_LINES = 10


def document(results: Results) -> str:
    """Return everything that the results tell, as markdown."""
    rows = rows_of(results.samples)
    return "\n".join(
        [
            *_machine(results),
            *_goals(results.samples),
            *_servers(results.started, results.missing),
            *(line for case in CASES for line in compared(rows, case)),
            *registered(results.samples),
            *spread(rows),
            *memory(soaked(results.samples)),
        ]
    )


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    """Return a markdown table; numbers stand at the right."""
    rule = ["---" if number == 0 or name in {"server", "goal", "what"} else "---:" for number, name in enumerate(head)]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *lines)]


def compared(rows: Mapping[Point, Row], case: str) -> list[str]:
    """Return the table of one question: everybody at each number of clients."""
    chosen = [row for point, row in rows.items() if point.case == case and point.part == "compare"]
    if not chosen:
        return []
    ordered = sorted(chosen, key=lambda row: (row.point.clients, -row.per_second))
    return ["", f"### {CASES[case].title}", "", *table(_COLUMNS, (_cells(row, rows) for row in ordered))]


def registered(samples: Sequence[Sample]) -> list[str]:
    """Return the table of what tenants in the log cost that nobody calls."""
    rows = {point: row for point, row in rows_of(samples).items() if point.part == "registered"}
    counts = sorted({point.registered for point in rows})
    asked = sorted({(point.case, point.clients) for point in rows})
    if not asked:
        return []
    head = ["what", "clients", *(f"{count:,}: calls/s (p50 ms, CPU µs)" for count in counts), "last to first"]
    lines = []
    for case, clients in asked:
        points = [_ours(case, clients, count) for count in counts]
        cells = [_rate_and_cost(rows.get(point)) for point in points]
        lines.append([CASES[case].title, str(clients), *cells, shown(paired(samples, points[-1], points[0], rate))])
    held = [max(row.rss_mb for point, row in rows.items() if point.registered == count) for count in counts]
    lines.append(["RSS MB", "", *map(shown, held), shown(ratio(held[-1], held[0]))])
    return ["", "### Tenants registered", "", *table(head, lines)]


def spread(rows: Mapping[Point, Row]) -> list[str]:
    """Return the table of calls that go to one tenant after the other."""
    chosen = sorted((row for point, row in rows.items() if point.part == "spread"), key=lambda row: row.point.spread)
    if not chosen:
        return []
    head = [
        "tenants called in turn",
        "calls/s",
        "p50 ms",
        "p99 ms",
        "CPU µs a call",
        "Postgres' µs",
        "RSS MB",
        "errors",
    ]
    lines = [
        [
            f"{row.point.spread:,}",
            *map(shown, (row.per_second, row.p50_ms, row.p99_ms, row.server_cpu_us, row.postgres_cpu_us, row.rss_mb)),
            str(row.errors),
        ]
        for row in chosen
    ]
    about = f"{CASES['select1'].title}, {chosen[0].point.clients} clients, {chosen[0].point.registered:,} registered."
    return ["", "### Calls spread over tenants", "", about, "", *table(head, lines)]


def memory(held: Sequence[Memory]) -> list[str]:
    """Return the table of what the server held while very many calls were made, in about ten lines."""
    if not held:
        return []
    step = max(1, len(held) // _LINES)
    chosen = [*held[:-1:step], held[-1]]
    lines = [[f"{each.calls:,}", shown(each.rss_mb)] for each in chosen]
    return ["", "### Memory", "", *table(["calls made", "RSS MB"], lines)]


def _cells(row: Row, rows: Mapping[Point, Row]) -> list[str]:
    base = rows.get(Point(target=YARDSTICK, case=row.point.case, clients=row.point.clients))
    share = ratio(row.per_second, base.per_second) if base else UNKNOWN
    own = 0.0 if row.point.target.startswith(YARDSTICK) else row.server_cpu_us  # that is the client's
    whole = own + row.postgres_cpu_us + row.client_cpu_us
    times = (row.p50_ms, row.p99_ms, row.server_cpu_us, row.postgres_cpu_us, row.client_cpu_us, whole, row.rss_mb)
    return [
        str(row.point.clients),
        row.point.target,
        shown(row.per_second),
        f"{shown(100 * share)} %",
        *map(shown, times),
        shown(row.answer_bytes),
        str(row.errors),
    ]


def _machine(results: Results) -> list[str]:
    how = f"`{results.how}`: {results.rounds} rounds of {results.seconds:g} s a figure, whose median is told"
    return [f"Measured on {results.machine.date} with {how}. {_where(results.machine)}", ""]


def _where(machine: Machine) -> str:
    return (
        f"Machine: {machine.cores} cores of {machine.cpu}, {machine.memory_gb:.0f} GB, {machine.system}; "
        f"load average {machine.load_before:.1f} before, {machine.load_after:.1f} after. "
        f"Python {machine.python}, {machine.postgres}, {machine.valkey}; commit {machine.commit}."
    )


def _goals(samples: Sequence[Sample]) -> list[str]:
    words = {True: "yes", False: "no", None: "not measured"}
    lines = [[verdict.goal, verdict.measured, words[verdict.met]] for verdict in verdicts(samples)]
    return ["### Goals", "", *table(["goal", "measured", "met"], lines)]


def _servers(started: Sequence[Started], missing: Sequence[str]) -> list[str]:
    once = {(each.target, each.about): each for each in started}.values()
    lines = [[each.target, each.version, shown(each.seconds), shown(each.rss_mb), each.about] for each in once]
    absent = [f"- not measured: {each}" for each in missing]
    return ["", "### Servers", "", *table(["server", "version", "start s", "RSS MB", "what"], lines), "", *absent]


def _ours(case: str, clients: int, count: int) -> Point:
    return Point(target="ours", case=case, clients=clients, registered=count, part="registered")


def _rate_and_cost(row: Row | None) -> str:
    if row is None:
        return shown(UNKNOWN)
    return f"{shown(row.per_second)} ({shown(row.p50_ms)}, {shown(row.server_cpu_us)})"
