"""The life of a log on a real Redis: signed, verified, exported, imported, mended and compacted, while replicas run."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import msgspec
import pytest

from projections.compaction import Compactor, Plan, PublishedReplicas
from projections.exporting import Exporter
from projections.importing import FileRead, Importer, read_file
from projections.inspection import Inspected
from projections.mending import Mended, Mender
from projections.replicas import Identity, Whereabouts, line_of
from registry.archive import Archive, Import
from registry.entries import Epoch, Position
from registry.errors import CorruptEntry, InvalidInput, LogDiverged, RegistryUnavailable
from registry.names import Names
from registry.redis_client import RedisClient
from registry.secrets import MasterKeys, new_master_key
from registry.signing import Signer
from registry.verify import Finding
from server.first_read import first_read
from server.log_access import LogAccess, open_log
from server.log_files import writing
from server.log_tail import Tail, Told
from server.principal import Principal
from server.replica import Replica, open_replica
from server.settings import Settings
from server.toolbox import Call

NAMES: Final = Names()
STREAM: Final = NAMES.stream
TICKS: Final = 500

Files: TypeAlias = dict[str, Any]
"""Settings that name key files."""


class Open(Protocol):
    """Starts a replica."""

    async def __call__(self, **settings: Any) -> Replica: ...  # noqa: ANN401 - any setting


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """The key files of one test."""
    paths = {"key_file": tmp_path / "master.key", "signing_key_file": tmp_path / "signing.key"}
    for name, path in paths.items():
        path.write_text(new_master_key(name.split("_", 1)[0]) + "\n")
        path.chmod(0o600)
    return paths


@pytest.fixture
async def access(redis_url: str, files: Files) -> AsyncIterator[LogAccess]:
    """An operator's hold on the log, with all keys."""
    async with open_log(Settings(redis_url=redis_url, **files)) as access:
        yield access


@pytest.fixture
async def redis(access: LogAccess) -> RedisClient:
    """A client for whoever changes Redis by hand."""
    return access.redis


@pytest.fixture
async def start(redis_url: str, files: Files) -> AsyncIterator[Open]:
    """What starts replicas; they are stopped at the end."""
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Replica:  # noqa: ANN401 - any setting
            return await stack.enter_async_context(running(redis_url, files, **settings))

        yield start


@asynccontextmanager
async def running(redis_url: str, files: Files, **settings: Any) -> AsyncIterator[Replica]:  # noqa: ANN401 - any setting
    master = MasterKeys.parse(files["key_file"].read_text())
    told = Settings(redis_url=redis_url, repair_seconds=3600, **{**files, **settings})
    async with open_replica(told, redis_url, master) as replica:
        status = await first_read(replica.follower, 5)
        assert status.ready, status
        yield replica


async def call(replica: Replica, tool: str, **arguments: Any) -> Any:  # noqa: ANN401 - the tool's answer
    answer = await replica.toolbox.call(tool, arguments, Call(principal=Principal("ann")))
    return json.loads(answer.payload)


async def register(replica: Replica, tenant: str, host: str = "db") -> Position:
    told = await call(
        replica,
        "register_tenant",
        tenant_id=tenant,
        host=host,
        database="app",
        user="reader",
        password="s3cr3t-canary",
        verify=False,
        reason=f"for {tenant}",
    )
    return Position.parse(told["position"])


async def story(replica: Replica) -> list[Position]:
    """Register, replace, remove; return where each happened."""
    places = [await register(replica, tenant) for tenant in ("old", "acme", "gone", "beta")]
    places.append(await register(replica, "acme", "db2"))
    places.append(Position.parse((await call(replica, "remove_tenant", tenant_id="gone"))["position"]))
    places.append(await register(replica, "beta", "db2"))
    return places


async def inspect(access: LogAccess) -> Inspected:
    return await access.inspector().inspect()


async def found(access: LogAccess) -> list[Finding]:
    return (await inspect(access)).findings


def knows_the_log(replica: Replica) -> bool:
    return replica.follower.as_of.epoch.is_known


async def until(replica: Replica, phase: str) -> None:
    for _ in range(TICKS):
        if replica.follower.status.phase == phase:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(replica.follower.status)


async def everything(redis: RedisClient) -> dict[bytes, Any]:
    """Return all that Redis holds below the prefix but leases and presence, as it is."""
    held: dict[bytes, Any] = {}
    for key in await redis.run("KEYS", "*"):
        if key.endswith((b":repair", b":replicas")):
            continue
        match await redis.run("TYPE", key):
            case b"stream":
                info = await redis.run("XINFO STREAM", key)
                end = (info["entries-added"], info["last-generated-id"])
                held[key] = (end, await redis.run("XRANGE", key, "-", "+"))
            case b"hash":
                held[key] = await redis.run("HGETALL", key)
            case _:
                held[key] = await redis.run("GET", key)
    return held


