"""Where master keys may be: a file that changes, the environment, and whatever service somebody brings."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from structlog.testing import capture_logs

from projections.keyring import Keyring
from registry.entries import Position
from registry.errors import InvalidInput, RegistryUnavailable, SecretUnreadable
from registry.events import Login, TenantRegistered
from registry.key_providers import WrongKey
from registry.memory_log import MemoryLog
from registry.secrets import MasterKeys, Secret, new_master_key
from registry.state import Live, stated
from server.master_keys import keys_of_environment, load_master_keys

ONE: Final = new_master_key("one")
TWO: Final = new_master_key("two")
LOGIN: Final[Login] = ("db", 5432, "app", "reader", "prefer", None)
PASSWORD: Final = Secret("s3cr3t-canary")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A key file with one key."""
    path = tmp_path / "master.key"
    path.write_text(ONE)
    path.chmod(0o600)
    return path


def replace(path: Path, text: str) -> None:
    """Put another file in its place, as a mounted secret changes."""
    other = path.with_suffix(".new")
    other.write_text(text)
    other.chmod(0o600)
    other.rename(path)


async def test_a_key_that_the_file_has_since_opens_and_wraps_without_a_restart(path: Path) -> None:
    master = load_master_keys(path)
    _, wrapped = await MasterKeys.parse(TWO).new_data_key("acme")
    with pytest.raises(SecretUnreadable, match=f"{path.name}\\) does not have \\(it has one\\); add it there"):
        await master.unwrap("acme", wrapped)

    replace(path, f"{TWO}\n{ONE}")

    assert (await master.unwrap("acme", wrapped)).id
    assert list(await master.names()) == ["two", "one"]
    assert "|two|" in (await master.new_data_key("acme"))[1]


@pytest.mark.parametrize("text", ["", "half a li", f"{ONE}\n{ONE}"], ids=["empty", "cut", "twice"])
async def test_a_file_that_became_unusable_leaves_the_keys_of_before_and_is_told_once(path: Path, text: str) -> None:
    master = load_master_keys(path)
    _, wrapped = await master.new_data_key("acme")
    replace(path, text)

    with capture_logs() as logs:
        for _ in range(3):
            assert list(await master.names()) == ["one"]
            assert (await master.unwrap("acme", wrapped)).id

    assert [entry["log_level"] for entry in logs] == ["warning"]
    assert ONE[6:20] not in str(logs)


async def test_a_file_that_is_gone_leaves_the_keys_of_before(path: Path) -> None:
    master = load_master_keys(path)
    os.unlink(path)  # noqa: PTH108 - in a test nobody waits for it

    assert "|one|" in (await master.new_data_key("acme"))[1]


async def test_keys_of_the_environment_may_stand_on_lines_or_between_commas() -> None:
    for text in (f"{TWO},{ONE}", f"{TWO}\n{ONE}\n", f" {TWO} ,\n {ONE},", f"# As made: first, second.\n{TWO}\n{ONE}\n"):
        assert list(await keys_of_environment(Secret(text)).names()) == ["two", "one"]
    with pytest.raises(InvalidInput, match="Line 2 of MCP_POSTGRES_KEYS"):
        keys_of_environment(Secret(f"{ONE},nonsense"))


async def test_a_missing_key_is_looked_for_where_the_keys_are() -> None:
    _, wrapped = await MasterKeys.parse(TWO).new_data_key("acme")

    with pytest.raises(SecretUnreadable, match="which MCP_POSTGRES_KEYS does not have"):
        await keys_of_environment(Secret(ONE)).unwrap("acme", wrapped)


_SERVICE: Final = """
import base64, hashlib, hmac, json, os, sys
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

keys = {name: os.urandom(32) for name in ("arn:key/2", "arn:key/1")}
for line in sys.stdin:
    asked = json.loads(line)
    key = keys.get(asked.get("name"))
    told = {"names": list(keys)}
    if key and asked["do"] == "wrap":
        nonce = os.urandom(12)
        told["text"] = (nonce + AESGCM(key).encrypt(nonce, bytes.fromhex(asked["text"]), asked["bound"].encode())).hex()
    if key and asked["do"] == "unwrap":
        text = bytes.fromhex(asked["text"])
        try:
            told["text"] = AESGCM(key).decrypt(text[:12], text[12:], asked["bound"].encode()).hex()
        except InvalidTag:
            told["wrong"] = True
    if key and asked["do"] == "mac":
        told["text"] = hmac.digest(key, bytes.fromhex(asked["text"]), "sha256").hex()
    print(json.dumps(told), flush=True)
"""


