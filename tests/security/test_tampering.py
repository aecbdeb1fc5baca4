"""An attacker who may write anything to Redis, and knows this system: whatever they write, `log verify` names it.

The whole stream is made anew, its numbers, links and end as they should be, and heads and keys are made to fit. Without
the signing key much of that passes, which shows that nothing else gives it away.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
import pytest

from projections.mending import Mender
from registry import codec
from registry.data_keys import DataKeys
from registry.entries import START, Entry, Position
from registry.errors import CorruptEntry, SecretUnreadable
from registry.events import SealedSecret, TenantRegistered
from registry.names import Names
from registry.redis_client import RedisClient
from registry.signing import Signer
from registry.state import Live, stated
from registry.stored import document_of, head_of
from registry.verify import Finding
from server.log_access import LogAccess, open_log
from server.settings import Settings
from tests.security.replicas import call, key_file, replica

NAMES: Final = Names()
Body: TypeAlias = dict[str, Any]


@pytest.fixture(autouse=True)
def _nobody_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look twice at once: the second look waits for writers, and there are none."""
    monkeypatch.setattr("projections.inspection._SECOND_LOOK", 0.0)


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    """With a signing key, which the attacker does not have."""
    return Settings(
        redis_url=redis_url,
        key_file=key_file(tmp_path / "master.key", "master"),
        signing_key_file=key_file(tmp_path / "signing.key", "signing"),
    )


@pytest.fixture
async def attacker(settings: Settings) -> AsyncIterator["Attacker"]:
    """Somebody at a Redis in which tenants were registered, replaced and removed; no replica runs."""
    async with replica(settings) as running:
        for tenant, host in (("acme", "a1"), ("beta", "b1"), ("gone", "g1"), ("acme", "a2"), ("beta", "b2")):
            fields = {"host": host, "database": "d", "user": "u", "password": "canary", "verify": False}
            await call(running, "register_tenant", tenant_id=tenant, **fields)
        await call(running, "remove_tenant", tenant_id="gone")
        await call(running, "register_tenant", tenant_id="acme", host="a3", database="d", user="u", verify=False)
    async with open_log(msgspec.structs.replace(settings, signing_key_file=None)) as access:
        entries = await access.log.read(START, 100)
        yield Attacker(access, [entry for entry in entries if isinstance(entry, Entry)])


class Attacker:
    """Writes the log anew, as carefully as can be done without the signing key.

    Attributes:
        bodies: The entries' bodies, in order; 0 is the log's creation, 1 to 7 are the tenants' events.
    """

    def __init__(self, access: LogAccess, entries: Sequence[Entry]) -> None:
        self._access = access
        self.ids = [entry.position.entry for entry in entries]
        self.data = [entry.data for entry in entries]
        self.bodies: list[Body] = [msgspec.json.decode(data) for data in self.data]

    @property
    def redis(self) -> RedisClient:
        return self._access.redis

    async def end(self) -> Position:
        end = await self._access.log.end()
        assert end is not None
        return end

    async def write(self) -> None:
        """Make the stream of the bodies, and heads and keys of the stream."""
        redis = self._access.redis
        ids = [*self.ids, *(f"{int(self.ids[-1].partition('-')[0]) + each}-0" for each in range(1, 9))]
        await redis.run("DEL", NAMES.stream)
        await redis.run("DEL", NAMES.heads)
        before, last = "0-0", dict[str, str]()
        for number, (entry, body) in enumerate(zip(ids, self.bodies, strict=False), 1):
            if "tenant" in body:
                body["previous"] = last.get(body["tenant"])
                last[body["tenant"]] = entry
            fields = ("type", body["type"], "seq", number, "prev", before, "data", msgspec.json.encode(body))
            await redis.run("XADD", NAMES.stream, entry, *fields)
            before = entry
        await redis.run("XSETID", NAMES.stream, before, "ENTRIESADDED", len(self.bodies))
        with suppress(CorruptEntry):  # then heads and keys are left as they were
            inspected = await self._access.inspector().inspect()
            await Mender(self._access.log, self._access.keys).mend(inspected, dry_run=False)

    async def found(self) -> list[Finding]:
        """Return what anybody finds who has no signing key."""
        return (await self._access.inspector().inspect()).findings


