"""Everything a history is checked for. Pure: the same history gives the same verdict, today and from a file.

It is for runs in which Redis forgets nothing; `tests/faults/loss_verdict.py` is for the others.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, Literal, TypeAlias

import msgspec

from registry.appender import REMEMBERED
from registry.entries import Position
from tests.faults.history import (
    UNREACHABLE,
    Broken,
    Complained,
    History,
    Leaked,
    Logged,
    Ok,
    Operation,
    Refused,
    Restored,
    Seen,
    Unknown,
    command_id_of,
)
from tests.faults.linearizability import Found, Register, Step, Told, Undecided, WasAt, Wrote, explain
from tests.faults.session_checks import check_sessions
from tests.faults.watch_checks import check_watches

StepAction: TypeAlias = Literal["register", "remove", "read"]
EXPECTED_REFUSALS: Final = frozenset({UNREACHABLE, "unknown_tenant", "removed_tenant", "version_conflict"})
"""What a client may be told, whatever breaks; all else is a `Unknown` (it may be tried again) or a defect."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A run in numbers; times in seconds.

    Attributes:
        acknowledged: Changes that were answered as done.
        lost: Those of them that the log does not have.
        unavailable: The longest time without an acknowledged change.
        unread: The longest time without an answered look.
    """

    operations: int
    by_outcome: dict[str, int]
    faults: dict[str, int]
    acknowledged: int
    lost: int
    entries: int
    unavailable: float
    unread: float


def judge(history: History) -> dict[str, list[str]]:
    """Return what is wrong, by check; each is there, empty where all is well."""
    return {
        "watch guarantees": check_watches(history),
        "linearizable changes": check_linearizable(history),
        "session guarantees": check_sessions(history),
        "nothing acknowledged is lost": [asked(operation) for operation in lost(history)],
        "exactly once": check_once(history),
        "convergence": check_convergence(history),
        "no clear password": [f"{leak.file} holds a password in clear" for leak in history.of(Leaked)],
        "expected refusals": check_refusals(history),
        "calm logs": check_logs(history),
    }


def summarise(history: History) -> Summary:
    """Count."""
    operations = history.of(Operation)
    changed = [operation for operation in operations if _changed(operation)]
    looked = [each for each in operations if each.action in ("get", "list") and not isinstance(each.outcome, Unknown)]
    return Summary(
        operations=len(operations),
        by_outcome=dict(Counter(outcome_of(operation) for operation in operations).most_common()),
        faults=dict(Counter(fault.kind for fault in history.of(Broken)).most_common()),
        acknowledged=len({operation.command for operation in changed}),
        lost=len({operation.command for operation in lost(history)}),
        entries=len(history.of(Logged)),
        unavailable=_longest(operations, changed),
        unread=_longest(operations, looked),
    )


def lost(history: History) -> list[Operation]:
    """Return the acknowledged changes that the log does not have where their answer said."""
    log = history.of(Logged)
    return [operation for operation in history.of(Operation) if _changed(operation) and not _is_logged(operation, log)]


def check_once(history: History) -> list[str]:
    """No command led to two entries, and no refused one to any.

    That all answers to one command are the same follows: each must stand in the log, where there is one for all. Not so
    where the product says so: a caller's own id is known again among the tenant's last events alone, and a registration
    that changed nothing leaves no trace and is decided anew.
    """
    log = history.of(Logged)
    found = [
        f"command {command} led to two entries, {earlier.position} and {later.position}"
        for command, entries in _by_command(log).items()
        for earlier, later in pairwise(entries)
        if not _is_forgotten(earlier, later)
    ]
    open_ended = {each.command for each in history.of(Operation) if not isinstance(each.outcome, Refused)}
    found += [
        f"command {entry.command} was refused, and is in the log at {entry.position}"
        for entry in log
        if entry.command is not None and entry.command not in open_ended
    ]
    return found


def check_convergence(history: History) -> list[str]:
    """Everybody who tells the tenants at the end tells the fold of the log."""
    fold = {entry.tenant: entry for entry in history.of(Logged) if entry.tenant is not None}
    live = {name: (entry.version, entry.value) for name, entry in fold.items() if entry.alive}
    seen = history.of(Seen)
    found = [] if seen else ["nobody told the tenants at the end"]
    for told in seen:
        found += [
            f"{told.by} tells {told.tenants.get(name)} of {name}; the log {live.get(name)}"
            for name in sorted({*live, *told.tenants})
            if live.get(name) != told.tenants.get(name)
        ]
    return found


def check_refusals(history: History) -> list[str]:
    """Nobody is told of a broken log, a broken server or an unreadable secret."""
    return [
        f"{asked(operation)} was refused as {operation.outcome.code}"
        for operation in history.of(Operation)
        if isinstance(operation.outcome, Refused) and operation.outcome.code not in EXPECTED_REFUSALS
    ]


def check_logs(history: History) -> list[str]:
    """No replica complains, halts or breaks, and none restores a log that nothing lost."""
    found = [f"replica {told.replica} (process {told.life}): {told.line}" for told in history.of(Complained)]
    return found + [
        f"replica {told.replica} (process {told.life}) restored a whole log" for told in history.of(Restored)
    ]


def check_linearizable(history: History) -> list[str]:
    """The changes of each tenant, and each refusal that tells what it is, fit into one order."""
    found = []
    for tenant, steps in steps_of(history).items():
        try:
            wrong = explain(steps)
        except Undecided as error:
            wrong = f"not decided ({error})"
        if wrong:
            found.append(f"{tenant}: {wrong}")
    return found


def steps_of(history: History) -> dict[str, list[Step]]:
    """Return the operations that claim to be linearizable, by tenant.

    The tries of one command are one operation: from the first call to the first answer. Of a command without an answer
    the log says whether it happened, and which version it led to; when it did is left open. What the log says at the
    end is a last look.
    """
    log = history.of(Logged)
    logged = _by_command(log)
    tries: dict[int, list[Operation]] = defaultdict(list)
    for operation in history.of(Operation):
        if operation.action != "list":
            tries[operation.command].append(operation)
    steps: dict[str, list[Step]] = defaultdict(list)
    for command, operations in tries.items():
        steps[str(operations[0].tenant)] += _steps(operations, logged.get(command, []))
    end = max((operation.returned for operation in history.of(Operation)), default=0.0) + 1
    for tenant, told in steps.items():
        last = next((entry for entry in reversed(log) if entry.tenant == tenant), None)
        register = Register(last.version or 0, last.value if last.alive else None) if last else Register()
        told.append(Step(action="read", told=Found(register), invoked=end, returned=end + 1, name="the end of the log"))
    return steps


def _steps(operations: Sequence[Operation], logged: Sequence[Logged]) -> list[Step]:
    """Return the steps that the tries of one command are."""
    steps = [
        _step(operation, "read", told, operation.invoked, operation.returned)
        for operation in operations
        if (told := _refusal(operation)) is not None
    ]
    first = min(operations, key=lambda operation: operation.invoked)
    answered = [operation for operation in operations if _changed(operation)]
    answer = None
    if answered:
        soonest = min(answered, key=lambda operation: operation.returned)
        answer = _answer(soonest)
        steps.append(_step(first, _change_of(first), answer, first.invoked, soonest.returned))
    steps += [
        _step(first, _change_of(first), Wrote(entry.version or 0), first.invoked, math.inf)
        for entry in logged
        if answer is None or entry.version != answer.version
    ]
    return steps


def _step(operation: Operation, action: StepAction, told: Told, invoked: float, returned: float) -> Step:
    return Step(
        action=action,
        value=operation.value,
        expected=operation.expected_version,
        told=told,
        invoked=invoked,
        returned=returned,
        name=asked(operation),
    )


def _by_command(log: Iterable[Logged]) -> dict[int, list[Logged]]:
    entries: dict[int, list[Logged]] = defaultdict(list)
    for entry in log:
        if entry.command is not None:
            entries[entry.command].append(entry)
    return entries


def _is_forgotten(earlier: Logged, later: Logged) -> bool:
    """Whether the later one is that of a caller's retry that came after the product's memory of ids."""
    of_caller = earlier.command_id == later.command_id == command_id_of(earlier.command)
    return of_caller and (later.version or 0) - (earlier.version or 0) > REMEMBERED


def _change_of(operation: Operation) -> StepAction:
    return "remove" if operation.action == "remove" else "register"


def _refusal(operation: Operation) -> Told:
    """Return what a refusal tells of the tenant; None if it tells nothing."""
    match operation.outcome:
        case Refused("unknown_tenant"):
            return Found(Register())
        case Refused("removed_tenant", int(version)):
            return Found(Register(version))
        case Refused("version_conflict", int(version)):
            return WasAt(version)
        case _:
            return None


def _answer(operation: Operation) -> Wrote:
    assert isinstance(operation.outcome, Ok)
    return Wrote(operation.outcome.answer["version"], operation.outcome.answer["status"])


def _changed(operation: Operation) -> bool:
    return operation.action in ("register", "remove") and isinstance(operation.outcome, Ok)


def _is_logged(operation: Operation, log: Sequence[Logged]) -> bool:
    assert isinstance(operation.outcome, Ok)
    answer = operation.outcome.answer
    position = Position.parse(answer["position"])
    if not 0 < position.seq <= len(log) or log[position.seq - 1].position != position:
        return False
    entry = log[position.seq - 1]
    if (entry.tenant, entry.version) != (operation.tenant, answer["version"]):
        return False
    if answer["status"] != "unchanged" and entry.command != operation.command:
        return False
    return entry.value == operation.value if operation.action == "register" else not entry.alive


def _longest(operations: Sequence[Operation], answered: Iterable[Operation]) -> float:
    """Return the longest time between two answers, the first call and the last one's end included."""
    if not operations:
        return 0.0
    times = sorted(operation.returned for operation in answered)
    begun, ended = min(each.invoked for each in operations), max(each.returned for each in operations)
    return max(later - earlier for earlier, later in pairwise([begun, *times, ended]))


def outcome_of(operation: Operation) -> str:
    """Return the outcome in one word."""
    match operation.outcome:
        case Ok():
            return "ok"
        case Refused(code):
            return code
        case Unknown():
            return "unknown"


def asked(operation: Operation) -> str:
    """Say what was asked, of whom and when."""
    return (
        f"command {operation.command} ({operation.action} {operation.tenant or ''} on {operation.replica}, "
        f"process {operation.life}, at {operation.invoked:.3f} s)"
    )