class Service:
    """A `KeyProvider` whose keys never leave another process, as a key management service's do not leave that."""

    where = "the key service"
    remote = True

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._turn = asyncio.Lock()
        self.asked = 0

    async def names(self) -> Sequence[str]:
        names: list[str] = (await self._ask(do="names"))["names"]
        return names

    async def wrap(self, name: str, key: bytes, bound: bytes) -> bytes:
        return bytes.fromhex((await self._ask(do="wrap", name=name, text=key.hex(), bound=bound.decode()))["text"])

    async def unwrap(self, name: str, wrapped: bytes, bound: bytes) -> bytes | None:
        told = await self._ask(do="unwrap", name=name, text=wrapped.hex(), bound=bound.decode())
        if "wrong" in told:
            raise WrongKey
        return bytes.fromhex(told["text"]) if "text" in told else None

    async def mac(self, name: str, content: bytes) -> bytes | None:
        told = await self._ask(do="mac", name=name, text=content.hex())
        return bytes.fromhex(told["text"]) if "text" in told else None

    async def _ask(self, **asked: str) -> dict[str, Any]:
        self.asked += 1
        write, read = self._process.stdin, self._process.stdout
        assert write is not None
        assert read is not None
        async with self._turn:
            try:
                write.write(json.dumps(asked).encode() + b"\n")
                await write.drain()
                line = await read.readline()
            except ConnectionError:
                line = b""
        if not line:
            raise RegistryUnavailable("The key service does not answer; try again.")
        told: dict[str, Any] = json.loads(line)
        return told


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """A key service in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _SERVICE, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    yield Service(process)
    if process.returncode is None:
        process.kill()
    await process.communicate()


async def test_a_service_in_another_process_wraps_opens_and_tells_commands_apart(service: Service) -> None:
    master = MasterKeys(service)
    key, wrapped = await master.new_data_key("acme")
    sealed = key.seal("acme", 1, LOGIN, PASSWORD)
    digest = await master.digest(b"command")

    assert (await master.unwrap("acme", wrapped)).open("acme", LOGIN, sealed) == PASSWORD
    with pytest.raises(SecretUnreadable, match="changed or copied from elsewhere"):
        await master.unwrap("beta", wrapped)
    assert digest.startswith("arn:key/2:")
    assert "|" not in digest
    assert await master.is_digest_of(digest, b"command") is True
    assert await master.is_digest_of(digest, b"another") is False
    assert await master.is_digest_of("arn:key/0:abc", b"command") is None


async def test_a_keyring_opens_passwords_through_a_service_and_tries_one_data_key_of_each_master_key(
    service: Service, registered: Callable[[int], TenantRegistered]
) -> None:
    master, log = MasterKeys(service), MemoryLog()
    tenants = []
    for number in range(20):
        key, log._keys[f"t{number}"] = await master.new_data_key(f"t{number}")
        plain = registered(1)
        secret = key.seal(f"t{number}", 1, plain.config.login, PASSWORD)
        event = msgspec.structs.replace(plain, tenant=f"t{number}", secret=secret)
        tenants.append(stated(event, Position(2, "2-0"), None))
    lost = (await MasterKeys.parse(ONE).new_data_key("t3"))[1]
    log._keys["t3"] = lost
    keyring = Keyring(log, master)
    await keyring.refresh(tenants)
    asked = service.asked

    assert await keyring.check() == ["t3"]
    assert service.asked - asked < 5
    assert isinstance(tenants[7], Live)
    assert await keyring.password(tenants[7]) == PASSWORD


async def test_a_service_that_does_not_answer_is_told_as_what_may_be_tried_again(service: Service) -> None:
    master = MasterKeys(service)
    _, wrapped = await master.new_data_key("acme")
    service._process.kill()
    await service._process.wait()

    with pytest.raises(RegistryUnavailable, match="key service"):
        await master.unwrap("acme", wrapped)
