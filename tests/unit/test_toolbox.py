"""The toolbox: what clients are shown of each tool, and what they are told when a call goes wrong."""

import asyncio
import json
from collections.abc import Iterator
from typing import Annotated, Any, Final

import msgspec
import pytest
from msgspec import Meta
from structlog.testing import capture_logs

from registry import errors
from registry.errors import TenancyError, VersionConflict
from registry.secrets import Secret
from server.principal import Principal
from server.toolbox import OPERATORS_KNOW, Answer, Call, Hints, Tool, Toolbox, UnknownTool, failure, tool
from tests.tables import table
from tests.tools import TOOLBOX

CANARY: Final = "hunter2-canary"
REQUIRED: Final = {
    "register_tenant": ["tenant_id"],
    "remove_tenant": ["tenant_id"],
    "list_tenants": [],
    "get_tenant": ["tenant_id"],
    "tenant_history": ["tenant_id"],
    "registry_status": [],
    "list_schemas": ["tenant_id"],
    "list_tables": ["tenant_id"],
    "describe_table": ["tenant_id", "table"],
    "execute_query": ["tenant_id", "query"],
    "execute_write": ["tenant_id", "statements"],
}
ANYBODY: Final = Call(principal=Principal("anonymous"))


class Ask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    tenant_id: str
    password: Annotated[Secret, Meta(description="Said once")] | None = None


class Told(msgspec.Struct, frozen=True, kw_only=True):
    length: int
    text: str = ""


class Desk:
    """One tool, which does what the test tells it to."""

    def __init__(self, error: BaseException | None = None, text: str = "") -> None:
        self._error = error
        self._text = text

    @tool(Hints(read_only=True), "tenants:read")
    async def ask(self, args: Ask, call: Call) -> Told:
        """Ask for something.

        It is told in two paragraphs.
        """
        if self._error is not None:
            raise self._error
        return Told(length=len(args.password.reveal()) if args.password else 0, text=self._text or call.actor)


@pytest.fixture(autouse=True)
def said() -> Iterator[list[Any]]:
    """The log lines of a test."""
    with capture_logs() as lines:
        yield lines


async def told_by(desk: Desk, **arguments: object) -> tuple[bool, Any]:
    return read(await Toolbox.of(desk).call("ask", arguments, Call(principal=Principal("ann"))))


def read(answer: Answer) -> tuple[bool, Any]:
    told = json.loads(answer.payload)
    return answer.is_error, told["error"] if answer.is_error else told


def family(kind: type[TenancyError]) -> list[type[TenancyError]]:
    return [kind, *(each for below in kind.__subclasses__() for each in family(below))]


