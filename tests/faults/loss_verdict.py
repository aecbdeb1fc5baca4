"""What a history in which Redis forgot is checked for. Pure, as `tests/faults/verdict.py` is for all other runs.

The premise is kept by the run (`tests/faults/premise.py`): whoever had read a change lives until others have read it.
So a change is to be kept if it was answered as served, or if any process applied its entry. What it is compared with is
every entry that was ever added, however much of it Redis has forgotten since.

Two changes that did not know of each other cannot both hold. Which one does is said here in plain words, without the
product's code: a removal ends every life that began before it, of two lives the later one holds, and of one life the
later change.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from registry.log import Position
from tests.faults.history import (
    Announced,
    Applied,
    Began,
    Broken,
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
    Unknown,
    Written,
)
from tests.faults.verdict import EXPECTED_REFUSALS, asked, check_convergence
from tests.faults.watch_checks import Watch, ordered, resumable, unique

_OF_LOSS: Final = frozenset({"log_gone", "log_replaced", "log_shortened"})
_FINDINGS: Final = _OF_LOSS | {"caught_up", "resynchronised"}
_SAID_AGAIN: Final = frozenset({"log_created.v1", "log_restored.v1", "tenant_restated.v1"})
_BY_HAND: Final = frozenset({"foreign XADD", "head edited"})
_LATER: Final = 10.0
"""Seconds for which one that was frozen or cut off may learn later than the others that all is well."""
_CLOCK: Final = 0.05
"""Seconds by which the recorder's clock and those of the machine may differ."""
Told = list[str]


class LossSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A run in numbers; times in seconds.

    Attributes:
        seen_by_first: The longest time from a loss until a replica said so.
        seen_by_all: Until all said so that ever did.
        unread: Acknowledged changes whose entries nobody had read.
    """

    operations: int
    by_outcome: dict[str, int]
    faults: dict[str, int]
    findings: dict[str, int]
    acknowledged: int
    lost: int
    unread: int
    entries: int
    restorations: int
    restated: int
    seen_by_first: float
    seen_by_all: float


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


def check_kept(history: History) -> Told:
    """Each change that was acknowledged and read is what its tenant is at the end, or gave way to one that holds."""
    return [wrong for _, wrong in _not_kept(history)]


def _not_kept(history: History) -> list[tuple[int, str]]:
    by_position, ends = _by_position(history), _ends(history)
    read = {mark.position for mark in history.of(Applied)}
    found = []
    for operation, position in _acknowledged(history):
        was = by_position.get(position)
        if was is None or not _is_of(was, operation):
            found.append(
                (operation.command, f"{asked(operation)} was answered with {position}, where the log had {was}")
            )
        elif _is_served(operation) or position in read:
            now = ends.get(was.tenant or "")
            if now is None or not _holds_against(now, was):
                found.append((operation.command, f"{asked(operation)}, {_said(was)}, is lost: at the end {_said(now)}"))
    return found


def check_removals(history: History) -> Told:
    """What every live replica confirmed as removed is never said again as living, by whoever has not heard of it."""
    by_position = _by_position(history)
    removals: dict[str, list[tuple[Operation, Written]]] = defaultdict(list)
    for operation, position in _acknowledged(history):
        was = by_position.get(position)
        if was and was.tenant and not was.alive and _answer(operation).get("confirmed"):
            removals[was.tenant].append((operation, was))
    return [
        f"{asked(operation)} was confirmed, and {again.position} says {again.tenant} again, born before"
        for again in history.of(Written)
        if again.kind == "tenant_restated.v1" and again.alive
        for operation, removal in removals.get(again.tenant or "", ())
        if again.at > operation.returned + _CLOCK and (again.born or 0.0) < removal.moment
    ]


def check_versions(history: History) -> Told:
    """Versions of a tenant go up in the log, and do not go down in what one process tells."""
    found = []
    last: dict[str, Logged] = {}
    for entry in history.of(Logged):
        before = last.get(entry.tenant or "")
        if entry.tenant and before and (entry.version or 0) <= (before.version or 0):
            found.append(f"the log says {entry.tenant} v{entry.version} at {entry.position}, after v{before.version}")
        last[entry.tenant or ""] = entry
    return found + _gone_back(history)


def _gone_back(history: History) -> Told:
    """Compare what one process told of one tenant in calls that came one after the other."""
    told: dict[tuple[str, int, str], list[tuple[Operation, int]]] = defaultdict(list)
    for operation in history.of(Operation):
        for tenant, version in _versions(operation):
            told[operation.replica, operation.life, tenant].append((operation, version))
    found = []
    for (_, _, tenant), each in told.items():
        ended = sorted(each, key=lambda one: one[0].returned)
        at, highest, by = 0, 0, ended[0][0]
        for operation, version in sorted(each, key=lambda one: one[0].invoked):
            while ended[at][0].returned < operation.invoked:
                if ended[at][1] > highest:
                    by, highest = ended[at]
                at += 1
            if version < highest:
                found.append(f"{asked(operation)} told v{version} of {tenant}, after v{highest} by {asked(by)}")
    return found


def check_looks(history: History) -> Told:
    """Whoever looks at a tenant is told what was once written of it, where the answer says."""
    by_position = _by_position(history)
    found = []
    for operation in history.of(Operation):
        if operation.action != "get" or not isinstance(operation.outcome, Ok):
            continue
        answer = operation.outcome.answer
        was = by_position.get(Position.parse(answer["position"]))
        told = (operation.tenant, answer["version"], answer["database"])
        if was is None or not was.alive or (was.tenant, was.version, was.value) != told:
            found.append(f"{asked(operation)} was told {told} as of {answer['position']}, where the log had {was}")
    return found


def check_watches(history: History) -> Told:
    """What a process applied was written, and in order, once and without a hole between two breaks of the log."""
    by_position = _by_position(history)
    found = []
    for mark in history.of(Applied):
        was = by_position.get(mark.position)
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
            elif mark.what in _FINDINGS:
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
            if one.what in each.told_by and each.begun - _CLOCK <= one.at <= until and each.about in one.reason
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
                if each.kind in _SAID_AGAIN and lost.begun + _CLOCK < each.at < lost.permitted - _CLOCK
            ]
    waiting = _waits(history)
    for operation in history.of(Operation):
        stretches = waiting.get((operation.replica, operation.life), ())
        if any(begun + _CLOCK < operation.invoked and operation.returned < ended for begun, ended in stretches):
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


def summarise(history: History) -> LossSummary:
    """Count."""
    operations, written = history.of(Operation), history.of(Written)
    read = {mark.position for mark in history.of(Applied)}
    acknowledged = list(_acknowledged(history))
    delays = _delays(history)
    return LossSummary(
        operations=len(operations),
        by_outcome=dict(Counter(_outcome(operation) for operation in operations).most_common()),
        faults=dict(Counter(fault.kind for fault in history.of(Broken)).most_common()),
        findings=dict(Counter(each.what for each in history.of(Noticed) if each.what in _FINDINGS).most_common()),
        acknowledged=len({operation.command for operation, _ in acknowledged}),
        lost=len({command for command, _ in _not_kept(history)}),
        unread=sum(not _is_served(each) and position not in read for each, position in acknowledged),
        entries=len(written),
        restorations=sum(each.kind == "log_restored.v1" for each in written),
        restated=sum(each.kind == "tenant_restated.v1" for each in written),
        seen_by_first=max((each[0] for each in delays), default=0.0),
        seen_by_all=max((each[-1] for each in delays), default=0.0),
    )


def _delays(history: History) -> list[list[float]]:
    """Return, of each loss that was told, after how long the replicas did, the first one first."""
    lost = sorted((each for each in history.of(Lost) if each.told_by), key=lambda each: each.begun)
    found = []
    for each, until in zip(lost, [*(after.begun for after in lost[1:]), float("inf")], strict=True):
        firsts: dict[str, float] = {}
        for one in history.of(Noticed):
            if one.what in each.told_by and each.begun - _CLOCK <= one.at <= until:
                firsts.setdefault(one.replica, max(0.0, one.at - each.healed))
        if firsts:
            found.append(sorted(firsts.values()))
    return found


def _by_position(history: History) -> dict[Position, Written]:
    return {each.position: each for each in history.of(Written)}


def _ends(history: History) -> dict[str, Written]:
    """Return what each tenant is at the end, as the log's last word on it."""
    by_position = _by_position(history)
    return {entry.tenant: by_position[entry.position] for entry in history.of(Logged) if entry.tenant is not None}