def exporter(access: LogAccess) -> Exporter:
    return Exporter(access.log, access.archive, access.keys, NAMES.prefix)


async def export(access: LogAccess, path: Path) -> None:
    with writing(path) as write:
        await exporter(access).export(write, datetime.now(UTC))


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


async def put(access: LogAccess, path: Path, name: str = "one") -> FileRead:
    read = read_file(lines_of(path), access.signer)
    await Importer(access.archive, access.keys, name).put(read, lambda: lines_of(path))
    return read


async def mend(access: LogAccess, *, dry_run: bool = False) -> Mended:
    inspected = await inspect(access)
    return await Mender(access.log, access.keys).mend(inspected, dry_run=dry_run)


def compactor(access: LogAccess) -> Compactor:
    return Compactor(
        access.log,
        access.archive,
        PublishedReplicas(access.redis, access.names),
        access.signer,
        actor="ann",
        now=lambda: datetime.now(UTC),
        new_id=lambda: "compaction",
    )


async def plan(access: LogAccess, before: int | Position) -> Plan | None:
    return await compactor(access).plan(await inspect(access), before)


async def compact(access: LogAccess, before: int | Position) -> int:
    planned = await plan(access, before)
    assert planned is not None
    return await compactor(access).compact(planned)


async def publish(access: LogAccess, redis: RedisClient, name: str, at: Position, *, ago: int = 0, **more: Any) -> None:  # noqa: ANN401 - as a replica tells it
    here = Whereabouts(log="x", position=at, state="following", **more)
    identity = Identity(name=name, version="1", host="h", pid=1, max_staleness=60.0)
    told = json.loads(line_of(identity, here))
    seen = await access.archive.now() - ago
    await redis.run("HSET", NAMES.replicas, name, json.dumps({**told, "seen": seen}))


async def test_what_replicas_write_is_signed_and_nothing_is_wrong_with_it(start: Open, access: LogAccess) -> None:
    await story(await start())

    inspected = await inspect(access)

    assert inspected.findings == []
    assert (inspected.verifier.signed, inspected.verifier.unchecked) == (8, 0)
    assert {name: type(truth.tenant).__name__ for name, truth in inspected.truths.items()} == {
        "acme": "Live",
        "beta": "Live",
        "gone": "Removed",
        "old": "Live",
    }


async def test_a_restored_log_is_signed_too(start: Open, access: LogAccess, redis: RedisClient) -> None:
    replica = await start()
    await story(replica)
    await redis.run("FLUSHALL")
    for _ in range(TICKS):
        if replica.follower.status.findings and replica.follower.status.phase == "following":
            break
        await asyncio.sleep(0.02)
    await mend(access)

    inspected = await inspect(access)

    assert inspected.findings == []
    assert inspected.verifier.signed == 6


async def test_without_a_signing_key_nothing_is_signed_and_with_one_that_is_told(
    start: Open, access: LogAccess
) -> None:
    await register(await start(signing_key_file=None), "acme")

    creation, registration = await found(access)

    assert (creation.kind, creation.what) == ("signature", "it is not signed")
    assert (registration.kind, registration.what) == ("signature", "it is not signed")


async def test_a_replica_without_the_key_breaks_no_chain_that_it_does_not_touch(start: Open, access: LogAccess) -> None:
    signing, plain = await start(), await start(signing_key_file=None)
    await register(signing, "acme")
    await register(plain, "beta")
    await register(signing, "acme", "db2")
    await register(signing, "beta", "db2")

    (finding,) = await found(access)

    assert finding.where.startswith("entry 3@")


