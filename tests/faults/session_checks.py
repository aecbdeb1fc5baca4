"""What may be believed of a look at one replica, which may be behind the log: the guarantees of a session. Pure.

A look is what the log said at some position. It must exist (never a version that was not), it may not go back (what a
process told after it had told another thing is not older), and it includes what the same process answered as written
and served (read your writes).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from heapq import heappop, heappush

from registry.entries import Position
from tests.faults.history import Announced, History, Logged, Ok, Operation, Refused

_Interval = tuple[int, int]
"""First and last sequence number, both included."""


class Past:
    """The log as a function from a position to the tenants then."""

    def __init__(self, log: Sequence[Logged]) -> None:
        self.end = len(log)
        self._events: dict[str, list[Logged]] = defaultdict(list)
        self._when: dict[frozenset[tuple[str, int, str | None]], list[_Interval]] = defaultdict(list)
        live: dict[str, Logged] = {}
        self._when[frozenset()].append((0, 0))
        for entry in log:
            if entry.tenant is not None:
                self._events[entry.tenant].append(entry)
                live.pop(entry.tenant, None)
                if entry.alive:
                    live[entry.tenant] = entry
            self._when[_together(live)].append((entry.position.seq, entry.position.seq))

    def live(self, tenant: str, position: Position, version: int, value: str) -> list[_Interval]:
        """Return when the tenant was exactly this."""
        return [
            (entry.position.seq, until)
            for entry, until in self._stretches(tenant)
            if entry.alive and (entry.position, entry.version, entry.value) == (position, version, value)
        ]

    def absent(self, tenant: str, version: int | None) -> list[_Interval]:
        """Return when the tenant was not there: removed at `version`, or never registered (None)."""
        if version is None:
            first = next((entry.position.seq for entry in self._events.get(tenant, ())), self.end + 1)
            return [(0, first - 1)]
        return [
            (entry.position.seq, until)
            for entry, until in self._stretches(tenant)
            if not entry.alive and entry.version == version
        ]

    def listed(self, tenants: Iterable[tuple[str, int, str | None]]) -> list[_Interval]:
        """Return when exactly these tenants were live."""
        return self._when.get(frozenset(tenants), [])

    def _stretches(self, tenant: str) -> list[tuple[Logged, int]]:
        events = self._events.get(tenant, [])
        ends = [later.position.seq - 1 for later in events[1:]] + [self.end]
        return list(zip(events, ends, strict=True)) if events else []


def check_sessions(history: History) -> list[str]:
    """Put the guarantees to every look at every process."""
    past, found = Past(history.of(Logged)), []
    begun = _begun_at(history.of(Announced))
    sessions: dict[tuple[str, int], list[Operation]] = defaultdict(list)
    for operation in history.of(Operation):
        sessions[operation.replica, operation.life].append(operation)
    for process, operations in sessions.items():
        found += _check(past, operations, begun.get(process, 0))
    return found


def _check(past: Past, operations: Sequence[Operation], begun: int) -> list[str]:
    """Give each look the earliest position that explains it; none left is what is wrong.

    The earliest is the best choice for all that follow, so one pass decides.
    """
    found, floor = [], begun
    under_way: list[tuple[float, int]] = []
    for operation in sorted(operations, key=lambda each: each.invoked):
        while under_way and under_way[0][0] < operation.invoked:
            floor = max(floor, heappop(under_way)[1])
        told = _told(past, operation)
        if told is None:
            continue
        seq = next((max(first, floor) for first, last in sorted(told) if last >= floor), None)
        if seq is not None:
            heappush(under_way, (operation.returned, seq))
        elif told:
            found.append(
                f"{_name(operation)} went back: it tells of entry {told[-1][1]} at most, after {floor} was told"
            )
        else:
            found.append(f"{_name(operation)} tells of what the log never said: {operation.outcome}")
    return found


def _told(past: Past, operation: Operation) -> list[_Interval] | None:
    """Return the positions at which the answer was true; None if it tells of none."""
    match operation.outcome, operation.action, operation.tenant:
        case Ok(answer), "get", str(tenant):
            return past.live(tenant, Position.parse(answer["position"]), answer["version"], answer["database"])
        case Ok(answer), "list", _:
            return past.listed((line["tenant_id"], line["version"], line["database"]) for line in answer["tenants"])
        case Ok(answer), "register" | "remove", _ if answer.get("served", True):
            seq = Position.parse(answer["position"]).seq
            return [(seq, past.end)]
        case Refused("unknown_tenant"), "get" | "remove", str(tenant):
            return past.absent(tenant, None)
        case Refused("removed_tenant", version), "get" | "remove", str(tenant):
            return past.absent(tenant, version)
        case _:
            return None


def _begun_at(announced: Sequence[Announced]) -> Mapping[tuple[str, int], int]:
    """Return the position that each process announced first: it answers nothing before."""
    begun: dict[tuple[str, int], int] = {}
    for mark in announced:
        begun.setdefault((mark.replica, mark.life), mark.position.seq)
    return begun


def _together(live: Mapping[str, Logged]) -> frozenset[tuple[str, int, str | None]]:
    return frozenset((tenant, entry.version or 0, entry.value) for tenant, entry in live.items())


def _name(operation: Operation) -> str:
    return (
        f"{operation.action} {operation.tenant or ''} on {operation.replica} (process {operation.life}) "
        f"at {operation.invoked:.3f} s"
    )
