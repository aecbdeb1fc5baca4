"""What may be lost of what was acknowledged, and what may not: for histories in which Redis forgot. Pure.

The premise is kept by the run (`tests/faults/premise.py`): whoever had read a change lives until others have read it.
So a change is to be kept if it was answered as served, or if any process applied its entry. What it is compared with is
every entry that was ever added, however much of it Redis has forgotten since.

Two changes that did not know of each other cannot both hold. Which one does is said here in plain words, without the
product's code: a removal ends every life that began before it, of two lives the later one holds, and of one life the
later change.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from registry.entries import Position
from tests.faults.history import Applied, Began, History, Logged, Ok, Operation, Refused, Written
from tests.faults.verdict import asked

CLOCK: Final = 0.05
"""Seconds by which the recorder's clock and those of the machine may differ."""
Told = list[str]


def check_kept(history: History) -> Told:
    """Each change that was acknowledged and read is what its tenant is at the end, or gave way to one that holds."""
    return [wrong for _, wrong in not_kept(history)]


def not_kept(history: History) -> list[tuple[int, str]]:
    was_at, ends = entries_at(history), _ends(history)
    read = {mark.position for mark in history.of(Applied)}
    found = []
    for operation, position in acknowledged(history):
        was = was_at.get(position)
        if was is None or not _is_of(was, operation):
            found.append(
                (operation.command, f"{asked(operation)} was answered with {position}, where the log had {was}")
            )
        elif is_served(operation) or position in read:
            now = ends.get(was.tenant or "")
            if now is None or not _holds_against(now, was):
                found.append((operation.command, f"{asked(operation)}, {_said(was)}, is lost: at the end {_said(now)}"))
    return found


def check_removals(history: History) -> Told:
    """What every process that ran confirmed as removed is never said again as living, by whoever has not heard of it.

    One that was cut off when Redis was emptied is not asked before it is there again, and may not have heard.
    """
    was_at = entries_at(history)
    removals: dict[str, list[tuple[Operation, Written]]] = defaultdict(list)
    for operation, position in acknowledged(history):
        was = was_at.get(position)
        if was and was.tenant and not was.alive and _is_confirmed(operation, history):
            removals[was.tenant].append((operation, was))
    return [
        f"{asked(operation)} was confirmed, and {again.position} says {again.tenant} again, born before"
        for again in history.of(Written)
        if again.kind == "tenant_restated.v1" and again.alive
        for operation, removal in removals.get(again.tenant or "", ())
        if again.at > operation.returned + CLOCK and (again.born or 0.0) < removal.moment
    ]


def _is_confirmed(operation: Operation, history: History) -> bool:
    """Whether the answer names the process of each replica; a name holds its host, process and something random."""
    running = {began.replica: began.pid for began in history.of(Began) if began.at <= operation.returned}
    answer = _answer(operation)
    names = answer.get("confirmed")
    pids = {int(name.split("-")[-2]) for name in names} if isinstance(names, list) else set()
    return not answer.get("pending") and set(running.values()) <= pids


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


def entries_at(history: History) -> dict[Position, Written]:
    return {each.position: each for each in history.of(Written)}


def _ends(history: History) -> dict[str, Written]:
    """Return what each tenant is at the end, as the log's last word on it."""
    was_at = entries_at(history)
    return {entry.tenant: was_at[entry.position] for entry in history.of(Logged) if entry.tenant is not None}


def acknowledged(history: History) -> Iterable[tuple[Operation, Position]]:
    for operation in history.of(Operation):
        if operation.action in ("register", "remove") and isinstance(operation.outcome, Ok):
            yield operation, Position.parse(operation.outcome.answer["position"])


def _is_of(was: Written, operation: Operation) -> bool:
    """Whether the entry is what the operation was answered to have made, or found."""
    answer = _answer(operation)
    return (was.tenant, was.version, was.value) == (operation.tenant, answer["version"], operation.value)


def is_served(operation: Operation) -> bool:
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
