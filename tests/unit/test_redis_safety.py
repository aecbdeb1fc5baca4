"""What INFO says of a Redis that would lose the log."""

from typing import Final

import pytest

from registry.redis_safety import Info, findings
from tests.tables import table

GOOD: Final[Info] = {
    "redis_version": "7.0.15",
    "role": "master",
    "maxmemory_policy": "noeviction",
    "aof_enabled": 1,
}


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"redis_version": "8.2.3"},
        {"redis_version": "10.0.0"},
        {"redis_version": "7.2.4", "valkey_version": "8.0.0"},
        {"redis_version": "7.2.4", "valkey_version": "9.1.2"},
        {"redis_version": "unknown"},
    ],
)
def test_a_redis_that_holds_what_it_is_given_has_nothing_wrong(info: Info) -> None:
    assert findings({**GOOD, **info}) == []


def test_what_is_not_told_is_not_wrong() -> None:
    assert findings({}) == []


@table(
    ("info", "level", "what", "setting"),
    [
        ({"maxmemory_policy": "allkeys-lru"}, "refuse", "evicts the whole log", "CONFIG SET maxmemory-policy noev"),
        ({"maxmemory_policy": "allkeys-random"}, "refuse", "allkeys-random", "redis.conf"),
        ({"maxmemory_policy": "volatile-ttl"}, "warn", "volatile-ttl", "CONFIG SET maxmemory-policy noeviction"),
        ({"redis_version": "6.2.14"}, "refuse", "Redis 6.2.14", "7.0 or newer"),
        ({"redis_version": "7.2.4", "valkey_version": "7.2.8"}, "refuse", "Valkey 7.2.8", "8.0 or newer"),
        ({"role": "slave"}, "refuse", "is a replica", "REDIS_URL"),
        ({"aof_enabled": 0}, "warn", "no append-only file", "CONFIG SET appendonly yes"),
    ],
)
def test_each_thing_that_is_wrong_names_what_to_change(info: Info, level: str, what: str, setting: str) -> None:
    (finding,) = findings({**GOOD, **info})

    assert finding.level == level
    assert what in finding.what
    assert setting in finding.setting


def test_all_that_is_wrong_is_told() -> None:
    wrong = {"redis_version": "6.0.0", "role": "slave", "maxmemory_policy": "allkeys-lfu", "aof_enabled": 0}
    assert [finding.level for finding in findings(wrong)] == ["refuse", "refuse", "refuse", "warn"]