def of(attacker: Attacker, tenant: str) -> list[Body]:
    """Return the tenant's events."""
    return [body for body in attacker.bodies if body.get("tenant") == tenant]


async def verified(settings: Settings) -> list[Finding]:
    """Return what `log verify` finds with the signing key."""
    async with open_log(settings) as access:
        return (await access.inspector().inspect()).findings


def nothing(_attacker: Attacker) -> None: ...


def edit(attacker: Attacker) -> None:
    of(attacker, "acme")[1]["config"]["host"] = "evil.example"


def edit_the_last(attacker: Attacker) -> None:
    of(attacker, "beta")[-1]["config"]["max_pool_size"] = 100


def edit_who_did_it(attacker: Attacker) -> None:
    of(attacker, "gone")[0]["actor"] = "somebody else"


def swap_two_tenants(attacker: Attacker) -> None:
    first, second = of(attacker, "acme")[0], of(attacker, "beta")[0]
    first["tenant"], second["tenant"] = "beta", "acme"


def swap_their_secrets(attacker: Attacker) -> None:
    first, second = of(attacker, "acme")[0], of(attacker, "beta")[0]
    first["secret"], second["secret"] = second["secret"], first["secret"]


def drop(attacker: Attacker) -> None:
    dropped, *later = of(attacker, "acme")[1:]
    attacker.bodies.remove(dropped)
    for body in later:
        body["version"] -= 1


def drop_the_first(attacker: Attacker) -> None:
    dropped, *later = of(attacker, "beta")
    attacker.bodies.remove(dropped)
    for body in later:
        body["version"] -= 1


def change_their_order(attacker: Attacker) -> None:
    one, other, _ = of(attacker, "acme")
    one["config"], other["config"] = other["config"], one["config"]
    one["mac"], other["mac"] = other["mac"], one["mac"]
    one["time"], other["time"] = other["time"], one["time"]


def forge(attacker: Attacker) -> None:
    told = of(attacker, "acme")[-1]
    forged = {**told, "version": 4, "event_id": "f" * 32, "command_id": "f" * 32, "config": {**told["config"]}}
    forged["config"]["host"] = "evil.example"
    attacker.bodies.append(forged)


def forge_unsigned(attacker: Attacker) -> None:
    forge(attacker)
    del attacker.bodies[-1]["mac"]


def forge_with_a_key_of_ones_own(attacker: Attacker) -> None:
    forge(attacker)
    forged = msgspec.convert({**attacker.bodies[-1], "mac": "x"}, TenantRegistered)
    signed = Signer([("signing", b"x" * 32)]).sign(forged)
    attacker.bodies[-1] = msgspec.to_builtins(signed)


def bring_a_removed_one_back(attacker: Attacker) -> None:
    attacker.bodies.remove(of(attacker, "gone")[-1])
    attacker.bodies.append({**of(attacker, "gone")[0], "version": 2, "event_id": "f" * 32, "secret": None})


def copy_an_event_to_another_tenant(attacker: Attacker) -> None:
    told = of(attacker, "beta")[0]
    attacker.bodies.append({**told, "tenant": "acme", "version": 4, "event_id": "f" * 32, "secret": None})


@pytest.mark.parametrize(
    ("attack", "named"),
    [
        (nothing, []),
        (edit, ["acme"]),
        (edit_the_last, ["beta"]),
        (edit_who_did_it, ["gone"]),
        (swap_two_tenants, ["acme", "beta"]),
        (swap_their_secrets, ["acme", "beta"]),
        (drop, ["acme"]),
        (drop_the_first, ["beta"]),
        (change_their_order, ["acme"]),
        (forge, ["acme"]),
        (forge_unsigned, ["acme"]),
        (forge_with_a_key_of_ones_own, ["acme"]),
        (bring_a_removed_one_back, ["gone"]),
        (copy_an_event_to_another_tenant, ["acme"]),
    ],
    ids=lambda value: getattr(value, "__name__", " ".join(value) if isinstance(value, list) else None),
)
async def test_an_event_that_was_not_written_so_is_named(
    settings: Settings, attacker: Attacker, attack: Callable[[Attacker], None], named: list[str]
) -> None:
    attack(attacker)
    await attacker.write()

    found = await verified(settings)

    assert await attacker.found() == [], "what gives it away is to be the signature alone"
    assert {finding.kind for finding in found} == ({"signature"} if named else set()), [str(each) for each in found]
    places = {match[1] for finding in found if (match := re.match(r"entry (\d+)@", finding.where))}
    for tenant in named:
        assert places & {str(attacker.bodies.index(body) + 1) for body in of(attacker, tenant)}


