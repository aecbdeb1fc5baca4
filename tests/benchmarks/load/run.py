"""One bench: starts the servers, has the points of its plan take turns, and keeps what was measured."""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Final

import msgspec

from server import __version__
from server.embedded.sockets import free_port
from tests.benchmarks.load import yardstick
from tests.benchmarks.load.answers import MalformedAnswer
from tests.benchmarks.load.cases import CASES
from tests.benchmarks.load.figures import shown
from tests.benchmarks.load.machine import machine
from tests.benchmarks.load.messages import Endpoint
from tests.benchmarks.load.ours import Ours, start_ours, workers_are_known
from tests.benchmarks.load.peers import PEERS, Address, Peer
from tests.benchmarks.load.place import Place
from tests.benchmarks.load.plan import FEW, Plan, called_of, compared, grown, spread_out
from tests.benchmarks.load.processes import costs_of, files_of
from tests.benchmarks.load.programs import Program
from tests.benchmarks.load.results import YARDSTICK, Point, Results, Sample, Started, grown_since, soaked
from tests.benchmarks.load.soak import MIXTURE, POOL, TENANTS, soak
from tests.benchmarks.load.targets import Target, WrongAnswer, connected
from tests.benchmarks.load.timing import Measured

_RAW: Final[Mapping[str, yardstick.Finish]] = {YARDSTICK: yardstick.no_more, f"{YARDSTICK}+json": yardstick.as_json}
_LOOKS: Final = 20
"""Lines about the memory while very many calls are made."""


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure of whom.

    Args:
        targets: Names of servers and yardsticks; none: all that are there.
        workers: The project's server with so many workers, each number a server of its own.
        pool: The most connections of a process to a tenant.
    """

    plan: Plan
    targets: tuple[str, ...] = ()
    workers: tuple[int, ...] = (1, 2)
    pool: int = 10

    def wants(self, name: str) -> bool:
        """Tell whether a server is to be measured."""
        return not self.targets or name in self.targets


class Bench:
    """One bench: the servers that run, and what was measured of them.

    Args:
        chosen: What to measure.
        place: Where.
        tell: Takes a line for who watches.
    """

    def __init__(self, chosen: Chosen, place: Place, tell: Callable[[str], None]) -> None:
        self._chosen = chosen
        self._place = place
        self._tell = tell
        self._stack = ExitStack()
        self.started: list[Started] = []
        self.missing: list[str] = []
        self.samples: list[Sample] = []

    async def run(self) -> None:
        """Measure all that was chosen; servers that are not needed any more are stopped in between."""
        plan = self._chosen.plan
        if "compare" in plan.parts:
            with self._stack:
                targets = await self._everybody()
                names = [*(raw for raw in _RAW if self._chosen.wants(raw)), *targets]
                await self._rounds(
                    lambda number: compared(plan, names, number), lambda point: targets.get(point.target)
                )
        if self._chosen.wants("ours") and {"registered", "spread"} & set(plan.parts):
            with self._stack:
                levels = await self._levels()
                # One after the other: a server that has called many tenants has their pools.
                for part, points in (("registered", grown), ("spread", spread_out)):
                    if part in plan.parts:
                        await self._rounds(partial(points, plan, "ours"), lambda at: levels[at.registered])
        if self._chosen.wants("ours") and "soak" in plan.parts:
            with self._stack:
                await self._soak()

    async def _soak(self) -> None:
        """Make very many calls of a server of their own, and keep what it holds as it goes on."""
        plan, calls = self._chosen.plan, 0
        ours = Ours(workers=self._chosen.workers[0], registered=TENANTS, called=TENANTS, pool=POOL)
        target = await self._ours(ours, self._place)
        point = Point(target=ours.name, case=MIXTURE, clients=FEW, registered=TENANTS, spread=TENANTS, part="soak")
        runs = soak(target, calls=plan.calls, clients=FEW, pace=plan.pace, postgres=self._place.postgres.pid)
        try:
            async for run in runs:
                self.samples.append(Sample(round=len(self.samples), point=point, measured=run))
                before, calls = calls, calls + run.calls
                if before * _LOOKS // plan.calls < calls * _LOOKS // plan.calls:
                    self._tell(_look(calls, run, files_of(target.program.processes)))
        except (WrongAnswer, MalformedAnswer, OSError) as error:  # a TimeoutError is an OSError
            self._miss(f"{point.target}, {MIXTURE}: {error}")
        self._tell(f"{shown(grown_since(soaked(self.samples)))} MB more than after a tenth of the calls")

    async def _rounds(
        self, points: Callable[[int], Iterable[Point]], target_of: Callable[[Point], Target | None]
    ) -> None:
        for number in range(self._chosen.plan.rounds):
            for point in points(number):
                measured = await self._measured(point, target_of(point))
                if measured is not None:
                    self.samples.append(Sample(round=number, point=point, measured=measured))
                    self._tell(_line(number, point, measured))

    async def _measured(self, point: Point, target: Target | None) -> Measured | None:
        """Measure a point; return None, and remember why, if it cannot be."""
        if target is None:
            return await self._yardstick(point)
        if not target.takes(point.case, point.clients):
            return None
        try:
            await target.prove(point.case, point.spread)
            return await target.measure(
                point.case,
                clients=point.clients,
                pace=self._chosen.plan.pace,
                spread=point.spread,
                postgres=(self._place.postgres.pid,),
            )
        except (WrongAnswer, MalformedAnswer, OSError) as error:  # a TimeoutError is an OSError
            self._miss(f"{point.target}, {point.case}, {point.clients} clients: {error}")
            return None

    async def _yardstick(self, point: Point) -> Measured | None:
        case = CASES[point.case]
        if case.uncapped_clients and point.clients > case.uncapped_clients:
            return None
        return await yardstick.fetch_all(
            self._place.dsn,
            case.sql,
            _RAW[point.target],
            rows=case.rows,
            clients=point.clients,
            pace=self._chosen.plan.pace,
            postgres=(self._place.postgres.pid,),
        )

    async def _everybody(self) -> dict[str, Target]:
        """Start the project's servers and the peers that are installed."""
        found = {}
        for workers in self._chosen.workers:
            ours = Ours(workers=workers, pool=self._chosen.pool)
            if not self._chosen.wants(ours.name):
                continue
            if workers > 1 and not workers_are_known():
                self._miss(f"{ours.name}: this version has no --workers")
                continue
            found[ours.name] = await self._ours(ours, self._place)
        for peer in PEERS:
            if self._chosen.wants(peer.name):
                target = await self._peer(peer)
                if target is not None:
                    found[peer.name] = target
        return found

    async def _levels(self) -> dict[int, Target]:
        """Start the project's server once for each number of tenants, each on a Redis database of its own."""
        plan = self._chosen.plan
        found = {}
        for number, count in enumerate(sorted(plan.registered), 1):
            called = called_of(plan, count)
            place = msgspec.structs.replace(self._place, redis_url=f"{self._place.redis_url}?db={number}")
            ours = Ours(registered=count, called=called, pool=self._chosen.pool)
            found[count] = await self._ours(ours, place)
        return found

    async def _ours(self, ours: Ours, place: Place) -> Target:
        target = await start_ours(ours, place)
        self._stack.callback(target.program.stop)
        about = f"{ours.registered:,} tenants registered" if ours.registered > 1 else "every guard on"
        self._note(ours.name, target.program, about, __version__)
        return target

    async def _peer(self, peer: Peer) -> Target | None:
        if not peer.installed:
            self._miss(f"{peer.name} {peer.version}: not installed (make peers)")
            return None
        address = Address(free_port(), self._place.postgres.port)
        program = Program(peer.argv(address), peer.env(address), self._place.folder / f"{peer.name}.log")
        self._stack.callback(program.stop)
        endpoint = await connected(program, Endpoint(address.port, "/mcp"))
        self._note(peer.name, program, peer.about, peer.version)
        return Target(name=peer.name, program=program, endpoint=endpoint, calls=peer.calls)

    def _note(self, name: str, program: Program, about: str, version: str) -> None:
        (cost,) = costs_of(program.processes)
        rss = cost.rss / 2**20
        self.started.append(
            Started(target=name, about=about, version=version, seconds=program.start_seconds, rss_mb=rss)
        )
        self._tell(f"started {name} {version} ({about}) in {program.start_seconds:.2f} s, {rss:.0f} MB")

    def _miss(self, what: str) -> None:
        if what not in self.missing:
            self.missing.append(what)
        self._tell(f"not measured: {what}")


