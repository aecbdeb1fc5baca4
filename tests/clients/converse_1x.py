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
from mcp.types import PromptReference
from pydantic import AnyUrl


async def main(target: str, registration: str) -> None:
    async with AsyncExitStack() as stack:
        transport = (
            streamable_http_client(target)
            if target.startswith("http")
            else stdio_client(StdioServerParameters(**json.loads(target)))
        )
        incoming, outgoing, *_ = await stack.enter_async_context(transport)
        session = await stack.enter_async_context(ClientSession(incoming, outgoing))
        agreed = await session.initialize()
        tools = (await session.list_tools()).tools
        await session.call_tool("register_tenant", json.loads(registration))
        # The client checks structured answers against the output schemas it has listed, and raises if they do not fit.
        listed = await session.call_tool("list_tables", {"tenant_id": "acme"})
        query = {"tenant_id": "acme", "query": "SELECT 9007199254740993::bigint AS big, now() AS at"}
        answered = await session.call_tool("execute_query", query)
        refused = await session.call_tool("list_tables", {"tenant_id": "nobody"})
        resources = (await session.list_resources()).resources
        read = await session.read_resource(AnyUrl("registry://tenants"))
        prompts = (await session.list_prompts()).prompts
        prompt = await session.get_prompt("explore_database", {"tenant_id": "acme"})
        ref = PromptReference(type="ref/prompt", name="explore_database")
        completed = await session.complete(ref, {"name": "tenant_id", "value": "ac"})
        told = {
            "revision": agreed.protocolVersion,
            "title": agreed.serverInfo.title,
            "tools": [tool.name for tool in tools],
            "tables": [name for _schema, name, *_rest in listed.structuredContent["tables"]],
            "big": answered.structuredContent["rows"][0][0],
            "refused": refused.isError,
            "resources": [str(resource.uri) for resource in resources],
            "tenants": read.contents[0].text,
            "prompts": [each.name for each in prompts],
            "prompt": prompt.messages[0].content.text,
            "completed": completed.completion.values,
        }
        print(json.dumps(told))  # noqa: T201 - how it answers


asyncio.run(main(*sys.argv[1:]))