@pytest.mark.parametrize("put", ["back", "another's", "forged"])
async def test_a_head_that_was_replaced_is_named_with_its_tenant(
    settings: Settings, attacker: Attacker, put: str
) -> None:
    redis = attacker.redis
    heads = await redis.run("HGETALL", NAMES.heads)
    first = codec.decode(Entry(Position(2, attacker.ids[1]), "", "tenant_registered.v1", attacker.data[1]))
    assert isinstance(first, TenantRegistered)
    back = stated(first, Position(2, attacker.ids[1]), None)
    written = {
        "back": f"2|{attacker.ids[1]}|{codec.encode_head(head_of(back))}".encode(),
        "another's": heads[b"beta"],
        "forged": heads[b"acme"].replace(b"|1|", b"|0|", 1),
    }[put]
    assert written != heads[b"acme"]
    await redis.run("HSET", NAMES.heads, "acme", written)
    if put == "back":
        assert isinstance(back, Live)
        await redis.run("SET", NAMES.tenant("acme"), document_of(back))

    found = await verified(settings)

    assert "head of tenant 'acme'" in {finding.where for finding in found}
    assert all("acme" in finding.where for finding in found)


async def test_a_tenants_latest_events_that_were_taken_out_with_their_head_are_told_by_a_position_noted_elsewhere(
    settings: Settings, attacker: Attacker
) -> None:
    noted = await attacker.end()
    attacker.bodies.pop()
    await attacker.write()

    assert await verified(settings) == []
    assert (await attacker.end()).seq < noted.seq


async def test_a_copy_of_the_stream_opens_no_password_with_the_master_key_once_the_tenant_is_removed(
    settings: Settings, attacker: Attacker
) -> None:
    (sealed, *_) = [body["secret"] for body in of(attacker, "gone") if body.get("secret")]
    async with open_log(settings) as access:
        assert access.master is not None
        assert (await access.inspector().inspect()).findings == []
        kept = await DataKeys(access.redis, access.names).all()
        assert "gone" not in kept
        for tenant, wrapped in kept.items():
            key = await access.master.unwrap(tenant, wrapped)
            with pytest.raises(SecretUnreadable):
                key.open(
                    "gone",
                    ("db", 5432, "app", "reader", "prefer", None),
                    msgspec.convert({**sealed, "key": key.id}, SealedSecret),
                )


async def test_a_copy_of_the_stream_alone_opens_nothing_though_the_master_key_is_there(
    settings: Settings, attacker: Attacker
) -> None:
    await attacker.redis.run("DEL", NAMES.data_keys)

    async with replica(settings) as running:
        error = (await call(running, "list_tables", tenant_id="beta"))["error"]

    assert error["code"] == "secret_unreadable"
    assert "no data key any more" in error["message"]


async def test_a_tenant_that_was_pointed_elsewhere_is_named_without_a_signing_key_and_its_password_does_not_go_there(
    settings: Settings, attacker: Attacker
) -> None:
    callers: list[object] = []
    listener = await asyncio.start_server(lambda _reader, writer: callers.append(writer), "127.0.0.1", 0)
    of(attacker, "beta")[-1]["config"] |= {"host": "127.0.0.1", "port": listener.sockets[0].getsockname()[1]}
    await attacker.write()

    async with replica(settings) as running, listener:
        error = (await call(running, "list_tables", tenant_id="beta"))["error"]

    assert (error["code"], callers) == ("secret_unreadable", [])
    assert [each.where for each in await attacker.found()] == ["data key of tenant 'beta'"]
