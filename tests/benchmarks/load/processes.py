"""What processes cost, from /proc: CPU seconds and memory of a server and all that it started."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

_PROC: Final = Path("/proc")
_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Stat(NamedTuple):
    """What /proc/PID/stat says of one process: its parent, and the CPU seconds of children that have ended."""

    parent: int
    ended: float


class Cost(NamedTuple):
    """What a tree of processes has cost up to now: CPU seconds, and the bytes that it holds."""

    cpu: float
    rss: int


def parsed_stat(text: str, tick: float = _TICK) -> Stat:
    """Return what a line of /proc/PID/stat says. A process may have any name, also one with spaces and brackets."""
    fields = text.rpartition(")")[2].split()
    return Stat(parent=int(fields[1]), ended=sum(map(int, fields[13:15])) * tick)


def tree(root: int, stats: dict[int, Stat]) -> list[int]:
    """Return a process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for process, stat in stats.items():
        children.setdefault(stat.parent, []).append(process)
    found = [root] if root in stats else []
    for process in found:
        found += children.get(process, ())
    return found


def costs_of(*groups: Iterable[int]) -> list[Cost]:
    """Return what each group of processes, with their descendants, has cost. One that ends meanwhile counts nothing."""
    stats = _all_stats()
    return [_cost_of({each for root in roots for each in tree(root, stats)}, stats) for roots in groups]


def files_of(roots: Iterable[int]) -> int:
    """Return how many files the processes and their descendants have open."""
    stats = _all_stats()
    return sum(len(_entries(_PROC / str(each) / "fd")) for root in roots for each in tree(root, stats))


def children_of(parent: int) -> list[int]:
    """Return the processes that it started and that still run."""
    return [process for process, stat in _all_stats().items() if stat.parent == parent]


def _cost_of(processes: set[int], stats: dict[int, Stat]) -> Cost:
    cpu = sum(_on_cpu(each) + stats[each].ended for each in processes)
    return Cost(cpu=cpu, rss=sum(map(_resident, processes)))


def _on_cpu(process: int) -> float:
    """Return the seconds of a process's threads. Ticks would not do: of 256 backends few ever see a whole one."""
    texts = [_read(path / "schedstat") for path in _entries(_PROC / str(process) / "task")]
    return sum(int(text.split()[0]) for text in texts if text) / 1e9


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return []


def _all_stats() -> dict[int, Stat]:
    found = {}
    for folder in _PROC.iterdir():
        if folder.name.isdigit() and (text := _read(folder / "stat")):
            found[int(folder.name)] = parsed_stat(text)
    return found


def _resident(process: int) -> int:
    """Return the bytes of memory; what several processes share is counted in each of them."""
    text = _read(_PROC / str(process) / "statm")
    return int(text.split()[1]) * _PAGE if text else 0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
