"""What the golden files hold, as values.

A golden file is never edited. A shape that changes gets a new file and a new major; the old file stays.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from registry.entries import Head, Position
from registry.events import (
    Event,
    LogCompacted,
    LogCreated,
    LogRestored,
    SealedSecret,
    TenantConfig,
    TenantRegistered,
    TenantRemoved,
    TenantRestated,
)

GOLDEN: Final = Path(__file__).parent / "golden"
PLACE: Final = Position(12, "1763805601250-0")
VALUES: Final[dict[str, Event]] = {
    "log_created.v1": LogCreated(
        event_id="0192f0c1a7b84e0e9d6f0c4b8a5d3e10",
        time=datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC),
        actor="registry",
        epoch="5f0d2c9be4a14b77a1d6c3e8f2907b64",
    ),
    "tenant_registered.v1": TenantRegistered(
        event_id="0192f0c1a7b84e0e9d6f0c4b8a5d3e11",
        time=datetime(2026, 11, 22, 10, 0, 1, 250_000, tzinfo=UTC),
        actor="ann",
        tenant="fedfina",
        version=3,
        command_id="0192f0c1a7b84e0e9d6f0c4b8a5d3e12",
        digest="k20261122:8b1a9953c4611296a827abf8c47804d7",
        previous="1763805600000-0",
        reason="moved to the new cluster",
        config=TenantConfig(
            host="db.example",
            port=6432,
            database="app",
            user="reader",
            ssl="verify-full",
            min_pool_size=1,
            max_pool_size=8,
            max_concurrent_requests=40,
        ),
        secret=SealedSecret(key="9c1f04aa", version=2, sealed="AAECAwQFBgcICQoLDA0ODw=="),
    ),
    "tenant_removed.v1": TenantRemoved(
        event_id="0192f0c1a7b84e0e9d6f0c4b8a5d3e13",
        time=datetime(2026, 11, 22, 10, 0, 2, tzinfo=UTC),
        actor="ben",
        tenant="fedfina",
        version=4,
        command_id="0192f0c1a7b84e0e9d6f0c4b8a5d3e14",
        digest="k20261122:cdd5b0e1f6f24c8f9a9f0a1b2c3d4e5f",
        previous="1763805601250-0",
    ),
    "tenant_restated.v1": TenantRestated(
        event_id="0192f0c1a7b84e0e9d6f0c4b8a5d3e11",
        time=datetime(2026, 11, 22, 10, 0, 1, 250_000, tzinfo=UTC),
        actor="ann",
        tenant="fedfina",
        version=3,
        command_id="0192f0c1a7b84e0e9d6f0c4b8a5d3e12",
        digest="k20261122:8b1a9953c4611296a827abf8c47804d7",
        reason="said again after the log had lost it",
        mac="s20261122:0f9e8d7c6b5a49382716051423324150",
        born=datetime(2026, 11, 20, 9, 0, 0, tzinfo=UTC),
        config=TenantConfig(host="db.example", database="app", user="reader"),
        secret=SealedSecret(key="9c1f04aa", version=2, sealed="AAECAwQFBgcICQoLDA0ODw=="),
    ),
    "log_restored.v1": LogRestored(
        event_id="0192f0c1a7b84e0e9d6f0c4b8a5d3e15",
        time=datetime(2026, 11, 24, 3, 0, 0, tzinfo=UTC),
        actor="web-1",
        epoch="7d1f2c9be4a14b77a1d6c3e8f2907b64",
        lost_epoch="5f0d2c9be4a14b77a1d6c3e8f2907b64",
        lost_position="42@1763805601250-0",
        outcome="log_gone",
        live=17,
        removed=3,
    ),
    "log_compacted.v1": LogCompacted(
        event_id="0192f0c1a7b84e0e9d6f0c4b8a5d3e16",
        time=datetime(2026, 11, 24, 4, 0, 0, tzinfo=UTC),
        actor="cli:ann",
        before="40@1763805600000-0",
        tenants=20,
    ),
}
OLD_HEAD: Final = Head(
    PLACE,
    3,
    alive=True,
    event_id="0192f0c1a7b84e0e9d6f0c4b8a5d3e11",
    command_id="0192f0c1a7b84e0e9d6f0c4b8a5d3e12",
    digest="4be1c2d3a4f50617283940516273a4b5",
)
HEAD: Final = Head(
    PLACE,
    3,
    alive=True,
    event_id="0192f0c1a7b84e0e9d6f0c4b8a5d3e11",
    command_id="0192f0c1a7b84e0e9d6f0c4b8a5d3e12",
    digest="4be1c2d3a4f50617283940516273a4b5",
    changed_at=datetime(2026, 11, 22, 10, 0, 1, 250_000, tzinfo=UTC),
    changed_by="ann|the second",
    born=datetime(2026, 11, 20, 9, 0, 0, tzinfo=UTC),
    mac="s20261122:0f9e8d7c6b5a49382716051423324150",
    sum="0d1c2b3a49586776",
)


def registration() -> TenantRegistered:
    """Return a registration that says all that it can."""
    event = VALUES["tenant_registered.v1"]
    assert isinstance(event, TenantRegistered)
    root_ca = "-----BEGIN CERTIFICATE-----\nAAECAwQFBgcICQoLDA0ODw==\n-----END CERTIFICATE-----\n"
    config = msgspec.structs.replace(event.config, ssl_root_ca=root_ca)
    return msgspec.structs.replace(event, config=config, powers=("read_files", "monitor"))


def golden(name: str) -> bytes:
    """Return a golden file without the line break that editors insist on."""
    return (GOLDEN / name).read_bytes().removesuffix(b"\n")