def references(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        for name, value in schema.items():
            if name == "$ref":
                yield str(value)
            yield from references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from references(value)


every_tool: Final = table("known", [pytest.param(known, id=name) for name, known in TOOLBOX.tools.items()])


def test_the_tools_are_those_that_clients_know_and_each_requires_no_more_than_it_needs() -> None:
    assert {known.name: known.input_schema.get("required", []) for known in TOOLBOX.tools.values()} == REQUIRED


@every_tool
def test_the_schema_of_a_tool_is_an_object_with_every_argument_and_nothing_to_look_up(known: Tool) -> None:
    assert known.input_schema["type"] == "object"
    assert known.input_schema["properties"].keys() == set(known.input.__struct_encode_fields__)
    assert not list(references(known.input_schema))


@every_tool
def test_a_tool_takes_nothing_that_it_does_not_know(known: Tool) -> None:
    assert known.input_schema["additionalProperties"] is False


@every_tool
def test_a_gateway_finds_the_tenant_of_a_call_without_reading_its_body(known: Tool) -> None:
    properties = known.input_schema["properties"]
    marked = {name: each["x-mcp-header"] for name, each in properties.items() if "x-mcp-header" in each}
    assert marked == ({"tenant_id": "Tenant-Id"} if "tenant_id" in properties else {})
    if "tenant_id" in properties:
        assert properties["tenant_id"]["type"] == "string"


@pytest.mark.parametrize("field", ["password", "dsn"])
def test_a_secret_is_a_plain_string_to_clients(field: str) -> None:
    assert TOOLBOX.tools["register_tenant"].input_schema["properties"][field]["type"] == "string"


@every_tool
def test_a_tool_says_in_one_paragraph_what_it_does_and_whether_it_only_reads(known: Tool) -> None:
    assert known.description
    assert "\n" not in known.description
    assert known.hints.read_only is (known.name not in {"register_tenant", "remove_tenant", "execute_write"})
    assert known.hints.destructive is not known.hints.read_only


def test_a_description_over_several_paragraphs_is_shown_as_one() -> None:
    assert Toolbox.of(Desk()).tools["ask"].description == "Ask for something. It is told in two paragraphs."


@pytest.mark.parametrize("kind", family(TenancyError), ids=lambda kind: kind.__name__)
async def test_every_error_becomes_an_answer_with_code_message_whether_to_retry_and_facts(
    kind: type[TenancyError],
) -> None:
    error = kind("What happened, and what to do.", sqlstate="42P01", position=7, hint=None)
    expected = {
        "code": kind.code,
        "message": "What happened, and what to do.",
        "retryable": kind.retryable,
        "sqlstate": "42P01",
        "position": 7,
        "hint": None,
    }
    assert await told_by(Desk(error), tenant_id="a") == (True, expected)
    assert read(failure(error)) == (True, expected)


def test_no_two_kinds_of_error_share_a_code_unless_one_is_the_other() -> None:
    kinds = {each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, TenancyError)}
    assert kinds == set(family(TenancyError))
    for kind in kinds:
        alike = [each for each in kinds if each.code == kind.code]
        assert all(issubclass(one, other) or issubclass(other, one) for one in alike for other in alike)


async def test_what_an_unexpected_exception_says_goes_to_the_log_and_never_to_the_caller(said: list[Any]) -> None:
    failed, error = await told_by(Desk(RuntimeError(CANARY)), tenant_id="a")
    assert failed
    assert error.keys() == {"code", "message", "retryable"}
    assert (error["code"], error["retryable"]) == ("internal", False)
    assert CANARY not in json.dumps(error)
    (broke,) = (line for line in said if line["log_level"] == "error")
    assert (broke["event"], broke["tool"], broke["exc_info"]) == ("tool failed", "ask", True)


async def test_an_answer_that_is_no_json_is_the_servers_fault_and_told_without_its_text() -> None:
    failed, error = await told_by(Desk(text=f"{CANARY}\ud800"), tenant_id="a")
    assert failed
    assert error["code"] == "internal"
    assert CANARY not in json.dumps(error)


@pytest.mark.parametrize("field", ["password", "dsn"])
@pytest.mark.parametrize(
    "wrong",
    [[CANARY], {"is": CANARY}, {CANARY: 1}, len(CANARY), 4.5, True, [{"a": [CANARY]}]],
    ids=["list", "object", "key", "number", "fraction", "boolean", "deep"],
)
async def test_a_secret_of_the_wrong_type_is_named_and_not_repeated(field: str, wrong: object, said: list[Any]) -> None:
    answer = await TOOLBOX.call("register_tenant", {"tenant_id": "a", field: wrong}, ANYBODY)
    failed, error = read(answer)
    assert failed
    assert error["code"] == "invalid_input"
    assert f"$.{field}" in error["message"]
    assert CANARY not in answer.payload.decode()
    assert CANARY not in repr(said)


@pytest.mark.parametrize("wrong", [[CANARY], {"password": CANARY}, 5])
async def test_a_tenant_id_that_is_no_text_is_refused_and_not_logged(wrong: object, said: list[Any]) -> None:
    answer = await TOOLBOX.call("get_tenant", {"tenant_id": wrong, "password": CANARY}, ANYBODY)
    failed, error = read(answer)
    assert failed
    assert error["code"] == "invalid_input"
    assert CANARY not in answer.payload.decode()
    assert CANARY not in repr(said)


