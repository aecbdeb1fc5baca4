"""What may be wrong with the headers of a request: changes, each of one thing."""

import base64
import random
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from tests.end_to_end.spoken_revisions import HANDSHAKE, STATELESS

Headers: TypeAlias = list[tuple[bytes, bytes]]
"""As ASGI has them."""


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


HEADERS: Final[Sequence[Callable[..., Any]]] = (
    *(no_header, a_header_twice, a_harmless_header_twice, other_accept, other_accept, other_revision, other_mirror),
    *(other_mirror, mirrors_as_they_are, other_content_type, a_session, an_origin),
)
