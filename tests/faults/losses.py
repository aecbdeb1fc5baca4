"""The faults by which Redis forgets, or is changed by hand: a second table, for runs of its own.

Each waits until those replicas that are there have read all, does it, and then waits until they have got over it, so
that one loss comes after the other. Meanwhile one replica may be frozen, cut off or, where others have read all that
it had, killed: see `tests/faults/premise.py`. Where the replicas wait for an operator, one lets them restore.
"""

import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from registry import codec
from tests.faults.aof import stream_in
from tests.faults.breakages import FAULTS, Breakage, Fault
from tests.faults.history import Complained, Lost
from tests.faults.premise import (
    NAMES,
    await_all_settled,
    await_halted,
    await_mended,
    await_settled,
    end_of_log,
    those_there,
)
from tests.faults.workload import TENANTS
from tests.faults.world import World, await_
from tests.processes import run_command

if TYPE_CHECKING:
    import redis

Deed: TypeAlias = Callable[[World, random.Random], str]
"""Makes Redis forget, and returns what replicas must name in what they say of it, if anything."""
_LOSS: Final = ("log_gone", "log_replaced", "log_shortened")
_ENOUGH_LOST: Final = 3
_MOVES_WITHIN: Final = 20.0


def _flush(world: World, _chance: random.Random) -> str:
    with world.redis.client() as client:
        client.flushall()
    return ""


def _delete_stream(world: World, _chance: random.Random) -> str:
    with world.redis.client() as client:
        client.delete(NAMES.stream)
    return ""


def _start_empty(world: World, _chance: random.Random) -> str:
    world.redis.kill()
    _remember(world)
    shutil.rmtree(world.redis.appended)
    world.redis.start()
    return ""


def _fall_back(world: World, _chance: random.Random) -> str:
    """Put all of Redis back to a moment before."""
    before = world.folder / "redis-before"
    shutil.copytree(world.redis.appended, before, dirs_exist_ok=True)
    _await_more(world)
    world.redis.kill()
    _remember(world)
    shutil.rmtree(world.redis.appended)
    before.rename(world.redis.appended)
    world.redis.start()
    return ""


def _cut_short(world: World, chance: random.Random) -> str:
    """Take the end off the append-only file, in the middle of a command, as a full or broken disk does."""
    whole = _file(world).stat().st_size
    _await_more(world)
    world.redis.kill()
    _remember(world)
    with _file(world).open("rb+") as file:
        file.truncate(whole + chance.randrange(1, 20))
    world.redis.start()
    return ""


def _trim(world: World, chance: random.Random) -> str:
    with world.redis.client() as client:
        client.xtrim(NAMES.stream, maxlen=chance.choice((0, 1, 5, 50)), approximate=False)
    return ""


def _delete_middle(world: World, chance: random.Random) -> str:
    with world.redis.client() as client:
        entries = client.xrevrange(NAMES.stream, count=50)
        if entries:
            client.xdel(NAMES.stream, chance.choice(entries)[0])
    return ""


def _delete_last(world: World, _chance: random.Random) -> str:
    with world.redis.client() as client:
        for entry, _ in client.xrevrange(NAMES.stream, count=1):
            client.xdel(NAMES.stream, entry)
    return ""


def _add_foreign(world: World, _chance: random.Random) -> str:
    """Add an entry as nobody of us would, and take it out when everybody has named it, as an operator would."""
    tailing = those_there(world)
    with world.redis.client() as client:
        entry = client.xadd(NAMES.stream, {"hello": "world"})
        await_halted(world, tailing, entry.decode())
        client.xdel(NAMES.stream, entry)
    return str(entry.decode())


