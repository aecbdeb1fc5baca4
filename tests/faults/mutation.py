"""Takes the mechanisms away, one at a time, and sees whether a test goes red.

Each mutant is a replacement of text in a copy of the tree, so that what is tested is the program as it would be without
the mechanism; one whose text is no longer there, or whose tests do not run, is an error and no success. The copy as it
is has to pass everything first.

    tests/faults/mutants                all of them
    tests/faults/mutants --quick        the few that `make test` takes
    tests/faults/mutants NAME...        these
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tests.faults.mechanisms import MUTANTS, ROOT, Mutant

_COPIED: Final = ("registry", "projections", "server", "tests", "pyproject.toml")
_PATIENCE: Final = 120
"""Seconds for one selection of tests: a mutant that makes them wait for ever is seen, too."""
_RED: Final = 1
"""What pytest ends with when tests ran and failed; with more when they did not even run."""


class Outcome(NamedTuple):
    """What became of a mutant: the tests that killed it, or None, and the seconds that took."""

    mutant: Mutant
    killed_by: str | None
    seconds: float


def copy_tree(to: Path) -> None:
    """Copy what is tested; the copy is imported, for pytest puts its own directory first."""
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, to / name)


def is_red(tree: Path, tests: str, *, quick: bool) -> bool:
    """Run tests of a copy; `RuntimeError` when they did not run."""
    examples = "40" if quick else "100"
    drawn = {"MACHINE_QUICK": "1", "MACHINE_EXAMPLES": examples, "UNIT_EXAMPLES": "100"}
    environment = {**os.environ, **drawn, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", tests]
    try:
        ended = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return True
    if ended.returncode not in {0, _RED}:
        raise RuntimeError(f"{tests} did not run:\n{ended.stdout[-3000:]}{ended.stderr[-3000:]}")
    return ended.returncode == _RED


def mutate(tree: Path, mutant: Mutant) -> None:
    """Take the mechanism out of a copy; `RuntimeError` if its text is not there exactly once."""
    file = tree / mutant.file
    text = file.read_text()
    if text.count(mutant.text) != 1:
        raise RuntimeError(
            f"{mutant.name}: {mutant.file} has its text {text.count(mutant.text)} times; mend the table."
        )
    file.write_text(text.replace(mutant.text, mutant.instead))


def try_out(mutant: Mutant, *, quick: bool = False) -> Outcome:
    """Return what becomes of a mutant."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as directory:
        tree = Path(directory)
        copy_tree(tree)
        mutate(tree, mutant)
        begun = time.monotonic()
        killed_by = mutant.tests if is_red(tree, mutant.tests, quick=quick) else None
        return Outcome(mutant, killed_by, time.monotonic() - begun)


def check_untouched(mutants: Sequence[Mutant], *, quick: bool) -> None:
    """Run everything that is to kill mutants on a copy without one; `RuntimeError` if any of it is red."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as directory:
        copy_tree(Path(directory))
        for tests in sorted({mutant.tests for mutant in mutants}):
            if is_red(Path(directory), tests, quick=quick):
                raise RuntimeError(f"{tests} is red without any mutant; mend that first.")


def main(words: Sequence[str]) -> int:
    """Print a line for each mutant; return 1 if one survives."""
    quick, names = "--quick" in words, {word for word in words if word != "--quick"}
    unknown = names - {mutant.name for mutant in MUTANTS}
    if unknown:
        sys.exit(f"There is no mutant {', '.join(sorted(unknown))}.")
    chosen = [mutant for mutant in MUTANTS if mutant.name in names or (not names and (mutant.quick or not quick))]
    check_untouched(chosen, quick=quick)
    survivors = 0
    for mutant in chosen:
        outcome = try_out(mutant, quick=quick)
        survivors += outcome.killed_by is None
        sys.stdout.write(f"{mutant.name:<62} {outcome.killed_by or 'SURVIVES':<45} {outcome.seconds:5.1f} s\n")
        sys.stdout.flush()
    sys.stdout.write(f"{len(chosen)} mutants, {survivors} survive\n")
    return min(survivors, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
