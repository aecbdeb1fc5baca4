"""Tenants are registered, replaced and removed on two replicas: both come to serve the same, and nothing is lost."""

import asyncio
import base64

import pytest

from projections.history import history_of, is_entry_of
from registry.errors import (
    CorruptEntry,
    InvalidInput,
    RemovedTenant,
    SecretUnreadable,
    UnknownTenant,
    VersionConflict,
)
from registry.inputs import Limits
from registry.names import Names
from registry.planner import Caller
from registry.redis_client import RedisClient
from registry.state import Live, Removed
from registry.stored import document_of
from tests.two_replicas import ANN, PASSWORD, STREAM, Replica, eventually, login


async def test_when_a_registration_returns_its_key_is_there_and_this_replica_serves_it(a: Replica) -> None:
    result = await a.register()

    assert (result.status, result.version, result.served) == ("registered", 1, True)
    assert (a.live().position, a.live().config.host) == (result.position, "db")
    assert await a.document() == document_of(a.live())
    assert await a.password() == PASSWORD


async def test_when_a_removal_returns_its_key_is_gone_and_this_replica_knows(a: Replica) -> None:
    await a.register()

    result = await a.remove()

    assert (result.status, result.version) == ("removed", 2)
    assert isinstance(a.directory.tenant("acme"), Removed)
    assert await a.document() is None


async def test_the_other_replica_comes_to_serve_the_same(a: Replica, b: Replica) -> None:
    result = await a.register()

    assert await b.follower.reached(result.position)
    assert b.live() == a.live()
    assert await b.password() == PASSWORD


async def test_a_tenant_that_another_replica_just_registered_is_not_refused_from_stale_memory(
    a: Replica, b: Replica
) -> None:
    for each in range(20):
        await a.register(f"tenant-{each}")

        assert isinstance(await b.follower.tenant(f"tenant-{each}"), Live)


async def test_a_tenant_that_nobody_registered_is_unknown_everywhere(a: Replica) -> None:
    assert await a.follower.refresh("acme") is None


async def test_each_change_is_told_once_to_each_replica(a: Replica, b: Replica) -> None:
    await a.register()
    await b.register(host="other")
    await a.remove()
    await eventually(lambda: a.changed == b.changed and len(a.changed) == 3)

    assert a.changed == [("acme", 1), ("acme", 2), ("acme", 3)]


async def test_the_same_registration_again_appends_nothing(a: Replica, b: Replica) -> None:
    first = await a.register()

    again = await b.register()

    assert (again.status, again.version, again.position) == ("unchanged", 1, first.position)
    assert await a.log.end() == first.position


async def test_the_same_registration_again_mends_a_key_that_was_lost(a: Replica) -> None:
    await a.register()
    await a.commands.run("DEL", Names().tenant("acme"))

    await a.register()

    assert await a.document() == document_of(a.live())


async def test_new_limits_with_the_same_password_leave_open_connections_alone(a: Replica, b: Replica) -> None:
    await a.register()
    before = a.live().fingerprint

    result = await b.registry.register("acme", login(limits=Limits(max_pool_size=3)), ANN)

    assert (result.status, result.version) == ("replaced", 2)
    assert b.live().config.max_pool_size == 3
    assert b.live().fingerprint == before
    assert await b.password() == PASSWORD


@pytest.mark.parametrize("password", ["another", None])
async def test_another_password_opens_new_connections(password: str | None, a: Replica) -> None:
    await a.register()
    before = a.live().fingerprint

    result = await a.register(password=password)

    assert result.status == "replaced"
    assert a.live().fingerprint != before
    assert await a.password() == password


async def test_a_tenant_without_a_password_may_get_one(a: Replica) -> None:
    await a.register(password=None)
    assert (await a.register(password=None)).status == "unchanged"

    assert (await a.register()).status == "replaced"
    assert await a.password() == PASSWORD


async def test_whoever_expects_the_present_version_changes_it(a: Replica, b: Replica) -> None:
    await a.register(expected=0)
    await b.register(expected=1, host="other")

    assert (await a.remove(expected=2)).version == 3


async def test_whoever_expects_another_version_changes_nothing(a: Replica, b: Replica) -> None:
    first = await a.register()

    for attempt in (b.register(expected=0, host="other"), b.register(expected=2, host="other"), b.remove(expected=2)):
        with pytest.raises(VersionConflict) as conflict:
            await attempt
        assert conflict.value.facts == {"current_version": 1}
    assert await a.log.end() == first.position


async def test_of_two_replicas_that_expect_the_same_version_one_wins(a: Replica, b: Replica) -> None:
    for round_ in range(10):
        tenant = f"tenant-{round_}"
        outcomes = await asyncio.gather(
            a.register(tenant, expected=0, host="from-a"),
            b.register(tenant, expected=0, host="from-b"),
            return_exceptions=True,
        )

        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Result", "VersionConflict"]
        assert [outcome.facts for outcome in outcomes if isinstance(outcome, VersionConflict)] == [
            {"current_version": 1}
        ]


async def test_of_two_replicas_that_expect_nothing_both_land_in_some_order(a: Replica, b: Replica) -> None:
    for round_ in range(10):
        tenant = f"tenant-{round_}"
        results = await asyncio.gather(a.register(tenant, host="from-a"), b.register(tenant, host="from-b"))

        assert sorted((result.version, result.status) for result in results) == [(1, "registered"), (2, "replaced")]
        later = max(results, key=lambda result: result.version)
        assert isinstance(await a.follower.refresh(tenant), Live)
        assert a.live(tenant).position == later.position
        assert await a.document(tenant) == document_of(a.live(tenant))
        assert await a.password(tenant) == PASSWORD


