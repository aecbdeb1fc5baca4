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
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import FrameType
from typing import Final, Literal, TypeAlias, get_args

from tests.faults import evidence, loss_evidence, loss_summary, loss_verdict
from tests.faults.breakages import FAULTS, Fault, Group
from tests.faults.history import Broken, History
from tests.faults.losses import LOSSES, WAITING
from tests.faults.verdict import Summary, judge, summarise
from tests.faults.workload import Client, run_clients
from tests.faults.world import World, open_world

ROUND: Final = 60.0
"""Seconds of one world at most: a longer run is several, each with a history that can still be looked through."""
_GAP: Final = (0.2, 1.5)
"""Shortest and longest time between two faults of one group, in seconds."""
_SHOWN: Final = 5
Loss: TypeAlias = Literal["restore", "halt"]
"""What replicas do when Redis has forgotten something."""


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
        recorder.tell(Broken(kind=kind, target=target, begun=begun, healed=healed))


def run(
    seed: int,
    seconds: float,
    folder: Path,
    faults: Mapping[str, Fault] = FAULTS,
    collect: Callable[[World], None] = evidence.collect,
    **settings: str,
) -> History:
    """Run one world and return its history. Takes a few seconds more: to start, to mend, and to agree.

    Args:
        seed: What clients ask and what breaks are drawn from it.
        seconds: How long things break.
        folder: Where the history and all logs are left, for people.
        faults: What may break, by name.
        collect: Tells the recorder what is left at the end.
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
            try:
                _end(injectors)  # clients go on: some faults last until something has changed
            finally:
                _end(clients)
        collect(world)
        return world.recorder.history()


def run_losses(seed: int, seconds: float, folder: Path, loss: Loss = "restore") -> History:
    """Run one world in which Redis forgets; its replicas restore the log, or wait for an operator each time."""
    faults = LOSSES if loss == "restore" else WAITING
    return run(seed, seconds, folder, faults, loss_evidence.collect, MCP_POSTGRES_ON_LOG_LOSS=loss)


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


def loss_table(summary: loss_summary.LossSummary) -> str:
    """Return the summary of a run with losses as lines for people."""
    rows: dict[str, object] = {
        "operations": summary.operations,
        "  by outcome": _counts(summary.by_outcome),
        "faults": sum(summary.faults.values()),
        "  by kind": _counts(summary.faults),
        "findings": _counts(summary.findings),
        "seen by the first within": f"{summary.seen_by_first:.2f} s",
        "seen by the last within": f"{summary.seen_by_all:.2f} s",
        "acknowledged changes": summary.acknowledged,
        "lost": summary.lost,
        "acknowledged, read by none": summary.unread,
        "entries ever written": summary.entries,
        "restorations": f"{summary.restorations}, of {summary.restated} states",
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


def repeat(seed: int, seconds: float, loss: Loss | None = None) -> str:
    """Return the command that runs this again."""
    option = {None: "", "restore": "LOSS=1 ", "halt": "LOSS=halt "}[loss]
    return f"make chaos {option}SEED={seed} SECONDS={seconds:g}"


def main() -> int:
    """Run rounds until the time is over or one fails."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, _interrupt)
    seed, left = arguments.seed, arguments.seconds
    while left > 0:
        seconds, folder = min(left, ROUND), arguments.folder / f"seed-{seed}"
        try:
            if not _round(seed, seconds, folder, arguments.loss):
                return 1
        except KeyboardInterrupt:
            _say(f"interrupted; what was recorded is in {folder}")
            return 130
        seed, left = seed + 1, left - seconds
    return 0


def _round(seed: int, seconds: float, folder: Path, loss: Loss | None) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    _say(f"seed {seed}, {seconds:g} s")
    wrong, told = judged(seed, seconds, folder, loss)
    _say(told)
    if wrong:
        _say(f"{wrong}\nFAILED: the history is in {folder}; again with: {repeat(seed, seconds, loss)}")
        return False
    _say("all guarantees held\n")
    shutil.rmtree(folder)
    return True


def judged(seed: int, seconds: float, folder: Path, loss: Loss | None) -> tuple[str, str]:
    """Run one world; return what is wrong, and the run in numbers."""
    if loss is None:
        history = run(seed, seconds, folder)
        return findings(judge(history)), table(summarise(history))
    history = run_losses(seed, seconds, folder, loss)
    return findings(loss_verdict.judge(history)), loss_table(loss_summary.summarise(history))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Break replicas and Redis at random, and check the guarantees.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--loss", choices=get_args(Loss), help="let Redis forget, and replicas restore the log or halt")
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
