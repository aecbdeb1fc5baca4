"""The tools that ask their caller for more and are called again with the answers (2026-07-28, `input_required`)."""

from collections.abc import Mapping
from typing import Final, TypeAlias

import mcp_types as wire

from tests.conformance.content import answered, text
from tests.conformance.tools import Call, Fixture

Result: TypeAlias = wire.CallToolResult | wire.InputRequiredResult
_CONFIRMED: Final = "asked to confirm"
_ONE: Final = "step 1"
_TWO: Final = "step 2"
_ALL_ASKED: Final = "asked for everything"


def _form(message: str, field: str, kind: str = "string") -> wire.ElicitRequest:
    schema = {"type": "object", "properties": {field: {"type": kind}}, "required": [field]}
    return wire.ElicitRequest(params=wire.ElicitRequestFormParams(message=message, requested_schema=schema))


def _sample(asked: str, tokens: int) -> wire.CreateMessageRequest:
    message = wire.SamplingMessage(role="user", content=text(asked))
    return wire.CreateMessageRequest(params=wire.CreateMessageRequestParams(messages=[message], max_tokens=tokens))


_NAME: Final = _form("What is your name?", "name")
_EVERYTHING: Final[Mapping[str, wire.InputRequest]] = {
    "user_name": _NAME,
    "greeting": _sample("Generate a greeting", 50),
    "client_roots": wire.ListRootsRequest(),
}


def _ask(state: str | None = None, /, **requests: wire.InputRequest) -> wire.InputRequiredResult:
    return wire.InputRequiredResult(input_requests=requests, request_state=state)


def _filled(params: wire.InputResponseRequestParams, key: str, field: str) -> str | None:
    """Return what a form was filled in with, or None if it was not, or something else came."""
    told = (params.input_responses or {}).get(key)
    if not isinstance(told, wire.ElicitResult) or told.action != "accept":
        return None
    value = (told.content or {}).get(field)
    return None if value is None else str(value)


async def _elicitation(call: Call) -> Result:
    name = _filled(call.params, "user_name", "name")
    return _ask(user_name=_NAME) if name is None else answered(text(f"Hello, {name}!"))


async def _sampling(call: Call) -> Result:
    told = (call.params.input_responses or {}).get("capital_question")
    if not isinstance(told, wire.CreateMessageResult) or not isinstance(told.content, wire.TextContent):
        return _ask(capital_question=_sample("What is the capital of France?", 100))
    return answered(text(told.content.text))


async def _roots(call: Call) -> Result:
    told = (call.params.input_responses or {}).get("client_roots")
    if not isinstance(told, wire.ListRootsResult):
        return _ask(client_roots=wire.ListRootsRequest())
    return answered(text(", ".join(str(root.uri) for root in told.roots)))


async def _confirmed(call: Call) -> Result:
    if call.params.request_state == _CONFIRMED and _filled(call.params, "confirm", "ok"):
        return answered(text("state-ok"))
    return _ask(_CONFIRMED, confirm=_form("Please confirm", "ok", "boolean"))


async def _many(call: Call) -> Result:
    if call.params.request_state == _ALL_ASKED and set(_EVERYTHING) <= set(call.params.input_responses or {}):
        return answered(text("All came."))
    return _ask(_ALL_ASKED, **_EVERYTHING)


async def _several_rounds(call: Call) -> Result:
    asked = {
        None: _ask(_ONE, step1=_form("Step 1: What is your name?", "name")),
        _ONE: _ask(_TWO, step2=_form("Step 2: What is your favorite color?", "color")),
    }
    return asked.get(call.params.request_state, answered(text("Done.")))


async def _able(call: Call) -> Result:
    able = call.capabilities
    requests: dict[str, wire.InputRequest] = {}
    if able.sampling is not None:
        requests["greeting"] = _EVERYTHING["greeting"]
    if able.elicitation is not None:
        requests["user_name"] = _NAME
    return _ask(None, **requests) if requests else answered(text("Nothing can be asked."))


def prompt_round(params: wire.GetPromptRequestParams) -> wire.GetPromptResult | wire.InputRequiredResult:
    """Answer a prompt that asks first."""
    context = _filled(params, "user_context", "context")
    if context is None:
        return _ask(user_context=_form("What context should the prompt use?", "context"))
    return wire.GetPromptResult(messages=[wire.PromptMessage(role="user", content=text(f"Use {context}."))])


_PREFIX: Final = "test_input_required_result_"
ROUNDS: Final[Mapping[str, Fixture]] = {
    "test_streaming_elicitation": Fixture(_elicitation),
    **{
        _PREFIX + name: Fixture(run)
        for name, run in (
            ("elicitation", _elicitation),
            ("sampling", _sampling),
            ("list_roots", _roots),
            ("request_state", _confirmed),
            ("tampered_state", _confirmed),
            ("multiple_inputs", _many),
            ("multi_round", _several_rounds),
            ("capabilities", _able),
        )
    },
}
