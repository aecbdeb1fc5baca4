"""States of a tenant and events, by the minute, for whoever restores what was lost."""

from datetime import UTC, datetime, timedelta
from typing import Final

from registry.entries import Position
from registry.events import TenantConfig, TenantRegistered, TenantRemoved
from registry.state import Live, Removed

NOON: Final = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def at(minute: int) -> datetime:
    return NOON + timedelta(minutes=minute)


def live(event_id: str, version: int, minute: int, *, born: int = 0) -> Live:
    return Live(
        tenant="acme",
        version=version,
        position=Position(version + 1, f"{version + 1}-0"),
        event_id=event_id,
        command_id=f"command of {event_id}",
        digest="one:0d",
        changed_at=at(minute),
        changed_by="ann",
        born=at(born),
        config=TenantConfig(host=event_id, database="app", user="reader"),
        secret=None,
    )


def gone(event_id: str, version: int, minute: int) -> Removed:
    return Removed(
        tenant="acme",
        version=version,
        position=Position(version + 1, f"{version + 1}-0"),
        event_id=event_id,
        command_id=f"command of {event_id}",
        digest="one:0d",
        changed_at=at(minute),
        changed_by="ben",
    )


def registration(event_id: str, version: int, minute: int, previous: str | None = "1-0") -> TenantRegistered:
    return TenantRegistered(
        event_id=event_id,
        time=at(minute),
        actor="ann",
        tenant="acme",
        version=version,
        command_id=f"command of {event_id}",
        digest="one:0d",
        previous=previous,
        config=TenantConfig(host=event_id, database="app", user="reader"),
    )


def removal(event_id: str, version: int, minute: int) -> TenantRemoved:
    return TenantRemoved(
        event_id=event_id,
        time=at(minute),
        actor="ben",
        tenant="acme",
        version=version,
        command_id=f"command of {event_id}",
        digest="one:0d",
        previous="1-0",
    )
