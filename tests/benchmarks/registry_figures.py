"""The figures of the registry that docs/guarantees.md prints, measured: `make figures`, or some of them by name.

Each is measured where its guarantee is kept: appends through the registry's own objects, starts of one replica's read
side, and what several replicas do together on real `serve` processes. Machines are noisy: a bare XADD is timed in the
same rounds as a yardstick, and no figure is asserted anywhere.
"""

import argparse
import asyncio
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
import uvloop

from projections.rebuild import PAGE, Rebuilder
from projections.tenant_keys import TenantKeys
from registry import codec
from registry.appender import Appender
from registry.entries import START, AsOf, Entry, Position
from registry.events import LogCreated, SealedSecret, TenantConfig, TenantRegistered
from registry.log import Appended, Proposal, SetKey
from registry.names import Names
from registry.redis_client import RedisClient
from registry.redis_log import RedisLog
from registry.state import Live, Tenant, evolve
from registry.stored import proposed_head
from server.embedded.sockets import free_port
from server.master_keys import load_master_keys, make_key_file
from tests.benchmarks.load.filling import fill
from tests.open_valkey import OpenValkey
from tests.processes import COMMAND, Process, clean, eventually

NAMES: Final = Names()
Figure: TypeAlias = Callable[[str], Awaitable[None]]


def tell(what: str, **values: object) -> None:
    """Print one line of the table."""
    print(f"{what:<58}" + "  ".join(f"{name} {value}" for name, value in values.items()), flush=True)  # noqa: T201 - what it is for


def milliseconds(seconds: Sequence[float]) -> dict[str, str]:
    """Return the median and the 99th percentile, as texts."""
    ordered = sorted(seconds)
    return {
        "p50": f"{statistics.median(ordered) * 1000:.2f} ms",
        "p99": f"{ordered[int(len(ordered) * 0.99)] * 1000:.2f} ms",
    }


class Writer:
    """Fills a log with registrations as fast as it goes, and remembers what it wrote."""

    def __init__(self, client: RedisClient) -> None:
        self.log = RedisLog(client, client, NAMES)
        self._appender = Appender(self.log)
        self.tenants: dict[str, Tenant] = {}
        self.start = START

    async def begin(self) -> None:
        first = LogCreated(event_id=uuid.uuid4().hex, time=datetime.now(UTC), actor="figures", epoch="figures")
        position = await self.log.create(codec.type_of(first), codec.encode(first), first.epoch)
        assert position is not None
        self.start = position

    def proposal(self, name: str) -> tuple[Tenant, Proposal]:
        before = self.tenants.get(name)
        event_id = uuid.uuid4().hex
        event = TenantRegistered(
            event_id=event_id,
            time=datetime.now(UTC),
            actor="figures",
            tenant=name,
            version=(before.version if before else 0) + 1,
            command_id=event_id,
            digest=f"k20261124:{event_id}",
            previous=before.position.entry if before else None,
            config=TenantConfig(host=f"db-{hash(name) % 50}.example.com", database="app", user="reader"),
            secret=SealedSecret(key="9c1f04aa", version=1, sealed="A" * 60),
        )
        after = evolve(before, event, START)
        assert isinstance(after, Live)
        return after, Proposal(
            tenant=name,
            expected=before.position.seq if before else 0,
            after=self.start,
            type=codec.type_of(event),
            data=codec.encode(event),
            head=proposed_head(after),
            key=SetKey(f"v1|9c1f04aa|k1|{'A' * 80}"),
        )

    async def append(self, names: Sequence[str]) -> Position:
        proposed = [self.proposal(name) for name in names]
        outcomes = await self.log.append([proposal for _, proposal in proposed])
        position = START
        for (after, _), outcome in zip(proposed, outcomes, strict=True):
            assert isinstance(outcome, Appended), outcome
            position = outcome.position
            self.tenants[after.tenant] = msgspec.structs.replace(after, position=position)
        return position

    async def commit(self, name: str) -> None:
        """Append one event, together with those of other writers in this process."""
        after, proposal = self.proposal(name)
        outcome = await self._appender.append(proposal)
        assert isinstance(outcome, Appended), outcome
        self.tenants[name] = msgspec.structs.replace(after, position=outcome.position)

    async def fill(self, tenants: int, events: int) -> None:
        for start in range(0, events, 200):
            await self.append([f"tenant-{number % tenants:06d}" for number in range(start, min(start + 200, events))])


@asynccontextmanager
async def emptied(url: str) -> AsyncIterator[RedisClient]:
    """A client of a Redis with nothing in it, before and afterwards."""
    client = RedisClient.from_url(url, timeout=60.0)
    await client.run("FLUSHALL")
    try:
        yield client
    finally:
        await client.run("FLUSHALL")
        await client.close()


