"""What is kept of the heads of requests: no more than a few, and nothing of one request for the next."""

from typing import Any, Final

from hypothesis import given, strategies as st

from server.http_heads import Heads, OfHead
from tests.http_connections import OWN_ID, connections, post

HEAD_LINES: Final = [
    *("Host: ours.example", "Host: evil.example", "host:ours.example", "Content-Type: application/json"),
    *("Content-Length: 2", "content-length:2", "Content-Length: 002", "Content-Length: 3", "Content-Length: 2 "),
    *("X: Content-Length: 2", "X-Content-Length: 2", "X: a\r\n Content-Length: 2", "Transfer-Encoding: chunked"),
    *("Connection: keep-alive", "Connection: close", "Upgrade: websocket", "Connection: upgrade", "X: \xe9"),
    *("Expect: 100-continue", "Content-Length: 2\nX: y", "Accept: */*", "Content-Length : 2", "Content-Length: +2"),
]
FIRST_LINES: Final = ["POST /mcp HTTP/1.1", "POST /mcp?a=b HTTP/1.1", "POST /%6dcp HTTP/1.1", "POST /mcp HTTP/1.0"]
BODIES: Final = [b"{}", b"{}\r\n", b"[]x", b"", b"\r\n\r\n", b"2\r\n{}\r\n0\r\n\r\n"]


def like_a_request(first: str, lines: list[str], body: bytes) -> bytes:
    return "\r\n".join([first, *lines, "", ""]).encode("latin-1") + body


REQUESTS: Final = st.one_of(
    st.builds(
        like_a_request,
        st.sampled_from(FIRST_LINES),
        st.lists(st.sampled_from(HEAD_LINES), max_size=3).map(lambda more: [*HEAD_LINES[:1], *HEAD_LINES[3:5], *more]),
        st.sampled_from(BODIES),
    ),
    st.builds(
        like_a_request,
        st.sampled_from(FIRST_LINES),
        st.lists(st.sampled_from(HEAD_LINES), max_size=5),
        st.sampled_from(BODIES),
    ),
    st.sampled_from([b"\r\n", post(), post(body=b" {}"), post() + post(), post()[:-1], post()[:40], b"}"]),
)


@given(st.lists(REQUESTS, min_size=1, max_size=3), st.lists(st.integers(0, 2), min_size=2, max_size=8))
async def test_whatever_comes_it_is_answered_as_if_each_head_were_read(drawn: list[bytes], order: list[int]) -> None:
    async with connections() as connect:
        keeping, reading = connect(), connect()
        reading.protocol.__dict__["_heads"] = Forgetful()
        for number in order:
            request = drawn[number % len(drawn)]
            told = [OWN_ID.sub(b"", await each.exchange(request)) for each in (keeping, reading)]
            assert told[0] == told[1]
            assert keeping.wire.closed == reading.wire.closed


class Forgetful(Heads):
    """Keeps no head."""

    def again(self, data: bytes) -> None:  # noqa: ARG002 - whatever it is
        return None


def test_no_more_is_kept_than_a_few_heads_of_some_length() -> None:
    def scope_of(*lines: tuple[bytes, bytes]) -> dict[str, Any]:
        return {"method": "POST", "http_version": "1.1", "headers": [*lines, (b"content-length", b"2")]}

    heads = Heads()
    requests = [post(f"X: {number}") for number in range(20)]
    for request in requests:
        heads.keep(request, scope_of())
    assert [heads.again(request) is not None for request in requests] == [False] * 16 + [True] * 4
    long = post("X: " + "x" * 5_000)
    heads.keep(long, scope_of())
    assert heads.again(long) is None


def test_what_is_put_into_the_scope_of_one_request_is_not_in_that_of_the_next() -> None:
    heads, scope = Heads(), {"method": "POST", "http_version": "1.1", "headers": [(b"content-length", b"2")]}
    heads.keep(post(), scope)
    scope["caller"] = "ann"
    for _ in range(2):
        again = heads.again(post())
        assert again is not None
        assert "caller" not in again[0]
        again[0]["caller"] = "ben"
        again[0]["headers"].append((b"x", b"y"))
        assert len(scope["headers"]) == 1


def test_what_is_found_of_a_head_is_found_once_if_it_is_kept_and_else_anew() -> None:
    heads, scope = Heads(), {"method": "POST", "http_version": "1.1", "headers": [(b"content-length", b"2")]}
    looks = list[bytes]()
    found = OfHead(lambda scope: looks.append(scope["headers"]))
    for _ in range(2):
        found(scope)
    assert len(looks) == 2
    heads.keep(post(), scope)
    for body in (b"{}", b"[1]", b"{}"):
        again = heads.again(post(body=body))
        assert again is not None
        found(again[0])
    assert len(looks) == 3
