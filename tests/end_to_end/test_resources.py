"""Resources with the official client, over HTTP in both eras: the same as the tools tell, or an error that helps."""

import asyncio
import json
import re
from typing import Any

import asyncpg
import pytest
from mcp.shared.exceptions import MCPError

from server import resource_uris as uris
from server.embedded.postgres import EmbeddedPostgres
from tests.end_to_end.resource_world import ERAS, ODD, TENANTS, World, read
from tests.uris import table_uri


@pytest.mark.parametrize("road", ERAS)
async def test_each_resource_is_what_its_tool_tells(world: World, road: str) -> None:
    same: list[tuple[str, str, dict[str, Any]]] = [
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