@pytest.mark.parametrize(
    ("command", "kind", "named"),
    [
        (("HDEL", NAMES.heads, "acme"), "head", "acme"),
        (("HSET", NAMES.heads, "acme", "nonsense"), "head", "acme"),
        (("HSET", NAMES.heads, "stranger", "nonsense"), "head", "stranger"),
        (("HDEL", NAMES.data_keys, "acme"), "data_key", "acme"),
        (("HSET", NAMES.data_keys, "acme", "v1|k|master|AAAA"), "data_key", "acme"),
        (("HSET", NAMES.data_keys, "gone", "v1|k|master|AAAA"), "data_key", "gone"),
        (("HSET", NAMES.data_keys, "stranger", "v1|k|master|AAAA"), "data_key", "stranger"),
        (("SET", NAMES.tenant("acme"), "{}"), "tenant_key", "acme"),
        (("DEL", NAMES.tenant("acme")), "tenant_key", "acme"),
        (("SET", NAMES.tenant("gone"), "{}"), "tenant_key", "gone"),
        (("SET", NAMES.tenant("stranger"), "{}"), "tenant_key", "stranger"),
        (("HSET", NAMES.tenant("stranger"), "a", "b"), "tenant_key", "stranger"),
        (("SET", NAMES.fence("acme"), "1-0|1"), None, ""),
        (("SET", NAMES.fence("acme"), "99999999999999-0|1"), "fence", "acme"),
        (("DEL", NAMES.epoch), "epoch", ""),
        (("XADD", STREAM, "*", "a", "b"), "envelope", "not this system's"),
    ],
)
async def test_what_somebody_did_by_hand_is_named(
    start: Open, access: LogAccess, redis: RedisClient, command: tuple[str, ...], kind: str | None, named: str
) -> None:
    await story(await start())
    await redis.run(*command)

    findings = await found(access)

    assert [finding.kind for finding in findings] == ([kind] if kind else [])
    assert all(named in str(finding) for finding in findings)


async def test_an_entry_that_was_deleted_is_named(start: Open, access: LogAccess, redis: RedisClient) -> None:
    places = await story(await start())
    await redis.run("XDEL", STREAM, places[3].entry)

    findings = await found(access)

    assert findings[0].what == "entry 5 before it are missing"


async def test_a_key_that_is_only_late_is_not_wrong(start: Open, access: LogAccess, redis: RedisClient) -> None:
    await story(await start())
    late = await redis.run("GET", NAMES.tenant("acme"))
    await redis.run("DEL", NAMES.tenant("acme"))

    looking = asyncio.create_task(inspect(access))
    await asyncio.sleep(0.3)
    await redis.run("SET", NAMES.tenant("acme"), late)

    assert (await looking).findings == []


async def test_a_log_can_be_verified_while_it_is_written(start: Open, access: LogAccess) -> None:
    replica = await start()
    await story(replica)
    stop = asyncio.Event()

    async def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            await register(replica, f"t{number % 7}", f"db{number}")

    writing = asyncio.create_task(write())
    for _ in range(5):
        assert await found(access) == []
    stop.set()
    await writing


async def test_there_is_nothing_to_verify_without_a_log(access: LogAccess) -> None:
    with pytest.raises(LogDiverged, match="There is no log"):
        await inspect(access)


async def test_an_exported_log_comes_back_as_it_was(
    start: Open, access: LogAccess, redis: RedisClient, tmp_path: Path
) -> None:
    await story(await start(on_log_loss="halt"))
    before, path = await everything(redis), tmp_path / "log.jsonl"
    await export(access, path)
    await redis.run("FLUSHALL")

    await put(access, path)

    assert await everything(redis) == before
    assert await redis.run("PTTL", STREAM) == -1
    assert await redis.run("PTTL", NAMES.heads) == -1
    assert await redis.run("PTTL", NAMES.data_keys) == -1
    assert await found(access) == []


async def test_a_replica_that_was_running_goes_on_with_the_imported_log(
    start: Open, access: LogAccess, redis: RedisClient, tmp_path: Path
) -> None:
    replica, path = await start(on_log_loss="halt"), tmp_path / "log.jsonl"
    await story(replica)
    await export(access, path)
    await redis.run("FLUSHALL")
    await until(replica, "diverged")

    await put(access, path)
    await until(replica, "following")

    assert (await register(replica, "acme", "db3")).seq == 9
    assert await found(access) == []


async def test_an_export_shows_no_password_and_is_its_owners_alone(
    start: Open, access: LogAccess, tmp_path: Path
) -> None:
    await story(await start())
    path = tmp_path / "log.jsonl"

    await export(access, path)

    assert b"s3cr3t-canary" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    first, *_, last = [json.loads(line) for line in lines_of(path)]
    assert (first["kind"], first["format"], first["entries"], last["kind"]) == ("header", 1, 8, "end")


@pytest.mark.parametrize("key", [STREAM, NAMES.heads, NAMES.data_keys, NAMES.epoch, NAMES.tenant("some")])
async def test_an_import_is_refused_where_there_is_anything_and_writes_nothing(
    start: Open, access: LogAccess, redis: RedisClient, tmp_path: Path, key: str
) -> None:
    await story(await start(on_log_loss="halt"))
    path = tmp_path / "log.jsonl"
    await export(access, path)
    await redis.run("FLUSHALL")
    await redis.run("SET", key, "something")

    with pytest.raises(LogDiverged, match="nothing was written"):
        await put(access, path)

    assert set(await redis.run("KEYS", "*")) - {NAMES.replicas.encode()} == {key.encode()}


