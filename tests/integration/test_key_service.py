"""Master keys that never leave another process, as those of a key management service do not leave that."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from projections.keyring import Keyring
from registry.entries import Position
from registry.errors import RegistryUnavailable, SecretUnreadable
from registry.events import SealedSecret, TenantConfig, TenantRegistered
from registry.key_providers import WrongKey
from registry.memory_log import MemoryLog
from registry.secrets import MasterKeys, Secret, new_master_key
from registry.state import Live, Tenant, stated

CONFIG: Final = TenantConfig(host="db", database="app", user="reader")
PASSWORD: Final = Secret("s3cr3t-canary")

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
    """A `KeyProvider` that asks it."""

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


def registered(tenant: str, secret: SealedSecret) -> Tenant:
    """A tenant as its first event leaves it."""
    event = TenantRegistered(
        event_id=f"event of {tenant}",
        time=datetime(2026, 11, 22, 10, 0, tzinfo=UTC),
        actor="ann",
        tenant=tenant,
        version=1,
        command_id=f"command of {tenant}",
        digest="one:0d",
        config=CONFIG,
        secret=secret,
    )
    return stated(event, Position(2, "2-0"), None)


async def test_a_service_in_another_process_wraps_opens_and_tells_commands_apart(service: Service) -> None:
    master = MasterKeys(service)
    key, wrapped = await master.new_data_key("acme")
    sealed = key.seal("acme", 1, CONFIG.login, PASSWORD)
    digest = await master.digest(b"command")

    assert (await master.unwrap("acme", wrapped)).open("acme", CONFIG.login, sealed) == PASSWORD
    with pytest.raises(SecretUnreadable, match="changed or copied from elsewhere"):
        await master.unwrap("beta", wrapped)
    assert digest.startswith("arn:key/2:")
    assert "|" not in digest
    assert await master.is_digest_of(digest, b"command") is True
    assert await master.is_digest_of(digest, b"another") is False
    assert await master.is_digest_of("arn:key/0:abc", b"command") is None


async def test_a_keyring_opens_passwords_through_a_service_and_tries_one_data_key_of_each_master_key(
    service: Service,
) -> None:
    master, log = MasterKeys(service), MemoryLog()
    tenants = []
    for number in range(20):
        key, log._keys[f"t{number}"] = await master.new_data_key(f"t{number}")
        tenants.append(registered(f"t{number}", key.seal(f"t{number}", 1, CONFIG.login, PASSWORD)))
    lost = (await MasterKeys.parse(new_master_key("one")).new_data_key("t3"))[1]
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