async def bench(chosen: Chosen, how: str, place: Place, tell: Callable[[str], None]) -> Results:
    """Run a bench there and return what it came to."""
    load_before = os.getloadavg()[0]
    run = Bench(chosen, place, tell)
    await run.run()
    return Results(
        machine=await machine(place.dsn, place.redis_url, load_before),
        how=how,
        rounds=chosen.plan.rounds,
        seconds=chosen.plan.pace.seconds,
        started=run.started,
        missing=run.missing,
        samples=run.samples,
    )


def _look(calls: int, run: Measured, files: int) -> str:
    return (
        f"{calls:>12,} calls {run.rss_mb or 0:>8.1f} MB {files:>5} files {run.per_second:>7,.0f}/s"
        f"  {run.errors} errors {run.problem or ''}"
    )


def _line(number: int, point: Point, measured: Measured) -> str:
    scale = f"{point.registered:,} registered, {point.spread:,} called" if point.part != "compare" else ""
    return (
        f"{number + 1}  {point.case:<15}{point.clients:>4} {point.target:<17}{measured.per_second:>9,.0f}/s"
        f"  p50 {measured.p50_ms or 0:>8.3f} ms  p99 {measured.p99_ms or 0:>8.3f} ms"
        f"  server {measured.server_cpu_us or 0:>7,.0f} µs  client {measured.client_cpu_us or 0:>6,.0f} µs"
        f"  {measured.errors} errors {measured.problem or ''} {scale}"
    )
