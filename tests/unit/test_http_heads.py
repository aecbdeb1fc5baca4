"""Heads that are not read again: what follows from one is told of no other, and outlives nothing it depends on."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.authentication import Bearers
from server.token_file import watched_grants
from server.tokens import line_of
from tests.http_connections import OTHER, SLOW, TOKEN, connections, post


async def test_a_head_that_comes_again_with_another_body_is_not_read_again() -> None:
    async with connections() as connect:
        connection = connect()
        assert await connection.is_read_again(post(body=b"{}"))
        assert not await connection.is_read_again(post(body=b'{"a":1}'))
        status, told = await connection.send(post(body=b" " * 12))
        assert (status, told["body"]) == (200, " " * 12)
        assert ["content-length", "12"] in told["headers"]


async def test_a_request_that_comes_within_the_body_of_another_is_no_request() -> None:
    async with connections() as connect:
        connection = connect()
        await connection.send(post())
        outer = post(body=post())
        assert await connection.exchange(outer[: -len(post())]) == b""
        status, told = await connection.send(post())
        assert (status, told["body"]) == (200, post().decode())
        assert connection.wire.sent.count(b"HTTP/1.1 ") == 1


async def test_a_request_that_comes_in_pieces_waits_for_the_last_and_two_at_once_are_two() -> None:
    async with connections() as connect:
        connection = connect()
        await connection.send(post())
        assert await connection.exchange(post()[:-1]) == b""
        assert (await connection.send(post()[-1:]))[1]["body"] == "{}"
        assert (await connection.exchange(post() + post(body=b"[]"))).count(b"HTTP/1.1 200") == 2
        assert (await connection.send(post(body=b"[1]")))[1]["body"] == "[1]"


@pytest.mark.parametrize("cut", [3, 20, 30, 40])
async def test_a_known_request_that_comes_behind_part_of_a_head_is_more_of_that_head(cut: int) -> None:
    """Else a proxy that passes heads on in pieces and this server would see two different requests."""
    async with connections() as connect:
        connection = connect()
        for _ in range(2):
            assert (await connection.send(post()))[0] == 200
        assert await connection.exchange(post()[:cut]) == b""
        assert not (await connection.exchange(post())).startswith(b"HTTP/1.1 200")


async def test_a_head_of_which_the_connection_ends_is_not_known_again() -> None:
    async with connections() as connect:
        connection = connect()
        answer = await connection.exchange(post("Connection: close"))
        assert answer.startswith(b"HTTP/1.1 200")
        assert connection.wire.closed
        assert await connection.exchange(post("Connection: close")) == b""


async def test_a_request_that_comes_before_the_answer_to_another_is_answered_behind_it() -> None:
    async with connections() as connect:
        connection = connect()
        await connection.send(post())
        connection.protocol.data_received(post(body=SLOW))
        answers = await connection.exchange(post(body=b"[]"))
        assert answers.count(b"HTTP/1.1 200") == 2
        assert answers.index(b"slow") < answers.index(b'"body":"[]"')


async def test_who_waits_to_be_told_to_go_on_is_told_each_time() -> None:
    async with connections() as connect:
        connection = connect()
        for _ in range(3):
            assert b"HTTP/1.1 100 " in await connection.exchange(post("Expect: 100-continue"))


@pytest.mark.parametrize(
    ("other", "status"),
    [
        pytest.param(post(host="evil.example"), 421, id="host"),
        pytest.param(post("Host: ours.example"), 400, id="a second host"),
        pytest.param(post("Origin: https://evil.example"), 403, id="origin"),
        pytest.param(post("Content-Type: text/plain"), 415, id="a second content type"),
        pytest.param(post().replace(b"application/json", b"application/jsom"), 415, id="content type"),
        pytest.param(post().replace(b"POST", b"PUSH"), 400, id="method"),
        pytest.param(post().replace(b"POST /mcp", b"PUT /mcp"), 405, id="another method"),
        pytest.param(post("Content-Length: 2"), 400, id="a second length"),
        pytest.param(post("Transfer-Encoding: chunked"), 400, id="another framing"),
        pytest.param(post(body=b"x" * 50_001), 413, id="a larger body"),
        pytest.param(post(body=b"[" * 200), 400, id="a deeper body"),
    ],
)
async def test_a_request_that_is_to_be_refused_is_refused_behind_any_number_of_good_ones(
    other: bytes, status: int
) -> None:
    async with connections() as connect:
        connection = connect()
        for _ in range(3):
            assert (await connection.send(post()))[0] == 200
        assert (await connection.send(other))[0] == status
        if not connection.wire.closed:
            assert (await connection.send(other))[0] == status
            assert (await connection.send(post()))[0] == 200


async def test_what_a_head_says_of_revision_streams_and_names_is_told_of_no_other_head() -> None:
    heads = {
        ("MCP-Protocol-Version: 2025-06-18", "Accept: application/json, text/event-stream"): ("2025-06-18", True),
        ("MCP-Protocol-Version: 2025-11-25", "Accept: application/json"): ("2025-11-25", False),
        ("Accept: text/event-stream",): (None, None),
        ("MCP-Protocol-Version: 1999-01-01",): (None, None),
        ("Accept: application/json", "Accept: application/json"): (None, None),
    }
    async with connections() as connect:
        connection = connect()
        for _ in range(3):
            for lines, expected in heads.items():
                told = (await connection.send(post(*lines)))[1]
                assert (told["revision"], told["streams"]) == expected


async def test_each_request_has_the_id_that_it_names_or_one_of_its_own() -> None:
    async with connections() as connect:
        connection = connect()

        async def answered_id(*lines: str) -> bytes:
            await connection.send(post(*lines))
            return connection.wire.sent.partition(b"x-request-id: ")[2].partition(b"\r\n")[0]

        assert [await answered_id(f"X-Request-Id: {name}") for name in "abba"] == [b"a", b"b", b"b", b"a"]
        assert len({await answered_id() for _ in range(5)}) == 5


async def test_a_page_of_ours_is_told_that_it_may_read_its_answers_and_nobody_else_is() -> None:
    async with connections() as connect:
        connection = connect()
        for lines in [("Origin: https://page.example",), (), ("Origin: https://page.example",), ()]:
            await connection.send(post(*lines))
            assert (b"access-control-allow-origin: https://page.example" in connection.wire.sent) is bool(lines)


async def test_the_address_that_a_proxy_tells_is_that_of_each_request() -> None:
    async with connections() as connect:
        connection = connect()
        for address in ["10.0.0.1", "10.0.0.2", "10.0.0.2", None, "10.0.0.1", None]:
            told = (await connection.send(post(*([f"X-Forwarded-For: {address}"] if address else []))))[1]
            assert told["scope"][4] == ([address, 0] if address else ["127.0.0.1", 2])
        told = (await connection.send(post("X-Forwarded-Proto: https")))[1]
        assert told["scope"][5] == "https"


async def test_a_token_is_judged_for_each_request_also_of_a_head_that_is_not_read_again(tmp_path: Path) -> None:
    now, expires = [1_000.0], datetime.fromtimestamp(2_000, UTC)
    file = tmp_path / "tokens.toml"
    lines = [
        line_of(TOKEN, "ann", "reader", ["*"], created=expires, expires=expires),
        line_of(OTHER, "ben", "reader", ["*"], created=expires),
    ]
    file.write_text("\n".join(lines), encoding="utf-8")
    grants = watched_grants(file)
    async with connections(Bearers(grants, None, lambda: now[0])) as connect:
        connection = connect()

        async def caller(token: str | None) -> object:
            status, told = await connection.send(post(*([f"Authorization: Bearer {token}"] if token else [])))
            return told["caller"] if status == 200 else status

        assert [await caller(each) for each in (TOKEN, TOKEN, OTHER, None, TOKEN)] == ["ann", "ann", "ben", 401, "ann"]
        now[0] = 2_000.0
        assert [await caller(each) for each in (TOKEN, OTHER)] == [401, "ben"]
        grants.current = {}  # as when it was taken out of the file
        assert await caller(OTHER) == 401
