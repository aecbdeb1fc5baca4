"""Passwords that stay out of Redis: looked up for each login, on a real Postgres, and told nowhere."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis as sync_redis

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
    """Of a replica that may look for passwords in a folder."""
    (tmp_path / "secrets").mkdir()
    return Settings(redis_url=redis_url, key_file=key_file(tmp_path / "k", "one"), secrets_dir=tmp_path / "secrets")


async def test_a_password_in_a_file_is_used_and_a_new_one_is_taken_at_the_next_login(
    settings: Settings, login: Role, redis_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "secrets" / "acme"
    first = await login.change_password()
    file.write_text(first[::-1] + "\n")
    async with replica(settings) as running:
        told = await call(running, "register_tenant", tenant_id="acme", password_ref="file:acme", **login.fields)
        assert told["login"]["user"] == login.name, told
        again = await call(running, "register_tenant", tenant_id="acme", password_ref="file:acme", **login.fields)
        assert again["status"] == "unchanged"
        assert (await one(running, "acme"))["rows"] == [[1]]

        second = await login.change_password()
        await login.disconnect_all()
        file.write_text(second[::-1])
        assert (await one(running, "acme"))["rows"] == [[1]]

        details = await call(running, "get_tenant", tenant_id="acme")
        history = await call(running, "tenant_history", tenant_id="acme")
        assert (details["password_ref"], details["has_password"]) == ("file:acme", True)
        assert history["changes"][0]["fields"]["password_ref"] == "file:acme"
    held = _all_of(redis_url)
    assert b'"password_ref":"file:acme"' in held
    for turned in (first, second):
        assert turned[::-1].encode() not in held


async def test_a_file_that_went_missing_is_told_by_its_reference_and_costs_no_other_tenant(
    settings: Settings, login: Role, tmp_path: Path
) -> None:
    turned = await login.change_password()
    (tmp_path / "secrets" / "acme").write_text(turned[::-1])
    async with replica(settings) as running:
        await call(running, "register_tenant", tenant_id="acme", password_ref="file:acme", **login.fields)
        await call(running, "register_tenant", tenant_id="beta", password=turned[::-1], **login.fields)
        (tmp_path / "secrets" / "acme").unlink()

        error = (await one(running, "acme"))["error"]

        assert error["code"] == "secret_unreadable"
        assert "password_ref=file:acme of tenant 'acme'" in error["message"]
        assert (await one(running, "beta"))["rows"] == [[1]]


async def test_a_reference_that_is_not_to_be_had_is_refused_when_it_is_registered(
    settings: Settings, login: Role, tmp_path: Path
) -> None:
    async with replica(settings) as running:
        for ref, code in (
            ("file:absent", "secret_unreadable"),
            ("file:../k", "invalid_input"),
            (f"file:{tmp_path}/k", "invalid_input"),
            ("env:PATH", "invalid_input"),
        ):
            told = await call(running, "register_tenant", tenant_id="acme", password_ref=ref, **login.fields)
            assert told["error"]["code"] == code, (ref, told)
        assert (await call(running, "list_tenants"))["total"] == 0


async def test_moving_to_a_reference_destroys_what_opened_the_sealed_password(
    settings: Settings, login: Role, redis_url: str, tmp_path: Path
) -> None:
    turned = await login.change_password()
    (tmp_path / "secrets" / "acme").write_text(turned[::-1])
    async with replica(settings) as running:
        await call(running, "register_tenant", tenant_id="acme", password=turned[::-1], **login.fields)
        assert _data_keys(redis_url) == {b"acme"}

        told = await call(running, "register_tenant", tenant_id="acme", password_ref="file:acme", **login.fields)

        assert told["status"] == "replaced"
        assert _data_keys(redis_url) == set()
        assert (await one(running, "acme"))["rows"] == [[1]]
        back = await call(running, "register_tenant", tenant_id="acme", password=turned[::-1], **login.fields)
        assert back["status"] == "replaced"
        assert (await one(running, "acme"))["rows"] == [[1]]
        history = (await call(running, "tenant_history", tenant_id="acme"))["changes"]
        assert [change["fields"].get("password_ref", "-") for change in history] == [None, "file:acme", "-"]


def _data_keys(url: str) -> set[Any]:
    with sync_redis.Redis.from_url(url) as client:
        return set(client.hkeys("{mcp:postgres:tenant-events}:keys"))


def _all_of(url: str) -> bytes:
    """Return everything that Redis holds, as one text."""
    with sync_redis.Redis.from_url(url) as client:
        kinds = {
            b"string": client.get,
            b"hash": client.hgetall,
            b"stream": client.xrange,
        }
        return b"\n".join(repr(kinds[client.type(key)](key)).encode() for key in client.scan_iter())
