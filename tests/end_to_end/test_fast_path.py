"""Calls of real clients take the fast path, and are looked after there as on the SDK's road."""

import http.client
import json
import re
from typing import Any, Final

import pytest
from mcp import Client

from server.embedded.postgres import EmbeddedPostgres
from server.embedded.sample import SampleLogin
from tests.databases import sleeping
from tests.processes import Process, Start, eventually, fields_of

SLEEP: Final = "SELECT pg_sleep(92) /* given up over HTTP */"


def roads(replica: Process) -> dict[str, int]:
    """Return how many requests the fast path and the SDK answered."""
    told = replica.request("GET", "/metrics")[1].decode()
    found = re.findall(r'^mcp_postgres_http_requests_total\{road="(\w+)"\} (\d+)', told, re.MULTILINE)
    return {road: int(number) for road, number in found}


def test_the_call_of_the_readme_takes_the_fast_path_whether_or_not_the_tool_succeeds(
    serve: Start, sample: SampleLogin
) -> None:
    replica = serve()
    replica.call("register_tenant", **fields_of("acme", sample))
    assert replica.call("list_tables", tenant_id="acme")["tables"]
    assert replica.call("list_tables", tenant_id="nobody")["code"] == "unknown_tenant"
    assert replica.call("list_tables", tenant_id=7)["code"] == "invalid_input"
    assert roads(replica) == {"fast": 4, "sdk": 0}


@pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
async def test_the_calls_of_the_official_client_take_the_fast_path(serve: Start, sample: SampleLogin, era: str) -> None:
    replica = serve()
    async with Client(replica.url, mode=era) as client:
        await client.call_tool("register_tenant", fields_of("acme", sample))
        before = roads(replica)
        for tool, arguments in (("list_tables", {"tenant_id": "acme"}), ("get_tenant", {"tenant_id": "nobody"})):
            await client.call_tool(tool, arguments)
        after = roads(replica)
    assert after["fast"] - before["fast"] == 2
    assert after["sdk"] == before["sdk"]


@pytest.mark.parametrize("more", [{}, {"_meta": {"progressToken": 1}}], ids=["fast", "sdk"])
def test_the_query_of_a_client_that_hangs_up_ends_in_postgres(
    serve: Start, sample: SampleLogin, postgres: EmbeddedPostgres, more: dict[str, Any]
) -> None:
    replica = serve("--statement-timeout", "100")
    replica.call("register_tenant", **fields_of("acme", sample))
    arguments = {"tenant_id": "acme", "query": SLEEP}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    message["params"] = {"name": "execute_query", "arguments": arguments, **more}
    connection = http.client.HTTPConnection("127.0.0.1", replica.port)
    connection.request("POST", "/mcp", json.dumps(message), {"Content-Type": "application/json"})
    eventually(lambda: sleeping(postgres, SLEEP) == 1, "the query never began")
    connection.close()
    eventually(lambda: sleeping(postgres, SLEEP) == 0, "the query ran on for nobody")
    eventually(lambda: "requests_running 0.0" in str(replica.request("GET", "/metrics")[1]), "it holds its place")
    counted = 'tool_calls_total{outcome="cancelled",tool="execute_query"} 1.0'
    eventually(lambda: counted in str(replica.request("GET", "/metrics")[1]), "nobody sees that it was called")