async def test_many_writers_of_many_tenants_lose_nothing(a: Replica, b: Replica) -> None:
    replicas = (a, b)
    results = await asyncio.gather(*(replicas[each % 2].register(f"tenant-{each}") for each in range(100)))
    last = max((result.position for result in results), key=lambda position: position.seq)

    assert last.seq == 101
    for replica in replicas:
        assert await replica.follower.reached(last)
        assert len(replica.directory) == 100
    assert list(a.directory.live()) == list(b.directory.live())


async def test_removal_destroys_the_data_key_and_with_it_the_password_in_the_log(a: Replica) -> None:
    await a.register()
    before = a.live()
    (wrapped,) = await a.log.data_keys(["acme"])

    await a.remove()

    assert wrapped is not None
    assert list(await a.log.data_keys(["acme"])) == [None]
    with pytest.raises(SecretUnreadable, match="no data key any more"):
        await a.keyring.password(before)


async def test_a_tenant_that_comes_back_gets_another_data_key(a: Replica) -> None:
    await a.register()
    before = a.live()
    await a.remove()

    result = await a.register()

    assert (result.status, result.version) == ("registered", 3)
    assert await a.password() == PASSWORD
    with pytest.raises(SecretUnreadable, match="register the tenant again"):
        await a.keyring.password(before)


async def test_what_is_not_there_cannot_be_removed(a: Replica, b: Replica) -> None:
    with pytest.raises(UnknownTenant):
        await a.remove()
    await a.register()
    await a.remove()
    with pytest.raises(RemovedTenant):
        await b.remove()


async def test_the_password_stands_nowhere_in_redis(a: Replica) -> None:
    await a.register()
    await a.register(host="other")
    await a.register(password=f"{PASSWORD}-2")
    await a.register("beta")
    await a.remove("beta")
    await a.registry.remove("acme", Caller(actor="ann"))
    await a.register()

    everything = await _all_of_redis(a.commands)

    assert b"acme" in everything
    for written in _ways_to_write(PASSWORD):
        assert written not in everything


async def test_a_history_is_told_newest_first(a: Replica, b: Replica) -> None:
    await a.register()
    await b.register("beta")
    await b.register(host="other")
    await a.registry.remove("acme", Caller(actor="ben", reason="moved away"))
    await a.register()

    told = await history_of(a.log, a.live().position.entry, 10)

    assert [(each.event.version, type(each.event).__name__) for each in told] == [
        (4, "TenantRegistered"),
        (3, "TenantRemoved"),
        (2, "TenantRegistered"),
        (1, "TenantRegistered"),
    ]
    assert (told[1].event.actor, told[1].event.reason) == ("ben", "moved away")
    assert [each.event.version for each in await history_of(a.log, a.live().position.entry, 2)] == [4, 3]


async def test_a_history_goes_on_only_from_an_event_of_the_same_tenant(a: Replica) -> None:
    first, other = await a.register(), await a.register("beta")

    assert await is_entry_of(a.log, "acme", first.position.entry)
    for strange in (other.position.entry, "9999999999999-0", "x", "1-1-1", "18446744073709551616-0", "(1-0"):
        assert not await is_entry_of(a.log, "acme", strange), strange


async def test_a_history_whose_entries_are_gone_is_corrupt_and_not_short(a: Replica) -> None:
    first = await a.register()
    await a.register(host="other")
    await a.commands.run("XDEL", STREAM, first.position.entry)

    with pytest.raises(CorruptEntry, match=f"Entry {first.position.entry} is missing"):
        await history_of(a.log, a.live().position.entry, 10)


async def test_of_two_replicas_that_register_ids_differing_in_case_alone_one_is_refused(a: Replica, b: Replica) -> None:
    for each in range(10):
        told = await asyncio.gather(
            a.register(f"tenant-{each}"),
            b.register(f"Tenant-{each}"),
            a.register(f"TENANT-{each}"),
            return_exceptions=True,
        )

        refused = [one for one in told if isinstance(one, InvalidInput)]
        assert len(refused) == 2, told
        (there,) = (name for name in a.directory.names() if name.lower() == f"tenant-{each}")
        assert all(there in error.message for error in refused)


async def test_a_name_that_was_given_up_is_free_in_any_case_and_then_taken(a: Replica, b: Replica) -> None:
    await a.register("Acme")
    with pytest.raises(InvalidInput, match="'Acme'"):
        await b.register("acme")
    await a.remove("Acme")

    await b.register("acme")

    with pytest.raises(InvalidInput, match="'acme'"):
        await a.register("Acme")


async def test_a_log_with_ids_that_differ_in_case_alone_goes_on_with_both(a: Replica) -> None:
    await a.register("acme")
    await a.registry.register("ACME", login(), ANN, beside_twin=True)

    assert (await a.register("ACME", host="other")).status == "replaced"
    assert (await a.register("acme", host="other")).status == "replaced"
    await a.remove("acme")
    with pytest.raises(InvalidInput, match="'ACME'"):
        await a.register("acme")


async def _all_of_redis(redis: RedisClient) -> bytes:
    """Return every key and value, whatever its type."""
    found = []
    for key in await redis.run("KEYS", "*"):
        match await redis.run("TYPE", key):
            case b"string":
                value = await redis.run("GET", key)
            case b"hash":
                value = await redis.run("HGETALL", key)
            case b"stream":
                value = await redis.run("XRANGE", key, "-", "+")
            case other:
                raise AssertionError(other)
        found.append(key + b"=" + str(value).encode())
    return b"\n".join(found)


def _ways_to_write(password: str) -> list[bytes]:
    """Return the password in clear, and what its base64 and hex have in common wherever it begins."""
    raw = password.encode()
    return [raw, raw.hex().encode(), *(base64.b64encode(raw[shift:])[:12] for shift in range(3))]
