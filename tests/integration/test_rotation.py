"""Rotation on a real Redis: whatever happens to a tenant meanwhile, its data key is the right one afterwards."""

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import pytest

from projections.keyring import Keyring
from projections.rotation import Rotation, follow_rotations
from registry.data_keys import DataKeys, Rewrapped
from registry.errors import RegistryUnavailable, SecretUnreadable
from registry.names import Names
from registry.redis_client import RedisClient
from registry.redis_log import RedisLog
from registry.secrets import MasterKeys, master_of, new_master_key
from registry.state import Live
from server.backing import backing_of
from server.replica import Replica, open_replica
from server.settings import Settings
from tests.security.replicas import call, replica

NAMES: Final = Names()
OLD: Final = new_master_key("old")
NEW: Final = new_master_key("new")
BOTH: Final = MasterKeys.parse(f"{NEW}\n{OLD}")

Meanwhile = Callable[[], Awaitable[object]]


class Interrupted(DataKeys):
    """Data keys that somebody changes between the look at them and each replacement, or whose replies get lost."""

    meanwhile: Meanwhile | None = None
    losing = 0

    async def replace(self, keys: Sequence[Rewrapped], stamp: str) -> int:
        if self.meanwhile:
            await self.meanwhile()
        done = await super().replace(keys, stamp)
        if self.losing:
            self.losing -= 1
            raise RegistryUnavailable("Redis did not answer in time; try again.")
        return done


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[RedisClient]:
    """A client of whoever looks."""
    client = RedisClient.from_url(redis_url)
    yield client
    await client.close()


@pytest.fixture
def data_keys(redis: RedisClient) -> Interrupted:
    return Interrupted(redis, NAMES)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """A key file that a running replica reads: the old key alone, so far."""
    path = tmp_path / "master.key"
    return _file(path, OLD)


@pytest.fixture
async def running(redis_url: str, key_file: Path) -> AsyncIterator[Replica]:
    """A replica with five tenants."""
    async with replica(Settings(redis_url=redis_url, key_file=key_file, repair_seconds=3600)) as running:
        for number in range(5):
            await register(running, f"t{number}")
        yield running


async def register(running: Replica, tenant: str, said: str = "canary-1") -> None:
    where = {"host": "db", "database": "d", "user": "u"}
    told = await call(running, "register_tenant", tenant_id=tenant, password=said, verify=False, **where)
    assert "error" not in told, told


def rotation(data_keys: DataKeys, master: MasterKeys = BOTH) -> Rotation:
    return Rotation(data_keys, master, lambda: uuid.uuid4().hex)


async def opened(redis: RedisClient, running: Replica, master: MasterKeys) -> dict[str, str]:
    """Return the tenants' passwords as somebody with these master keys opens them from Redis."""
    keyring = Keyring(RedisLog(redis, redis, NAMES), master)
    directory = running.follower._directory
    passwords = {tenant.tenant: await keyring.password(tenant) for tenant in directory.live()}
    return {tenant: password.reveal() for tenant, password in passwords.items() if password}


async def test_every_data_key_comes_under_the_new_key_and_the_log_is_untouched(
    running: Replica, redis: RedisClient, data_keys: DataKeys
) -> None:
    before = await redis.run("XRANGE", NAMES.stream, "-", "+")
    was = await rotation(data_keys).status()
    assert [(key.name, key.data_keys, key.wraps) for key in was.keys] == [("new", 0, True), ("old", 5, False)]
    assert (was.left, was.ok) == (5, True)

    rotated = await rotation(data_keys).rotate()

    assert (rotated.rewrapped, rotated.status.left) == (5, 0)
    assert await redis.run("XRANGE", NAMES.stream, "-", "+") == before
    assert set((await opened(redis, running, MasterKeys.parse(NEW))).values()) == {"canary-1"}
    assert (await rotation(data_keys).rotate()).rewrapped == 0