async def append(url: str) -> None:
    """Append with 1, 8 and 32 writers, each on tenants of its own, beside bare XADDs of the same bytes."""
    for writers in (1, 8, 32):
        ours: list[float] = []
        bare: list[float] = []
        for _ in range(5):
            async with emptied(url) as client:
                writer = Writer(client)
                await writer.begin()
                ours += await _timed(writers, lambda each, w=writer: w.commit(f"tenant-{each}"))  # type: ignore[misc]  # a default, bound now
                data = writer.proposal("tenant-0")[1].data
                words = ("XADD", "bare", "*", "type", "t", "seq", "1", "prev", "0-0", "data", data)
                bare += await _timed(writers, lambda _each, c=client, w=words: c.run(*w))  # type: ignore[misc]  # the same
        tell(f"append, {writers} writers", **milliseconds(ours))
        tell(f"  bare XADD, {writers} writers", **milliseconds(bare))


async def _timed(writers: int, work: Callable[[int], Awaitable[object]]) -> list[float]:
    spent: list[float] = []

    async def write(number: int) -> None:
        for _ in range(640 // writers):
            begun = time.perf_counter()
            await work(number)
            spent.append(time.perf_counter() - begun)

    await asyncio.gather(*(write(number) for number in range(writers)))
    return spent


async def start(url: str) -> None:
    """Start from 100,000 tenants and 1,000,000 events, by cut and by full replay; memory of a tenant."""
    async with emptied(url) as client:
        writer = Writer(client)
        await writer.begin()
        await writer.fill(100_000, 1_000_000)
        keys = TenantKeys(client, NAMES)
        log = writer.log
        cut = await log.cut()
        assert cut.end is not None
        assert cut.epoch is not None
        await keys.repair(tuple(writer.tenants.values()), AsOf(cut.epoch, cut.end))
        writer.tenants = {}
        for full in (False, True):
            name = "full replay of 1,000,000 events" if full else "cut of 100,000 tenants"
            for _ in range(3):
                gc.collect()
                wall, cpu = await _spent(Rebuilder(log, keys, full_replay=full).rebuild())
                rate = {"rate": f"{1e6 / wall:,.0f} events/s"} if full else {}
                tell(f"start by {name}", wall=f"{wall:.2f} s", cpu=f"{cpu:.2f} s", **rate)
            tell(f"  memory after {name}", **await _held(log, keys, full=full))
        wall, cpu = await _spent(_decoded(log))
        tell("  to read and decode 1,000,000 events, no more", wall=f"{wall:.2f} s", cpu=f"{cpu:.2f} s")


async def _spent(work: Awaitable[object]) -> tuple[float, float]:
    """Return how many seconds the work took, and how many of them this process was busy."""
    before, begun = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    await work
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


async def _held(log: RedisLog, keys: TenantKeys, *, full: bool) -> dict[str, str]:
    """Return the bytes a tenant that a start leaves, and how many there were at most on the way, as Python counts."""
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    rebuilt = await Rebuilder(log, keys, full_replay=full).rebuild()
    gc.collect()
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    tenants = len(rebuilt.directory)
    return {"held": f"{(held - before) / tenants:.0f} B/tenant", "peak": f"{(peak - before) / tenants:.0f} B/tenant"}


async def _decoded(log: RedisLog) -> None:
    """Do what no replay can do without: read every entry and decode it."""
    at = START
    while entries := await log.read(at, PAGE):
        for entry in entries:
            assert isinstance(entry, Entry)
            codec.decode(entry)
            at = entry.position


@contextmanager
def serving(url: str, replicas: int, folder: Path, **environment: str) -> Iterator[list[Process]]:
    """Real replicas on one key file, ready."""
    key = folder / f"{uuid.uuid4().hex}.key"
    subprocess.run([COMMAND, "keys", "new", "--out", key], check=True, capture_output=True)
    with ExitStack() as stack:
        started = []
        for number in range(replicas):
            port, log = free_port(), folder / f"{uuid.uuid4().hex}-{number}.log"
            env = clean(
                {"REDIS_URL": url, "MCP_POSTGRES_KEY_FILE": str(key), "MCP_POSTGRES_LOG_FORMAT": "json", **environment}
            )
            popen = subprocess.Popen(
                [COMMAND, "serve", "--port", str(port)], env=env, stdout=log.open("wb"), stderr=subprocess.STDOUT
            )
            started.append(Process(port=port, log=log, popen=popen))
            stack.callback(started[-1].stop)
        for process in started:
            process.wait_ready()
        yield started


async def applied(url: str) -> None:
    """From the moment that an append is sent to the moment that 1 and 8 other replicas have applied it."""
    for replicas in (1, 8):
        async with emptied(url) as client:
            with (
                tempfile.TemporaryDirectory() as folder,
                serving(url, replicas, Path(folder), MCP_POSTGRES_LOG_LEVEL="debug") as started,
            ):
                sent = await _trickle(client)
                await asyncio.sleep(1)
                spent = [
                    seen - sent[position]
                    for process in started
                    for position, seen in _seen(process)
                    if position in sent
                ]
        tell(f"append sent to applied, {replicas} replicas", **milliseconds(spent), samples=len(spent))


async def _trickle(client: RedisClient) -> dict[str, float]:
    """Append 500 events, one each 10 ms; return when each was sent, by its position."""
    writer = Writer(client)
    end = await writer.log.end()
    assert end is not None
    writer.start = end
    sent = {}
    for number in range(500):
        await asyncio.sleep(0.01)
        begun = time.time()
        sent[str(await writer.append([f"tenant-{number}"]))] = begun
    return sent


def _seen(process: Process) -> list[tuple[str, float]]:
    lines = [json.loads(line) for line in process.log.read_text().splitlines() if '"applied"' in line]
    return [(each["position"], datetime.fromisoformat(each["timestamp"]).timestamp()) for each in lines]


async def restore(url: str) -> None:
    """Flush a log of 10,000 tenants under two replicas: until one has seen it, and until both have restored it."""
    async with emptied(url) as client:
        with tempfile.TemporaryDirectory() as folder, serving(url, 2, Path(folder)) as started:
            await asyncio.to_thread(_register, started, 10_000)
            for _ in range(3):
                await asyncio.sleep(2)
                begun = time.time()
                await client.run("FLUSHALL")
                await asyncio.to_thread(_wait_restored, started, begun)
                moments = [moment for process in started for moment in _moments(process) if moment[1] >= begun]
                seen = min(at for event, at in moments if event == "log does not link") - begun
                done = max(at for event, at in moments if event == "registry following") - begun
                tell("flushed log of 10,000 tenants", detected=f"{seen:.2f} s", restored=f"{done:.2f} s")


def _register(started: Sequence[Process], tenants: int) -> None:
    def register(number: int) -> None:
        started[number % len(started)].call(
            "register_tenant", tenant_id=f"t{number}", host="db", database="d", user="u", password="p", verify=False
        )

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(register, range(tenants)))


