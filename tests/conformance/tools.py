"""The tools that the conformance suite calls by name, all but those that ask in rounds (`rounds.py`)."""

import asyncio
import warnings
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import mcp_types as wire
from mcp.server.subscriptions import InMemorySubscriptionBus, PromptsListChanged, ToolsListChanged
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError

from tests.conformance.content import answered, audio, embedded, image, text

_STEP: Final = 0.05
"""Seconds between what a tool tells on its way: the suite wants several messages, not one."""
_EMPTY: Final[Mapping[str, Any]] = {"type": "object", "properties": {}}


@dataclass(frozen=True)
class Call:
    """What a tool is called with: the SDK's context of the request, its parameters, and who is told of changes."""

    context: Any
    params: wire.CallToolRequestParams
    bus: InMemorySubscriptionBus

    def argument(self, name: str) -> str:
        """Return one argument as text."""
        return str((self.params.arguments or {}).get(name, ""))

    @property
    def capabilities(self) -> wire.ClientCapabilities:
        """What the client says that it can do."""
        told: wire.ClientCapabilities | None = self.context.session.client_capabilities
        return told or wire.ClientCapabilities()


Run = Callable[[Call], Awaitable[wire.CallToolResult | wire.InputRequiredResult]]


@dataclass(frozen=True)
class Fixture:
    """A tool."""

    run: Run
    input_schema: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)


def _always(result: wire.CallToolResult) -> Fixture:
    async def run(_call: Call) -> wire.CallToolResult:
        return result

    return Fixture(run)


def _strings(*names: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": "string"} for name in names}, "required": list(names)}


async def _logging(call: Call) -> wire.CallToolResult:
    for told in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MCPDeprecationWarning)  # what the suite asks for is on its way out
            await call.context.session.send_log_message("info", told, related_request_id=call.context.request_id)
        await asyncio.sleep(_STEP)
    return answered(text("Logged."))


async def _progress(call: Call) -> wire.CallToolResult:
    for done in (0, 50, 100):
        await call.context.session.report_progress(done, 100)
        await asyncio.sleep(_STEP)
    return answered(text("Done."))


async def _sampling(call: Call) -> wire.CallToolResult:
    asked = wire.SamplingMessage(role="user", content=text(call.argument("prompt")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MCPDeprecationWarning)
        told = await call.context.session.create_message(
            [asked], max_tokens=100, related_request_id=call.context.request_id
        )
    return answered(text(f"LLM response: {told.content.text}"))


async def _elicited(call: Call, message: str, schema: dict[str, Any]) -> wire.CallToolResult:
    told = await call.context.session.elicit_form(message, schema, related_request_id=call.context.request_id)
    return answered(text(f"Elicitation completed: action={told.action}, content={told.content}"))


async def _elicitation(call: Call) -> wire.CallToolResult:
    return await _elicited(call, call.argument("message"), _strings("username", "email"))


async def _defaults(call: Call) -> wire.CallToolResult:
    properties = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    return await _elicited(call, "Who are you?", {"type": "object", "properties": properties})


async def _enums(call: Call) -> wire.CallToolResult:
    plain = ["option1", "option2", "option3"]
    titled = [{"const": "value1", "title": "First"}, {"const": "value2", "title": "Second"}]
    properties = {
        "untitledSingle": {"type": "string", "enum": plain},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2"], "enumNames": ["Option One", "Option Two"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": plain}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    }
    return await _elicited(call, "Which?", {"type": "object", "properties": properties})


async def _missing_capability(call: Call) -> wire.CallToolResult:
    if call.capabilities.sampling is None:
        needed = wire.MissingRequiredClientCapabilityErrorData(
            required_capabilities=wire.ClientCapabilities(sampling=wire.SamplingCapability())
        )
        data = needed.model_dump(mode="json", by_alias=True, exclude_none=True)
        raise MCPError(wire.MISSING_REQUIRED_CLIENT_CAPABILITY, "This needs sampling.", data)
    return answered(text("The client can sample."))


async def _tools_change(call: Call) -> wire.CallToolResult:
    await call.bus.publish(ToolsListChanged())
    return answered(text("Told."))


async def _prompts_change(call: Call) -> wire.CallToolResult:
    await call.bus.publish(PromptsListChanged())
    return answered(text("Told."))


_ADDRESS: Final[Mapping[str, Any]] = {
    "$anchor": "addressDef",
    "type": "object",
    "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
}
_SCHEMA_2020_12: Final[Mapping[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"address": _ADDRESS},
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
_IN_A_HEADER: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
    "required": ["region"],
}
_MIXED: Final = (
    text("Multiple content types test:"),
    image(),
    embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
)
_OK: Final = answered(text("ok"))

TOOLS: Final[Mapping[str, Fixture]] = {
    "test_simple_text": _always(answered(text("This is a simple text response for testing."))),
    "test_image_content": _always(answered(image())),
    "test_audio_content": _always(answered(audio())),
    "test_embedded_resource": _always(
        answered(embedded("test://embedded-resource", "text/plain", "This is an embedded resource content."))
    ),
    "test_multiple_content_types": _always(answered(*_MIXED)),
    "test_error_handling": _always(
        answered(text("This tool intentionally returns an error for testing"), is_error=True)
    ),
    "test_tool_with_logging": Fixture(_logging),
    "test_logging_tool": Fixture(_logging),
    "test_tool_with_progress": Fixture(_progress),
    "test_sampling": Fixture(_sampling, _strings("prompt")),
    "test_elicitation": Fixture(_elicitation, _strings("message")),
    "test_elicitation_sep1034_defaults": Fixture(_defaults),
    "test_elicitation_sep1330_enums": Fixture(_enums),
    "test_missing_capability": Fixture(_missing_capability),
    "test_trigger_tool_change": Fixture(_tools_change),
    "test_trigger_prompt_change": Fixture(_prompts_change),
    "test_x_mcp_header": Fixture(_always(_OK).run, _IN_A_HEADER),
    "json_schema_2020_12_tool": Fixture(_always(_OK).run, _SCHEMA_2020_12),
}
