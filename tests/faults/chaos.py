"""Break three replicas and their Redis for a while, then check what they promised: `python -m tests.faults.chaos`.

A seed draws what clients ask and what breaks; the machine decides when. So a seed repeats the kind of trouble, and a
failure's history is kept, because it may not come again.
"""

import argparse
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FrameType
from typing import Final, get_args

from tests.faults.breakages import FAULTS, Fault, Group
from tests.faults.evidence import collect
from tests.faults.history import Broken, History
from tests.faults.verdict import Summary, judge, summarise
from tests.faults.workload import Client, run_clients
from tests.faults.world import World, open_world

ROUND: Final = 60.0
"""Seconds of one world at most: a longer run is several, each with a history that can still be looked through."""
_GAP: Final = (0.2, 1.5)
"""Shortest and longest time between two faults of one group, in seconds."""
_SHOWN: Final = 5


class Injector(threading.Thread):
    """Breaks and mends, one fault after the other, until it is told to stop; what it broke is mended then."""

    def __init__(self, seed: str, group: Group, faults: Mapping[str, Fault], world: World) -> None:
        super().__init__(name=f"injector-{group}", daemon=True)
        self.error: Exception | None = None
        self._faults = {name: fault for name, fault in faults.items() if fault.group == group}
        self._chance = random.Random(f"{seed} {group}")  # noqa: S311 - drawn again from the same seed
        self._world = world
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Mend what is broken and break no more."""
        self._stopped.set()

    def run(self) -> None:
        """Break and mend."""
        try:
            while self._faults and not self._stopped.wait(self._chance.uniform(*_GAP)):
                self._break()
        except Exception as error:  # noqa: BLE001 - the run's to tell
            self.error = error

    def _break(self) -> None:
        kinds = list(self._faults)
        kind = self._chance.choices(kinds, [self._faults[each].weight for each in kinds])[0]
        fault, recorder = self._faults[kind], self._world.recorder
        begun = recorder.now()
        with fault.breaks(self._world, self._chance) as target:
            self._stopped.wait(self._chance.uniform(*fault.lasts))
        healed = recorder.now()
        recorder.tell(Broken(kind=kind, target=target, begun=begun, healed=healed, may_lose=fault.may_lose))


def run(seed: int, seconds: float, folder: Path, faults: Mapping[str, Fault] = FAULTS, **settings: str) -> History:
    """Run one world and return its history. Takes a few seconds more: to start, to mend, and to agree.

    Args:
        seed: What clients ask and what breaks are drawn from it.
        seconds: How long things break.
        folder: Where the history and all logs are left, for people.
        faults: What may break, by name.
        settings: Variables of the replicas.

    Raises what the harness itself ran into.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open_world(folder, **settings) as world:
        injectors = [Injector(str(seed), group, faults, world) for group in get_args(Group)]
        clients = run_clients(str(seed), world)
        try:
            for injector in injectors:
                injector.start()
            time.sleep(seconds)
        finally:
            _end([*injectors, *clients])
        collect(world)
        return world.recorder.history()


def table(summary: Summary) -> str:
    """Return the summary as lines for people."""
    rows: dict[str, object] = {
        "operations": summary.operations,
        "  by outcome": _counts(summary.by_outcome),
        "faults": sum(summary.faults.values()),
        "  by kind": _counts(summary.faults),
        "acknowledged changes": summary.acknowledged,
        "lost": summary.lost,
        "entries in the log": summary.entries,
        "longest without a change": f"{summary.unavailable:.1f} s",
        "longest without a look": f"{summary.unread:.1f} s",
    }
    return "\n".join(f"{name:<26} {value}" for name, value in rows.items())


def findings(verdict: Mapping[str, list[str]]) -> str:
    """Return what is wrong, a check after the other; nothing if all is well."""
    lines = []
    for check, found in verdict.items():
        lines += [f"{check}: {each}" for each in found[:_SHOWN]]
        if len(found) > _SHOWN:
            lines.append(f"{check}: and {len(found) - _SHOWN} more")
    return "\n".join(lines)


def repeat(seed: int, seconds: float) -> str:
    """Return the command that runs this again."""
    return f"make chaos SEED={seed} SECONDS={seconds:g}"


def main() -> int:
    """Run rounds until the time is over or one fails."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, _interrupt)
    seed, left = arguments.seed, arguments.seconds
    while left > 0:
        seconds, folder = min(left, ROUND), arguments.folder / f"seed-{seed}"
        try:
            if not _round(seed, seconds, folder):
                return 1
        except KeyboardInterrupt:
            _say(f"interrupted; what was recorded is in {folder}")
            return 130
        seed, left = seed + 1, left - seconds
    return 0


def _round(seed: int, seconds: float, folder: Path) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    _say(f"seed {seed}, {seconds:g} s")
    history = run(seed, seconds, folder)
    wrong = findings(judge(history))
    _say(table(summarise(history)))
    if wrong:
        _say(f"{wrong}\nFAILED: the history is in {folder}; again with: {repeat(seed, seconds)}")
        return False
    _say("all guarantees held\n")
    shutil.rmtree(folder)
    return True


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Break replicas and Redis at random, and check the guarantees.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--folder", type=Path, default=Path(".chaos"), help="where the history of a failure is kept")
    return parser.parse_args()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _end(threads: Iterable[Injector | Client]) -> None:
    """Stop all, wait for each, and raise what one of them ran into."""
    for thread in threads:
        thread.stop()
    for thread in threads:
        thread.join()
        if thread.error:
            raise thread.error


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