async def test_an_argument_that_is_null_counts_as_left_out_although_the_schema_does_not_say_so() -> None:
    failed, _ = await told_by(Desk(), tenant_id="a", password=None)
    assert not failed


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({}, "tenant_id"),
        ({"tenant_id": "a", "color": "red"}, "color"),
        ({"tenant_id": None}, "tenant_id"),
    ],
)
async def test_wrong_arguments_are_told_with_what_the_tool_takes(arguments: dict[str, object], named: str) -> None:
    failed, error = await told_by(Desk(), **arguments)
    assert failed
    assert error["code"] == "invalid_input"
    assert named in error["message"]
    assert "ask takes tenant_id, password?." in error["message"]


async def test_a_name_that_no_json_can_carry_back_is_still_answered() -> None:
    failed, error = await told_by(Desk(), tenant_id="a", **{"\ud800": 1})
    assert failed
    assert error["code"] in {"invalid_input", "internal"}


async def test_a_good_call_reaches_its_tool_with_the_secret_and_who_calls() -> None:
    assert await told_by(Desk(), tenant_id="a", password=CANARY) == (False, {"length": len(CANARY), "text": "ann"})


async def test_a_call_is_one_log_line_with_tool_tenant_and_outcome_and_no_argument_else(said: list[Any]) -> None:
    await told_by(Desk(), tenant_id="a", password=CANARY)
    await told_by(Desk(VersionConflict("No.", current_version=2)), tenant_id="b")
    assert [(line["event"], line["tool"], line["tenant"], line["outcome"]) for line in said] == [
        ("tool call", "ask", "a", "ok"),
        ("tool call", "ask", "b", "version_conflict"),
    ]
    assert CANARY not in repr(said)


async def test_a_call_that_its_client_leaves_is_counted_and_one_log_line_too(said: list[Any]) -> None:
    """Or a storm of clients that call and leave would be seen by nobody."""
    counted = list[tuple[str, str]]()
    toolbox = Toolbox.of(
        Desk(asyncio.CancelledError()), observe=lambda name, outcome, _seconds: counted.append((name, outcome))
    )
    with pytest.raises(asyncio.CancelledError):
        await toolbox.call("ask", {"tenant_id": "a", "password": CANARY}, ANYBODY)
    assert counted == [("ask", "cancelled")]
    assert [(line["event"], line["tenant"], line["outcome"]) for line in said] == [("tool call", "a", "cancelled")]
    assert CANARY not in repr(said)


async def test_a_tool_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(UnknownTool, match=r"no tool 'dance'; there are register_tenant, .*, execute_query"):
        await TOOLBOX.call("dance", {}, ANYBODY)


async def test_a_tool_does_not_run_for_who_lacks_its_permission_whatever_the_arguments() -> None:
    desk = Desk(error=AssertionError("it ran"))
    others = Principal("ann", frozenset({"tenants:write", "query:read", "query:write", "audit:read"}))
    for arguments in ({}, {"password": 7}, {"nonsense": 1}):
        is_error, told = read(await Toolbox.of(desk).call("ask", arguments, Call(principal=others)))
        assert (is_error, told["code"], told["permission"]) == (True, "forbidden", "tenants:read")
    assert Toolbox.of(desk).open_to(others) == []


async def test_what_may_name_any_tenant_is_told_to_who_may_touch_all_alone() -> None:
    error = errors.LogDiverged("the log has lost acme", entry="7-0")
    error.names_anybody = True
    toolbox = Toolbox.of(Desk(error))
    asked = {"tenant_id": "acme"}
    every = read(await toolbox.call("ask", asked, Call(principal=Principal("ann"))))
    some = read(await toolbox.call("ask", asked, Call(principal=Principal("bob", tenants=["a*"]))))

    assert every[1]["message"] == "the log has lost acme"
    assert some[1] == {"code": "log_diverged", "message": OPERATORS_KNOW, "retryable": False}