async def test_of_two_imports_at_once_one_is_refused(
    start: Open, access: LogAccess, redis: RedisClient, tmp_path: Path
) -> None:
    await story(await start(on_log_loss="halt"))
    path = tmp_path / "log.jsonl"
    await export(access, path)
    await redis.run("FLUSHALL")

    outcomes = await asyncio.gather(*(put(access, path, token) for token in ("one", "two")), return_exceptions=True)

    assert sorted(type(each).__name__ for each in outcomes) == ["FileRead", "LogDiverged"]
    assert await redis.run("KEYS", "*:import:*") == []
    assert await found(access) == []


class InTheWay(Archive):
    """Something of a log comes while one is imported, and is gone when somebody looks at what it is."""

    async def occupied(self) -> list[str]:
        await self._redis.run("DEL", NAMES.epoch)
        return await super().occupied()

    def importing(self, token: str) -> Import:
        importing = super().importing(token)
        settle = importing.settle

        async def settle_late(end: Position, epoch: Epoch) -> bool:
            await self._redis.run("SET", NAMES.epoch, "another's")
            return await settle(end, epoch)

        importing.settle = settle_late  # type: ignore[method-assign]  # somebody is faster
        return importing


async def test_an_import_that_did_not_become_the_log_writes_no_tenants_keys(
    start: Open, access: LogAccess, redis: RedisClient, tmp_path: Path
) -> None:
    await story(await start(on_log_loss="halt"))
    path = tmp_path / "log.jsonl"
    await export(access, path)
    await redis.run("FLUSHALL")
    importer = Importer(InTheWay(access.redis, NAMES), access.keys, "one")

    with pytest.raises(RegistryUnavailable, match="nothing was written"):
        await importer.put(read_file(lines_of(path)), lambda: lines_of(path))

    assert await redis.run("KEYS", "mcp:postgres:tenant:*") == []


async def test_an_import_that_was_cut_short_leaves_nothing_that_lasts(
    start: Open, access: LogAccess, redis: RedisClient, tmp_path: Path
) -> None:
    await story(await start(on_log_loss="halt"))
    path = tmp_path / "log.jsonl"
    await export(access, path)
    await redis.run("FLUSHALL")
    read = read_file(lines_of(path))

    importing = access.archive.importing("dead")
    await Importer(access.archive, access.keys, "dead")._add(importing, read, lambda: lines_of(path))
    left = await redis.run("KEYS", "*:import:*")
    assert len(left) == 3
    assert all([0 < await redis.run("TTL", key) <= 3600 for key in left])

    await put(access, path)
    assert await found(access) == []


async def test_a_file_that_was_changed_or_cut_short_is_not_imported(
    start: Open, access: LogAccess, tmp_path: Path
) -> None:
    await story(await start())
    path = tmp_path / "log.jsonl"
    await export(access, path)
    lines = lines_of(path)

    broken = [
        lines[:-1],
        lines[1:],
        [*lines[:3], *lines[4:]],
        [*lines[:3], lines[3].replace(b"db", b"dc", 1), *lines[4:]],
        [*lines, lines[-1]],
        [*lines[:2], lines[0], *lines[2:]],
        [b"nonsense\n"],
        [],
    ]

    for each in broken:
        with pytest.raises(InvalidInput):
            read_file(each)


async def test_a_log_that_cannot_be_verified_is_told_before_it_is_imported(
    start: Open, access: LogAccess, redis: RedisClient, tmp_path: Path
) -> None:
    await story(await start())
    path = tmp_path / "log.jsonl"
    await redis.run("HDEL", NAMES.heads, "acme")
    await export(access, path)

    assert [finding.kind for finding in read_file(lines_of(path)).findings] == ["head"]
    assert {each.kind for each in read_file(lines_of(path), Signer([("x", b"x" * 32)])).findings} == {
        "head",
        "signature",
    }


async def test_a_log_with_a_foreign_entry_is_not_exported(
    start: Open, access: LogAccess, redis: RedisClient, tmp_path: Path
) -> None:
    await story(await start())
    await redis.run("XADD", STREAM, "*", "a", "b")
    path = tmp_path / "log.jsonl"

    with pytest.raises(CorruptEntry, match="log verify"):
        await export(access, path)

    assert not path.exists()