def _edit_key(world: World, chance: random.Random) -> str:
    tenant = chance.choice(TENANTS)
    key, edited = NAMES.tenant(tenant), chance.choice((b"", b"{", b'{"tenant_id":"other","host":"elsewhere"}'))
    with world.redis.client() as client:
        client.set(key, edited) if edited else client.delete(key)

    def mended(client: "redis.Redis") -> bool:
        found = client.get(key)
        return found not in (None, edited) if _lives(client, tenant) else found is None

    await_mended(world, f"the key of {tenant}, made {edited!r}", mended)
    return ""


def _edit_head(world: World, chance: random.Random) -> str:
    edited = chance.choice((b"", b"edited"))
    with world.redis.client() as client:
        tenants = sorted(client.hkeys(NAMES.heads))
        if not tenants:
            return ""
        tenant = chance.choice(tenants)
        client.hset(NAMES.heads, tenant, edited) if edited else client.hdel(NAMES.heads, tenant)
    await_mended(
        world,
        f"the head of {tenant!r}, made {edited!r}",
        lambda client: client.hget(NAMES.heads, tenant) not in (None, edited),
    )
    return ""


def _losing(kind: str, deed: Deed, told_by: tuple[str, ...] = ()) -> Breakage:
    """Return the breakage that does the deed and waits until all have got over it."""

    @contextmanager
    def breaks(world: World, chance: random.Random) -> Iterator[str]:
        with world.premise:
            await_settled(world, f"what came before {kind}")
            begun, about = world.recorder.now(), deed(world, chance)
            healed = world.recorder.now()
            try:
                yield "redis"
            finally:
                permitted = _permit(world) if _waits_for_operator(world) else None
                await_settled(world, kind)
                if permitted is not None:
                    _withdraw(world)
                settled = world.recorder.now()
                world.recorder.tell(
                    Lost(
                        kind=kind,
                        told_by=told_by,
                        about=about,
                        begun=begun,
                        healed=healed,
                        permitted=permitted,
                        settled=settled,
                    )
                )

    return breaks


def _by_hand(kind: str, deed: Deed) -> Breakage:
    """Return the breakage that edits what is kept beside the log, while nobody is away or starts.

    What one who starts just then is told by an edited head, nobody has ever promised to know better.
    """

    @contextmanager
    def breaks(world: World, chance: random.Random) -> Iterator[str]:
        with world.premise, world.steady:
            await_all_settled(world, f"what came before {kind}")
            begun = world.recorder.now()
            deed(world, chance)
            mended = world.recorder.now()
            world.recorder.tell(Lost(kind=kind, told_by=(), begun=begun, healed=mended, settled=mended))
            yield "redis"

    return breaks


def _away(inner: Breakage) -> Breakage:
    """Return a breakage of one replica that lives on, and so goes on holding what it had read."""

    @contextmanager
    def breaks(world: World, chance: random.Random) -> Iterator[str]:
        with ExitStack() as stack:
            with world.steady:
                name = stack.enter_context(inner(world, chance))
                world.away.add(name)
            try:
                yield name
            finally:
                stack.close()
                _await_back(world, name)

    return breaks


def _killed(inner: Breakage) -> Breakage:
    """Return a breakage that kills one replica, when the others hold, or have time to read, all that it held."""

    @contextmanager
    def breaks(world: World, chance: random.Random) -> Iterator[str]:
        with ExitStack() as stack:
            with world.premise, world.steady:
                await_settled(world, "what came before a kill")
                name = stack.enter_context(inner(world, chance))
                world.away.add(name)
                await_settled(world, "a kill")
            try:
                yield name
            finally:
                stack.close()
                _await_back(world, name)

    return breaks


def _await_back(world: World, name: str) -> None:
    """Wait until the replica follows the log; one that waits for an operator is told of when it never does."""
    (replica,) = (each for each in world.replicas if each.name == name)
    try:
        await_(lambda: replica.readiness().get("phase") == "following", f"replica {name} never came back")
    except TimeoutError as error:
        world.recorder.tell(Complained(replica=name, life=0, line=str(error)))
    world.away.discard(name)


