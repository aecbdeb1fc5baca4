"""An entry that cannot be read, or that somebody else wrote, halts a replica until it was taken out."""

import re
from pathlib import Path

import pytest

from projections.phase import Phase
from registry.entries import START
from registry.errors import (
    CorruptEntry,
)
from tests.two_replicas import STREAM, Replica, Start, eventually


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(("note", "hello"), id="foreign"),
        pytest.param(
            ("type", "tenant_renamed.v1", "seq", "3", "prev", "{last}", "data", "{}"), id="of a newer version"
        ),
        pytest.param(("type", "tenant_removed.v1", "seq", "3", "prev", "{last}", "data", "{"), id="damaged"),
    ],
)
async def test_an_entry_that_cannot_be_read_halts_the_replica_and_is_named(
    fields: tuple[str, ...], a: Replica, redis_url: str, start: Start
) -> None:
    last = await a.register()
    words = [word.replace("{last}", last.position.entry) for word in fields]
    added = (await a.commands.run("XADD", STREAM, "*", *words)).decode()

    await a.reaches(Phase.HALTED)
    late = await start(redis_url, ready=False)
    await late.reaches(Phase.HALTED)

    for replica in (a, late):
        assert added in str(replica.follower.status.reason)
        assert not replica.follower.status.ready
        with pytest.raises(CorruptEntry, match=added):
            await replica.register(host="other")
    assert a.follower.position == last.position
    assert a.live().config.host == "db"
    assert late.follower.position == START


async def test_a_foreign_entry_halts_also_a_replica_that_got_over_a_hole_by_heads_and_keys(
    a: Replica, redis_url: str, start: Start
) -> None:
    first = await a.register()
    await a.register(host="other")
    await a.commands.run("XDEL", STREAM, first.position.entry)
    late = await start(redis_url)

    added = (await a.commands.run("XADD", STREAM, "*", "hello", "world")).decode()

    await late.reaches(Phase.HALTED)
    assert added in str(late.follower.status.reason)


async def test_a_halted_replica_goes_on_once_the_entry_that_halted_it_was_taken_out(
    a: Replica, redis_url: str, start: Start
) -> None:
    await a.register()
    added = (await a.commands.run("XADD", STREAM, "*", "note", "hello")).decode()
    late = await start(redis_url, ready=False)
    for replica in (a, late):
        await replica.reaches(Phase.HALTED)

    await a.commands.run("XDEL", STREAM, added)

    for replica in (a, late):
        await replica.reaches(Phase.FOLLOWING)
        assert replica.follower.status.ready
    assert (await a.register(host="other")).version == 2
    await eventually(lambda: late.live().config.host == "other")


async def test_the_operators_way_to_remove_a_foreign_entry_brings_every_replica_back(
    a: Replica, redis_url: str, start: Start
) -> None:
    await a.register()
    added = (await a.commands.run("XADD", STREAM, "*", "hello", "world")).decode()
    await a.reaches(Phase.HALTED)
    told = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    (words,) = re.findall(r"redis-cli (XDEL .*) ID\n", told)

    await a.commands.run(*words.split(), added)

    await a.reaches(Phase.FOLLOWING)
    restarted = await start(redis_url)
    assert restarted.live().version == 1
    assert (await restarted.register(host="other")).version == 2
    await eventually(lambda: a.live().config.host == "other")