async def test_heads_keys_and_fences_are_made_as_the_log_says(
    start: Open, access: LogAccess, redis: RedisClient
) -> None:
    await story(await start())
    before = await everything(redis)
    await redis.run("HDEL", NAMES.heads, "acme")
    await redis.run("HSET", NAMES.heads, "old", "nonsense")
    await redis.run("DEL", NAMES.tenant("beta"))
    await redis.run("SET", NAMES.tenant("gone"), "{}")
    await redis.run("SET", NAMES.tenant("acme"), "{}")
    await redis.run("SET", NAMES.fence("acme"), "99999999999999-0|1")

    would = await mend(access, dry_run=True)
    assert (await redis.run("GET", NAMES.tenant("gone"))) == b"{}"
    mended = await mend(access)

    assert would == mended
    assert (sorted(mended.heads), sorted(mended.keys), mended.fences) == (
        ["acme", "old"],
        ["acme", "beta", "gone"],
        ["acme"],
    )
    assert await everything(redis) == before
    assert await found(access) == []


async def test_keys_are_not_made_from_a_log_that_was_tampered_with(
    start: Open, access: LogAccess, redis: RedisClient, tmp_path: Path
) -> None:
    await register(await start(on_log_loss="halt"), "acme")
    path = tmp_path / "log.jsonl"
    await export(access, path)
    read = read_file(lines_of(path))
    await redis.run("FLUSHALL")
    importing = access.archive.importing("evil")
    await Importer(access.archive, access.keys, "evil")._add(importing, read, lambda: lines_of(path))
    stream = importing._apart[0]
    await redis.run("DEL", stream)
    for line in lines_of(path):
        told = json.loads(line)
        if told["kind"] == "entry":
            data = json.dumps(told["data"]).replace('"db"', '"evil"')
            words = ("type", told["type"], "seq", told["seq"], "prev", told["prev"], "data", data)
            await redis.run("XADD", stream, told["id"], *words)
    await importing.settle(read.end, read.header.epoch)

    with pytest.raises(CorruptEntry, match="nothing was changed"):
        await mend(access)


async def test_old_entries_are_taken_out_and_nothing_is_wrong_then(
    start: Open, access: LogAccess, redis_url: str, files: Files
) -> None:
    places = await story(await start())

    assert await compact(access, places[4]) == 5

    inspected = await inspect(access)
    assert inspected.findings == []
    assert inspected.verifier.first == places[4]
    assert ([str(gap) for gap in inspected.verifier.compacted], inspected.by_head) == (["entries 1 to 5"], 1)
    assert inspected.verifier.unchecked == 3
    async with running(redis_url, files) as fresh:
        assert fresh.follower.status.findings == {}
        assert [each["tenant_id"] for each in (await call(fresh, "list_tenants"))["tenants"]] == ["acme", "beta", "old"]
        assert (await register(fresh, "old", "db2")).seq == 10
    assert await found(access) == []


async def test_a_history_ends_where_the_log_begins_and_says_so(start: Open, access: LogAccess) -> None:
    replica = await start()
    places = await story(replica)
    assert (await call(replica, "tenant_history", tenant_id="acme"))["complete"]

    await compact(access, places[4])

    acme = await call(replica, "tenant_history", tenant_id="acme")
    old = await call(replica, "tenant_history", tenant_id="old")
    assert ([each["version"] for each in acme["changes"]], acme["complete"]) == ([2], False)
    assert (old["changes"], old["complete"]) == ([], False)


async def test_a_command_that_is_repeated_after_a_compaction_is_still_known(start: Open, access: LogAccess) -> None:
    replica = await start()
    await story(replica)
    again = {"tenant_id": "gone", "host": "db9", "database": "app", "user": "reader", "verify": False}
    first = await call(replica, "register_tenant", **again, command_id="one")
    await compact(access, Position.parse(first["position"]))

    second = await call(replica, "register_tenant", **again, command_id="one")
    assert first["status"] == "registered"
    assert (second["status"], second["position"]) == (first["status"], first["position"])


async def test_a_removal_that_is_repeated_after_a_compaction_gets_its_first_answer(
    start: Open, access: LogAccess
) -> None:
    replica = await start()
    await story(replica)
    again = {"tenant_id": "old", "command_id": "one"}
    first = await call(replica, "remove_tenant", **again)
    await compact(access, await register(replica, "acme", "db3"))

    repeated = await call(replica, "remove_tenant", **again)
    other = await call(replica, "register_tenant", **again, host="db", database="app", user="reader", verify=False)

    assert (repeated["version"], repeated["position"]) == (first["version"], first["position"])
    assert other["error"]["code"] == "command_reused"


async def test_a_moment_is_a_place_as_well(start: Open, access: LogAccess) -> None:
    await story(await start())

    everything_older = await plan(access, await access.archive.now() + 60_000)
    nothing_older = await plan(access, 1)

    assert everything_older is not None
    assert everything_older.entries == 7  # the last one always stays
    assert nothing_older is None


async def test_a_log_is_compacted_again_and_again(start: Open, access: LogAccess) -> None:
    replica = await start()
    places = await story(replica)
    await compact(access, places[1])
    await compact(access, places[4])
    last = await register(replica, "acme", "db5")
    await compact(access, last)

    inspected = await inspect(access)

    assert inspected.findings == []
    assert inspected.by_head == 3


