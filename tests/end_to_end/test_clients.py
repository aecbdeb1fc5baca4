"""The official clients against a real server."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

from server.embedded.sample import SampleLogin
from tests.processes import COMMAND, Start, fields_of

HERE = Path(__file__).parent
TOOLS = {
    *("register_tenant", "remove_tenant", "list_tenants", "get_tenant", "tenant_history"),
    *("list_schemas", "list_tables", "describe_table", "execute_query"),
}


async def converse(client: Client, sample: SampleLogin) -> None:
    assert {tool.name for tool in (await client.list_tools()).tools} == TOOLS
    registered = await client.call_tool("register_tenant", fields_of("acme", sample))
    assert registered.structured_content is not None
    assert registered.structured_content["status"] in {"registered", "unchanged"}
    tables = await client.call_tool("list_tables", {"tenant_id": "acme"})
    assert tables.structured_content is not None
    assert "books" in {table["name"] for table in tables.structured_content["tables"]}
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


async def test_the_official_python_client_works_over_stdio(env: dict[str, str], sample: SampleLogin) -> None:
    command = StdioServerParameters(command=str(COMMAND), args=["serve", "--stdio"], env=env)
    async with Client(command) as client:
        await converse(client, sample)


@pytest.fixture(scope="session")
def typescript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both lines of the official TypeScript client installed."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("the TypeScript client needs Node.js, which this machine does not have")
    folder = tmp_path_factory.mktemp("typescript")
    for name in ("package.json", "converse.mjs"):
        shutil.copy(HERE / "typescript" / name, folder)
    subprocess.run(
        [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=300,
    )
    return folder


@pytest.mark.parametrize("line", ["v1", "v2"])
def test_the_official_typescript_clients_work_over_http(
    serve: Start, sample: SampleLogin, typescript: Path, line: str
) -> None:
    told = subprocess.run(
        ["node", "converse.mjs", line, serve().url, json.dumps(fields_of("acme", sample))],
        cwd=typescript,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    answer = json.loads(told.stdout)
    assert set(answer["tools"]) == TOOLS
    assert "books" in answer["tables"]
    assert answer["title"] == "Postgres for many tenants"
    assert answer["refused"] is True
