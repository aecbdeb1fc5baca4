"""What a tenant is after a restoration: which change holds, its password, its data key, its code."""

import pytest

from projections.keyring import Keyring
from registry.chain import events_back
from registry.secrets import Secret
from registry.signing import Signer
from registry.state import Live, Removed
from tests.folding import World
from tests.survivors import MASTER, Survivor, begun, folded, lose_last
from tests.waiting import now


@pytest.fixture
async def world() -> World:
    return await begun()


async def test_a_removal_that_was_lost_holds_against_a_change_by_who_did_not_know_of_it(world: World) -> None:
    survivor = Survivor(world, "one")
    removed = await world.remove("a")
    survivor.held = world.survivor()
    lose_last(world)
    await world.register("a", host="unaware")

    await survivor.restore()

    tenant = (await folded(world)).tenant("a")
    assert isinstance(tenant, Removed)
    assert tenant.version > removed.version


async def test_a_change_that_was_lost_and_one_since_are_both_counted_and_the_later_holds(world: World) -> None:
    survivor = Survivor(world, "one")
    lost = await world.register("a", host="lost")
    survivor.held = world.survivor()
    lose_last(world)
    since = await world.register("a", host="since")
    assert since.version == lost.version

    await survivor.restore()
    end = await world.log.end()

    tenant = (await folded(world)).tenant("a")
    assert isinstance(tenant, Live)
    assert (tenant.config.host, tenant.version) == ("since", lost.version + 1)
    assert tenant.event_id not in {lost.event_id, since.event_id}
    await survivor.restore()
    assert await world.log.end() == end


async def test_an_older_change_in_the_log_gives_way_once_and_not_for_ever(world: World) -> None:
    survivor = Survivor(world, "one")
    world.it_is(1000)
    lost = await world.register("a", host="newer")
    survivor.held = world.survivor()
    lose_last(world)
    world.it_is(500)
    await world.register("a", host="older")

    said = await survivor.restore()

    tenant = (await folded(world)).tenant("a")
    assert said == (1, 0)
    assert isinstance(tenant, Live)
    assert (tenant.config.host, tenant.version) == ("newer", lost.version + 1)


async def test_a_password_that_was_restored_can_be_opened(world: World) -> None:
    key, wrapped = now(MASTER.new_data_key("a"))
    world.log._keys["a"] = wrapped
    await world.register("a", secret=key.seal("a", 2, ("db", 5432, "app", "reader", "prefer", None), Secret("red")))
    survivor = Survivor(world, "one")
    await survivor.keyring.refresh(list(survivor.held.all()))
    world.lose_everything()

    await survivor.restore()

    tenant = (await folded(world)).tenant("a")
    assert isinstance(tenant, Live)
    assert await Keyring(world.log, MASTER).password(tenant) == Secret("red")


async def test_the_data_key_of_a_restored_removal_is_destroyed(world: World) -> None:
    survivor = Survivor(world, "one")
    world.lose_everything()
    world.log._keys["gone"] = now(MASTER.new_data_key("gone"))[1]

    await survivor.restore()

    assert list(await world.log.data_keys(["gone"])) == [None]


async def test_a_tenant_whose_password_is_elsewhere_gets_no_data_key_of_before_when_it_is_restored(
    world: World,
) -> None:
    world.log._keys["a"] = now(MASTER.new_data_key("a"))[1]
    await world.register("a", password_ref="file:a")
    survivor = Survivor(world, "one")
    world.lose_everything()
    world.log._keys["a"] = now(MASTER.new_data_key("a"))[1]

    await survivor.restore()

    assert list(await world.log.data_keys(["a"])) == [None]


async def test_with_a_signing_key_what_is_said_again_is_signed_behind_what_the_log_has(world: World) -> None:
    signer = Signer([("one", b"k" * 32)])
    survivor = Survivor(world, "one", signer)
    world.lose_everything()
    await survivor.restore()

    directory = await folded(world)
    for tenant in directory.all():
        assert isinstance(tenant, Live | Removed)
        async for recorded in events_back(world.log, tenant.position.entry):
            assert signer.check(recorded.event, None) is None
            assert recorded.event.mac == tenant.mac == world.log._heads[tenant.tenant].mac
