"""A server of the SDK with everything that the official conformance suite asks for by name.

Only what is behind the endpoint is made up. Before it are the product's own front, admission, intake and transport
(`tests/conformance/program.py`), and those are what the suite looks at. Nothing here pretends: what this transport
cannot carry, such as a question to a client of the handshake's era, is tried and fails.
"""

import secrets
from collections.abc import Mapping
from typing import Any, Final

import mcp_types as wire
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPError

from tests.conformance.content import EMBEDDED_TEXT, RED_PIXEL, embedded, image, text
from tests.conformance.rounds import ROUNDS, prompt_round
from tests.conformance.tools import TOOLS, Call, Fixture

NAME: Final = "conformance-fixture"
_TEMPLATE: Final = ("test://template/", "/data")
_ALL: Final[Mapping[str, Fixture]] = {**TOOLS, **ROUNDS}
_STATIC: Final[Mapping[str, wire.TextResourceContents | wire.BlobResourceContents]] = {
    "test://static-text": wire.TextResourceContents(
        uri="test://static-text", mime_type="text/plain", text="This is the content of the static text resource."
    ),
    "test://static-binary": wire.BlobResourceContents(
        uri="test://static-binary", mime_type="image/png", blob=RED_PIXEL
    ),
}
_PROMPTS: Final[Mapping[str, tuple[str, ...]]] = {
    "test_simple_prompt": (),
    "test_prompt_with_arguments": ("arg1", "arg2"),
    "test_prompt_with_embedded_resource": ("resourceUri",),
    "test_prompt_with_image": (),
    "test_input_required_result_prompt": (),
}


def build_everything() -> "Server[Any]":
    """Return the server."""
    bus = InMemorySubscriptionBus()

    async def call_tool(context: Any, params: wire.CallToolRequestParams) -> Any:  # noqa: ANN401 - the SDK's own types
        fixture = _ALL.get(params.name)
        if fixture is None:
            raise MCPError(wire.INVALID_PARAMS, f"There is no tool {params.name}.")
        return await fixture.run(Call(context, params, bus))

    server: Server[Any] = Server(
        NAME,
        version="1",
        on_list_tools=_list_tools,
        on_call_tool=call_tool,
        get_tool_input_schema=lambda name: _ALL[name].input_schema if name in _ALL else None,
        on_list_resources=_list_resources,
        on_list_resource_templates=_list_templates,
        on_read_resource=_read_resource,
        on_list_prompts=_list_prompts,
        on_get_prompt=_get_prompt,
        on_completion=_complete,
        on_subscriptions_listen=ListenHandler(bus),
    )
    server.middleware.append(
        RequestStateBoundary(RequestStateSecurity(keys=[secrets.token_bytes(32)]), default_audience=NAME)
    )
    return server


async def _list_tools(_context: object, _params: object) -> wire.ListToolsResult:
    return wire.ListToolsResult(
        tools=[
            wire.Tool(name=name, description=f"Fixture {name}", input_schema=dict(fixture.input_schema))
            for name, fixture in _ALL.items()
        ]
    )


async def _list_resources(_context: object, _params: object) -> wire.ListResourcesResult:
    return wire.ListResourcesResult(
        resources=[
            wire.Resource(uri=uri, name=uri, description=f"Fixture {uri}", mime_type=contents.mime_type)
            for uri, contents in _STATIC.items()
        ]
    )


async def _list_templates(_context: object, _params: object) -> wire.ListResourceTemplatesResult:
    template = wire.ResourceTemplate(
        uri_template="{id}".join(_TEMPLATE), name="template", description="Fixture", mime_type="application/json"
    )
    return wire.ListResourceTemplatesResult(resource_templates=[template])


async def _read_resource(_context: object, params: wire.ReadResourceRequestParams) -> wire.ReadResourceResult:
    uri = str(params.uri)
    if uri in _STATIC:
        return wire.ReadResourceResult(contents=[_STATIC[uri]])
    before, after = _TEMPLATE
    if uri.startswith(before) and uri.endswith(after):
        told = f'{{"id":"{uri.removeprefix(before).removesuffix(after)}","templateTest":true}}'
        contents = wire.TextResourceContents(uri=uri, mime_type="application/json", text=told)
        return wire.ReadResourceResult(contents=[contents])
    raise MCPError(wire.INVALID_PARAMS, "Resource not found", data={"uri": uri})


async def _list_prompts(_context: object, _params: object) -> wire.ListPromptsResult:
    return wire.ListPromptsResult(
        prompts=[
            wire.Prompt(
                name=name,
                description=f"Fixture {name}",
                arguments=[wire.PromptArgument(name=each, description=each, required=True) for each in arguments],
            )
            for name, arguments in _PROMPTS.items()
        ]
    )


async def _get_prompt(_context: object, params: wire.GetPromptRequestParams) -> Any:  # noqa: ANN401 - one of two results
    given = params.arguments or {}
    if params.name == "test_input_required_result_prompt":
        return prompt_round(params)
    if params.name not in _PROMPTS:
        raise MCPError(wire.INVALID_PARAMS, f"There is no prompt {params.name}.")
    told: dict[str, tuple[wire.ContentBlock, ...]] = {
        "test_simple_prompt": (text("This is a simple prompt for testing."),),
        "test_prompt_with_arguments": (
            text(f"Prompt with arguments: arg1='{given.get('arg1')}', arg2='{given.get('arg2')}'"),
        ),
        "test_prompt_with_embedded_resource": (
            embedded(given.get("resourceUri", ""), "text/plain", EMBEDDED_TEXT),
            text("Please process the embedded resource above."),
        ),
        "test_prompt_with_image": (image(), text("Please analyze the image above.")),
    }
    messages = [wire.PromptMessage(role="user", content=each) for each in told[params.name]]
    return wire.GetPromptResult(messages=messages)


async def _complete(_context: object, params: wire.CompleteRequestParams) -> wire.CompleteResult:
    values = [each for each in ("paris", "park", "party") if each.startswith(params.argument.value)]
    return wire.CompleteResult(completion=wire.Completion(values=values, total=len(values), has_more=False))
