"""Writes through the tool: who may, which tenant lets them, what is put down of it, and what that never holds."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from server.embedded.postgres import EmbeddedPostgres
from server.embedded.valkey import EmbeddedValkey
from server.principal import Principal
from server.replica import Replica
from server.settings import Settings
from server.toolbox import Call
from tests.faults.proxy import Proxies
from tests.security.replicas import Role, call, key_file, replica, role

CANARY: Final = "hunter2-canary"


@pytest.fixture
async def login(postgres: EmbeddedPostgres) -> AsyncIterator[Role]:
    """A login with a table of its own."""
    async with role(postgres) as made:
        await made.have_database(made.name)
        admin = await asyncpg.connect(postgres.dsn(made.name))
        await admin.execute(f"CREATE TABLE notes (note text); ALTER TABLE notes OWNER TO {made.name}")
        await admin.execute(f"ALTER ROLE {made.name} LOGIN")
        await admin.close()
        yield made


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def settings(tmp_path: Path, audit: Path, valkey: EmbeddedValkey) -> Settings:
    return Settings(
        redis_url=valkey.url,
        prefix=f"writes-{tmp_path.name}",
        key_file=key_file(tmp_path / "master.key", "one"),
        audit_file=audit,
        statement_timeout=5,
    )


@pytest.fixture
async def running(settings: Settings, login: Role) -> AsyncIterator[Replica]:
    """A replica with the tenants `open`, which may be written to, and `shut`, which may not."""
    async with replica(settings) as made:
        fields = {**login.fields, "database": login.name, "password": turned(await login.change_password())}
        for tenant, access in (("open", "read_write"), ("shut", "read_only")):
            told = await call(made, "register_tenant", tenant_id=tenant, access=access, **fields)
            assert told.get("status") == "registered", told
        yield made


def turned(password: str) -> str:
    return password[::-1]


def lines(audit: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in audit.read_text().splitlines()] if audit.exists() else []


def text_of(audit: Path) -> str:
    return audit.read_text()


def mode_of(audit: Path) -> int:
    return audit.stat().st_mode & 0o777


def rotate(audit: Path) -> None:
    audit.rename(audit.with_suffix(".1"))


def put_folder_there(audit: Path) -> None:
    """Make it what nothing can be appended to, whoever runs this."""
    audit.unlink()
    audit.mkdir()


def take_folder_away(audit: Path) -> None:
    audit.rmdir()


async def write(running: Replica, tenant: str, *texts: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - arguments
    statements = [{"sql": text} for text in texts]
    told: dict[str, Any] = await call(running, "execute_write", tenant_id=tenant, statements=statements, **more)
    return dict(told.get("error", told))


async def notes(running: Replica) -> list[list[Any]]:
    told: list[list[Any]] = (await call(running, "execute_query", tenant_id="open", query="TABLE notes"))["rows"]
    return told


async def test_a_write_is_put_down_before_and_after_without_a_value_of_it(running: Replica, audit: Path) -> None:
    told = await call(
        running,
        "execute_write",
        tenant_id="open",
        statements=[
            {"sql": f"INSERT INTO notes VALUES ('{CANARY}'), ($1)", "params": [CANARY]},
            {"sql": f"SELECT note AS {CANARY.replace('-', '_')} FROM notes"},
        ],
    )
    assert (told["committed"], told["statements"][0]["row_count"]) == (True, 2)

    intent, outcome = lines(audit)
    assert (intent["phase"], outcome["phase"]) == ("intent", "outcome")
    same = ("write", "tenant", "actor", "dry_run")
    assert [intent[field] for field in same] == [outcome[field] for field in same]
    assert (intent["tenant"], intent["actor"], intent["dry_run"]) == ("open", "ann", False)
    assert [each["kind"] for each in intent["statements"]] == ["INSERT", "SELECT"]
    assert all(len(each["fingerprint"]) == 16 for each in intent["statements"])
    assert (outcome["outcome"], [each["rows"] for each in outcome["statements"]]) == ("committed", [2, 2])
    assert "outcome" not in intent
    assert "hunter2" not in text_of(audit)
    assert mode_of(audit) == 0o600


@pytest.mark.parametrize(
    ("tenant", "text", "more", "code", "outcome"),
    [
        ("shut", "DELETE FROM notes", {}, "read_only_tenant", "refused"),
        ("shut", "DELETE FROM notes", {"dry_run": True}, "read_only_tenant", "refused"),
        ("open", "CREATE TABLE more ()", {}, "query_refused", "refused"),
        ("open", "NOT SQL", {}, "query_refused", "refused"),
        ("open", "SELECT 1" + " " * 40_000, {}, "query_refused", "refused"),
        ("open", "DELETE FROM notes", {"role": "hunter2"}, "invalid_input", "refused"),
        ("open", "SELECT 1 / 0", {}, "query_failed", "failed"),
        ("open", "DELETE FROM notes", {"dry_run": True}, None, "rolled_back"),
    ],
)
async def test_what_is_refused_fails_or_is_rolled_back_is_put_down_too(
    running: Replica, audit: Path, tenant: str, text: str, more: dict[str, Any], code: str | None, outcome: str
) -> None:
    told = await write(running, tenant, text, **more)

    last = lines(audit)[-1]
    assert told.get("code") == code
    assert (last["phase"], last["outcome"], last.get("code"), last["tenant"]) == ("outcome", outcome, code, tenant)
    assert last["dry_run"] is more.get("dry_run", False)
    assert last.get("sqlstate") == ("22012" if code == "query_failed" else None)
    assert len(lines(audit)) == (1 if outcome == "refused" else 2)
    assert "hunter2" not in text_of(audit)


async def test_a_tenant_that_is_read_only_says_what_to_do(running: Replica) -> None:
    told = await write(running, "shut", "DELETE FROM notes")

    assert "access=read_write" in told["message"]
    assert told["retryable"] is False


async def test_a_tenant_that_is_not_the_callers_is_not_there_and_not_put_down(running: Replica, audit: Path) -> None:
    caller = Call(principal=Principal("eve", tenants=("mine-*",)))
    arguments = {"statements": [{"sql": "DELETE FROM notes"}]}

    answers = [
        json.loads((await running.toolbox.call("execute_write", {"tenant_id": tenant, **arguments}, caller)).payload)
        for tenant in ("open", "nope")
    ]

    assert [answer["error"]["code"] for answer in answers] == ["unknown_tenant"] * 2
    assert lines(audit) == []


async def test_what_cannot_be_put_down_is_not_written(running: Replica, audit: Path) -> None:
    put_folder_there(audit)
    told = await write(running, "open", "INSERT INTO notes VALUES ('x')")

    assert (told["code"], told["retryable"]) == ("audit_unavailable", True)
    assert await notes(running) == []
    take_folder_away(audit)
    assert (await write(running, "open", "INSERT INTO notes VALUES ('x')"))["committed"]


async def test_an_audit_file_that_is_rotated_is_made_anew(running: Replica, audit: Path) -> None:
    await write(running, "open", "DELETE FROM notes")
    rotate(audit)
    await write(running, "open", "DELETE FROM notes")

    assert [len(lines(each)) for each in (audit.with_suffix(".1"), audit)] == [2, 2]


async def test_a_call_that_is_cancelled_is_put_down_as_that(running: Replica, audit: Path) -> None:
    calling = asyncio.create_task(write(running, "open", "INSERT INTO notes VALUES ('x')", "SELECT pg_sleep(4)"))
    async with asyncio.timeout(4):
        while not lines(audit):  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.01)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling

    assert [line.get("outcome") for line in lines(audit)] == [None, "cancelled"]
    assert await notes(running) == []


async def test_a_connection_that_breaks_is_told_and_nothing_is_run_again(
    running: Replica, audit: Path, login: Role, postgres: EmbeddedPostgres
) -> None:
    """A read is run once more on another connection; a write might have been committed."""
    with Proxies() as proxies:
        proxy = proxies.add(postgres.port)
        fields = {**login.fields, "port": proxy.port, "database": login.name}
        fields["password"] = turned(await login.change_password())
        told = await call(running, "register_tenant", tenant_id="far", access="read_write", **fields)
        assert told["status"] == "registered"
        for dropped, code in ((b"INSERT", "tenant_unreachable"), (b"COMMIT", "outcome_unknown")):
            proxy.drop_next_reply(dropped)
            told = await write(running, "far", "INSERT INTO notes VALUES ('once')")
            assert (told["code"], told["retryable"]) == (code, code == "tenant_unreachable")
        await call(running, "remove_tenant", tenant_id="far", wait_seconds=0)

    assert [line.get("outcome") for line in lines(audit)] == [None, "failed", None, "unknown"]
    admin = await asyncpg.connect(postgres.dsn(login.name))
    async with asyncio.timeout(4):
        while await admin.fetchval("SELECT count(*) FROM notes") != 1:  # noqa: ASYNC110 - Postgres has no event
            await asyncio.sleep(0.01)
    await admin.close()


async def test_a_call_takes_on_a_role_that_the_tenant_lends_and_no_other(
    running: Replica, login: Role, postgres: EmbeddedPostgres
) -> None:
    async with role(postgres) as lent, role(postgres) as kept:
        admin = await asyncpg.connect(postgres.dsn(login.name))
        await admin.execute(f"GRANT {lent.name}, {kept.name} TO {login.name}")
        await admin.close()
        fields = {**login.fields, "database": login.name, "password": turned(await login.change_password())}
        more = {"access": "read_write", "roles": [lent.name]}
        assert (await call(running, "register_tenant", tenant_id="open", **more, **fields))["status"]
        query = {"tenant_id": "open", "query": "SELECT current_user, session_user"}

        told = await call(running, "execute_query", role=lent.name, **query)
        assert told["rows"] == [[lent.name, login.name]]
        assert (await call(running, "execute_query", **query))["rows"] == [[login.name, login.name]]
        refused = (await call(running, "execute_query", role=kept.name, **query))["error"]
        assert (refused["code"], refused["field"], lent.name in refused["message"]) == ("invalid_input", "role", True)
        assert (await call(running, "get_tenant", tenant_id="open"))["roles"] == [lent.name]
        assert (await write(running, "open", "INSERT INTO notes VALUES ('x')", role=lent.name))["sqlstate"] == "42501"
        await call(running, "remove_tenant", tenant_id="open", wait_seconds=0)


async def test_a_tenant_that_is_registered_without_access_again_is_read_only_again(
    running: Replica, login: Role
) -> None:
    fields = {**login.fields, "database": login.name, "password": turned(await login.change_password())}
    assert (await call(running, "get_tenant", tenant_id="open"))["access"] == "read_write"
    await call(running, "register_tenant", tenant_id="open", **fields)

    assert (await write(running, "open", "DELETE FROM notes"))["code"] == "read_only_tenant"
    assert "access" not in await call(running, "get_tenant", tenant_id="open")
