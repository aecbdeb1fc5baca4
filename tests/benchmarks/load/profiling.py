"""`make profile`: where the server's CPU goes while it answers one question over and over, as a flame graph.

Starts embedded servers and the project's own, has the bench's client call it, and samples its stacks with py-spy, which
reads them from outside. Writes the graph, the stacks and a table of functions by their own time.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import uvloop

from server.embedded.base import together
from server.embedded.valkey import EmbeddedValkey
from tests.benchmarks.load.cases import CASES
from tests.benchmarks.load.dataset import BenchPostgres, make_dataset
from tests.benchmarks.load.flames import flame_graph
from tests.benchmarks.load.ours import Ours, Place, start_ours
from tests.benchmarks.load.stacks import Stacks, by_package, is_ours, parsed, spent, total
from tests.benchmarks.load.targets import Target
from tests.benchmarks.load.timing import Measured, Pace

_OUT: Final = Path(".bench/profile")
_PY_SPY: Final = Path(sys.executable).parent / "py-spy"
_FUNCTIONS: Final = 30
_LEAD: Final = 3.0
"""Seconds of load before the sampling begins, and after it ends: a server that has just started still imports."""


async def profile(options: argparse.Namespace) -> tuple[Stacks, Measured]:
    """Return the stacks that were seen, and what the load came to meanwhile."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        valkey, postgres = EmbeddedValkey(folder), BenchPostgres(folder, durable=False)
        async with together(valkey, postgres):
            await make_dataset(postgres)
            place = Place(folder=folder, redis_url=valkey.url, postgres=postgres)
            target = await start_ours(Ours(workers=options.workers, registered=options.registered), place)
            stack.callback(target.program.stop)
            await target.prove(options.tool)
            pace = Pace(options.seconds + 2 * _LEAD)
            load = asyncio.create_task(
                target.measure(options.tool, clients=options.clients, pace=pace, postgres=(postgres.pid,))
            )
            await asyncio.sleep(pace.warm_up + _LEAD)
            sampled = await _sampled(target, options, folder / "stacks")
            return parsed(sampled.read_text("utf-8")), await load


async def _sampled(target: Target, options: argparse.Namespace, out: Path) -> Path:
    (process,) = target.program.processes
    # Whether a thread is idle cannot be told on every machine; one that holds the interpreter's lock is not.
    more = [*(["--native"] if options.native else []), *([] if options.waiting else ["--gil"])]
    sampler = await asyncio.create_subprocess_exec(
        *(_PY_SPY, "record", "--pid", str(process), "--subprocesses", "--function", "--format", "raw"),
        *("--rate", str(options.rate), "--duration", str(options.seconds), "--output", str(out), *more),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await sampler.communicate()
    if sampler.returncode != 0:
        raise SystemExit(f"py-spy could not sample the server (may it? as root it may):\n{told.decode()}")
    return out


def told(stacks: Stacks, measured: Measured, what: str) -> str:
    """Return the table that goes with the graph."""
    samples = max(1, total(stacks))
    cost = f"{measured.per_second:,.0f} calls/s, {measured.server_cpu_us or 0:,.0f} µs of CPU a call"
    head = f"{what}: {cost}, {samples} samples"
    packages = ", ".join(f"{name} {100 * count / samples:.0f} %" for name, count in by_package(stacks)[:14])
    lines = [head, f"by package: {packages}", "", "  self   with callees"]
    for each in spent(stacks)[:_FUNCTIONS]:
        mark = "*" if is_ours(each.frame) else " "
        own, all_of_it = 100 * each.self_samples / samples, 100 * each.all_samples / samples
        lines.append(f"{own:5.1f} %  {all_of_it:5.1f} % {mark} {each.frame}")
    return "\n".join([*lines, "* our own"])


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make profile", description=__doc__)
    parser.add_argument("--tool", choices=CASES, default="select1", help="what is asked [select1]")
    parser.add_argument("--seconds", type=int, default=10, help="how long to sample [10]")
    parser.add_argument("--clients", type=int, default=16, help="how many call at the same time [16]")
    parser.add_argument("--workers", type=int, default=1, help="processes of the server [1]")
    parser.add_argument("--registered", type=int, default=1, help="tenants in the log [1]")
    parser.add_argument("--rate", type=int, default=250, help="samples a second [250]")
    parser.add_argument("--native", action="store_true", help="tell functions in C, too")
    parser.add_argument("--waiting", action="store_true", help="samples of threads without Python's lock, too")
    parser.add_argument("--out", type=Path, default=_OUT, help=f"folder to write to [{_OUT}]")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Profile, and write what was found."""
    options = _parsed(arguments)
    stacks, measured = uvloop.run(profile(options))
    what = f"{CASES[options.tool].title}, {options.clients} clients"
    text = told(stacks, measured, what)
    options.out.mkdir(parents=True, exist_ok=True)
    graph = options.out / f"{options.tool}.svg"
    graph.write_text(flame_graph(stacks, what), encoding="utf-8")
    (options.out / f"{options.tool}.txt").write_text(f"{text}\n", encoding="utf-8")
    lines = (f"{';'.join(frames)} {count}\n" for frames, count in stacks.items())
    (options.out / f"{options.tool}.stacks").write_text("".join(lines), encoding="utf-8")
    print(f"{text}\nwrote {graph}", flush=True)  # noqa: T201 - what it is for
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
