"""What a history in which Redis forgot is checked for. Pure, as `tests/faults/verdict.py` is for all other runs."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from registry.entries import Position
from tests.faults.history import (
    Announced,
    Applied,
    Began,
    Complained,
    Counted,
    History,
    Leaked,
    Logged,
    Lost,
    Noticed,
    Ok,
    Operation,
    Refused,
    Written,
)
from tests.faults.kept import CLOCK, check_kept, check_removals, check_versions, entries_at
from tests.faults.loss_summary import FINDINGS
from tests.faults.verdict import EXPECTED_REFUSALS, asked, check_convergence
from tests.faults.watch_checks import Watch, ordered, resumable, unique

_SAID_AGAIN: Final = frozenset({"log_created.v1", "log_restored.v1", "tenant_restated.v1"})
_BY_HAND: Final = frozenset({"foreign XADD", "head edited"})
_LATER: Final = 10.0
"""Seconds for which one that was frozen or cut off may learn later than the others that all is well."""
Told = list[str]


def judge(history: History) -> dict[str, Told]:
    """Return what is wrong, by check; each is there, empty where all is well."""
    return {
        "nothing that was read is lost": check_kept(history),
        "removals hold": check_removals(history),
        "versions never go back": check_versions(history),
        "looks tell what was written": check_looks(history),
        "watch guarantees": check_watches(history),
        "once unless lost": check_once(history),
        "convergence": check_convergence(history),
        "losses are told": check_told(history),
        "losses are counted": check_counted(history),
        "nobody writes without an operator": check_waiting(history),
        "no clear password": [f"{leak.file} holds a password in clear" for leak in history.of(Leaked)],
        "expected refusals": check_refusals(history),
        "calm logs": check_logs(history),
    }


def check_looks(history: History) -> Told:
    """Whoever looks at a tenant is told what was once written of it, where the answer says."""
    was_at = entries_at(history)
    found = []
    for operation in history.of(Operation):
        if operation.action != "get" or not isinstance(operation.outcome, Ok):
            continue
        answer = operation.outcome.answer
        was = was_at.get(Position.parse(answer["position"]))
        told = (operation.tenant, answer["version"], answer["database"])
        if was is None or not was.alive or (was.tenant, was.version, was.value) != told:
            found.append(f"{asked(operation)} was told {told} as of {answer['position']}, where the log had {was}")
    return found


def check_watches(history: History) -> Told:
    """What a process applied was written, and in order, once and without a hole between two breaks of the log."""
    was_at = entries_at(history)
    found = []
    for mark in history.of(Applied):
        was = was_at.get(mark.position)
        state = None if was is None or was.tenant is None else "live" if was.alive else "removed"
        if was is None or (was.tenant, was.version or None, state) != (mark.tenant, mark.version, mark.state):
            found.append(f"replica {mark.replica} (process {mark.life}) made {mark} of an entry that said {was}")
    for watch in _watches(history):
        found += ordered(watch) + unique(watch) + resumable(watch)
    return found


def _watches(history: History) -> list[Watch]:
    """Cut what each process applied where it went over to another telling of the log: at what it follows anew."""
    told = []
    for began in history.of(Began):
        mine: list[Applied | Announced] = []
        for mark in history.records:
            if not isinstance(mark, Applied | Announced | Noticed) or _who(mark) != _who(began):
                continue
            if isinstance(mark, Applied | Announced):
                mine.append(mark)
            elif mark.what in FINDINGS:
                told.append(Watch(replica=began.replica, life=began.life, of_last_log=False, marks=tuple(mine)))
                mine = []
        told.append(Watch(replica=began.replica, life=began.life, of_last_log=False, marks=tuple(mine)))
    return told


def _who(record: Applied | Announced | Noticed | Began) -> tuple[str, int]:
    return record.replica, record.life


def check_once(history: History) -> Told:
    """No command led to two entries of the log, unless something was lost between its tries; no refused one to any."""
    tries: dict[int, list[Operation]] = defaultdict(list)
    for operation in history.of(Operation):
        tries[operation.command].append(operation)
    entries = Counter(entry.command for entry in history.of(Logged) if entry.command is not None)
    found = [
        f"command {command} led to {count} entries"
        for command, count in entries.items()
        if count > 1 and not _lost_between(history, tries.get(command, []))
    ]
    return found + [
        f"command {command} was refused, and is in the log"
        for command in entries
        if tries.get(command) and all(isinstance(each.outcome, Refused) for each in tries[command])
    ]


def _lost_between(history: History, operations: Iterable[Operation]) -> bool:
    begun = min((each.invoked for each in operations), default=0.0)
    ended = max((each.returned for each in operations), default=0.0)
    return any(lost.begun <= ended and lost.healed >= begun for lost in history.of(Lost))


def check_told(history: History) -> Told:
    """Each loss that can be seen is told of by a replica, in the words for it, before the next one."""
    lost, noticed = sorted(history.of(Lost), key=lambda each: each.begun), history.of(Noticed)
    found = []
    for each, until in zip(lost, [*(after.begun for after in lost[1:]), float("inf")], strict=True):
        told = [
            one
            for one in noticed
            if one.what in each.told_by and each.begun - CLOCK <= one.at <= until and each.about in one.reason
        ]
        if each.told_by and not told:
            found.append(f"nobody told of {each.kind} at {each.begun:.3f} s as any of {', '.join(each.told_by)}")
    return found


def check_counted(history: History) -> Told:
    """What a process wrote that it found is what it shows and counts."""
    told: dict[tuple[str, int], dict[str, dict[str, int]]] = defaultdict(dict)
    for each in history.of(Counted):
        told[each.replica, each.life][each.by] = each.findings
    found = [] if told else ["nobody told what it found"]
    for (replica, life), by in told.items():
        if any(findings != next(iter(by.values())) for findings in by.values()):
            found.append(f"replica {replica} (process {life}) does not count as it tells: {by}")
    return found


def check_waiting(history: History) -> Told:
    """Where an operator is to decide, nothing is said again before, no change is made, and looks are answered."""
    found = []
    for lost in history.of(Lost):
        if lost.permitted is not None:
            found += [
                f"{each.kind} was written at {each.at:.3f} s, before an operator permitted it after {lost.kind}"
                for each in history.of(Written)
                if each.kind in _SAID_AGAIN and lost.begun + CLOCK < each.at < lost.permitted - CLOCK
            ]
    waiting = _waits(history)
    for operation in history.of(Operation):
        stretches = waiting.get((operation.replica, operation.life), ())
        if any(begun + CLOCK < operation.invoked and operation.returned < ended for begun, ended in stretches):
            found += _wrong_while_waiting(operation)
    return found


def _waits(history: History) -> Mapping[tuple[str, int], list[tuple[float, float]]]:
    """Return from when to when each process waited for an operator."""
    waits: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    since: dict[tuple[str, int], float] = {}
    for each in history.of(Noticed):
        who = each.replica, each.life
        if each.what == "registry diverged":
            since.setdefault(who, each.at)
        elif each.what.startswith("registry ") and who in since:
            waits[who].append((since.pop(who), each.at))
    return waits


def _wrong_while_waiting(operation: Operation) -> Told:
    changed = isinstance(operation.outcome, Ok) and operation.action in ("register", "remove")
    unanswered = isinstance(operation.outcome, Refused) and operation.action == "list"
    if changed:
        return [f"{asked(operation)} changed a tenant while its replica waited for an operator"]
    return [f"{asked(operation)} was not answered while its replica waited for an operator"] if unanswered else []


def check_refusals(history: History) -> Told:
    """Callers are told what may be tried again, and of a broken log only while it is."""
    return [
        f"{asked(operation)} was refused as {operation.outcome.code}"
        for operation in history.of(Operation)
        if isinstance(operation.outcome, Refused)
        and operation.outcome.code not in EXPECTED_REFUSALS | _refused_at(history, operation)
    ]


def _refused_at(history: History, operation: Operation) -> set[str]:
    """Return what the operation may be told of the log, from a loss until a while after all had got over it."""
    codes = set[str]()
    for lost in history.of(Lost):
        if lost.begun <= operation.returned and operation.invoked <= lost.settled + _LATER:
            codes |= {"corrupt_entry"} if lost.kind in _BY_HAND else set()
            codes |= {"log_diverged"} if lost.permitted is not None else set()
    return codes


def check_logs(history: History) -> Told:
    """No replica breaks, and none halts or waits but for what was done to the log."""
    kinds = {lost.kind for lost in history.of(Lost)}
    justified = {"registry halted"} if "foreign XADD" in kinds else set()
    if any(lost.permitted is not None for lost in history.of(Lost)):
        justified.add("registry diverged")
    return [
        f"replica {told.replica} (process {told.life}): {told.line}"
        for told in history.of(Complained)
        if told.event not in justified
    ]
