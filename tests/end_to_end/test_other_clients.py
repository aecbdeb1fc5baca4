"""Official clients of other languages and ages against a real server, over both transports."""

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from server.embedded.sample import SampleLogin
from tests.foreign import HERE, NODE_HOME, PACKAGES, node, python_of_1x
from tests.processes import COMMAND, Fields, Start, clean, fields_of

HANDSHAKE: Final = "2025-11-25"
STATELESS: Final = "2026-07-28"
TOOLS: Final = {
    *("register_tenant", "remove_tenant", "list_tenants", "get_tenant", "tenant_history", "registry_status"),
    *("list_schemas", "list_tables", "describe_table", "execute_query", "execute_write"),
}
INSPECTOR: Final = PACKAGES / "@modelcontextprotocol" / "inspector" / "clients" / "launcher" / "build" / "index.js"


def typescript(line: str, target: str, registration: str) -> Any:  # noqa: ANN401 - what the client says
    """Have a client of this line converse."""
    script = (HERE / "converse.mjs").read_text("utf-8")
    # Read from standard input, a script finds the packages of the folder it is run in.
    return told_by(node("--input-type=module", "-", line, target, registration), NODE_HOME, script)


def python_1x(target: str, registration: str) -> Any:  # noqa: ANN401 - as above
    return told_by([str(python_of_1x()), str(HERE / "converse_1x.py"), target, registration])


def told_by(command: list[str], folder: Path | None = None, script: str = "", **env: str) -> Any:  # noqa: ANN401 - JSON
    done = subprocess.run(
        command,
        cwd=folder,
        input=script,
        env=clean(env),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


CLIENTS: Final[Mapping[str, tuple[Callable[[str, str], Any], str]]] = {
    "python 1.x": (python_1x, HANDSHAKE),
    "typescript v1": (lambda target, registration: typescript("v1", target, registration), HANDSHAKE),
    "typescript v2": (lambda target, registration: typescript("v2", target, registration), HANDSHAKE),
    "typescript v2, newest": (lambda target, registration: typescript("v2-auto", target, registration), STATELESS),
}


@pytest.fixture(params=["http", "stdio"])
def target(request: pytest.FixtureRequest, serve: Start, env: dict[str, str]) -> str:
    """Where a client finds the server: its URL, or the command that it runs itself."""
    if request.param == "http":
        return serve().url
    return json.dumps({"command": str(COMMAND), "args": ["serve", "--stdio"], "env": clean(env)})


@pytest.mark.parametrize("client", CLIENTS)
def test_an_official_client_lists_calls_reads_asks_and_is_refused(
    target: str, sample: SampleLogin, client: str
) -> None:
    converse, revision = CLIENTS[client]
    told = converse(target, json.dumps(fields_of("acme", sample)))
    assert set(told["tools"]) == TOOLS
    assert "books" in told["tables"]
    assert told["big"] == "9007199254740993"  # a double would lose its last digit
    assert (told["revision"], told["title"], told["refused"]) == (revision, "Postgres for many tenants", True)
    assert {"registry://tenants", "registry://tenants/acme/history"} <= set(told["resources"])
    assert "acme" in told["tenants"]
    assert set(told["prompts"]) == {"explore_database", "explain_slow_query", "review_tenant_history"}
    assert "acme" in told["prompt"]
    assert told["completed"] == ["acme"]


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_the_inspectors_command_line_finds_nothing_wrong_with_the_tools_and_calls_one(
    serve: Start, sample: SampleLogin, tmp_path: Path, era: str
) -> None:
    server = serve()
    server.call("register_tenant", **fields_of("acme", sample))

    def inspected(*words: str) -> Fields:
        command = node(str(INSPECTOR), "--cli", server.url, "--transport", "http", "--protocol-era", era)
        quiet = ["--format", "json", "--quiet"]
        catalog = str(tmp_path / "catalog.json")
        told: Fields = told_by([*command, *quiet, *words], MCP_CATALOG_PATH=catalog)["result"]
        return told

    listed = inspected("--method", "tools/list", "--strict")  # fails if a schema is not portable
    assert {tool["name"] for tool in listed["tools"]} == TOOLS
    called = inspected("--method", "tools/call", "--tool-name", "list_tables", "--tool-arg", "tenant_id=acme")
    assert "books" in {name for _schema, name, *_rest in called["structuredContent"]["tables"]}
    read = inspected("--method", "resources/read", "--uri", "registry://tenants/acme/history")
    assert "registered" in read["contents"][0]["text"]


def test_the_inspectors_command_line_runs_the_server_itself(
    env: dict[str, str], sample: SampleLogin, tmp_path: Path
) -> None:
    arguments = json.dumps(fields_of("acme", sample))
    call = ["--method", "tools/call", "--tool-name", "register_tenant", "--tool-args-json", arguments]
    variables = [word for name, value in env.items() for word in ("-e", f"{name}={value}")]
    words = ["--format", "json", "--quiet", *call, *variables, "--", str(COMMAND), "serve", "--stdio"]
    told = told_by(node(str(INSPECTOR), "--cli", *words), MCP_CATALOG_PATH=str(tmp_path / "catalog.json"))
    assert told["result"]["structuredContent"]["status"] == "registered"
