"""What happened in one run: what clients did and were told, what was broken, what each replica applied, how it ended.

A history is JSON Lines, one record a line, so that a run that is cut short leaves what it had. Times are seconds since
the run began, of one clock.
"""

import threading
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, TypeVar

import msgspec

from registry.entries import Position

Action: TypeAlias = Literal["register", "remove", "get", "list"]
State: TypeAlias = Literal["live", "removed", "quarantined"]

UNREACHABLE = "unreachable"
"""The code of a call that reached nobody: no replica listened."""


def command_id_of(command: int | None) -> str:
    """Return the id that a client gives a command, if it gives one."""
    return f"command-{command}"


class Ok(msgspec.Struct, frozen=True, tag="ok"):
    """The call was answered; `answer` is the tool's."""

    answer: dict[str, Any]


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The call was answered with an error. `version` is the tenant's, where the error tells it."""

    code: str
    version: int | None = None


class Unknown(msgspec.Struct, frozen=True, tag="unknown"):
    """No answer, or one that leaves open what happened: it may have, may still, or never will."""

    why: str


Outcome: TypeAlias = Ok | Refused | Unknown


class _Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="record"):
    pass


class Operation(_Record, frozen=True, kw_only=True, tag="operation"):
    """One call. A retry is an operation of its own with the `command` of its first try.

    Attributes:
        command: A number; the log keeps it in the event's reason.
        value: What a registration states (the database's name), one for each command that brings a new one.
        invoked, returned: When the client asked, and when it had its answer or gave up.
    """

    client: int
    replica: str
    life: int
    command: int
    action: Action
    tenant: str | None = None
    value: str | None = None
    command_id: str | None = None
    expected_version: int | None = None
    invoked: float
    returned: float
    outcome: Outcome


class Broken(_Record, frozen=True, kw_only=True, tag="fault"):
    """A fault: its kind, whom it hit, when it began and was healed."""

    kind: str
    target: str
    begun: float
    healed: float


class Began(_Record, frozen=True, kw_only=True, tag="began"):
    """A replica's process: its `life`, counted from 1."""

    replica: str
    life: int
    pid: int
    port: int
    at: float


class Applied(_Record, frozen=True, kw_only=True, tag="applied"):
    """A replica folded one entry; records of one life are in the order in which it did."""

    replica: str
    life: int
    position: Position
    prev: Position
    tenant: str | None
    version: int | None
    state: State | None


class Announced(_Record, frozen=True, kw_only=True, tag="announced"):
    """A replica said that it holds everything up to the position: after a start, or a lost connection."""

    replica: str
    life: int
    position: Position


class Restored(_Record, frozen=True, kw_only=True, tag="restored"):
    """A replica said that the log was lost and made anew. What it applies from here on is of the new log."""

    replica: str
    life: int
    epoch: str
    at: float


class Complained(_Record, frozen=True, kw_only=True, tag="complained"):
    """A replica wrote a line of level error, or one that is no JSON at all (then `event` is empty); or the run did."""

    replica: str
    life: int
    event: str = ""
    line: str


class Logged(_Record, frozen=True, kw_only=True, tag="logged"):
    """One entry of the log as it is at the end, oldest first."""

    position: Position
    prev: str
    tenant: str | None = None
    version: int | None = None
    alive: bool = False
    value: str | None = None
    command: int | None = None
    command_id: str | None = None


class Seen(_Record, frozen=True, kw_only=True, tag="seen"):
    """The live tenants at the end as somebody tells them: version and value by tenant."""

    by: str
    tenants: dict[str, tuple[int, str]]


class Lost(_Record, frozen=True, kw_only=True, tag="lost"):
    """A moment at which Redis was made to forget, or was changed by hand.

    Attributes:
        told_by: What replicas say of it: one of these is to be told since `begun`. Empty if it may pass unseen.
        about: Words that what is told must hold: the id of a foreign entry.
        healed: When Redis was there again; what it forgot can be seen from then on.
        permitted: When an operator let the replicas restore, if they wait for one.
        settled: When those replicas that were there had got over it.
    """

    kind: str
    told_by: tuple[str, ...]
    about: str = ""
    begun: float
    healed: float
    permitted: float | None = None
    settled: float


class Noticed(_Record, frozen=True, kw_only=True, tag="noticed"):
    """A line of a replica's log about the log's fate or its own phase: `what` is the finding, or else the event."""

    replica: str
    life: int
    what: str
    reason: str = ""
    at: float


class Written(_Record, frozen=True, kw_only=True, tag="written"):
    """An entry that was ever added to the log, however much of it was lost since.

    Attributes:
        kind: Its type; empty for what somebody else added.
        event: The event's id, which stays when it is said again.
        moment: When it was commanded, and `born` when the life began that it is of (None: it is a removal).
        at: When it was added.
    """

    position: Position
    kind: str
    tenant: str | None = None
    version: int = 0
    alive: bool = False
    value: str | None = None
    event: str = ""
    moment: float = 0.0
    born: float | None = None
    at: float = 0.0


class Counted(_Record, frozen=True, kw_only=True, tag="counted"):
    """How often a replica's process found something, as one place tells it: its log, `/readyz` or `/metrics`."""

    replica: str
    life: int
    by: str
    findings: dict[str, int]


class Leaked(_Record, frozen=True, kw_only=True, tag="leaked"):
    """A file that holds a password in clear."""

    file: str


Mark: TypeAlias = Applied | Announced | Restored | Noticed
Record: TypeAlias = Operation | Broken | Began | Mark | Complained | Logged | Seen | Leaked | Lost | Written | Counted
_Kind = TypeVar("_Kind", bound=_Record)
_LINE: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


class History:
    """Records in the order in which they were told."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.records = list(records)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what a `Recorder` wrote."""
        return cls(_LINE.decode_lines(path.read_bytes()))

    def of(self, kind: type[_Kind]) -> list[_Kind]:
        """Return the records of one kind, in order."""
        return [record for record in self.records if isinstance(record, kind)]


class Recorder:
    """Keeps records and writes each of them at once. Any thread may tell."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begun = time.monotonic()
        self._began_at = time.time()
        self._lock = threading.Lock()
        self._records: list[Record] = []
        self._file = path.open("wb", buffering=0)

    def now(self) -> float:
        """Return seconds since the run began."""
        return time.monotonic() - self._begun

    def since_began(self, timestamp: str) -> float:
        """Return seconds since the run began of a log line's timestamp."""
        return datetime.fromisoformat(timestamp).timestamp() - self._began_at

    def since_began_of_entry(self, entry: str) -> float:
        """Return seconds since the run began of the millisecond that names an entry of the log."""
        return int(entry.partition("-")[0]) / 1000 - self._began_at

    def tell(self, record: Record) -> None:
        """Keep one record."""
        with self._lock:
            self._records.append(record)
            self._file.write(msgspec.json.encode(record) + b"\n")

    def history(self) -> History:
        """Return what was told so far."""
        with self._lock:
            return History(self._records)

    def close(self) -> None:
        """Write no more."""
        self._file.close()
