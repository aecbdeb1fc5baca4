"""Whether the answers about one tenant can be put into one order that explains them all. Pure.

The search is that of Wing and Gong with Lowe's memory of what was tried, as in porcupine: an operation takes effect at
one instant between its call and its return; one whose outcome is unknown takes effect at any time after its call, or
never. A tenant is a register with a version that each change moves up by one.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import msgspec

_MOST_STEPS = 2_000_000


class Register(msgspec.Struct, frozen=True):
    """A tenant: its version, and its value; None where there is none (any more)."""

    version: int = 0
    value: str | None = None


class Wrote(msgspec.Struct, frozen=True):
    """The answer to a change: the version it led to; `status` is None where only the log tells of it."""

    version: int
    status: Literal["registered", "replaced", "unchanged", "removed"] | None = None


class Found(msgspec.Struct, frozen=True):
    """The answer to a look, or a refusal that tells the same: the tenant is exactly this."""

    register: Register


class WasAt(msgspec.Struct, frozen=True):
    """The refusal of an expected version: the tenant is at this one."""

    version: int


Told: TypeAlias = Wrote | Found | WasAt | None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One operation on the register.

    Attributes:
        action: What was asked for.
        value: What a registration states.
        expected: The version it is for; None: any.
        told: The answer; None: unknown.
        invoked, returned: When it was called, and when it returned (`math.inf` where the outcome is unknown).
        name: What to call it.
    """

    action: Literal["register", "remove", "read"]
    value: str | None = None
    expected: int | None = None
    told: Told = None
    invoked: float
    returned: float = math.inf
    name: str = ""


class Undecided(Exception):
    """The search was given up."""


class _Node:
    """A call, or a return, in the list of what is not placed yet."""

    __slots__ = ("after", "before", "number", "step")

    def __init__(self, number: int, step: Step | None) -> None:
        self.number = number
        self.step = step  # None: a return
        self.before: _Node | None = None
        self.after: _Node | None = None


def apply(register: Register, step: Step) -> Register | None:
    """Return what the register is after the step, or None if the step's answer cannot have been given then."""
    match step.told:
        case Found(seen):
            return register if seen == register else None
        case WasAt(version):
            return register if version == register.version != step.expected else None
        case Wrote():
            return _written(register, step, step.told)
        case None:
            return (_change(register, step) if _is_expected(register, step) else None) or register


def explain(steps: Sequence[Step], most: int = _MOST_STEPS) -> str | None:
    """Return None if the steps are linearizable, and otherwise where every order ends.

    Raises `Undecided` after `most` attempts.
    """
    head = _listed(steps)
    returns = {node.number: node for node in _nodes(head) if node.step is None}
    register, placed = Register(), 0
    tried: set[tuple[int, Register]] = {(placed, register)}
    path: list[tuple[_Node, Register]] = []
    furthest, stuck = -1, ""
    node = head.after
    for _ in range(most):
        if node is None:  # only what may never have happened is left
            return None
        if node.step is not None:
            after = apply(register, node.step)
            attempt = (placed | 1 << node.number, after)
            if after is not None and attempt not in tried:
                tried.add((attempt[0], after))
                path.append((node, register))
                register, placed = after, attempt[0]
                _lift(node, returns.get(node.number))
                node = head.after
            else:
                node = node.after
            continue
        if len(path) > furthest:
            furthest, stuck = len(path), _stuck(steps, node.number, register)
        if not path:
            return stuck
        node, register = path.pop()
        placed &= ~(1 << node.number)
        _unlift(node, returns.get(node.number))
        node = node.after
    raise Undecided(f"{len(steps)} operations, {most} attempts")


def _written(register: Register, step: Step, told: Wrote) -> Register | None:
    after = _change(register, step) if _is_expected(register, step) else None
    if after is None or after.version != told.version:
        return None
    return after if told.status in (None, _status(register, after)) else None


def _is_expected(register: Register, step: Step) -> bool:
    return step.expected in (None, register.version)


def _change(register: Register, step: Step) -> Register | None:
    """Return the register after a change that nothing speaks against; None if there is nothing to remove."""
    if step.action == "register":
        return register if register.value == step.value else Register(register.version + 1, step.value)
    return None if register.value is None else Register(register.version + 1, None)


def _status(before: Register, after: Register) -> str:
    if before == after:
        return "unchanged"
    if after.value is None:
        return "removed"
    return "registered" if before.value is None else "replaced"


def _listed(steps: Sequence[Step]) -> _Node:
    """Put calls and returns into a list by time; of two at one instant the call comes first."""
    events = [(step.invoked, 0, _Node(number, step)) for number, step in enumerate(steps)]
    events += [(step.returned, 1, _Node(number, None)) for number, step in enumerate(steps) if step.returned < math.inf]
    head = last = _Node(-1, None)
    for _, _, node in sorted(events, key=lambda event: event[:2]):
        last.after, node.before = node, last
        last = node
    return head


def _nodes(head: _Node) -> Iterable[_Node]:
    node = head.after
    while node is not None:
        yield node
        node = node.after


def _lift(*nodes: _Node | None) -> None:
    for node in nodes:
        if node is None:
            continue
        if node.before:
            node.before.after = node.after
        if node.after:
            node.after.before = node.before


def _unlift(call: _Node, answer: _Node | None) -> None:
    for node in (answer, call):  # the other way round than they were lifted
        if node is None:
            continue
        if node.before:
            node.before.after = node
        if node.after:
            node.after.before = node


def _stuck(steps: Sequence[Step], number: int, register: Register) -> str:
    step = steps[number]
    return f"{step.name or step.action} was told {step.told}; the tenant is {register} by then in the best order found"
