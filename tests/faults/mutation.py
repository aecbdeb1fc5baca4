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

ROOT: Final = Path(__file__).parents[2]
_COPIED: Final = ("registry", "projections", "server", "tests", "pyproject.toml")
_PATIENCE: Final = 120
"""Seconds for one selection of tests: a mutant that makes them wait for ever is seen, too."""
_RED: Final = 1
"""What pytest ends with when tests ran and failed; with more when they did not even run."""

MACHINE: Final = "tests/faults/test_registry_machine.py"
CONTRACT: Final = "tests/contract/test_log_contract.py"
REPAIRS: Final = "tests/contract/test_log_repairs.py"
KEYS: Final = "tests/integration/test_tenant_keys.py"
REGISTRY: Final = "tests/integration/test_registry.py::"
UNIT: Final = "tests/unit/"


class Mutant(NamedTuple):
    """A mechanism, where it is, and what is there instead; `tests` are run in order until one goes red."""

    name: str
    file: str
    text: str
    instead: str
    tests: tuple[str, ...] = (MACHINE,)
    quick: bool = False

    def text_is_there(self) -> bool:
        """Whether the tree has the text, once: otherwise the table is to be mended."""
        return (ROOT / self.file).read_text().count(self.text) == 1


MUTANTS: Final = (
    Mutant(
        "reader does not look at seq",
        "registry/log.py",
        "return self.prev == position.entry and self.position.seq == position.seq + 1",
        "return self.prev == position.entry",
        (MACHINE, UNIT + "test_log.py"),
    ),
    Mutant(
        "reader does not look at prev",
        "registry/log.py",
        "return self.prev == position.entry and self.position.seq == position.seq + 1",
        "return self.position.seq == position.seq + 1",
        (MACHINE, UNIT + "test_log.py"),
    ),
    Mutant(
        "reader does not look at the link",
        "projections/directory.py",
        "if not entry.follows(self.position):",
        "if False:",
        (MACHINE, UNIT + "test_directory.py"),
        quick=True,
    ),
    Mutant(
        "idle reader does not look at the end",
        "projections/diagnosis.py",
        "    if end == position:\n",
        "    if end.seq >= 0:\n",
        (MACHINE,),
        quick=True,
    ),
    Mutant(
        "append does not look at what the writer has read",
        "registry/append.lua",
        "if not holds(ARGV[at + 1], ARGV[at + 2]) then",
        "if false then",
        (MACHINE, CONTRACT),
    ),
    Mutant(
        "append does not compare the expected version",
        "registry/append.lua",
        "if head_seq ~= ARGV[at + 4] then",
        "if false then",
        (MACHINE, CONTRACT),
        quick=True,
    ),
    Mutant(
        "append does not know a command again",
        "registry/append.lua",
        "if ARGV[at + 8] ~= '' and command == ARGV[at + 8] then",
        "if false then",
        (MACHINE, CONTRACT),
    ),
    Mutant(
        "a caller's command id is not used",
        "registry/service.py",
        "return self._new_id() if caller.command_id is None else check_command_id(caller.command_id)",
        "return self._new_id()",
        (MACHINE,),
    ),
    Mutant(
        "a lost reply is not followed by another try",
        "registry/appender.py",
        "            if number == TRIES:\n                raise\n",
        "            raise\n",
        (MACHINE, UNIT + "test_appender.py"),
    ),
    Mutant(
        "what a cancelled caller proposed is sent all the same",
        "registry/appender.py",
        "            if place in self._waiting:\n                self._waiting.remove(place)\n",
        "            pass\n",
        (UNIT + "test_appender.py",),
    ),
    Mutant(
        "fence does not compare seq",
        "projections/materialise.lua",
        "  return seq > other_seq\n",
        "  return false\n",
        (MACHINE, KEYS),
        quick=True,
    ),
    Mutant(
        "fence does not compare epochs",
        "projections/materialise.lua",
        "  if milliseconds ~= other_milliseconds then return milliseconds > other_milliseconds end\n"
        "  if count ~= other_count then return count > other_count end\n",
        "",
        (MACHINE, KEYS),
    ),
    Mutant(
        "fence does not outlive a removal",
        "projections/materialise.lua",
        "  redis.call('SET', KEYS[2], ARGV[1] .. '|' .. ARGV[2], 'PX', ARGV[4])\n",
        "  redis.call('DEL', KEYS[2])\n",
        (MACHINE, KEYS),
    ),
    Mutant(
        "a fence of what the log has lost and grown past is believed",
        "registry/fences.py",
        "    return seq <= as_of.position.seq or (as_of.epoch.is_known and opened != ours)\n",
        "    return False\n",
        (UNIT + "test_fences.py", KEYS),
    ),
    Mutant(
        "a change whose key was refused is answered",
        "registry/service.py",
        "        if not written:\n",
        "        if False:\n",
        ("tests/scenarios",),
    ),
    Mutant(
        "what was read in one epoch is written in another",
        "projections/reconciler.py",
        "mended = await self._keys.repair(tenants, as_of, _PACE)",
        "mended = await self._keys.repair(tenants, self._directory.as_of, _PACE)",
        (KEYS,),
    ),
    Mutant(
        "keys are not reconciled",
        "projections/reconciler.py",
        "mended = await self._keys.repair(tenants, as_of, _PACE)",
        "mended: list[str] = []",
    ),
    Mutant(
        "heads are not reconciled",
        "projections/reconciler.py",
        "heads = await self._mend_heads(tenants, as_of.position)",
        "heads: list[str] = []",
    ),
    Mutant(
        "an empty key counts as none",
        "projections/tenant_keys.py",
        "if text != (written_for(tenant) or None)",
        'if (text or b"") != written_for(tenant)',
        (MACHINE, KEYS),
    ),
    Mutant(
        "heads are mended only where the last entry is",
        "registry/mend_head.lua",
        "if not at_end and #",
        "if #",
        (MACHINE, "tests/contract/test_redis_heads.py"),
    ),
    Mutant(
        "a lost removal ends no life that was changed after it",
        "registry/restore.py",
        "since = tenant.changed_at if isinstance(tenant, Removed) else tenant.born",
        "since = tenant.changed_at",
        (MACHINE, UNIT + "test_restore.py"),
    ),
    Mutant(
        "a life does not begin anew after a removal",
        "registry/restore.py",
        "return since, removed, tenant.changed_at",
        "return datetime.max.replace(tzinfo=since.tzinfo) if removed else since, removed, tenant.changed_at",
        (MACHINE, UNIT + "test_restore.py"),
    ),
    Mutant(
        "what is said again keeps its version",
        "registry/restore.py",
        "    if holds.version > gives_way.version:\n        return holds\n",
        "    return holds\n",
        (MACHINE, UNIT + "test_restore.py"),
    ),
    Mutant(
        "what an earlier log has left is not told apart",
        "registry/log.py",
        "return entry_order(head.position.entry) < entry_order(self.begun)",
        "return False",
        (MACHINE, UNIT + "test_restoration.py"),
    ),
    Mutant(
        "what an earlier log has left is forgotten",
        "projections/rebuild.py",
        "if entry_order(head.position.entry) < begun}",
        "if entry_order(head.position.entry) < (0, 0)}",
    ),
    Mutant(
        "an edited document is believed",
        "registry/stored.py",
        "if document is None or head.sum is None or sum_of(document) != head.sum:",
        "if document is None or head.sum is None:",
        (MACHINE, UNIT + "test_stored.py"),
    ),
    Mutant(
        "a restoration opens no epoch",
        "projections/restoration.py",
        '*words, opens=Epoch(note.epoch, "", begun))',
        "*words, opens=None)",
        (MACHINE, UNIT + "test_restoration.py"),
    ),
    Mutant(
        "a restoration is noted behind whatever came",
        "registry/note.lua",
        "if not seq or entry ~= ARGV[1] or string.format('%d', seq) ~= ARGV[2] then",
        "if not seq then",
        (MACHINE, REPAIRS),
    ),
    Mutant(
        "a restoration overwrites what it has not read",
        "projections/restoration.py",
        "if head and _is_behind(head, directory, end):",
        "if False:",
        (MACHINE, UNIT + "test_restoration.py"),
    ),
    Mutant(
        "a restoration waits for what the log has lost",
        "projections/restoration.py",
        "        if directory.position == before:\n",
        "        if False:\n",
        (MACHINE, UNIT + "test_restoration.py"),
    ),
    Mutant(
        "a restoration puts no data key back",
        "projections/restoration.py",
        "return SetKey(wrapped) if wrapped else KeepKey()",
        "return KeepKey()",
        (MACHINE, UNIT + "test_restoration.py"),
        quick=True,
    ),
    Mutant(
        "a restoration leaves a removed tenant's data key",
        "projections/restoration.py",
        "            return DestroyKey()\n",
        "            return KeepKey()\n",
        (MACHINE, UNIT + "test_restoration.py"),
    ),
    Mutant(
        "a data key that the log has lost is given up",
        "projections/keyring.py",
        "if isinstance(tenant, Live) and self.wrapped(tenant) and not fits:",
        "if False:",
        (MACHINE, UNIT + "test_keyring.py"),
    ),
    Mutant(
        "what a replica holds does not stand in for a key that is gone",
        "projections/rebuild.py",
        "            if known:\n                directory.settle(known)\n",
        "            pass\n",
        (MACHINE, UNIT + "test_rebuild.py"),
    ),
    Mutant(
        "the cut is no single transaction",
        "registry/redis_client.py",
        "        async def send(node: Node, *, asking: bool) -> list[Any]:\n            return _unrefused(",
        "        return [await self.run(*each) for each in commands]\n\n"
        "        async def send(node: Node, *, asking: bool) -> list[Any]:\n            return _unrefused(",
        (MACHINE, REPAIRS),
    ),
    Mutant(
        "what is held is given up before the log is restored",
        "projections/follower.py",
        "(self._directory)\n        await self._restore(rebuilt, finding)",
        "(Directory())\n        self._directory.become(Directory())\n        await self._restore(rebuilt, finding)",
        (MACHINE,),
        quick=True,
    ),
    Mutant(
        "an unreadable tenant halts everybody",
        "projections/directory.py",
        "        if named is None or self.position == START",
        "        if True or self.position == START",
        (UNIT + "test_directory.py", "tests/scenarios"),
    ),
    Mutant(
        "a foreign entry is skipped",
        "projections/directory.py",
        '            raise CorruptEntry(f"Entry {entry.entry} was not written by this system',
        '            return None\n            raise CorruptEntry(f"Entry {entry.entry} was not written by this system',
        (UNIT + "test_directory.py", "tests/scenarios"),
    ),
    Mutant(
        "a tenant's time goes back with a clock that is late",
        "registry/decide.py",
        '"time": max(origin.time, before)',
        '"time": origin.time',
        (UNIT + "test_decide.py", "tests/unit"),
    ),
    Mutant(
        "pools are recycled for every change",
        "server/pools.py",
        "if tenant.fingerprint != seat.pool.fingerprint:",
        "if True:",
        (MACHINE,),
    ),
    Mutant(
        "pools are never recycled",
        "server/pools.py",
        "if tenant.fingerprint != seat.pool.fingerprint:",
        "if False:",
        (MACHINE,),
    ),
    Mutant(
        "an unchanged password is sealed anew",
        "registry/planner.py",
        "return _Kept(tenant.secret) if key.open(tenant.tenant, tenant.secret) == registration.password else None",
        "return None",
        ("tests/integration/test_registry.py",),
    ),
    Mutant(
        "a replica that stood still serves",
        "projections/freshness.py",
        "if self._heard < self._since or (",
        "if (",
        (UNIT + "test_freshness.py",),
    ),
    Mutant(
        "a replica that is cut off serves for ever",
        "projections/freshness.py",
        "        if cut_off and (self._max_staleness == 0",
        "        if False and (self._max_staleness == 0",
        (UNIT + "test_freshness.py",),
    ),
    Mutant(
        "a replica that nobody sees serves for ever",
        "projections/freshness.py",
        "        if self._must_be_seen and now - self._seen >",
        "        if False and now - self._seen >",
        (UNIT + "test_freshness.py",),
    ),
    Mutant(
        "a position in another log confirms a removal",
        "projections/replicas.py",
        "if self.whereabouts.log != log or not self.whereabouts.linked:",
        "if not self.whereabouts.linked:",
        (UNIT + "test_replicas.py", "tests/integration/test_presence.py"),
    ),
    Mutant(
        "a replica that knows its log was lost confirms a removal",
        "projections/replicas.py",
        "if self.whereabouts.log != log or not self.whereabouts.linked:",
        "if self.whereabouts.log != log:",
        (UNIT + "test_replicas.py", "tests/integration/test_presence.py"),
    ),
    Mutant(
        "a change is appended to another log than it was decided on",
        "registry/service.py",
        "            after=read,",
        "            after=self._view.position,",
        (REGISTRY + "test_what_was_decided_on_a_log_that_is_restored_meanwhile_is_refused_as_to_be_tried_again",),
    ),
    Mutant(
        "a change that the log has lost is said to be served",
        "registry/service.py",
        "await self._view.reached(position) and self._view.tells(plan.event)",
        "await self._view.reached(position)",
        (REGISTRY + "test_a_change_that_was_lost_before_this_replica_read_it_is_not_said_to_be_served",),
    ),
    Mutant(
        "what cannot be read is passed over where the log has a hole",
        "projections/follower.py",
        "misplaced and self._complete.is_set() and",
        "self._complete.is_set() and",
        (REGISTRY + "test_a_foreign_entry_halts_also_a_replica_that_got_over_a_hole_by_heads_and_keys",),
    ),
)


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
    environment = {**os.environ, "MACHINE_QUICK": "1", "MACHINE_EXAMPLES": examples, "PYTHONDONTWRITEBYTECODE": "1"}
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
        killed_by = next((tests for tests in mutant.tests if is_red(tree, tests, quick=quick)), None)
        return Outcome(mutant, killed_by, time.monotonic() - begun)


def check_untouched(mutants: Sequence[Mutant], *, quick: bool) -> None:
    """Run everything that is to kill mutants on a copy without one; `RuntimeError` if any of it is red."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as directory:
        copy_tree(Path(directory))
        for tests in sorted({tests for mutant in mutants for tests in mutant.tests}):
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
