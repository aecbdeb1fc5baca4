"""The keyring: passwords open while Redis is away, and a key that was replaced is fetched when it is needed."""

from collections.abc import Callable
from typing import Final

import msgspec
import pytest

from projections.keyring import Keyring
from registry.entries import Position
from registry.errors import SecretUnreadable
from registry.events import TenantRegistered, TenantRemoved
from registry.memory_log import MemoryLog
from registry.secrets import MasterKeys, Secret, new_master_key
from registry.state import Live, evolve
from tests.waiting import now

MASTER: Final = MasterKeys.parse(new_master_key("one"))


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def sealed(log: MemoryLog, registered: Callable[[int], TenantRegistered]) -> Callable[[str], Live]:
    """What gives tenant acme a new data key in the log, and a password sealed with it."""

    def make(password: str) -> Live:
        key, log._keys["acme"] = now(MASTER.new_data_key("acme"))
        plain = registered(1)
        event = msgspec.structs.replace(plain, secret=key.seal("acme", 1, plain.config.login, Secret(password)))
        live = evolve(None, event, Position(2, "2-0"))
        assert isinstance(live, Live)
        return live

    return make


async def test_a_key_that_was_replaced_is_fetched_when_a_password_needs_it(
    log: MemoryLog, sealed: Callable[[str], Live]
) -> None:
    keyring = Keyring(log, MASTER)
    await keyring.refresh([sealed("old")])

    assert await keyring.password(sealed("new")) == Secret("new")


async def test_a_key_that_was_fetched_once_opens_without_the_log(log: MemoryLog, sealed: Callable[[str], Live]) -> None:
    keyring, live = Keyring(log, MASTER), sealed("red")
    await keyring.refresh([live])
    log._keys.clear()

    assert await keyring.password(live) == Secret("red")


async def test_a_key_that_the_log_has_lost_still_opens_what_is_held(
    log: MemoryLog, sealed: Callable[[str], Live]
) -> None:
    keyring, live = Keyring(log, MASTER), sealed("red")
    await keyring.refresh([live])
    log._keys.clear()
    await keyring.refresh([live])

    assert await keyring.password(live) == Secret("red")
    assert keyring.wrapped(live) is not None


async def test_a_key_that_was_destroyed_with_its_tenant_opens_nothing(
    log: MemoryLog, sealed: Callable[[str], Live], removed: Callable[[int], TenantRemoved]
) -> None:
    keyring, live = Keyring(log, MASTER), sealed("red")
    await keyring.refresh([live])
    log._keys.clear()
    await keyring.refresh([evolve(live, removed(2), Position(3, "3-0"))])

    with pytest.raises(SecretUnreadable, match="no data key any more"):
        await keyring.password(live)


async def test_a_tenant_without_a_password_needs_no_key(log: MemoryLog, sealed: Callable[[str], Live]) -> None:
    live = msgspec.structs.replace(sealed("red"), secret=None)

    assert await Keyring(log, MASTER).password(live) is None


async def test_a_key_file_that_opens_none_of_the_keys_is_refused_by_name_of_its_setting(
    log: MemoryLog, sealed: Callable[[str], Live]
) -> None:
    keyring = Keyring(log, MasterKeys.parse(new_master_key("one")))
    await keyring.refresh([sealed("red")])

    with pytest.raises(SecretUnreadable, match="MCP_POSTGRES_KEY_FILE"):
        await keyring.check()


async def test_a_key_file_that_opens_some_of_the_keys_is_told_whose_it_does_not(
    log: MemoryLog, sealed: Callable[[str], Live]
) -> None:
    acme = sealed("red")
    beta = msgspec.structs.replace(acme, tenant="beta")
    log._keys["beta"] = now(MasterKeys.parse(new_master_key("lost")).new_data_key("beta"))[1]
    keyring = Keyring(log, MASTER)
    await keyring.refresh([acme, beta])

    assert await keyring.check() == ["beta"]


async def test_a_log_without_keys_is_fine_with_any_key_file(log: MemoryLog) -> None:
    assert await Keyring(log, MASTER).check() == []


async def test_a_start_tries_keys_until_one_opens_and_no_more(log: MemoryLog, sealed: Callable[[str], Live]) -> None:
    acme = sealed("red")
    tenants = [msgspec.structs.replace(acme, tenant=f"t{number}") for number in range(5)]
    strange = MasterKeys.parse(new_master_key("lost"))
    for number, tenant in enumerate(tenants):
        master = strange if number < 2 else MASTER
        log._keys[tenant.tenant] = now(master.new_data_key(tenant.tenant))[1]
    keyring = Keyring(log, MASTER)
    await keyring.refresh(tenants)

    await keyring.require_one()
    assert await keyring.check() == ["t0", "t1"]

    await keyring.refresh([])
    others = Keyring(log, strange)
    await others.refresh(tenants[2:])
    with pytest.raises(SecretUnreadable, match="none of the 3 data keys"):
        await others.require_one()
