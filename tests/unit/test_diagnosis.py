"""What has become of the log: every damaged shape has its name, and a healthy log is none of them."""

import pytest

from projections.diagnosis import Finding, diagnose
from projections.directory import Directory
from registry.entries import Epoch, Foreign, Position
from tests.folding import World


@pytest.fixture
async def world() -> World:
    """A log of four tenants."""
    world = World()
    await world.begin()
    for tenant in ("a", "b", "c", "d"):
        await world.register(tenant)
    return world


async def found(world: World, held: Directory) -> Finding:
    finding, end = await diagnose(world.log, held)
    assert end == await world.log.end()
    return finding


async def test_a_log_of_which_everything_was_read_is_caught_up(world: World) -> None:
    assert await found(world, world.survivor()) is Finding.CAUGHT_UP


async def test_a_log_that_went_on_is_caught_up(world: World) -> None:
    held = world.survivor()
    await world.register("e")
    await world.register("f")

    assert await found(world, held) is Finding.CAUGHT_UP


async def test_what_was_trimmed_behind_the_position_does_not_matter(world: World) -> None:
    held = world.survivor()
    world.take_out(1, 2, 3)
    assert await found(world, held) is Finding.CAUGHT_UP

    await world.register("e")
    assert await found(world, held) is Finding.CAUGHT_UP


async def test_the_last_entry_read_may_be_deleted_as_long_as_the_next_names_it(world: World) -> None:
    held = world.survivor()
    world.take_out(5)
    assert await found(world, held) is Finding.CAUGHT_UP

    await world.register("e")
    assert await found(world, held) is Finding.CAUGHT_UP


async def test_a_foreign_entry_is_for_the_fold_to_refuse(world: World) -> None:
    held = world.survivor()
    await world.register("e")
    world.log._entries[5:6] = [Foreign("6-0", "it has no field 'seq'")]

    assert await found(world, held) is Finding.CAUGHT_UP


@pytest.mark.parametrize(
    "taken",
    [
        pytest.param([6], id="the next one"),
        pytest.param([6, 7], id="all that came since"),
        pytest.param([5, 6], id="the last one read and the next"),
        pytest.param([1, 2, 3, 4, 5, 6], id="everything up to the last"),
        pytest.param([1, 2, 3, 4, 5, 6, 7], id="every entry there is"),
        pytest.param([5, 6, 7], id="the last one read and all that came since"),
        pytest.param([3, 5, 6], id="one here and there"),
    ],
)
async def test_entries_that_were_taken_out_behind_the_position_are_a_hole_and_no_loss(
    taken: list[int], world: World
) -> None:
    held = world.survivor()
    await world.register("e")
    await world.register("f")
    world.take_out(*taken)

    finding = await found(world, held)

    assert finding is Finding.RESYNCHRONISED
    assert not finding.is_loss


@pytest.mark.parametrize("kept", [1, 2, 4])
async def test_a_log_that_ends_before_the_position_is_shortened(kept: int, world: World) -> None:
    held = world.survivor()
    _shorten(world, kept)

    assert await found(world, held) is Finding.LOG_SHORTENED


@pytest.mark.parametrize("since", [1, 2, 3, 4, 5])
async def test_a_log_that_was_shortened_and_went_another_way_is_shortened_however_long_it_is(
    since: int, world: World
) -> None:
    held = world.survivor()
    _shorten(world, 3)
    world.directory = Directory()
    await world.catch_up()
    for each in range(since):
        await world.register(f"other-{each}")

    finding = await found(world, held)

    assert finding is Finding.LOG_SHORTENED
    assert finding.is_loss


async def test_a_log_that_went_another_way_is_known_by_its_numbers_when_its_beginning_was_trimmed(world: World) -> None:
    held = world.survivor()
    _shorten(world, 3)
    world.directory = Directory()
    await world.catch_up()
    for each in range(4):
        await world.register(f"other-{each}")
    world.take_out(1, 2, 3)

    assert await found(world, held) is Finding.LOG_SHORTENED


async def test_a_log_that_went_another_way_is_known_by_its_links_where_numbers_and_ids_both_go_on(world: World) -> None:
    held = world.survivor()
    for each in range(4):
        await world.register(f"other-{each}")
    held.position = Position(5, "7-1")

    assert await found(world, held) is Finding.LOG_SHORTENED


async def test_a_log_whose_end_has_a_higher_number_and_a_lower_id_went_another_way(world: World) -> None:
    held = world.survivor()
    held.position = Position(4, "900-0")

    assert await found(world, held) is Finding.LOG_SHORTENED


@pytest.mark.parametrize("tenants", [0, 1, 4, 9])
async def test_another_log_in_the_place_of_ours_is_another_however_long_it_is(tenants: int, world: World) -> None:
    held = world.survivor()
    world.lose_everything()
    await world.begin()
    for each in range(tenants):
        await world.register(f"other-{each}")

    finding = await found(world, held)

    assert finding is Finding.LOG_REPLACED
    assert finding.is_loss


async def test_no_log_is_gone(world: World) -> None:
    held = world.survivor()
    world.lose_stream()

    finding = await found(world, held)

    assert finding is Finding.LOG_GONE
    assert finding.is_loss


async def test_where_nothing_notes_the_epoch_a_log_is_taken_for_the_one_that_was_read(world: World) -> None:
    held = world.survivor()
    world.log._epoch = None
    assert await found(world, held) is Finding.CAUGHT_UP

    _shorten(world, 2)
    assert await found(world, held) is Finding.LOG_SHORTENED


async def test_a_new_epoch_of_the_same_log_is_no_other_log(world: World) -> None:
    held = world.survivor()
    end = await world.log.end()
    assert end is not None
    assert await world.log.note(end, "log_restored.v1", b"{}", opens=Epoch("second", "0-0", "1-0"))

    assert await found(world, held) is Finding.CAUGHT_UP


@pytest.mark.parametrize("finding", Finding)
def test_only_what_may_have_lost_something_is_a_loss(finding: Finding) -> None:
    assert finding.is_loss == finding.startswith("log_")


def _shorten(world: World, kept: int) -> None:
    """Let the log end after so many entries, as after a failover."""
    log = world.log
    del log._entries[kept:]
    last = log._entries[-1]
    assert not isinstance(last, Foreign)
    log._end = last.position
    heads = {name: head for name, head in log._heads.items() if head.position.seq <= kept}
    log._heads = heads
