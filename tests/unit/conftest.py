"""What the unit tests share: how long hypothesis may look, and facts to fold."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from registry.entries import Position
from registry.events import TenantConfig, TenantRegistered, TenantRemoved, TenantRestated

# No test asserts a time, nor how many examples in a row an assumption leaves out.
_CHECKS = (HealthCheck.too_slow, HealthCheck.filter_too_much)
# Each run draws others; `make test` draws five times as many.
_EXAMPLES = int(os.environ.get("UNIT_EXAMPLES", "20"))
settings.register_profile("unit", deadline=None, max_examples=_EXAMPLES, suppress_health_check=_CHECKS)
settings.load_profile("unit")

_TIME = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """A key file that is there, for settings that want one and do not read it."""
    path = tmp_path / "master.key"
    path.touch()
    return path


@pytest.fixture
def config() -> TenantConfig:
    """A configuration that passes every check."""
    return TenantConfig(host="db.example", database="app", user="reader")


@pytest.fixture
def registered(config: TenantConfig) -> Callable[[int], TenantRegistered]:
    """What makes a registration of tenant acme that claims a version."""

    def make(version: int) -> TenantRegistered:
        return TenantRegistered(
            event_id=f"event-{version}",
            time=_TIME,
            actor="ann",
            tenant="acme",
            version=version,
            command_id=f"command-{version}",
            digest="one:0d",
            config=config,
        )

    return make


@pytest.fixture
def removed() -> Callable[[int], TenantRemoved]:
    """What makes a removal of tenant acme that claims a version."""

    def make(version: int) -> TenantRemoved:
        return TenantRemoved(
            event_id=f"event-{version}",
            time=_TIME,
            actor="ben",
            tenant="acme",
            version=version,
            command_id=f"command-{version}",
            digest="one:0d",
        )

    return make


@pytest.fixture
def restated(config: TenantConfig) -> Callable[[int], TenantRestated]:
    """What makes a restatement of tenant acme, live, that claims a version."""

    def make(version: int) -> TenantRestated:
        return TenantRestated(
            event_id=f"event-{version}",
            time=_TIME,
            actor="ann",
            tenant="acme",
            version=version,
            command_id=f"command-{version}",
            digest="one:0d",
            config=config,
        )

    return make


@pytest.fixture
def place() -> Callable[[int], Position]:
    """What makes the position of entry number n, as the in-memory log would."""

    def make(seq: int) -> Position:
        return Position(seq, f"{seq}-0")

    return make