def _acknowledged(history: History) -> Iterable[tuple[Operation, Position]]:
    for operation in history.of(Operation):
        if operation.action in ("register", "remove") and isinstance(operation.outcome, Ok):
            yield operation, Position.parse(operation.outcome.answer["position"])


def _is_of(was: Written, operation: Operation) -> bool:
    """Whether the entry is what the operation was answered to have made, or found."""
    answer = _answer(operation)
    return (was.tenant, was.version, was.value) == (operation.tenant, answer["version"], operation.value)


def _is_served(operation: Operation) -> bool:
    return bool(_answer(operation).get("served", True))


def _holds_against(now: Written, was: Written) -> bool:
    """Whether what a tenant is at the end is what it was, or holds against that under a higher version."""
    if now.event == was.event:
        return (now.version, now.value) == (was.version, was.value)
    return now.version > was.version and _order(now) >= _order(was)


def _order(state: Written) -> tuple[float, bool, float]:
    return (state.moment if state.born is None else state.born), state.born is None, state.moment


def _versions(operation: Operation) -> list[tuple[str, int]]:
    """Return which versions the answer tells its tenants to be at now."""
    match operation.outcome, operation.action, operation.tenant:
        case Ok(answer), "list", _:
            return [(line["tenant_id"], line["version"]) for line in answer["tenants"]]
        case Ok(answer), "get", str(tenant):
            return [(tenant, answer["version"])]
        case Ok(answer), "register" | "remove", str(tenant) if operation.command_id is None and answer.get(
            "served", True
        ):
            return [(tenant, answer["version"])]
        case Refused("unknown_tenant"), _, str(tenant):
            return [(tenant, 0)]
        case Refused("removed_tenant", int(version)), _, str(tenant):
            return [(tenant, version)]
        case _:
            return []


def _said(state: Written | None) -> str:
    if state is None:
        return "nothing"
    return f"v{state.version} at {state.position} ({state.value or 'removed'}, {state.moment:.3f}, {state.born})"


def _answer(operation: Operation) -> dict[str, object]:
    assert isinstance(operation.outcome, Ok)
    return operation.outcome.answer


def _outcome(operation: Operation) -> str:
    match operation.outcome:
        case Ok():
            return "ok"
        case Refused(code):
            return code
        case Unknown():
            return "unknown"
