"""Stacks as a sampling profiler writes them, one a line, `outer;inner;innermost count`, and what they tell. Pure."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, TypeAlias

Stacks: TypeAlias = Mapping[tuple[str, ...], int]
"""How often each stack was seen, the outermost frame first."""

_FRAME: Final = re.compile(r"^(?P<name>.*?) \((?P<file>[^()]*?)(?::\d+)?\)$")
_OURS: Final = ("server/", "registry/", "projections/")
_ELSEWHERE: Final = "(interpreter)"


class Spent(NamedTuple):
    """A function: samples in itself, and samples in it or in what it called."""

    frame: str
    self_samples: int
    all_samples: int


def parsed(text: str) -> dict[tuple[str, ...], int]:
    """Return the stacks; processes and threads, which stand first, are left out."""
    stacks: Counter[tuple[str, ...]] = Counter()
    for line in text.splitlines():
        told, _, count = line.rpartition(" ")
        frames = tuple(frame for frame in told.split(";") if not frame.startswith(("process ", "thread ")))
        if frames and count.isdigit():
            stacks[frames] += int(count)
    return dict(stacks)


def spent(stacks: Stacks) -> list[Spent]:
    """Return what each function took, those with the most in themselves first."""
    alone: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for frames, count in stacks.items():
        alone[frames[-1]] += count
        within.update(dict.fromkeys(frames, count))
    functions = [Spent(frame, alone[frame], within[frame]) for frame in within]
    return sorted(functions, key=lambda each: (-each.self_samples, -each.all_samples, each.frame))


def by_package(stacks: Stacks) -> list[tuple[str, int]]:
    """Return the samples of the innermost frames by the package that they are of, the most first."""
    packages: Counter[str] = Counter()
    for frames, count in stacks.items():
        packages[package_of(frames[-1])] += count
    return packages.most_common()


def package_of(frame: str) -> str:
    """Return where a frame's code is: one of our packages, a library, or the interpreter."""
    found = _FRAME.match(frame)
    if found is None:
        return _ELSEWHERE
    path = found["file"].removeprefix("./")
    if "site-packages/" in path:
        path = path.rpartition("site-packages/")[2]
    first, _, rest = path.partition("/")
    return first if rest else path.removesuffix(".py")


def is_ours(frame: str) -> bool:
    """Tell whether a frame is in the project's own code."""
    found = _FRAME.match(frame)
    return found is not None and found["file"].startswith(_OURS)


def total(stacks: Stacks) -> int:
    """Return how many samples there are."""
    return sum(stacks.values())


def merged(stacks: Stacks, depth: int) -> "Node":
    """Return the stacks as a tree, down to `depth` frames."""
    root = Node("all")
    for frames, count in stacks.items():
        root.add(frames[:depth], count)
    return root


class Node:
    """A frame in its place: how often it was seen there, and what it called."""

    def __init__(self, frame: str) -> None:
        self.frame = frame
        self.samples = 0
        self.children: dict[str, Node] = {}

    def add(self, frames: Iterable[str], count: int) -> None:
        """Count a stack that goes on from here with these frames."""
        node = self
        node.samples += count
        for frame in frames:
            node = node.children.setdefault(frame, Node(frame))
            node.samples += count