async def test_a_log_is_compacted_up_to_what_tells_of_its_last_compaction(start: Open, access: LogAccess) -> None:
    places = await story(await start())
    await compact(access, places[4])
    noted = (await inspect(access)).snapshot.end

    assert await compact(access, noted) == noted.seq - places[4].seq

    assert await found(access) == []


async def test_nothing_is_taken_out_when_a_key_was_edited(start: Open, access: LogAccess, redis: RedisClient) -> None:
    places = await story(await start())
    await redis.run("SET", NAMES.tenant("old"), "{}")

    with pytest.raises(LogDiverged, match="key of tenant 'old'"):
        await plan(access, places[4])

    assert await redis.run("XLEN", STREAM) == 8


@pytest.mark.parametrize("how", [{"linked": False}, {}])
async def test_nothing_is_taken_out_that_a_live_replica_has_not_applied(
    start: Open, access: LogAccess, redis: RedisClient, how: dict[str, bool]
) -> None:
    places = await story(await start())
    at = places[5] if how else places[2]
    await publish(access, redis, "slow", at, **how)

    with pytest.raises(LogDiverged, match="slow"):
        await plan(access, places[4])

    await publish(access, redis, "slow", at, ago=60_000, **how)
    assert await plan(access, places[4]) is not None
    await publish(access, redis, "slow", places[4])
    assert await plan(access, places[4]) is not None


async def test_nothing_is_noted_by_who_may_not_take_out(
    start: Open, redis: RedisClient, redis_url: str, files: Files
) -> None:
    places = await story(await start())
    await redis.run("ACL", "SETUSER", "service", "on", ">pw", "~*", "+@all", "-xtrim")
    limited = redis_url.replace("unix://", "unix://service:pw@")
    try:
        async with open_log(Settings(redis_url=limited, **files)) as service:
            planned = await plan(service, places[4])
            assert planned is not None
            with pytest.raises(RegistryUnavailable, match="xtrim"):
                await compactor(service).compact(planned)
    finally:
        await redis.run("ACL", "DELUSER", "service")

    assert await redis.run("XLEN", STREAM) == 8


async def test_nothing_is_taken_out_of_a_log_that_fell_back_behind_what_was_looked_at(
    start: Open, access: LogAccess, redis: RedisClient
) -> None:
    replica = await start(on_log_loss="halt")
    places = await story(replica)
    saved = await redis.run("DUMP", STREAM)
    await register(replica, "acme", "db3")
    planned = await plan(access, places[2])
    assert planned is not None
    await redis.run("RESTORE", STREAM, 0, saved, "REPLACE")

    with pytest.raises(LogDiverged, match="since it was looked at"):
        await compactor(access).compact(planned)

    assert (await redis.run("XRANGE", STREAM, "-", "+"))[0][1][b"seq"] == b"1"


async def test_a_place_that_the_log_does_not_have_is_none_to_compact_at(start: Open, access: LogAccess) -> None:
    await story(await start())

    with pytest.raises(LogDiverged, match="has no entry"):
        await plan(access, Position(4, "4-0"))


async def test_what_a_compacted_log_does_not_say_is_kept_and_what_is_lost_is_named(
    start: Open, access: LogAccess, redis: RedisClient
) -> None:
    places = await story(await start())
    await compact(access, places[4])
    document, head = await redis.run("GET", NAMES.tenant("old")), await redis.run("HGET", NAMES.heads, "old")
    await redis.run("HDEL", NAMES.heads, "acme")
    await redis.run("DEL", NAMES.tenant("beta"))

    mended = await mend(access)
    assert (mended.heads, mended.keys) == (["acme"], ["beta"])
    assert (await redis.run("GET", NAMES.tenant("old")), await redis.run("HGET", NAMES.heads, "old")) == (
        document,
        head,
    )
    assert await found(access) == []

    await redis.run("HDEL", NAMES.heads, "old")
    assert await mend(access) == Mended(heads=[], keys=[], fences=[], epoch=False)
    assert await redis.run("GET", NAMES.tenant("old")) == document
    (finding,) = await found(access)
    assert finding.where == "tenant 'old'"


async def test_a_compacted_log_is_exported_and_imported_whole(
    start: Open, access: LogAccess, redis: RedisClient, tmp_path: Path, redis_url: str, files: Files
) -> None:
    places = await story(await start(on_log_loss="halt"))
    await compact(access, places[4])
    before, path = await everything(redis), tmp_path / "log.jsonl"
    await export(access, path)
    await redis.run("FLUSHALL")

    await put(access, path)

    held = await everything(redis)
    assert held == before
    assert await found(access) == []
    async with running(redis_url, files) as fresh:
        assert (await register(fresh, "old", "db2")).seq == 10
    assert await found(access) == []


