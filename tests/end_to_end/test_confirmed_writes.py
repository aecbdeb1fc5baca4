"""Writes that a user confirms, with the official client, in every era and over both transports."""

import json
from typing import Any, Final

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.context import ClientRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import MISSING_REQUIRED_CLIENT_CAPABILITY, ElicitRequestParams, ElicitResult, InputRequiredResult

from server.embedded.sample import SampleLogin
from tests.processes import COMMAND, Start, fields_of

WRITE: Final[dict[str, Any]] = {"tenant_id": "acme", "statements": [{"sql": "SELECT $1::int", "params": [7]}]}


class User:
    """Answers, and remembers what was asked."""

    def __init__(self, answer: ElicitResult) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def __call__(
        self,
        context: ClientRequestContext,  # noqa: ARG002 - the client's protocol
        params: ElicitRequestParams,
    ) -> ElicitResult:
        self.asked.append(params.message)
        return self.answer


YES: Final = ElicitResult(action="accept", content={"confirm": True})
NO: Final = ElicitResult(action="accept", content={"confirm": False})
AWAY: Final = ElicitResult(action="cancel")


async def told_by(client: Client, sample: SampleLogin) -> dict[str, Any]:
    """Register the tenant, write, and return what was told."""
    await client.call_tool("register_tenant", {**fields_of("acme", sample), "access": "read_write"})
    dry = await client.call_tool("execute_write", {**WRITE, "dry_run": True})
    assert not dry.is_error, "a dry run is nobody's to confirm"
    told = await client.call_tool("execute_write", WRITE)
    assert told.structured_content is not None or told.is_error
    return told.structured_content or {"error": told.content[0].text}  # type: ignore[union-attr]  # an error's text


@pytest.mark.parametrize(("answer", "goes_on"), [(YES, True), (NO, False), (AWAY, False)])
@pytest.mark.parametrize("way", ["stdio", "2026-07-28"])
async def test_what_a_user_confirms_is_written_and_what_they_do_not_is_not(
    serve: Start, env: dict[str, str], sample: SampleLogin, way: str, answer: ElicitResult, *, goes_on: bool
) -> None:
    user, more = User(answer), {"MCP_POSTGRES_CONFIRM_WRITES": "require"}
    if way == "stdio":
        command = StdioServerParameters(command=str(COMMAND), args=["serve", "--stdio"], env={**env, **more})
        async with Client(command, mode="legacy", elicitation_callback=user) as client:
            told = await told_by(client, sample)
    else:
        async with Client(serve(**more).url, mode=way, elicitation_callback=user) as client:
            told = await told_by(client, sample)

    assert user.asked == ["Write to acme? 1 statement:\nSELECT $1::int [7]"]
    assert told.get("committed", False) is goes_on
    assert goes_on or "not_confirmed" in told["error"]


@pytest.mark.parametrize(
    ("policy", "mode", "goes_on"),
    [("ask", "legacy", True), ("ask", "2026-07-28", True), ("require", "legacy", False)],
)
async def test_where_the_client_cannot_ask_the_policy_decides(
    serve: Start, sample: SampleLogin, mode: str, policy: str, *, goes_on: bool
) -> None:
    async with Client(serve(MCP_POSTGRES_CONFIRM_WRITES=policy).url, mode=mode) as client:
        told = await told_by(client, sample)

    assert told.get("committed", False) is goes_on
    assert goes_on or "cannot ask" in told["error"]


@pytest.mark.parametrize("way", ["stdio", "http"])
async def test_in_2026_07_28_a_client_that_would_have_to_ask_is_told_which_capability_it_lacks(
    serve: Start, env: dict[str, str], sample: SampleLogin, way: str
) -> None:
    more = {"MCP_POSTGRES_CONFIRM_WRITES": "require"}
    command = StdioServerParameters(command=str(COMMAND), args=["serve", "--stdio"], env={**env, **more})
    async with Client(command if way == "stdio" else serve(**more).url, mode="2026-07-28") as client:
        with pytest.raises(MCPError) as told:
            await told_by(client, sample)

    assert told.value.error.code == MISSING_REQUIRED_CLIENT_CAPABILITY == -32021
    assert "Use dry_run, or a client that can" in told.value.error.message
    assert told.value.error.data == {
        "requiredCapabilities": {"elicitation": {"form": {}}},
        "code": "not_confirmed",
        "retryable": False,
    }


def test_over_http_that_is_a_400_whatever_else_the_client_offers(serve: Start, sample: SampleLogin) -> None:
    server = serve(MCP_POSTGRES_CONFIRM_WRITES="require")
    server.call("register_tenant", **fields_of("acme", sample), access="read_write")
    heads = {
        "Content-Type": "application/json",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "execute_write",
        "Mcp-Param-Tenant-Id": "acme",
    }
    prefix = "io.modelcontextprotocol"

    def write(offered: dict[str, Any], **more: object) -> tuple[int, Any]:
        meta = {f"{prefix}/protocolVersion": "2026-07-28", f"{prefix}/clientCapabilities": offered}
        params = {"name": "execute_write", "arguments": {**WRITE, **more}, "_meta": meta}
        message = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
        status, body = server.request("POST", "/postgres/mcp", json.dumps(message).encode(), heads)
        return status, json.loads(body)

    offers: list[dict[str, Any]] = [{}, {"elicitation": {"url": {}}}, {"sampling": {}}]
    for modes in offers:
        status, told = write(modes)
        assert (status, told["id"], told["error"]["code"]) == (400, 7, -32021), modes
    status, told = write({}, dry_run=True)
    assert (status, told["result"]["isError"]) == (200, False), "a dry run is nobody's to confirm"


async def test_a_yes_to_other_statements_is_none(serve: Start, sample: SampleLogin) -> None:
    """The client calls again with the answer; a call that has become another one is asked about anew."""
    user = User(YES)
    server = serve(MCP_POSTGRES_CONFIRM_WRITES="require")
    async with Client(server.url, mode="2026-07-28", elicitation_callback=user) as client:
        await client.call_tool("register_tenant", {**fields_of("acme", sample), "access": "read_write"})
        first = await client.session.call_tool("execute_write", WRITE, allow_input_required=True)
        assert isinstance(first, InputRequiredResult)
        assert first.input_requests
        other = {**WRITE, "statements": [{"sql": "SELECT $1::int", "params": [8]}]}
        again = await client.session.call_tool(
            "execute_write",
            other,
            allow_input_required=True,
            input_responses=dict.fromkeys(first.input_requests, YES),
            request_state=first.request_state,
        )

    assert isinstance(again, InputRequiredResult)
    assert again.request_state != first.request_state
