"""What a run with losses left behind, made part of its history: besides the rest, every entry that ever was."""

import http.client
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from projections.diagnosis import Finding
from projections.directory import Directory
from registry import codec
from registry.entries import Entry, Foreign, Position
from registry.errors import TenancyError
from registry.events import LogCompacted, LogCreated, LogRestored, TenantEvent, TenantRestated, is_removal
from tests.faults.aof import RawEntry, stream_in
from tests.faults.evidence import await_agreement, leaks, logged, marks_of, views
from tests.faults.history import Began, Complained, Counted, Logged, Noticed, Record, Recorder, Written
from tests.faults.premise import NAMES
from tests.faults.world import Replica, World
from tests.folding import entry_of

_COUNTER: Final = re.compile(r'^mcp_postgres_log_findings_total\{finding="(\w+)"\} (\S+)$', re.MULTILINE)
_FINDINGS: Final = frozenset(str(finding) for finding in Finding)
_Told = tuple[Entry, TenantEvent]


def collect(world: World) -> None:
    """Wait until the replicas agree with the log, and tell the recorder all that the checks need."""
    tell, recorder = world.recorder.tell, world.recorder
    await_agreement(world)
    for began in recorder.history().of(Began):
        log = world.folder / f"replica-{began.replica}.{began.life}.log"
        for record in marks_of(log, began, recorder.since_began):
            tell(record)
    stream, directory = stream_in(world.redis.home, NAMES.stream), Directory()
    records: tuple[Iterable[Record], ...] = (
        written([*world.ever, *stream.ever], recorder),
        fold(stream.now, directory),
        views(world, directory),
        counts(world, recorder.history().of(Noticed)),
        leaks(world.folder),
    )
    for each in records:
        for record in each:
            tell(record)


def written(entries: Iterable[RawEntry], recorder: Recorder) -> Iterator[Written]:
    """Return what each entry said that was ever added; those that two files tell of, once."""
    told = dict.fromkeys((raw.id, raw.fields.get(b"seq", b""), raw.fields.get(b"data", b"")) for raw in entries)
    fields_of = {(raw.id, raw.fields.get(b"seq", b""), raw.fields.get(b"data", b"")): raw.fields for raw in entries}
    births: dict[str, float | None] = {}
    for place in told:
        entry = entry_of(place[0], fields_of[place])
        if isinstance(entry, Foreign):
            continue
        yield _written(entry, births, recorder)


def fold(entries: Iterable[RawEntry], directory: Directory) -> Iterator[Logged | Complained]:
    """Fold the log as if nothing had been taken out of it by hand; what was foreign is passed over."""
    for raw in entries:
        entry = entry_of(raw.id, raw.fields)
        if isinstance(entry, Foreign):
            directory.position = Position(directory.position.seq + 1, entry.entry)
            continue
        try:
            tenant = directory.apply(entry)
        except TenancyError as error:
            yield Complained(replica="the log", life=0, line=error.message)
            return
        yield logged(entry, tenant)


def counts(world: World, noticed: Iterable[Noticed]) -> Iterator[Counted]:
    """Return how often each replica's last process found what, as its log, `/readyz` and `/metrics` tell it."""
    for replica in world.replicas:
        assert replica.now is not None
        life = replica.now[0]
        lines = Counter(
            each.what
            for each in noticed
            if (each.replica, each.life) == (replica.name, life) and each.what in _FINDINGS
        )
        for by, findings in (
            ("its log", lines),
            ("/readyz", replica.readiness().get("findings", {})),
            ("/metrics", _metered(replica)),
        ):
            yield Counted(replica=replica.name, life=life, by=by, findings=_nonzero(findings))


def _metered(replica: Replica) -> dict[str, int]:
    try:
        _, body = replica.process.request("GET", "/metrics")
    except (OSError, http.client.HTTPException):
        return {}
    return {name: int(float(value)) for name, value in _COUNTER.findall(body.decode())}


def _nonzero(findings: Mapping[str, Any]) -> dict[str, int]:
    return {name: count for name, count in sorted(findings.items()) if count}


def _written(entry: Entry, births: dict[str, float | None], recorder: Recorder) -> Written:
    event, at = codec.decode(entry), recorder.since_began_of_entry(entry.position.entry)
    if isinstance(event, LogCreated | LogRestored | LogCompacted):
        return Written(position=entry.position, kind=entry.type, at=at)
    alive, moment = not is_removal(event), event.time.timestamp()
    born = _born(event, births) if alive else None
    births[entry.position.entry] = born
    config = getattr(event, "config", None)
    return Written(
        position=entry.position,
        kind=entry.type,
        tenant=event.tenant,
        version=event.version,
        alive=alive,
        value=config.database if config else None,
        event=event.event_id,
        moment=moment,
        born=born,
        at=at,
    )


def _born(event: TenantEvent, births: Mapping[str, float | None]) -> float:
    """Return when the life began that a live tenant's event is of; what went before has its birth in `births`."""
    if isinstance(event, TenantRestated) and event.born is not None:
        return event.born.timestamp()
    before = births.get(event.previous) if event.previous else None
    return event.time.timestamp() if before is None else before