async def test_a_log_whose_beginning_was_cut_off_by_hand_is_still_reported(
    start: Open, access: LogAccess, redis: RedisClient, redis_url: str, files: Files
) -> None:
    places = await story(await start())
    await redis.run("XTRIM", STREAM, "MINID", "=", places[4].entry)

    async with running(redis_url, files) as fresh:
        assert fresh.follower.status.findings == {"resynchronised": 1}
    assert [finding.kind for finding in await found(access)] == ["gap"]


async def test_a_foreign_entry_stops_who_reads_it_also_in_a_compacted_log(
    start: Open, access: LogAccess, redis: RedisClient, redis_url: str, files: Files
) -> None:
    places = await story(await start())
    await compact(access, places[4])
    async with running(redis_url, files) as fresh:
        foreign = await redis.run("XADD", STREAM, "*", "made", "by hand")

        await until(fresh, "halted")

        await redis.run("XDEL", STREAM, foreign)
        await until(fresh, "following")


async def test_events_are_told_as_they_come_and_never_a_secret(start: Open, access: LogAccess) -> None:
    replica = await start()
    await story(replica)
    told: list[Told] = []
    tail = Tail(access.log, told.append)
    following = asyncio.create_task(tail.run(Position(0, "0-0"), follow=True))
    for _ in range(TICKS):
        if len(told) == 8:
            break
        await asyncio.sleep(0.02)
    place = await register(replica, "acme", "db9")
    for _ in range(TICKS):
        if len(told) == 9:
            break
        await asyncio.sleep(0.02)
    following.cancel()

    assert [(each.tenant, each.what, each.version) for each in told] == [
        (None, "log created", None),
        ("old", "registered", 1),
        ("acme", "registered", 1),
        ("gone", "registered", 1),
        ("beta", "registered", 1),
        ("acme", "registered", 2),
        ("gone", "removed", 2),
        ("beta", "registered", 2),
        ("acme", "registered", 3),
    ]
    assert told[-1].fields == {"host": "db9"}
    assert (told[-1].by, told[-1].reason, told[-1].position, told[-1].signed) == ("ann", "for acme", str(place), True)
    assert "s3cr3t" not in str(told)
    assert "sealed" not in str(told)


async def test_one_tenants_events_are_told_alone_and_as_differences(start: Open, access: LogAccess) -> None:
    places = await story(await start())
    told: list[Told] = []

    await Tail(access.log, told.append, "beta").run(places[4], follow=False)

    (one,) = told
    assert (one.tenant, one.version, one.fields) == ("beta", 2, {"host": "db2"})


async def test_what_may_have_been_one_tenants_events_is_told_with_them(
    start: Open, access: LogAccess, redis: RedisClient
) -> None:
    """Whoever looks for what happened to a tenant must not take a history with a hole for the whole of it."""
    places = await story(await start(on_log_loss="halt"))
    await redis.run("XDEL", STREAM, places[2].entry)
    await redis.run("XADD", STREAM, "*", "a", "stranger")
    for tenant in ("beta", "acme"):
        last = await access.log.end()
        assert last is not None
        fields = ("type", "tenant_registered.v1", "seq", last.seq + 1, "prev", last.entry)
        await redis.run("XADD", STREAM, "*", *fields, "data", f'{{"tenant":"{tenant}","version":9}}')
    told: list[Told] = []

    await Tail(access.log, told.append, "beta").run(Position(0, "0-0"), follow=False)

    gap, *_, stranger, unreadable = [(each.tenant, each.what.partition(":")[0]) for each in told]
    assert gap == (None, f"does not follow {places[1]}")
    assert stranger == (None, "not this system's")
    assert unreadable == ("beta", "unreadable")
    assert {each.tenant for each in told} == {None, "beta"}


async def test_a_log_that_ends_before_where_its_reader_is_is_told(start: Open, access: LogAccess) -> None:
    await story(await start())

    with pytest.raises(LogDiverged, match="has lost entries"):
        await Tail(access.log, print).run(Position(99, f"{int(time.time() * 1000) + 10**6}-0"), follow=True)


async def test_a_newcomer_learns_from_a_compaction_which_log_it_is_and_notes_it_again(
    start: Open, access: LogAccess, redis: RedisClient
) -> None:
    first = await start()
    await compact(access, (await story(first))[4])
    noted = await redis.run("GET", NAMES.epoch)
    await redis.run("DEL", NAMES.epoch)

    newcomer = await start()

    assert newcomer.follower.as_of == first.follower.as_of
    for _ in range(TICKS):
        if await redis.run("GET", NAMES.epoch):
            break
        await asyncio.sleep(0.02)
    assert await redis.run("GET", NAMES.epoch) == noted
    assert await found(access) == []


