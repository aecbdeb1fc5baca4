"""A password is in clear for the length of a login: nothing that a running replica keeps has it afterwards."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from registry.secrets import Secret
from server.embedded.postgres import EmbeddedPostgres
from server.settings import Settings
from tests.security.replicas import Role, call, key_file, one, replica, role


@pytest.fixture
async def login(postgres: EmbeddedPostgres) -> AsyncIterator[Role]:
    """A role of this test."""
    async with role(postgres) as made:
        yield made


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    """Of a replica over Redis."""
    return Settings(redis_url=redis_url, key_file=key_file(tmp_path / "k", "one"), secrets_dir=tmp_path)


async def test_after_calls_no_object_of_the_replica_holds_the_password_though_its_connections_are_open(
    settings: Settings, login: Role
) -> None:
    turned = await login.change_password()
    async with replica(settings) as running:
        await call(running, "register_tenant", tenant_id="acme", password=turned[::-1], min_pool_size=3, **login.fields)
        for _ in range(3):
            assert (await one(running, "acme"))["rows"] == [[1]]

        assert await holders_left(turned) == []


async def test_what_is_kept_of_a_login_that_failed_does_not_hold_the_password(settings: Settings, login: Role) -> None:
    turned = await login.change_password()
    await login.change_password()
    async with replica(settings) as running:
        arguments = {"tenant_id": "acme", "password": turned[::-1], "verify": False, **login.fields}
        await call(running, "register_tenant", **arguments)
        arguments.clear()
        assert (await one(running, "acme"))["error"]["code"] == "login_refused"
        assert "refuses the login" in (await call(running, "get_tenant", tenant_id="acme"))["error"]

        assert await holders_left(turned) == []


async def test_a_password_from_a_file_is_kept_no_longer_than_a_sealed_one(
    settings: Settings, login: Role, tmp_path: Path
) -> None:
    turned = await login.change_password()
    (tmp_path / "acme").write_text(turned[::-1])
    async with replica(settings) as running:
        await call(running, "register_tenant", tenant_id="acme", password_ref="file:acme", **login.fields)
        assert (await one(running, "acme"))["rows"] == [[1]]

        assert await holders_left(turned) == []


async def test_the_search_finds_what_the_driver_keeps_where_it_is_given_a_password(login: Role) -> None:
    turned = await login.change_password()
    connection = await asyncpg.connect(password=turned[::-1], **login.fields)
    try:
        assert await holders_left(turned) != []
    finally:
        await connection.close()


def test_the_search_finds_a_password_in_a_secret_a_struct_and_a_closure() -> None:
    turned = "drowssap-a-si-siht"
    kept: list[Any] = [Secret(turned[::-1])]
    assert holders(turned) != []
    kept[0] = msgspec.convert({"field": {"text": f"x{turned[::-1]}x"}}, _Outer)
    assert holders(turned) != []
    kept[0] = _closure(turned)
    assert holders(turned) != []
    gc.freeze()
    assert holders(turned) != []
    kept.clear()
    assert holders(turned) == []


class _Inner(msgspec.Struct, gc=False):
    text: str


class _Outer(msgspec.Struct, gc=False):
    field: _Inner


def _closure(turned: str) -> Any:  # noqa: ANN401 - anything that holds on to a local variable
    text = turned[::-1]
    return lambda: text


async def holders_left(turned: str) -> list[str]:
    """Return the same once the loop has let go of what woke this very task: a login's failure, say."""
    await asyncio.sleep(0)
    return holders(turned)


def holders(turned: str) -> list[str]:
    """Return what holds the text that `turned` is when turned round: types of objects, and a repr without the text."""
    gc.unfreeze()  # what was set aside, as the tests' imports are, may hold it as well
    gc.collect()
    found = []
    for holder, text in _texts():
        if turned in (text[::-1] if isinstance(text, str) else text[::-1].decode("latin-1")):
            found.append(type(holder).__qualname__)
    return found


def _texts() -> Iterator[tuple[object, str | bytes]]:
    """Yield every text and string of bytes that any object holds, whatever keeps it, with that object."""
    seen: set[int] = set()
    left: list[object] = [thing for thing in gc.get_objects() if not isinstance(thing, type(_texts()))]
    while left:
        holder = left.pop()
        if id(holder) in seen or holder is seen or holder is left:
            continue
        seen.add(id(holder))
        for thing in _parts(holder):
            if isinstance(thing, str | bytes | bytearray):
                if id(thing) not in seen:
                    seen.add(id(thing))
                    yield holder, bytes(thing) if isinstance(thing, bytearray) else thing
            elif not gc.is_tracked(thing):
                left.append(thing)


def _parts(holder: object) -> list[object]:
    """Return what an object refers to; a struct that the collector knows nothing of by its fields."""
    parts = gc.get_referents(holder)
    if isinstance(holder, msgspec.Struct):
        parts += [getattr(holder, name) for name in holder.__struct_fields__]
    return parts
