"""`make bench`: the project, raw asyncpg and the peers that are installed, side by side, in rounds.

It starts a Postgres, a Valkey and every server itself, sends nothing beyond this machine, and writes a results file,
the tables and the plots. docs/performance.md says how to read them.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop

from tests.benchmarks.load.cases import CASES
from tests.benchmarks.load.place import fresh_place
from tests.benchmarks.load.plan import QUICK, Plan
from tests.benchmarks.load.report import write_report
from tests.benchmarks.load.results import PARTS, Results, read, save
from tests.benchmarks.load.run import Chosen, bench
from tests.benchmarks.load.timing import Pace

_OUT: Final = Path(".bench/results.json")


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a bounded run of a minute or two")
    parser.add_argument("--parts", help=f"of {','.join(PARTS)}")
    parser.add_argument("--cases", help=f"of {','.join(CASES)}")
    parser.add_argument("--targets", help="asyncpg,asyncpg+json,ours,ours x2 and the peers' names")
    parser.add_argument("--clients", help="how many at the same time: 1,16,256")
    parser.add_argument("--registered", help="tenants in the log: 1,1000,100000")
    parser.add_argument("--spread", help="tenants that are called in turn: 1,100,1000")
    parser.add_argument("--workers", default="1,2", help="of the project's server, each number measured apart: 1,2")
    parser.add_argument("--pool", type=int, default=10, help="most connections of a process to a tenant")
    parser.add_argument("--calls", type=int, help="how many are made in soak: 1000000")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument(
        "--out", type=Path, default=_OUT, help=f"the results file; tables and plots lie beside it [{_OUT}]"
    )
    parser.add_argument("--docs", action="store_true", help="write the tables and plots of docs/performance.md, too")
    parser.add_argument("--from", dest="source", type=Path, help="measure nothing: make tables and plots of this file")
    return parser.parse_args(arguments)


def chosen_of(options: argparse.Namespace) -> Chosen:
    """Return what the options choose."""
    base = QUICK if options.quick else Plan()
    changes: dict[str, Any] = {
        "parts": _texts(options.parts),
        "cases": _texts(options.cases),
        "clients": _numbers(options.clients),
        "registered": _numbers(options.registered),
        "spread": _numbers(options.spread),
        "calls": options.calls,
        "rounds": options.rounds,
        "pace": Pace(options.seconds) if options.seconds else None,
    }
    plan = msgspec.structs.replace(base, **{name: value for name, value in changes.items() if value is not None})
    targets = _texts(options.targets) or ()
    return Chosen(plan=plan, targets=targets, workers=_numbers(options.workers) or (1,), pool=options.pool)


def command_of(arguments: Sequence[str]) -> str:
    """Return the command that measures the same again."""
    more = [each for each in arguments if each not in {"--quick", "--docs"}]
    quick = ["QUICK=1"] if "--quick" in arguments else []
    return shlex.join(["make", "bench", *quick, *([f"ARGS={shlex.join(more)}"] if more else [])])


async def _measured(chosen: Chosen, how: str) -> Results:
    async with fresh_place() as place:
        return await bench(chosen, how, place, _tell)


def _texts(told: str | None) -> tuple[str, ...] | None:
    return tuple(told.split(",")) if told else None


def _numbers(told: str | None) -> tuple[int, ...] | None:
    return tuple(map(int, told.split(","))) if told else None


def _tell(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what it is for


def main(arguments: Sequence[str]) -> int:
    """Run a bench, or make the tables of one that was run."""
    options = parsed(arguments)
    if options.source:
        results = read(options.source)
    else:
        begun = time.perf_counter()
        how = command_of(arguments)
        results = uvloop.run(_measured(chosen_of(options), how))
        save(results, options.out)
        _tell(f"{time.perf_counter() - begun:.0f} s; wrote {options.out}")
    for written in write_report(results, options.out.parent, docs=options.docs):
        _tell(f"wrote {written}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
