"""`make profile`: where the server's CPU goes while it answers one question over and over, as a flame graph.

Starts embedded servers and the project's own, has the bench's client call it, and keeps Python's stack at each tick of
the CPU that it spends; with `--py-spy` py-spy reads the stacks from outside instead, which also knows workers and C.
Writes the graph, the stacks and a table of functions by their own time.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import uvloop

from tests.benchmarks.load import counter, sampler
from tests.benchmarks.load.cases import CASES
from tests.benchmarks.load.counting import Counted, count, table
from tests.benchmarks.load.flames import flame_graph
from tests.benchmarks.load.ours import Ours, start_ours
from tests.benchmarks.load.place import Place, fresh_place
from tests.benchmarks.load.stacks import Spent, Stacks, by_package, is_ours, parsed, spent, total
from tests.benchmarks.load.targets import Target
from tests.benchmarks.load.timing import Measured, Pace
from tests.processes import COMMAND

T = TypeVar("T")
_OUT: Final = Path(".bench/profile")
_PY_SPY: Final = Path(sys.executable).parent / "py-spy"
_FUNCTIONS: Final = 30
_WRITTEN_WITHIN: Final = 5.0
"""Seconds that the sampler within the server may take to write what it kept."""


async def profile(options: argparse.Namespace, place: Place) -> tuple[Stacks, Measured]:
    """Return the stacks that were seen, and what the load came to meanwhile."""
    sampled = place.folder / "sampled"
    own = () if _from_outside(options) else (sampler.__file__, sampled)
    async with _running(options, place, *own) as target:
        await target.prove(options.tool, options.spread)
        pace = Pace(options.seconds + 2 * options.lead)
        load = asyncio.create_task(_load(target, options, pace, place.postgres.pid))
        await asyncio.sleep(pace.warm_up + options.lead)
        await (_py_spy if _from_outside(options) else _sampler)(target, options, sampled)
        return parsed(sampled.read_text("utf-8")), await load


async def count_calls(options: argparse.Namespace, place: Place) -> Counted:
    """Return how often functions are called to answer the question."""
    out = place.folder / "counted"
    async with _running(options, place, counter.__file__, out) as target:
        return await count(target, options.tool, out)


@contextlib.asynccontextmanager
async def _running(options: argparse.Namespace, place: Place, *own: str | Path) -> AsyncIterator[Target]:
    """Run the server, by a program of ours with its file if one is named."""
    command = (sys.executable, "-P", *own) if own else (COMMAND,)
    ours = Ours(workers=options.workers, registered=options.registered, called=options.spread, command=command)
    target = await start_ours(ours, place)
    try:
        yield target
    finally:
        target.program.stop()


def _from_outside(options: argparse.Namespace) -> bool:
    """Tell whether py-spy is wanted, or what the sampler within the process cannot tell."""
    return bool(options.py_spy or options.native or options.workers > 1)


async def _load(target: Target, options: argparse.Namespace, pace: Pace, postgres: int) -> Measured:
    return await target.measure(
        options.tool, clients=options.clients, pace=pace, spread=options.spread, postgres=(postgres,)
    )


async def _sampler(target: Target, options: argparse.Namespace, out: Path) -> None:
    (process,) = target.program.processes
    os.kill(process, signal.SIGUSR1)
    await asyncio.sleep(options.seconds)
    os.kill(process, signal.SIGUSR2)
    async with asyncio.timeout(_WRITTEN_WITHIN):
        while not out.exists():  # noqa: ASYNC110, ASYNC240 - another process writes it, and tells nobody
            await asyncio.sleep(0.01)


async def _py_spy(target: Target, options: argparse.Namespace, out: Path) -> None:
    (process,) = target.program.processes
    # Whether a thread is idle cannot be told on every machine; one that holds the interpreter's lock is not.
    more = ["--native"] if options.native else ["--gil"]
    process_of_it = await asyncio.create_subprocess_exec(
        *(_PY_SPY, "record", "--pid", str(process), "--subprocesses", "--function", "--format", "raw"),
        *("--rate", "250", "--duration", str(options.seconds), "--output", str(out), *more),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process_of_it.communicate()
    if process_of_it.returncode != 0:
        raise SystemExit(f"py-spy could not sample the server (may it? as root it may):\n{said.decode()}")


def told(stacks: Stacks, measured: Measured, what: str) -> str:
    """Return the table that goes with the graph."""
    samples = max(1, total(stacks))
    cost = f"{measured.per_second:,.0f} calls/s, {measured.server_cpu_us or 0:,.0f} µs of CPU a call"
    head = f"{what}: {cost}, {samples} samples"
    packages = ", ".join(f"{name} {100 * count / samples:.0f} %" for name, count in by_package(stacks)[:14])
    functions = spent(stacks)
    ours = sorted((each for each in functions if is_ours(each.frame)), key=lambda each: -each.all_samples)
    lines = [
        head,
        f"by package: {packages}",
        "",
        "  self   with callees; the most in themselves (* our own)",
        *(_line(each, samples) for each in functions[:_FUNCTIONS]),
        "",
        "  self   with callees; our own, the most with callees",
        *(_line(each, samples) for each in ours[:_FUNCTIONS]),
    ]
    return "\n".join(lines)


def _line(each: Spent, samples: int) -> str:
    own, all_of_it = 100 * each.self_samples / samples, 100 * each.all_samples / samples
    return f"{own:5.1f} %  {all_of_it:5.1f} % {'*' if is_ours(each.frame) else ' '} {each.frame}"


def parsed_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make profile", description=__doc__)
    parser.add_argument("--tool", choices=CASES, default="select1", help="what is asked [select1]")
    parser.add_argument("--seconds", type=int, default=10, help="how long to sample [10]")
    parser.add_argument("--clients", type=int, default=16, help="how many call at the same time [16]")
    parser.add_argument("--workers", type=int, default=1, help="processes of the server [1]")
    parser.add_argument("--registered", type=int, default=1, help="tenants in the log [1]")
    parser.add_argument("--spread", type=int, default=1, help="how many of them are called in turn [1]")
    parser.add_argument("--lead", type=float, default=3.0, help="seconds of load before the sampling and after it [3]")
    parser.add_argument("--count", action="store_true", help="count the functions that one call calls, and no more")
    parser.add_argument("--py-spy", action="store_true", help="sample from outside, by the clock on the wall")
    parser.add_argument("--native", action="store_true", help="the same, and tell functions in C, too")
    parser.add_argument("--out", type=Path, default=_OUT, help=f"folder to write to [{_OUT}]")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Profile, and write what was found."""
    options = parsed_options(arguments)
    if options.count:
        return _wrote(options, table(uvloop.run(_there(count_calls, options)), CASES[options.tool].title), "calls")
    stacks, measured = uvloop.run(_there(profile, options))
    what = f"{CASES[options.tool].title}, {options.clients} clients"
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{options.tool}.svg").write_text(flame_graph(stacks, what), encoding="utf-8")
    lines = (f"{';'.join(frames)} {count}\n" for frames, count in stacks.items())
    (options.out / f"{options.tool}.stacks").write_text("".join(lines), encoding="utf-8")
    return _wrote(options, told(stacks, measured, what), "txt")


async def _there(work: Callable[[argparse.Namespace, Place], Awaitable[T]], options: argparse.Namespace) -> T:
    async with fresh_place() as place:
        return await work(options, place)


def _wrote(options: argparse.Namespace, text: str, suffix: str) -> int:
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{options.tool}.{suffix}"
    path.write_text(f"{text}\n", encoding="utf-8")
    print(f"{text}\nwrote {', '.join(map(str, sorted(options.out.glob(f'{options.tool}.*'))))}", flush=True)  # noqa: T201 - what it is for
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