async def test_a_newcomer_that_nothing_tells_which_log_it_is_notes_nothing_and_learns_it_from_who_knows(
    start: Open, access: LogAccess, redis: RedisClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.follower._LOOK_AGAIN", 0.1)
    first = await start()
    planned = await plan(access, (await story(first))[4])
    assert planned is not None
    await compactor(access).compact(msgspec.structs.replace(planned, epoch=None))  # as it was written before it told
    noted = await redis.run("GET", NAMES.epoch)
    await redis.run("DEL", NAMES.epoch)

    newcomer = await start()
    assert not knows_the_log(newcomer)
    await register(newcomer, "acme", "by-newcomer")
    told = await call(
        first, "register_tenant", tenant_id="acme", host="by-first", database="app", user="u", verify=False
    )
    assert told["status"] == "replaced"
    assert json.loads(await redis.run("GET", NAMES.tenant("acme")))["host"] == "by-first"
    await register(newcomer, "acme", "by-newcomer")
    assert json.loads(await redis.run("GET", NAMES.tenant("acme")))["host"] == "by-newcomer"
    assert await redis.run("GET", NAMES.epoch) is None

    await redis.run("SET", NAMES.epoch, noted)  # as the first one does in its next round
    for _ in range(TICKS):
        if knows_the_log(newcomer):
            break
        await asyncio.sleep(0.02)
    removal = await call(first, "remove_tenant", tenant_id="acme", wait_seconds=5)
    assert (len(removal["confirmed"]), removal["pending"]) == (2, [])
    assert await redis.run("GET", NAMES.tenant("acme")) is None


async def test_who_only_looks_at_an_empty_redis_leaves_it_empty(
    redis_url: str, files: Files, redis: RedisClient
) -> None:
    told, master = Settings(redis_url=redis_url, **files), MasterKeys.parse(files["key_file"].read_text())
    async with open_replica(told, redis_url, master, serving=False) as replica:
        assert (await first_read(replica.follower, 5)).ready
        assert (await call(replica, "list_tenants"))["total"] == 0

    assert await redis.run("KEYS", "*") == []


async def test_a_start_that_waits_for_an_operator_begins_no_log_while_a_replica_lives_that_holds_one(
    start: Open, redis_url: str, files: Files, redis: RedisClient
) -> None:
    first = await start(on_log_loss="halt")
    await register(first, "acme")
    await redis.run("FLUSHALL")
    await until(first, "diverged")
    for _ in range(TICKS):
        if await redis.run("EXISTS", NAMES.replicas):
            break
        await asyncio.sleep(0.02)

    async with halting(redis_url, files) as second:
        await until(second, "diverged")
        assert "which has read it, says that there was one" in (second.follower.status.reason or "")
        assert await redis.run("EXISTS", STREAM) == 0


LEFT: Final = {
    "a fence": ("SET", NAMES.fence("acme"), "1-0|2"),
    "a key": ("SET", NAMES.tenant("acme"), '{"tenant_id":"acme","host":"db","seq":2}'),
    "a head": ("HSET", NAMES.heads, "acme", "2|1-0|1|1|e|c|d"),
}


@pytest.mark.parametrize("left", LEFT.values(), ids=LEFT.keys())
async def test_a_start_that_waits_for_an_operator_begins_no_log_where_something_is_left_of_one(
    left: tuple[str, ...], redis_url: str, files: Files, redis: RedisClient
) -> None:
    await redis.run(*left)

    async with halting(redis_url, files) as replica:
        await until(replica, "diverged")
        assert "says that there was one" in (replica.follower.status.reason or "")
        assert await redis.run("EXISTS", STREAM) == 0

        await redis.run("DEL", left[1])
        await until(replica, "following")


async def test_plain_keys_of_an_earlier_system_do_not_say_that_there_was_a_log(start: Open, redis: RedisClient) -> None:
    await redis.run("SET", NAMES.tenant("acme"), '{"tenant_id":"acme","host":"db","database":"app","user":"u"}')

    assert (await start(on_log_loss="halt")).follower.status.ready


@asynccontextmanager
async def halting(redis_url: str, files: Files) -> AsyncIterator[Replica]:
    """Run a replica that waits for an operator, whatever it finds."""
    told = Settings(redis_url=redis_url, on_log_loss="halt", **files)
    async with open_replica(told, redis_url, MasterKeys.parse(files["key_file"].read_text())) as replica:
        yield replica
