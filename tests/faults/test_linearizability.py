"""The search for an order, on histories that have one and on histories that have none."""

import itertools
import math
import random

import msgspec
import pytest

from tests.faults.linearizability import Found, Register, Step, Told, Undecided, WasAt, Wrote, apply, explain


def register(
    value: str, told: Told, invoked: float, returned: float = math.inf, *, expected: int | None = None
) -> Step:
    return Step(
        action="register", value=value, told=told, invoked=invoked, returned=returned, expected=expected, name=value
    )


def remove(told: Told, invoked: float, returned: float = math.inf) -> Step:
    return Step(action="remove", told=told, invoked=invoked, returned=returned, name="removal")


def read(version: int, value: str | None, invoked: float, returned: float) -> Step:
    return Step(action="read", told=Found(Register(version, value)), invoked=invoked, returned=returned, name="look")


def test_one_after_the_other_is_linearizable() -> None:
    steps = [
        register("one", Wrote(1, "registered"), 0, 1),
        register("two", Wrote(2, "replaced"), 2, 3, expected=1),
        register("two", Wrote(2, "unchanged"), 4, 5),
        remove(Wrote(3, "removed"), 6, 7),
        read(3, None, 8, 9),
        register("three", Wrote(4, "registered"), 10, 11),
    ]

    assert explain(steps) is None


def test_two_at_once_may_have_happened_in_either_order() -> None:
    assert explain([register("one", Wrote(2, "replaced"), 0, 5), register("two", Wrote(1, "registered"), 1, 4)]) is None


def test_a_later_call_with_an_earlier_version_is_not_linearizable() -> None:
    wrong = explain([register("one", Wrote(2, "replaced"), 0, 1), register("two", Wrote(1, "registered"), 2, 3)])

    assert wrong is not None
    assert "one" in wrong


def test_two_changes_with_the_same_version_are_not_linearizable() -> None:
    assert explain([register("one", Wrote(1, "registered"), 0, 5), register("two", Wrote(1, "registered"), 1, 4)])


def test_an_acknowledged_change_that_a_later_look_does_not_see_is_not_linearizable() -> None:
    assert explain([register("one", Wrote(1, "registered"), 0, 1), read(0, None, 2, 3)])


def test_a_look_while_a_change_is_under_way_may_see_it_or_not() -> None:
    change = register("one", Wrote(1, "registered"), 0, 5)

    assert explain([change, read(0, None, 1, 2)]) is None
    assert explain([change, read(1, "one", 1, 2)]) is None
    assert explain([change, read(1, "one", 1, 2), read(0, None, 3, 4)])


def test_a_change_without_an_answer_may_never_have_happened() -> None:
    assert explain([register("one", None, 0), read(0, None, 5, 6)]) is None


def test_a_change_without_an_answer_may_happen_much_later_and_only_once() -> None:
    change = register("one", None, 0)

    assert explain([change, read(0, None, 5, 6), read(1, "one", 7, 8)]) is None
    assert explain([change, read(1, "one", 7, 8), read(0, None, 9, 10)])
    assert explain([change, read(1, "one", 5, 6), remove(Wrote(2, "removed"), 7, 8), read(3, "one", 9, 10)])


def test_a_change_does_not_happen_before_it_was_asked_for() -> None:
    assert explain([read(1, "one", 0, 1), register("one", None, 2)])


def test_a_refused_version_must_have_been_another_one_at_some_moment_of_the_call() -> None:
    one = register("one", Wrote(1, "registered"), 0, 1)
    refused = Step(action="read", expected=0, told=WasAt(1), invoked=2, returned=3)

    assert explain([one, refused]) is None
    assert explain([refused])
    assert explain([one, Step(action="read", expected=1, told=WasAt(1), invoked=2, returned=3)])


def test_a_change_for_another_version_than_the_tenants_is_not_linearizable() -> None:
    assert explain([register("one", Wrote(1, "registered"), 0, 1, expected=3)])


def test_a_removal_of_nobody_is_not_linearizable() -> None:
    assert explain([remove(Wrote(1, "removed"), 0, 1)])


def test_the_same_again_that_says_replaced_is_not_linearizable() -> None:
    assert explain([register("one", Wrote(1, "registered"), 0, 1), register("one", Wrote(2, "replaced"), 2, 3)])


def test_a_search_that_takes_too_long_is_given_up_and_does_not_say_that_all_is_well() -> None:
    steps = [register(f"{number}", None, 0) for number in range(30)]

    with pytest.raises(Undecided):
        explain([*steps, read(31, "none of them", 1, 2)], most=1000)


@pytest.mark.parametrize("seed", range(40))
def test_the_search_agrees_with_trying_every_order(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - drawn again from the same seed
    steps = _carried_out(chance)
    lying = [_lie(chance, step) if index == 2 else step for index, step in enumerate(steps)]

    assert explain(steps) is None
    assert _has_an_order(steps)
    assert (explain(lying) is None) == _has_an_order(lying)


def _carried_out(chance: random.Random) -> list[Step]:
    """Carry out six calls that overlap, each at a moment within it, and note what each is told; a third are not."""
    state, steps = Register(), []
    for moment in sorted(chance.uniform(0, 6) for _ in range(6)):
        unknown = chance.random() < 0.3
        invoked = moment - chance.uniform(0, 2)
        returned = math.inf if unknown else moment + chance.uniform(0, 2)
        asked = chance.choice([register(f"v{chance.randrange(2)}", None, invoked), remove(None, invoked)])
        after = apply(state, asked)
        assert after is not None
        told = Found(state) if asked.action == "remove" and state.value is None else Wrote(after.version)
        step = msgspec.structs.replace(asked, told=None if unknown else told, returned=returned)
        steps.append(step)
        state = after
    return steps


def _lie(chance: random.Random, step: Step) -> Step:
    return msgspec.structs.replace(step, told=Wrote(chance.randrange(1, 5)), returned=step.invoked + 1)


def _has_an_order(steps: list[Step]) -> bool:
    """Try every order of every subset that leaves out calls without an answer alone."""
    must = {number for number, step in enumerate(steps) if step.returned < math.inf}
    return any(
        must <= set(order) and _explains([steps[number] for number in order])
        for length in range(len(steps) + 1)
        for order in itertools.permutations(range(len(steps)), length)
    )


def _explains(order: list[Step]) -> bool:
    register: Register | None = Register()
    latest = -math.inf
    for step in order:
        if latest > step.returned:
            return False
        latest = max(latest, step.invoked)
        register = apply(register, step) if register else None
    return register is not None
