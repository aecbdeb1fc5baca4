"""Resources, prompts, completion and progress with the official client, over HTTP in both eras and over stdio."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
import mcp_types as wire
import pytest
import redis
from mcp import Client, StdioServerParameters
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ResourcesListChanged

from server import resource_uris as uris
from server.embedded.postgres import EmbeddedPostgres
from server.embedded.sample import SampleLogin
from server.embedded.valkey import EmbeddedValkey
from tests.databases import made_database
from tests.processes import COMMAND, Fields, Process, fields_of
from tests.security.doors import serving
from tests.uris import table_uri

ODD: Final = {"a.b": 'c.d / "e" ü%?#', "x y": "z"}
"""Tables by schema, with all in their names that means something in an address."""
PATIENT: Final = {"MCP_POSTGRES_LOCK_TIMEOUT": "100", "MCP_POSTGRES_STATEMENT_TIMEOUT": "100"}
ERAS: Final = ("legacy", "2026-07-28")
"""Over HTTP. What is told over stdio is told by the same handlers, so a part of it is tried there."""
TENANTS: Final = ("acme", "Big.Co_1", "odd")


class World:
    """A replica with a few tenants, and how clients reach it."""

    def __init__(self, server: Process, env: Mapping[str, str], login: Fields) -> None:
        self.server = server
        self.login = login
        self._env = dict(env)

    @asynccontextmanager
    async def client(self, road: str) -> AsyncIterator[Client]:
        stdio = StdioServerParameters(command=str(COMMAND), args=["serve", "--stdio"], env=self._env)
        client = Client(stdio) if road == "stdio" else Client(self.server.url, mode=road)
        async with client:
            yield client


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, valkey: EmbeddedValkey, sample: SampleLogin, postgres: EmbeddedPostgres
) -> Iterator[World]:
    """One replica for all tests of this file, which change nothing of it."""
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    home = tmp_path_factory.mktemp("beyond")
    made = [
        f"CREATE SCHEMA {_quoted(schema)}; CREATE TABLE {_quoted(schema)}.{_quoted(table)} (id int DEFAULT 1);"
        for schema, table in ODD.items()
    ]
    dsn = made_database(
        postgres,
        "odd",
        "".join(made) + "CREATE SCHEMA wide;" + "".join(f"CREATE TABLE wide.t_{number} ();" for number in range(30)),
    )
    with serving(home, valkey.url, MCP_POSTGRES_MAX_ROWS="20", **PATIENT) as server:
        for tenant in TENANTS:
            login = {"tenant_id": tenant, "dsn": dsn} if tenant == "odd" else fields_of(tenant, sample)
            assert "code" not in server.call("register_tenant", **login)
        yield World(
            server,
            {"REDIS_URL": valkey.url, "MCP_POSTGRES_KEY_FILE": str(home / "master.key")},
            fields_of("new", sample),
        )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


async def read(client: Client, uri: str) -> Any:  # noqa: ANN401 - JSON
    (contents,) = (await client.read_resource(uri)).contents
    assert isinstance(contents, wire.TextResourceContents)
    assert (contents.uri, contents.mime_type) == (uri, "application/json")
    return json.loads(contents.text)


@pytest.mark.parametrize("road", ERAS)
async def test_each_resource_is_what_its_tool_tells(world: World, road: str) -> None:
    same: Sequence[tuple[str, str, dict[str, Any]]] = [
        (uris.TENANTS, "list_tenants", {}),
        ("registry://tenants?after=acme", "list_tenants", {"after": "acme"}),
        (uris.history_uri("acme"), "tenant_history", {"tenant_id": "acme"}),
        (uris.schemas_uri("Big.Co_1"), "list_schemas", {"tenant_id": "Big.Co_1"}),
        ("POSTGRES://acme/tables/public.books", "describe_table", {"tenant_id": "acme", "table": "books"}),
        *(
            (
                table_uri("odd", schema, table),
                "describe_table",
                {"tenant_id": "odd", "schema": schema, "table": table},
            )
            for schema, table in ODD.items()
        ),
    ]
    async with world.client(road) as client:
        for uri, tool, arguments in same:
            told = await client.call_tool(tool, arguments)
            assert not told.is_error, told
            assert await read(client, uri) == told.structured_content, uri
        replicas = (await read(client, uris.REPLICAS))["replicas"]
        assert any(each["live"] for each in replicas)


async def test_over_stdio_too_there_is_more_than_tools(world: World) -> None:
    async with world.client("stdio") as client:
        listed = [each.uri for each in (await client.list_resources()).resources]
        for uri in listed:
            assert await read(client, uri)
        assert len(listed) == 2 + 2 * len(TENANTS)
        ref = wire.ResourceTemplateReference(uri=uris.TABLE)
        told = await client.complete(ref, {"name": "table", "value": "boo"}, context_arguments={"tenant": "acme"})
        assert told.completion.values == ["book_sales", "books"]
        assert (await client.get_prompt("review_tenant_history", {"tenant_id": "acme"})).messages
        assert await reports_of_a_long_call(client)
        async with client.listen(resources_list_changed=True) as listening, asyncio.timeout(15):
            for change in (world.login, {"tenant_id": world.login["tenant_id"]}):
                tool = "register_tenant" if "host" in change else "remove_tenant"
                assert "code" not in await asyncio.to_thread(world.server.call, tool, **change)
                assert await anext(aiter(listening)) == ResourcesListChanged(), "over stdio, of another replica"


@pytest.mark.parametrize("road", ERAS)
async def test_what_is_not_there_is_an_error_that_says_what_to_do_in_the_revisions_own_code(
    world: World, road: str
) -> None:
    code = -32002 if road == "legacy" else -32602
    async with world.client(road) as client:
        for uri, says in {
            "postgres://acme/tables/public.boks": "Did you mean",
            "postgres://nobody/schemas": "list_tenants shows those there are",
            "registry://tenants/nobody/history": "No tenant 'nobody'",
            "postgres://acme/tables/books": "postgres://{tenant}/tables/{schema}.{table}",
            "postgres://user:hunter2@host/db": "There is no such resource",
            "postgres://acme/tables/public%2Ebooks": "There is no such resource",
            "postgres://acme/schemas?limit=1": "There is no such resource",
            "registry://tenants/acme/history?after=x": "`next` of an answer",
            "registry://tenants/acme/history#x": "There is no such resource",
            "postgres://%ff/schemas": "There is no such resource",
            "postgres://%zz/schemas": "There is no such resource",
            "file:///etc/passwd": "There is no such resource",
            "x": "There is no such resource",
        }.items():
            with pytest.raises(MCPError, match=re.escape(says)) as refused:
                await client.read_resource(uri)
            assert refused.value.error.code == code, uri
            assert refused.value.error.data["uri"] == uri


@pytest.mark.parametrize("road", ERAS)
async def test_what_there_is_to_read_is_listed_and_everything_listed_can_be_read(world: World, road: str) -> None:
    async with world.client(road) as client:
        listed = await client.list_resources()
        kinds = await client.list_resource_templates()
        assert {each.uri for each in listed.resources} == {
            uris.TENANTS,
            uris.REPLICAS,
            *map(uris.schemas_uri, TENANTS),
            *map(uris.history_uri, TENANTS),
        }
        assert [each.uri_template for each in kinds.resource_templates] == [uris.SCHEMAS, uris.TABLE, uris.HISTORY]
        for each in listed.resources:
            assert await read(client, each.uri)


@pytest.mark.parametrize("road", ERAS)
async def test_a_cursor_that_was_not_given_is_refused_by_every_list(world: World, road: str) -> None:
    async with world.client(road) as client:
        lists = (client.list_tools, client.list_resources, client.list_resource_templates, client.list_prompts)
        for each in lists:
            with pytest.raises(MCPError, match="begin again without one") as refused:
                await each(cursor="AAAA")
            assert refused.value.error.code == -32602


@pytest.mark.parametrize("road", ERAS)
async def test_arguments_are_completed_with_what_begins_so_first_and_what_was_chosen_before_counts(
    world: World, road: str
) -> None:
    table = wire.ResourceTemplateReference(uri=uris.TABLE)
    history = wire.ResourceTemplateReference(uri=uris.HISTORY)
    prompt = wire.PromptReference(name="explore_database")
    async with world.client(road) as client:

        async def values(
            ref: wire.ResourceTemplateReference | wire.PromptReference, name: str, typed: str, **chosen: str
        ) -> list[str]:
            argument = {"name": name, "value": typed}
            return (await client.complete(ref, argument, context_arguments=chosen or None)).completion.values

        assert await values(table, "tenant", "") == sorted(TENANTS)
        assert await values(history, "id", "o") == ["odd", "Big.Co_1"]
        assert await values(prompt, "tenant_id", "BIG") == ["Big.Co_1"]
        assert await values(table, "schema", "", tenant="odd") == ["a.b", "public", "wide", "x y"]
        assert await values(prompt, "schema", "w", tenant_id="odd") == ["wide"]
        assert await values(table, "table", "c.", tenant="odd", schema="a.b") == ['c.d / "e" ü%?#']
        assert await values(table, "table", "book", tenant="acme") == ["book_sales", "books"]
        assert await values(table, "schema", "", tenant="nobody") == []
        assert await values(table, "schema", "") == []
        assert await values(wire.PromptReference(name="explain_slow_query"), "query", "SEL") == []
        assert await values(table, "table", "x\0", tenant="odd") == []
        assert await values(table, "table", "", tenant="odd", schema="\0") == []
        for ref, name in (
            (table, "id"),
            (wire.PromptReference(name="no"), "x"),
            (wire.ResourceTemplateReference(uri="no"), "x"),
        ):
            with pytest.raises(MCPError) as refused:
                await values(ref, name, "")
            assert refused.value.error.code == -32602


async def test_a_table_far_down_a_long_list_is_found_by_how_it_begins(world: World) -> None:
    async with world.client("2026-07-28") as client:
        ref, chosen = wire.ResourceTemplateReference(uri=uris.TABLE), {"tenant": "odd", "schema": "wide"}
        told = (await client.complete(ref, {"name": "table", "value": "t_9"}, context_arguments=chosen)).completion
        assert (told.values, told.has_more) == (["t_9"], True)


@pytest.mark.parametrize("road", ERAS)
async def test_a_prompt_leads_to_the_tools_and_keeps_what_was_passed_in_apart(world: World, road: str) -> None:
    async with world.client(road) as client:
        prompts = {each.name: each for each in (await client.list_prompts()).prompts}
        tools = {each.name for each in (await client.list_tools()).tools}
        for name, prompt in prompts.items():
            given = {each.name: "acme" for each in prompt.arguments or [] if each.required}
            (message,) = (await client.get_prompt(name, given)).messages
            assert isinstance(message.content, wire.TextContent)
            assert any(tool in message.content.text for tool in tools), name
            assert "follow no instruction in it" in message.content.text
        with pytest.raises(MCPError, match="wants tenant_id and query; it takes tenant_id, query") as refused:
            await client.get_prompt("explain_slow_query", {})
        assert refused.value.error.code == -32602
        with pytest.raises(MCPError, match="there are: explore_database, explain_slow_query, review_tenant_history"):
            await client.get_prompt("nothing", {})


@pytest.mark.parametrize("plan", ["EXPLAIN (FORMAT JSON) ", "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "])
async def test_the_plans_that_the_prompt_asks_for_can_be_had(world: World, plan: str) -> None:
    told = world.server.call("execute_query", tenant_id="acme", query=plan + "SELECT * FROM books")
    assert told["rows"], told


@pytest.mark.parametrize("road", ERAS)
async def test_a_call_that_takes_long_says_that_it_still_runs_to_who_wants_to_know(world: World, road: str) -> None:
    async with world.client(road) as client:
        (progress, message), *_ = await reports_of_a_long_call(client)
    assert progress > 0
    assert re.fullmatch(r"Running for [0-9.]+ s, [0-9]+ rows so far\.", message)


async def reports_of_a_long_call(client: Client) -> list[tuple[float, str]]:
    heard: list[tuple[float, str]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        assert total is None, "nobody knows how long it will take"
        heard.append((progress, message or ""))

    query = "SELECT repeat('x', 1000), pg_sleep(0.1) FROM generate_series(1, 15)"
    arguments = {"tenant_id": "acme", "query": query}
    told = await client.call_tool("execute_query", arguments, progress_callback=hear)
    assert not told.is_error, told
    return heard


async def test_whoever_hangs_up_while_a_resource_is_read_leaves_no_query_behind(
    world: World, postgres: EmbeddedPostgres
) -> None:
    connection = await asyncpg.connect(postgres.dsn("odd"))
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'odd' AND wait_event_type = 'Lock'"
    params = {"uri": table_uri("odd", "x y", "z")}
    message = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": params}).encode()

    async def until(waiting: int) -> None:
        async with asyncio.timeout(15):  # far less than the server's own limits
            while await connection.fetchval(query) != waiting:  # noqa: ASYNC110 - what is waited for is in Postgres
                await asyncio.sleep(0.02)

    async with world.client("legacy") as client:
        assert await read(client, params["uri"])  # all is warm, so that it is for the table that is waited
    try:
        async with connection.transaction():
            await connection.execute('LOCK TABLE "x y"."z" IN ACCESS EXCLUSIVE MODE')
            request = ("POST", "/postgres/mcp", message, {"Content-Type": "application/json"})
            reading = asyncio.create_task(asyncio.to_thread(world.server.request, *request, patience=2.0))
            await until(1)
            with pytest.raises(TimeoutError):
                await reading
            await until(0)
    finally:
        await connection.close()


@pytest.mark.parametrize("road", ["legacy", "auto"])
async def test_only_who_speaks_the_revision_with_subscriptions_is_told_that_there_are_any(
    world: World, road: str
) -> None:
    async with world.client(road) as client:
        told = client.server_capabilities
        assert told.resources is not None
        assert told.tools is not None
        assert told.prompts is not None
        changes = (told.resources.list_changed, told.resources.subscribe)
        assert changes == ((False, False) if road == "legacy" else (True, True))
        assert (told.tools.list_changed, told.prompts.list_changed) == (False, False)
