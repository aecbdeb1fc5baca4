"""`mcp-postgres log tail`: the events, one a line, as a person or a program reads them; never a secret."""

import asyncio
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog

from registry import codec
from registry.chain import Recorded
from registry.entries import START, Entry, Foreign, Position, entry_id
from registry.errors import CorruptEntry, LogDiverged, RegistryUnavailable
from registry.events import TenantEvent, TenantRegistered, TenantRemoved, TenantRestated
from registry.log import TenantLog
from server.changes import change_of

_PAGE: Final = 500
_WAIT: Final = 0.8
_PAUSE: Final = 1.0


class Told(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry as it is told."""

    position: str
    what: str
    at: datetime | None = None
    by: str | None = None
    tenant: str | None = None
    version: int | None = None
    reason: str | None = None
    fields: dict[str, Any] = msgspec.field(default_factory=dict)
    password_changed: bool = False
    signed: bool = False

    def __str__(self) -> str:
        """Return it as one line."""
        when = f"{self.at:%Y-%m-%dT%H:%M:%SZ}" if self.at else "-"
        words = [when, self.position]
        if self.tenant is not None:
            words += [self.tenant, f"v{self.version}"]
        words.append(self.what)
        if self.by is not None:
            words += ["by", self.by]
        if self.reason is not None:
            words.append(json.dumps(self.reason, ensure_ascii=False))
        words += [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in self.fields.items()]
        if self.password_changed:
            words.append("password changed")
        return "  ".join(word if word.isprintable() else ascii(word) for word in words)


class Tail:
    """Tells the entries of one log.

    Args:
        log: The log.
        tell: Gets each entry, oldest first.
        tenant: Tell this one's events alone, and what may have been some of them.
    """

    def __init__(self, log: TenantLog, tell: Callable[[Told], None], tenant: str | None = None) -> None:
        self._log = log
        self._tell = tell
        self._tenant = tenant
        self._last: dict[str, Recorded] = {}
        self._logger = structlog.get_logger("log")

    async def run(self, after: Position, *, follow: bool) -> None:
        """Tell what comes after a position; with `follow`, until cancelled.

        Raises `LogDiverged` if the log ends before the position, and `RegistryUnavailable`, which `follow` waits out.
        """
        while True:
            try:
                entries = await self._log.read(after, _PAGE, _WAIT if follow else 0)
                for entry in entries:
                    await self._entry(entry, after)
                    after = entry.position if isinstance(entry, Entry) else Position(after.seq + 1, entry_id(entry))
                if not entries:
                    await self._require(after)
                    if not follow:
                        return
            except RegistryUnavailable as error:
                if not follow:
                    raise
                self._logger.warning("log not read; trying again", reason=error.message)
                await asyncio.sleep(_PAUSE)

    async def _require(self, after: Position) -> None:
        end = await self._log.end()
        if end is None:
            raise LogDiverged("There is no log (any more).")
        if end.seq < after.seq:
            raise LogDiverged(f"The log ends at {end}, before {after}: it is another one, or has lost entries.")

    async def _entry(self, entry: Entry | Foreign, after: Position) -> None:
        if isinstance(entry, Foreign):
            self._tell(Told(position=entry.entry, what=f"not this system's: {entry.why}"))
            return
        if not entry.follows(after) and after != START:
            self._tell(Told(position=str(entry.position), what=f"does not follow {after}: entries are missing between"))
        try:
            event = codec.decode(entry)
        except CorruptEntry as error:
            self._unreadable(entry, error)
            return
        if isinstance(event, TenantRegistered | TenantRemoved | TenantRestated):
            await self._event(Recorded(entry.position, event))
        elif self._tenant is None:
            facts = {
                name: value
                for name, value in msgspec.to_builtins(event).items()
                if name not in {"type", "event_id", "time", "actor"}
            }
            what = entry.type.partition(".")[0].replace("_", " ")
            self._tell(Told(position=str(entry.position), what=what, at=event.time, by=event.actor, fields=facts))

    def _unreadable(self, entry: Entry, error: CorruptEntry) -> None:
        named = codec.unreadable(entry)
        whose = (named.tenant, named.version) if named else (None, None)
        if self._tenant is None or whose[0] in {None, self._tenant}:
            what = f"unreadable: {error.message}"
            self._tell(Told(position=str(entry.position), what=what, tenant=whose[0], version=whose[1]))

    async def _event(self, recorded: Recorded) -> None:
        event = recorded.event
        if self._tenant not in {None, event.tenant}:
            return
        change = change_of(recorded, await self._before(event))
        self._last[event.tenant] = recorded
        self._tell(
            Told(
                position=change.position,
                what=change.what,
                at=change.at,
                by=change.by,
                tenant=event.tenant,
                version=change.version,
                reason=change.reason,
                fields=change.fields,
                password_changed=change.password_changed,
                signed=bool(event.mac),
            )
        )

    async def _before(self, event: TenantEvent) -> Recorded | None:
        """Return the tenant's event before, if the log still has it."""
        if event.previous is None:
            return None
        known = self._last.get(event.tenant)
        if known and known.position.entry == event.previous:
            return known
        (entry,) = await self._log.entries([event.previous])
        try:
            before = codec.decode(entry) if isinstance(entry, Entry) else None
        except CorruptEntry:
            return None
        if isinstance(entry, Entry) and isinstance(before, TenantRegistered | TenantRemoved | TenantRestated):
            return Recorded(entry.position, before)
        return None
