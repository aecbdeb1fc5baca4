"""The official client of this SDK against a real server; others are in `test_other_clients.py`."""

import asyncio
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters
from mcp.shared.subscriptions import ResourcesListChanged

from server.embedded.sample import SampleLogin
from tests.open_valkey import OpenValkey
from tests.processes import COMMAND, START_WITHIN, Start, clean, fields_of, run_command

TOOLS = {
    *("register_tenant", "remove_tenant", "list_tenants", "get_tenant", "tenant_history", "registry_status"),
    *("list_schemas", "list_tables", "describe_table", "execute_query", "execute_write"),
}


async def converse(client: Client, sample: SampleLogin) -> None:
    assert {tool.name for tool in (await client.list_tools()).tools} == TOOLS
    registered = await client.call_tool("register_tenant", fields_of("acme", sample))
    assert registered.structured_content is not None
    assert registered.structured_content["status"] in {"registered", "unchanged"}
    tables = await client.call_tool("list_tables", {"tenant_id": "acme"})
    assert tables.structured_content is not None
    assert "books" in {name for _schema, name, *_rest in tables.structured_content["tables"]}
    for tool, arguments in (
        ("list_schemas", {}),
        ("describe_table", {"table": "orders"}),
        ("execute_query", {"query": "SELECT * FROM books ORDER BY 1"}),
        ("get_tenant", {}),
        ("tenant_history", {}),
    ):
        # The client checks each answer against the tool's output schema and raises if it does not fit.
        told = await client.call_tool(tool, {"tenant_id": "acme", **arguments})
        assert not told.is_error, told
    wrong = await client.call_tool("list_tables", {"tenant_id": "nobody"})
    assert wrong.is_error


@pytest.mark.parametrize("mode", ["auto", "legacy", "2026-07-28"])
async def test_the_official_python_client_works_over_http_in_every_era(
    serve: Start, sample: SampleLogin, mode: str
) -> None:
    async with Client(serve().url, mode=mode) as client:
        await converse(client, sample)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_official_python_client_works_over_stdio_in_either_era(
    env: dict[str, str], sample: SampleLogin, mode: str
) -> None:
    command = StdioServerParameters(command=str(COMMAND), args=["serve", "--stdio"], env=env)
    async with Client(command, mode=mode) as client:
        await converse(client, sample)


async def test_over_stdio_a_client_hears_of_a_new_tenant(env: dict[str, str], sample: SampleLogin) -> None:
    command = StdioServerParameters(command=str(COMMAND), args=["serve", "--stdio"], env=env)
    async with Client(command) as client, client.listen(resources_list_changed=True) as subscription:
        await client.call_tool("register_tenant", fields_of("acme", sample))
        async with asyncio.timeout(START_WITHIN):
            assert isinstance(await anext(aiter(subscription)), ResourcesListChanged)


async def test_over_stdio_the_first_call_waits_for_the_registry_and_the_handshake_does_not(
    key_file: Path, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port = free_port()
    env = {"REDIS_URL": f"redis://127.0.0.1:{port}/0", "MCP_POSTGRES_KEY_FILE": str(key_file)}
    command = StdioServerParameters(command=str(COMMAND), args=["serve", "--stdio"], env=env)
    async with Client(command) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == TOOLS
        calling = asyncio.create_task(client.call_tool("list_tenants", {}))
        async with OpenValkey(tmp_path, port=port):
            told = await calling
    assert not told.is_error, told
    assert told.structured_content is not None
    assert told.structured_content["total"] == 0


def test_over_stdio_a_server_whose_redis_is_away_says_so_and_ends_with_its_client(
    key_file: Path, free_port: Callable[[], int]
) -> None:
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    messages: list[dict[str, object]] = [
        {"id": 1, "method": "initialize", "params": hello},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": {"name": "list_tenants", "arguments": {}}},
    ]
    env = {"REDIS_URL": f"redis://127.0.0.1:{free_port()}/0", "MCP_POSTGRES_KEY_FILE": str(key_file)}
    lines = [json.dumps({"jsonrpc": "2.0", **message}) + "\n" for message in messages]
    left_at_once = run_command("serve", "--stdio", env=env, stdin="".join(lines))
    assert left_at_once.returncode == 0, left_at_once.stderr
    with subprocess.Popen(
        [COMMAND, "serve", "--stdio"], env=clean(env), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write("".join(lines))
        server.stdin.flush()
        assert json.loads(server.stdout.readline())["id"] == 1
        assert "registry_unavailable" in server.stdout.readline()
        server.stdin.close()
        assert server.wait(30) == 0