def _wait_restored(started: Sequence[Process], since: float) -> None:
    def restored() -> bool:
        return all(
            any(event == "registry following" and at >= since for event, at in _moments(process)) for process in started
        )

    eventually(restored, "the log was not restored")


def _moments(process: Process) -> list[tuple[str, float]]:
    told = [json.loads(line) for line in process.log.read_text().splitlines() if '"tool call"' not in line]
    return [(each["event"], datetime.fromisoformat(each["timestamp"]).timestamp()) for each in told]


async def removal(url: str) -> None:
    """Remove tenants on one of three replicas, until all three have confirmed it."""
    async with emptied(url):
        with tempfile.TemporaryDirectory() as folder, serving(url, 3, Path(folder)) as started:
            await asyncio.to_thread(_register, started, 200)
            await asyncio.sleep(1)
            spent = []
            for number in range(200):
                begun = time.perf_counter()
                answer = await asyncio.to_thread(started[0].call, "remove_tenant", tenant_id=f"t{number}")
                spent.append(time.perf_counter() - begun)
                assert len(answer["confirmed"]) == 3, answer
        tell("removal confirmed by 3 replicas", **milliseconds(spent))


async def first_call(url: str) -> None:
    """From the exec of `serve` to the answer of its first call, with one tenant and with 100,000."""
    for tenants in (1, 100_000):
        async with emptied(url):
            with tempfile.TemporaryDirectory() as folder:
                key = Path(folder, "figures.key")
                make_key_file(key)
                await fill(url, load_master_keys(key), tenants)
                spent = [await asyncio.to_thread(_until_answered, url, key, Path(folder)) for _ in range(7)]
        wall, cpu = (statistics.median(each) for each in zip(*spent, strict=True))
        tell(f"exec to first answer, {tenants:,} tenants", p50=f"{wall:.2f} s", cpu=f"{cpu:.2f} s")


def _until_answered(url: str, key: Path, folder: Path) -> tuple[float, float]:
    """Return how many seconds a new process took to answer, and how many of them it was busy."""
    port, log = free_port(), folder / f"{uuid.uuid4().hex}.log"
    env = clean({"REDIS_URL": url, "MCP_POSTGRES_KEY_FILE": str(key)})
    begun = time.perf_counter()
    popen = subprocess.Popen(
        [COMMAND, "serve", "--port", str(port)], env=env, stdout=log.open("wb"), stderr=subprocess.STDOUT
    )
    process = Process(port=port, log=log, popen=popen)
    try:
        eventually(lambda: _answers(process), "it did not answer")
        wall = time.perf_counter() - begun
        ticks = Path(f"/proc/{popen.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return wall, sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    finally:
        process.stop()


def _answers(process: Process) -> bool:
    try:
        return "tenant_id" in process.call("get_tenant", tenant_id="idle-000000")
    except OSError:
        return False


FIGURES: Final[dict[str, Figure]] = {
    figure.__name__: figure for figure in (append, applied, first_call, removal, restore, start)
}


async def main(chosen: Sequence[str]) -> None:
    """Measure what was chosen on a Valkey of our own."""
    with tempfile.TemporaryDirectory() as folder:
        async with OpenValkey(Path(folder), port=free_port()) as valkey:
            for name in chosen:
                await FIGURES[name](valkey.url)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", nargs="*", choices=[*FIGURES, []], help="all, if none is named")
    uvloop.run(main(parser.parse_args().figures or tuple(FIGURES)))
    sys.exit(0)