async def test_a_rotation_that_is_cut_short_is_gone_on_with(
    running: Replica, redis: RedisClient, data_keys: Interrupted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.rotation._BATCH", 2)
    data_keys.losing = 1
    with pytest.raises(RegistryUnavailable):
        await rotation(data_keys).rotate()
    assert (await rotation(data_keys).status()).left == 3

    assert (await rotation(data_keys).rotate()).rewrapped == 3

    assert len(await opened(redis, running, MasterKeys.parse(NEW))) == 5


async def test_a_tenant_that_is_removed_meanwhile_gets_no_data_key_back(
    running: Replica, redis: RedisClient, data_keys: Interrupted
) -> None:
    data_keys.meanwhile = _once(lambda: call(running, "remove_tenant", tenant_id="t2"))

    rotated = await rotation(data_keys).rotate()

    assert rotated.rewrapped == 4
    assert await redis.run("HGET", NAMES.data_keys, "t2") is None


async def test_a_tenant_that_comes_back_meanwhile_keeps_its_newer_data_key(
    running: Replica, redis: RedisClient, data_keys: Interrupted
) -> None:
    async def leave_and_come_back() -> None:
        await call(running, "remove_tenant", tenant_id="t2")
        await register(running, "t2", "canary-2")

    data_keys.meanwhile = _once(leave_and_come_back)

    rotated = await rotation(data_keys).rotate()

    assert rotated.status.left == 0
    assert (await opened(redis, running, MasterKeys.parse(NEW)))["t2"] == "canary-2"


async def test_a_tenant_that_is_registered_anew_meanwhile_opens_with_its_new_password(
    running: Replica, redis: RedisClient, data_keys: Interrupted
) -> None:
    data_keys.meanwhile = _once(lambda: register(running, "t2", "canary-2"))

    assert (await rotation(data_keys).rotate()).status.left == 0

    assert (await opened(redis, running, MasterKeys.parse(NEW)))["t2"] == "canary-2"


async def test_tenants_come_change_and_go_while_keys_are_rotated_again_and_again(
    running: Replica, redis: RedisClient, data_keys: DataKeys, key_file: Path
) -> None:
    _file(key_file, f"{OLD}\n{NEW}")
    over = False

    async def come_and_go(tenant: str) -> None:
        for number in itertools.count():
            await register(running, tenant, f"{tenant}-{number}")
            if over:
                return
            if number % 3 == 2:
                await call(running, "remove_tenant", tenant_id=tenant, wait_seconds=0)

    writers = [asyncio.create_task(come_and_go(f"w{each}")) for each in range(6)]
    for turn in range(100):
        await rotation(data_keys, MasterKeys.parse(f"{NEW}\n{OLD}" if turn % 2 else f"{OLD}\n{NEW}")).rotate()
    over = True
    await asyncio.gather(*writers)
    await call(running, "remove_tenant", tenant_id="w0")
    assert (await rotation(data_keys).rotate()).status.ok

    passwords = await opened(redis, running, MasterKeys.parse(NEW))

    assert set(passwords) == {*(f"t{each}" for each in range(5)), *(f"w{each}" for each in range(1, 6))}
    assert all(password.startswith(f"{tenant}-") for tenant, password in passwords.items() if tenant.startswith("w"))
    assert set(await data_keys.all()) == set(passwords)


@pytest.mark.usefixtures("running")
async def test_what_does_not_open_is_told_and_left_as_it_is(redis: RedisClient, data_keys: DataKeys) -> None:
    lost = (await MasterKeys.parse(new_master_key("lost")).new_data_key("t1"))[1]
    await redis.run("HSET", NAMES.data_keys, "t1", lost)
    await redis.run("HSET", NAMES.data_keys, "t3", await redis.run("HGET", NAMES.data_keys, "t4"))
    await redis.run("HSET", NAMES.data_keys, "t4", "by hand")

    rotated = await rotation(data_keys).rotate()

    assert rotated.rewrapped == 2
    assert [each.tenant for each in rotated.status.unreadable] == ["t1", "t3", "t4"]
    assert not rotated.status.ok
    assert [(key.name, key.held, key.data_keys) for key in rotated.status.keys] == [
        ("new", True, 2),
        ("old", True, 1),
        ("lost", False, 1),
        ("unknown form", False, 1),
    ]
    assert await redis.run("HGET", NAMES.data_keys, "t1") == lost.encode()


async def test_a_replica_with_the_old_file_names_the_missing_key_and_takes_it_once_the_file_has_it(
    running: Replica, redis: RedisClient, data_keys: DataKeys, key_file: Path, redis_url: str
) -> None:
    await rotation(data_keys).rotate()

    told = await call(running, "register_tenant", tenant_id="t1", host="db", database="d", user="u", verify=False)
    assert told["error"]["code"] == "secret_unreadable"
    for word in ("'new'", "MCP_POSTGRES_KEY_FILE", str(key_file), "old"):
        assert word in told["error"]["message"]

    _file(key_file, f"{NEW}\n{OLD}\n")
    await register(running, "t1", "canary-2")
    await register(running, "fresh")

    wrapped = await redis.run("HGET", NAMES.data_keys, "fresh")
    assert master_of(wrapped.decode()) == "new"
    async with replica(Settings(redis_url=redis_url, key_file=_file(key_file.with_name("new.key"), NEW))) as only_new:
        assert only_new.follower.status.tenants == 6
        assert (await opened(redis, only_new, MasterKeys.parse(NEW)))["t1"] == "canary-2"


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize("name", ["old", "other"])
async def test_a_replica_whose_keys_open_nothing_halts_and_goes_on_when_its_file_has_the_right_one(
    redis_url: str, key_file: Path, name: str
) -> None:
    wrong = _file(key_file.with_name("wrong.key"), new_master_key(name))
    settings = Settings(redis_url=redis_url, key_file=wrong)
    async with backing_of(settings) as backing, open_replica(settings, redis_url, backing.master) as halted:
        await eventually(lambda: halted.follower.status.phase == "halted")
        assert str(wrong) in (halted.follower.status.reason or "")

        _file(wrong, OLD)

        await eventually(lambda: halted.follower.status.ready)


async def test_replicas_hold_what_was_wrapped_anew_before_anything_needs_it(
    running: Replica, redis: RedisClient, data_keys: DataKeys
) -> None:
    directory = running.follower._directory
    keyring = Keyring(RedisLog(redis, redis, NAMES), BOTH)
    await keyring.refresh(directory.live())
    following = asyncio.create_task(follow_rotations(data_keys, keyring, directory, every=0.01))
    try:
        await rotation(data_keys).rotate()
        await eventually(lambda: {master_of(keyring.wrapped(tenant) or "") for tenant in directory.live()} == {"new"})
    finally:
        following.cancel()


async def test_a_data_key_that_is_held_under_a_key_that_was_given_up_is_fetched_anew(
    running: Replica, redis: RedisClient, data_keys: DataKeys
) -> None:
    (tenant, *_) = running.follower._directory.live()
    keyring = Keyring(RedisLog(redis, redis, NAMES), MasterKeys.parse(NEW))
    await keyring.refresh([tenant])
    with pytest.raises(SecretUnreadable):
        await keyring.password(tenant)
    await rotation(data_keys).rotate()

    password = await keyring.password(tenant)

    assert password is not None
    assert password.reveal() == "canary-1"


async def test_what_is_said_again_after_a_loss_does_not_undo_a_rotation(
    running: Replica, redis: RedisClient, data_keys: DataKeys
) -> None:
    await rotation(data_keys).rotate()

    await redis.run("DEL", NAMES.stream)
    follower = running.follower
    await eventually(lambda: bool(follower.status.findings) and follower.status.phase == "following")

    assert isinstance(follower._directory.tenant("t1"), Live)
    assert set((await opened(redis, running, MasterKeys.parse(NEW))).values()) == {"canary-1"}


def _once(act: Meanwhile) -> Meanwhile:
    """Return what acts the first time alone."""
    left = [act]

    async def meanwhile() -> None:
        if left:
            await left.pop()()

    return meanwhile


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until it holds; how long it takes is no part of any promise here."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - what is waited for is not of one place that could tell
            await asyncio.sleep(0.01)


def _file(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path
