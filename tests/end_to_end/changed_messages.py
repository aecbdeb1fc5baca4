"""What may be wrong with a message of JSON-RPC: changes, each of one thing, made to it before it is written."""

import random
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from tests.end_to_end.spoken_revisions import META, STATELESS

Message: TypeAlias = dict[str, Any]

STRANGE: Final[Sequence[Any]] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        1.0,
        1.5,
        2**31,
        2**53 + 1,
        2**64,
        -(2**63) - 1,
        10**40,
        "",
        "acme",
        "ACME",
        "nobody",
    ),
    *("é\U0001f600", "\u0000", "\x7f", " acme ", "a" * 300, "=?base64?YWNtZQ==?=", [], {}, [1], {"a": 1}, [[[]]]),
    *("1", "true", "null", "postgres://u:p@h/db", {"tenant_id": "acme"}, 0.1, 1e300, 1e-320, -0.0),
)
"""Values that may stand where others belong."""


def an_id(draw: random.Random, message: Message) -> None:
    message["id"] = draw.choice(STRANGE)


def no_id(_draw: random.Random, message: Message) -> None:
    message.pop("id", None)


def a_version(draw: random.Random, message: Message) -> None:
    message["jsonrpc"] = draw.choice(("1.0", "2", 2.0, None, "2.0 ", *STRANGE))


def a_method(draw: random.Random, message: Message) -> None:
    message["method"] = draw.choice(
        ("tools/list", "ping", "initialize", "nope", "TOOLS/CALL", "server/discover", "notifications/initialized", 5)
    )


def a_tool(draw: random.Random, message: Message) -> None:
    _params(message)["name"] = draw.choice(
        ("nope", "LIST_TABLES", "list_tables ", "get_tenant", "execute_write", *STRANGE)
    )


def other_params(draw: random.Random, message: Message) -> None:
    message["params"] = draw.choice((None, [], "x", {}, 5, [message.get("params")]))


def no_params(_draw: random.Random, message: Message) -> None:
    message.pop("params", None)


def one_more_param(draw: random.Random, message: Message) -> None:
    name = draw.choice(("task", "inputResponses", "requestState", "cursor", "Arguments", "meta", "", "arguments "))
    _params(message)[name] = draw.choice((None, {}, {"ttl": 1}, "x", *STRANGE))


def one_more_field(draw: random.Random, message: Message) -> None:
    message[draw.choice(("result", "error", "extra", "Method", "_meta"))] = draw.choice(STRANGE)


def other_arguments(draw: random.Random, message: Message) -> None:
    _params(message)["arguments"] = draw.choice(STRANGE)


def no_arguments(_draw: random.Random, message: Message) -> None:
    _params(message).pop("arguments", None)


def one_argument(draw: random.Random, message: Message) -> None:
    arguments = _arguments(message)
    names = (*arguments, "tenant_id", "limit", "schema", "query", "params", "nope", "after", "role", "dry_run")
    arguments[draw.choice(names)] = draw.choice(STRANGE)


def one_argument_less(draw: random.Random, message: Message) -> None:
    arguments = _arguments(message)
    if arguments:
        del arguments[draw.choice(list(arguments))]


def deep_arguments(draw: random.Random, message: Message) -> None:
    value: Any = 1
    for _ in range(draw.choice((3, 60, 120, 124, 130, 300))):
        value = [value] if draw.random() < 0.5 else {"a": value}
    _arguments(message)["params"] = [value]


def half_a_pair(_draw: random.Random, message: Message) -> None:
    _arguments(message)["tenant_id"] = "a\ud800b"


def meta(draw: random.Random, message: Message) -> None:
    _params(message)["_meta"] = draw.choice((None, [], "x", {}, {"progressToken": 1}, {"": 1}, *STRANGE))


def one_of_meta(draw: random.Random, message: Message) -> None:
    told = _params(message).get("_meta")
    told = told if isinstance(told, dict) else {}
    names = ("protocolVersion", "clientInfo", "clientCapabilities", "logLevel", "nope")
    name = draw.choice((*(META + each for each in names), "progressToken", "traceparent", "progress_token"))
    values: Sequence[Any] = (
        "2025-11-25",
        STATELESS,
        "debug",
        {},
        {"elicitation": {}},
        {"elicitation": None},
        {"name": 1},
        3,
        "t",
    )
    told[name] = draw.choice((*values, *STRANGE))
    _params(message)["_meta"] = told


def less_of_meta(draw: random.Random, message: Message) -> None:
    told = _params(message).get("_meta")
    if isinstance(told, dict) and told:
        del told[draw.choice(list(told))]


def much_of_meta(draw: random.Random, message: Message) -> None:
    told = _params(message).get("_meta")
    _params(message)["_meta"] = {**(told if isinstance(told, dict) else {}), "long": "x" * draw.choice((10, 5000))}


def _params(message: Message) -> Message:
    if not isinstance(message.get("params"), dict):
        message["params"] = {}
    params: Message = message["params"]
    return params


def _arguments(message: Message) -> Message:
    params = _params(message)
    if not isinstance(params.get("arguments"), dict):
        params["arguments"] = {}
    arguments: Message = params["arguments"]
    return arguments


MESSAGES: Final[Sequence[Callable[..., Any]]] = (
    *(an_id, no_id, a_version, a_method, a_tool, other_params, no_params, one_more_param, one_more_field),
    *(other_arguments, no_arguments, one_argument, one_argument, one_argument, one_argument_less, deep_arguments),
    *(half_a_pair, meta, one_of_meta, one_of_meta, less_of_meta, much_of_meta),
)