def _await_more(world: World) -> None:
    """Wait until a few more entries were added, and those that are there have read them: something is lost then."""
    before = end_of_log(world)
    assert before is not None

    def has_more() -> bool:
        end = end_of_log(world)
        return end is not None and end.seq >= before.seq + _ENOUGH_LOST

    await_(has_more, "clients change nothing any more", _MOVES_WITHIN)
    await_settled(world, "some more changes")


def _remember(world: World) -> None:
    """Note what the files say that Redis is about to lose."""
    world.ever += stream_in(world.redis.home, NAMES.stream).ever


def _file(world: World) -> Path:
    return max(world.redis.appended.glob("*.incr.aof"))


def _lives(client: "redis.Redis", tenant: str) -> bool:
    head = client.hget(NAMES.heads, tenant)
    return isinstance(head, bytes) and codec.decode_head(head).alive


def _waits_for_operator(world: World) -> bool:
    return world.settings.get("MCP_POSTGRES_ON_LOG_LOSS") == "halt"


def _permit(world: World) -> float:
    """Let the replicas restore, as an operator does; return when."""
    at = world.recorder.now()
    told = run_command("log", "restore", env={"REDIS_URL": f"redis://127.0.0.1:{world.redis.port}/0"})
    assert told.returncode == 0, told.stderr
    return at


def _withdraw(world: World) -> None:
    """Take the permission back when all have got over it, or the next loss would be restored by it, too."""
    await_all_settled(world, "an operator let them restore")
    with world.redis.client() as client:
        client.delete(NAMES.permission)


def _row(kind: str, deed: Deed, told_by: tuple[str, ...] = (), weight: int = 1) -> Fault:
    return Fault(group="redis", breaks=_losing(kind, deed, told_by), lasts=(0.0, 0.0), weight=weight)


def _edit(kind: str, deed: Deed) -> Fault:
    return Fault(group="redis", breaks=_by_hand(kind, deed), lasts=(0.0, 0.0))


def _of_one(kind: str, wrap: Callable[[Breakage], Breakage]) -> Fault:
    """Return the fault of the first table as one of a process, so that it comes together with those of Redis."""
    return msgspec.structs.replace(FAULTS[kind], group="process", breaks=wrap(FAULTS[kind].breaks))


LOSSES: Final[Mapping[str, Fault]] = {
    "FLUSHALL": _row("FLUSHALL", _flush, _LOSS, weight=2),
    "DEL of the stream": _row("DEL of the stream", _delete_stream, _LOSS),
    "Redis started empty": _row("Redis started empty", _start_empty, _LOSS),
    "Redis set back": _row("Redis set back", _fall_back, _LOSS, weight=3),
    "file cut short": _row("file cut short", _cut_short, _LOSS, weight=2),
    "XTRIM": _row("XTRIM", _trim),
    "XDEL in the middle": _row("XDEL in the middle", _delete_middle),
    "XDEL of the last": _row("XDEL of the last", _delete_last),
    "foreign XADD": _row("foreign XADD", _add_foreign, ("registry halted",)),
    "key edited": _edit("key edited", _edit_key),
    "head edited": _edit("head edited", _edit_head),
    "kill -9 of a replica": _of_one("kill -9 of a replica", _killed),
    "freeze of a replica": _of_one("freeze of a replica", _away),
    "black hole": _of_one("black hole", _away),
    "reset": _of_one("reset", _away),
    "reply dropped": _of_one("reply dropped", _away),
}
"""All that makes Redis forget, and what may befall one replica at the same time, by the name that reports use."""

WAITING: Final[Mapping[str, Fault]] = {
    kind: msgspec.structs.replace(fault, lasts=(1.0, 2.5)) if fault.group == "redis" else fault
    for kind, fault in LOSSES.items()
    if kind != "kill -9 of a replica"  # one that starts where the log is gone begins a log of its own
}
"""The same where the replicas wait for an operator, who takes his time."""
