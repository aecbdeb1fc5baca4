"""A log is exported to a file and imported elsewhere, whole or not at all, and shows no password on the way."""

import asyncio
import json
from pathlib import Path

import pytest

from projections.importing import Importer, read_file
from registry.archive import Archive, Import
from registry.entries import Epoch, Position
from registry.errors import CorruptEntry, InvalidInput, LogDiverged, RegistryUnavailable
from registry.redis_client import RedisClient
from registry.signing import Signer
from server.log_access import LogAccess
from tests.log_lives import NAMES, STREAM, Open, everything, export, found, lines_of, put, register, story, until


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
