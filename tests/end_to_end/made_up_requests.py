"""Requests as nobody would write them and somebody will send them: from right ones, by a few changes each.

What is drawn depends on a seed alone. A change is one function: of the message, of its text, or of the headers.
"""

import base64
import copy
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

Headers: TypeAlias = list[tuple[bytes, bytes]]
Message: TypeAlias = dict[str, Any]

HANDSHAKE: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
STATELESS: Final = "2026-07-28"
_META: Final = "io.modelcontextprotocol/"
_HUGE: Final = 10**40
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
        _HUGE,
        "",
        "acme",
        "ACME",
        "nobody",
    ),
    *("é\U0001f600", "\u0000", "\x7f", " acme ", "a" * 300, "=?base64?YWNtZQ==?=", [], {}, [1], {"a": 1}, [[[]]]),
    *("1", "true", "null", "postgres://u:p@h/db", {"tenant_id": "acme"}, 0.1, 1e300, 1e-320, -0.0),
)
"""Values that may stand where others belong."""


@dataclass
class Request:
    """One request: its headers as ASGI has them, and its body."""

    headers: Headers
    body: bytes
    changes: list[str] = field(default_factory=list)


class Maker:
    """Makes requests.

    Args:
        seed: What is drawn depends on it alone.
        calls: Right ones: tools and arguments.
        tokens: What callers bear.
    """

    def __init__(self, seed: int, calls: Sequence[tuple[str, dict[str, Any]]], tokens: Sequence[str]) -> None:
        self._random = random.Random(seed)  # noqa: S311 - the same again from the same seed
        self._calls = calls
        self._tokens = tokens

    def request(self) -> Request:
        """Return the next one: right in a third of all cases, and else changed once to three times."""
        draw = self._random
        tool, arguments = copy.deepcopy(draw.choice(self._calls))
        revision = draw.choice((None, None, *HANDSHAKE, STATELESS, STATELESS, STATELESS))
        message = _message(draw, tool, arguments, revision)
        headers = _headers(draw, message, revision, draw.choice(self._tokens))
        changes = draw.choices((*MESSAGES, *HEADERS, *TEXTS), k=draw.choice((0, 0, 1, 1, 1, 2, 3)))
        for change in changes:
            if change in MESSAGES:
                change(draw, message)
        if changes and draw.random() < 0.5:  # those who change a call may well repeat it in its headers
            headers = _headers(draw, message, revision, draw.choice(self._tokens))
        text = json.dumps(message, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass")
        for change in changes:
            if change in HEADERS:
                change(draw, headers)
            elif change in TEXTS:
                text = change(draw, text)
        return Request(headers, text, [change.__name__ for change in changes])


def _message(draw: random.Random, tool: str, arguments: dict[str, Any], revision: str | None) -> Message:
    params: Message = {"name": tool, "arguments": arguments}
    if revision == STATELESS:
        params["_meta"] = {
            f"{_META}protocolVersion": STATELESS,
            f"{_META}clientInfo": {"name": "made-up", "version": "1"},
            f"{_META}clientCapabilities": draw.choice(({}, {}, {"elicitation": {}}, {"sampling": {}, "roots": {}})),
        }
    elif draw.random() < 0.2:
        params["_meta"] = draw.choice(({}, {"traceparent": "00-1-2-01"}, {"progressToken": 7}, {"a": {"b": [1]}}))
    return {"jsonrpc": "2.0", "id": draw.choice((1, 7, "a", 0)), "method": "tools/call", "params": params}


def _headers(draw: random.Random, message: Message, revision: str | None, token: str) -> Headers:
    headers: Headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    headers.append((b"authorization", f"Bearer {token}".encode()))
    accept = draw.choice((None, b"*/*", b"application/json", b"application/json, text/event-stream"))
    if accept is not None:
        headers.append((b"accept", accept))
    if revision is not None:
        headers.append((b"mcp-protocol-version", revision.encode()))
    if revision == STATELESS:
        headers += _mirrored(message)
    draw.shuffle(headers)
    return headers


def _mirrored(message: Message) -> Headers:
    params = message.get("params")
    params = params if isinstance(params, dict) else {}
    headers = [(b"mcp-method", _plain(message.get("method"))), (b"mcp-name", _plain(params.get("name")))]
    arguments = params.get("arguments")
    tenant = arguments.get("tenant_id") if isinstance(arguments, dict) else None
    return headers if tenant is None else [*headers, (b"mcp-param-tenant-id", _plain(tenant))]


def _plain(value: object) -> bytes:
    """Return a value as a client writes it into a header: in base64 where it does not fit."""
    if isinstance(value, bool):
        value = str(value).lower()
    text = str(value)
    if text.isascii() and text.isprintable() and text == text.strip() and not text.startswith("=?"):
        return text.encode()
    return b"=?base64?" + base64.b64encode(text.encode("utf-8", "surrogatepass")) + b"?="


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
    name = draw.choice((*(_META + each for each in names), "progressToken", "traceparent", "progress_token"))
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


def no_header(draw: random.Random, headers: Headers) -> None:
    removable = [each for each in headers if each[0] not in {b"host", b"authorization"}]
    if removable:
        headers.remove(draw.choice(removable))


def a_header_twice(draw: random.Random, headers: Headers) -> None:
    name, value = draw.choice([each for each in headers if each[0] not in {b"host", b"authorization"}] or headers[:1])
    if name not in {b"host", b"authorization"}:
        headers.insert(draw.randrange(len(headers) + 1), (name, draw.choice((value, value.upper(), b"", b"x"))))


def a_harmless_header_twice(draw: random.Random, headers: Headers) -> None:
    for _ in range(2):
        headers.insert(draw.randrange(len(headers) + 1), (b"x-forwarded-for", b"10.0.0.1"))


def other_accept(draw: random.Random, headers: Headers) -> None:
    _set(
        headers,
        b"accept",
        draw.choice(
            (
                *(b"", b" ", b"text/html", b"text/event-stream", b"APPLICATION/JSON", b"application/*", b"text/*, */*"),
                *(b"application/json;q=0", b"text/event-stream, application/json;q=0.1", b"application/jsonx"),
                *(b"text/event-stream-x", b"text/event-stream-x, application/json", b"*/*;q=0.1", b",", b"\xff"),
                *(b"text/event-stream;q=0, */*", b"application/json,text/event-stream-x,*/*"),
            )
        ),
    )


def other_revision(draw: random.Random, headers: Headers) -> None:
    revisions = (*HANDSHAKE, STATELESS, "1999-01-01", "", "2026-07-28 ", "2025-06-18 ", "DRAFT-2026", "2026-07-29")
    _set(headers, b"mcp-protocol-version", draw.choice(revisions).encode())


def other_mirror(draw: random.Random, headers: Headers) -> None:
    name = draw.choice((b"mcp-method", b"mcp-name", b"mcp-param-tenant-id", b"mcp-param-nope"))
    values = (b"tools/call", b"TOOLS/CALL", b"list_tables", b"acme", b"ACME", b"", b" acme", b"acme ", b"\xff", b"null")
    coded = (b"=?base64?YWNtZQ==?=", b"=?base64?YWNtZR==?=", b"=?base64?!?=", b"=?base64?bGlzdF90YWJsZXM=?=")
    _set(headers, name, draw.choice((*values, *coded)))


def mirrors_as_they_are(_draw: random.Random, headers: Headers) -> None:
    """Write values into headers as clients do that never heard of the encoding."""
    for number, (name, value) in enumerate(headers):
        if name.startswith(b"mcp-") and value.startswith(b"=?base64?"):
            headers[number] = (name, base64.b64decode(value[9:-2]))


def other_content_type(draw: random.Random, headers: Headers) -> None:
    types = (b"application/json; charset=utf-8", b"Application/JSON", b"text/plain", b"application/json;charset=utf-16")
    _set(headers, b"content-type", draw.choice((*types, b"application/json ;x", b"application/jsonp", b"")))


def a_session(draw: random.Random, headers: Headers) -> None:
    _set(headers, draw.choice((b"mcp-session-id", b"last-event-id")), draw.choice((b"x", b"", b"\xff")))


def an_origin(draw: random.Random, headers: Headers) -> None:
    _set(headers, b"origin", draw.choice((b"http://localhost", b"https://evil.example", b"null")))


def _set(headers: Headers, name: bytes, value: bytes) -> None:
    headers[:] = [each for each in headers if each[0] != name]
    headers.append((name, value))


_KEYS: Final = (b"jsonrpc", b"id", b"method", b"params", b"name", b"arguments", b"_meta", b"tenant_id", b"query")


def a_key_twice(draw: random.Random, text: bytes) -> bytes:
    key = draw.choice(_KEYS)
    values = (b"null", b"1", b'"x"', b"{}", b'"tools/call"', b'"acme"', b'"2.0"', b'{"name":"list_tenants"}', b"1e999")
    place = draw.choice([index for index, byte in enumerate(text) if byte == 0x7B] or [0])
    return text[: place + 1] + b'"' + key + b'":' + draw.choice(values) + b"," + text[place + 1 :]


def a_last_key_again(draw: random.Random, text: bytes) -> bytes:
    key = draw.choice(_KEYS)
    values = (b"null", b"1", b'"x"', b"{}", b'"tools/call"', b'"acme"', b'"2.0"', b'{"name":"list_tenants"}', b"NaN")
    place = draw.choice([index for index, byte in enumerate(text) if byte == 0x7D] or [len(text)])
    return text[:place] + b',"' + key + b'":' + draw.choice(values) + text[place:]


def a_number(draw: random.Random, text: bytes) -> bytes:
    numbers = (
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e999",
        b"-1e999",
        b"01",
        b"1.",
        b".5",
        b"+1",
        b"-0",
        b"1E2",
        b"0x1",
    )
    more = (b"9" * 400, b"9" * 5000, b"1e-999", b"123456789012345678901234567890", b"0.1234567890123456789", b"- 1")
    return _instead_of_a_value(draw, text, draw.choice((*numbers, *more)))


def a_string(draw: random.Random, text: bytes) -> bytes:
    strings = (
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'"\\u0000"',
        b'"\x01"',
        b'"\xff"',
        b'"\\x"',
        b"'x'",
        b'"\\/"',
        b'"\n"',
    )
    return _instead_of_a_value(draw, text, draw.choice((*strings, b'"\\ud83d\\ude00"', '"é"'.encode(), b'"\xc0\x80"')))


def _instead_of_a_value(draw: random.Random, text: bytes, value: bytes) -> bytes:
    places = [index for index, byte in enumerate(text) if byte == 0x3A]
    if not places:
        return value
    place = draw.choice(places) + 1
    end = min((found for found in (text.find(b",", place), text.find(b"}", place)) if found >= 0), default=len(text))
    return text[:place] + value + text[end:]


def cut_off(draw: random.Random, text: bytes) -> bytes:
    return text[: draw.randrange(len(text) + 1)]


def more_behind(draw: random.Random, text: bytes) -> bytes:
    return text + draw.choice((b" ", b"\n\t ", b"x", b"{}", b",", b"\x00", text))


def something_before(draw: random.Random, text: bytes) -> bytes:
    return draw.choice((b" \r\n", b"\xef\xbb\xbf", b"\x00", b"//\n", b"\xfe\xff")) + text


def another_encoding(draw: random.Random, text: bytes) -> bytes:
    return text.decode("utf-8", "replace").encode(draw.choice(("utf-16", "utf-32", "utf-8-sig")))


def a_batch(draw: random.Random, text: bytes) -> bytes:
    return b"[" + b",".join([text] * draw.choice((0, 1, 2))) + b"]"


def a_byte(draw: random.Random, text: bytes) -> bytes:
    if not text:
        return b"x"
    place = draw.randrange(len(text))
    return text[:place] + bytes([draw.randrange(256)]) + text[place + 1 :]


def escaped_letters(draw: random.Random, text: bytes) -> bytes:
    letter = draw.choice(b"aetn")
    # Only a letter that follows no backslash may be written otherwise.
    return text.replace(bytes([letter]), b"\\u%04x" % letter) if b"\\" not in text else text


MESSAGES: Final[Sequence[Callable[..., Any]]] = (
    *(an_id, no_id, a_version, a_method, a_tool, other_params, no_params, one_more_param, one_more_field),
    *(other_arguments, no_arguments, one_argument, one_argument, one_argument, one_argument_less, deep_arguments),
    *(half_a_pair, meta, one_of_meta, one_of_meta, less_of_meta, much_of_meta),
)
HEADERS: Final[Sequence[Callable[..., Any]]] = (
    *(no_header, a_header_twice, a_harmless_header_twice, other_accept, other_accept, other_revision, other_mirror),
    *(other_mirror, mirrors_as_they_are, other_content_type, a_session, an_origin),
)
TEXTS: Final[Sequence[Callable[..., Any]]] = (
    *(a_key_twice, a_key_twice, a_last_key_again, a_number, a_number, a_string, cut_off, more_behind),
    *(something_before, another_encoding, a_batch, a_byte, a_byte, escaped_letters),
)
