"""A conversation of the last 1.x of the official Python SDK with a server, as JSON on standard output.

Arguments: a URL or the JSON of a command, and the JSON of a registration. Run by a Python of its own (`make clients`),
as this line of the SDK cannot be beside 2.x.
"""

import asyncio
import json
import sys
from contextlib import AsyncExitStack

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client


async def main(target: str, registration: str) -> None:
    async with AsyncExitStack() as stack:
        transport = (
            streamable_http_client(target)
            if target.startswith("http")
            else stdio_client(StdioServerParameters(**json.loads(target)))
        )
        read, write, *_ = await stack.enter_async_context(transport)
        session = await stack.enter_async_context(ClientSession(read, write))
        agreed = await session.initialize()
        tools = (await session.list_tools()).tools
        await session.call_tool("register_tenant", json.loads(registration))
        # The client checks structured answers against the output schemas it has listed, and raises if they do not fit.
        listed = await session.call_tool("list_tables", {"tenant_id": "acme"})
        query = {"tenant_id": "acme", "query": "SELECT 9007199254740993::bigint AS big, now() AS at"}
        answered = await session.call_tool("execute_query", query)
        refused = await session.call_tool("list_tables", {"tenant_id": "nobody"})
        told = {
            "revision": agreed.protocolVersion,
            "title": agreed.serverInfo.title,
            "tools": [tool.name for tool in tools],
            "tables": [name for _schema, name, *_rest in listed.structuredContent["tables"]],
            "big": answered.structuredContent["rows"][0][0],
            "refused": refused.isError,
        }
        print(json.dumps(told))  # noqa: T201 - how it answers


asyncio.run(main(*sys.argv[1:]))
