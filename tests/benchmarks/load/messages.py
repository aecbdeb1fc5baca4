"""MCP tool calls as bytes that are ready to be sent: made once, so that sending one costs next to nothing."""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeAlias

Arguments: TypeAlias = Mapping[str, Any]
"""Arguments of a tool call."""

REVISION: Final = "2025-06-18"
"""Of MCP: every server that is measured speaks it, without a session or with one."""


class Endpoint(NamedTuple):
    """Where an MCP server listens on this machine."""

    port: int
    path: str
    session: str | None = None


def tool_call(endpoint: Endpoint, tool: str, arguments: Arguments) -> bytes:
    """Return the whole HTTP request that calls a tool."""
    return post(endpoint, {"id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})


def initialize(endpoint: Endpoint) -> bytes:
    """Return the request that begins the handshake."""
    client = {"name": "bench", "version": "1"}
    params = {"protocolVersion": REVISION, "capabilities": {}, "clientInfo": client}
    return post(endpoint, {"id": 0, "method": "initialize", "params": params})


def initialized(endpoint: Endpoint) -> bytes:
    """Return the notification that ends the handshake."""
    return post(endpoint, {"method": "notifications/initialized"})


def post(endpoint: Endpoint, message: Mapping[str, Any]) -> bytes:
    """Return the HTTP request that carries a JSON-RPC message."""
    body = json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")).encode()
    head = [
        f"POST {endpoint.path} HTTP/1.1",
        f"Host: 127.0.0.1:{endpoint.port}",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        f"MCP-Protocol-Version: {REVISION}",
        *([f"Mcp-Session-Id: {endpoint.session}"] if endpoint.session else []),
        f"Content-Length: {len(body)}",
    ]
    return ("\r\n".join(head) + "\r\n\r\n").encode() + body
