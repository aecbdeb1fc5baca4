"""Heads, keys and fences are made as the log says, unless the log itself was tampered with."""

import json
from pathlib import Path

import pytest

from projections.importing import Importer, read_file
from registry.errors import CorruptEntry
from registry.redis_client import RedisClient
from server.log_access import LogAccess
from tests.log_lives import NAMES, Open, everything, export, found, lines_of, mend, register, story


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
