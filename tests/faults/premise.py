"""What keeps the premise of the guarantee true: while Redis forgets, somebody lives who had read what it forgets.

A replica may be frozen or cut off at any time: it lives, and holds what it had read. One that is killed must not be the
only one that had read something: so a kill waits until all have got over the last loss, and a loss waits until the
others have read all that the killed one wrote.
"""

from collections.abc import Collection, Iterable
from typing import Any, Final

import redis

from registry.entries import START, Position
from registry.names import Names
from tests.faults.history import Complained
from tests.faults.world import Replica, World, await_

NAMES: Final = Names()
_WITHIN: Final = 25.0


def those_there(world: World) -> list[Replica]:
    """Return the replicas that nothing has befallen at the moment."""
    return [replica for replica in world.replicas if replica.name not in world.away]


def await_settled(world: World, after: str) -> None:
    """Wait until those that are there follow the log and hold all that it held a moment ago.

    That they never do is told as a complaint, and is wrong by itself; the run goes on.
    """
    _await(world, lambda end: _all_at(world, those_there(world), end), f"not all followed the log after: {after}")


def await_all_settled(world: World, after: str) -> None:
    """The same of all of them, once they are back."""
    _await(
        world, lambda end: not world.away and _all_at(world, world.replicas, end), f"not all came back after: {after}"
    )


def await_halted(world: World, replicas: Collection[Replica], entry: str) -> None:
    """Wait until those of `replicas` that are still there have halted and name the entry.

    One that comes back or starts meanwhile may have got past it from heads and keys, behind a hole.
    """

    def have_halted(_end: Position) -> bool:
        told = [replica.readiness() for replica in those_there(world) if replica in replicas]
        return all(each.get("phase") == "halted" and entry in (each.get("reason") or "") for each in told)

    _await(world, have_halted, f"not all halted because of the foreign entry {entry}")


def await_mended(world: World, what: str, mended: Any) -> None:  # noqa: ANN401 - a condition of a client
    """Wait until `mended(client)` is true."""

    def is_mended(_end: Position) -> bool:
        with world.redis.client() as client:
            return bool(mended(client))

    _await(world, is_mended, f"never mended: {what}")


def end_of_log(world: World) -> Position | None:
    """Return where the log ends; None if there is none, or Redis does not answer."""
    try:
        with world.redis.client() as client:
            info = client.xinfo_stream(NAMES.stream)
    except redis.RedisError:
        return None
    return Position(info["entries-added"], info["last-generated-id"].decode())


def _await(world: World, true: Any, otherwise: str) -> None:  # noqa: ANN401 - a condition given where the log ended
    end: list[Position] = []

    def is_true() -> bool:
        if not end:
            end.extend(filter(None, [end_of_log(world)]))
        return bool(true(end[0] if end else START)) and bool(end)

    try:
        await_(is_true, otherwise, _WITHIN)
    except TimeoutError as error:
        world.recorder.tell(Complained(replica="all", life=0, line=str(error)))


def _all_at(world: World, replicas: Iterable[Replica], end: Position) -> bool:
    told = [replica.readiness() for replica in replicas]
    if any(each.get("phase") != "following" for each in told):
        return False
    positions = [Position.parse(each["position"]) for each in told]
    return all(position.seq >= end.seq and _holds(world, position) for position in positions)


def _holds(world: World, position: Position) -> bool:
    """Whether the log, as it is now, ever came by the position."""
    if end_of_log(world) == position:
        return True
    with world.redis.client() as client:
        found = client.xrange(NAMES.stream, position.entry, position.entry)
    return bool(found) and found[0][1].get(b"seq") == str(position.seq).encode()
