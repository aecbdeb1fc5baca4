"""Whatever a desktop client writes, `serve --stdio` answers each request once, says nothing else, and goes on.

Made-up lines, right, wrong and hostile, go to a real process and, a POST each, to a server over HTTP beside it: what
one is told the other is told too. `make lines SECONDS=600` does that for longer, with a new seed each time.
"""

import json
import os
import secrets
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest

from server.embedded.sample import SampleLogin
from server.json_rpc import NO_MESSAGE
from tests.end_to_end.made_up_lines import Line, LineMaker, envelope
from tests.end_to_end.made_up_requests import mirrored
from tests.end_to_end.spoken_revisions import HANDSHAKE, META, STATELESS
from tests.end_to_end.stdio_client import StdioClient, json_of
from tests.end_to_end.test_two_roads import CALLS
from tests.processes import Process, Start, fields_of

_CALLS: Final = [each for each in CALLS if each[0] != "remove_tenant"]
"""Those that change nothing, whichever tenant a change of the text puts in."""
BURSTS: Final = 70
"""In each of the conversations of a short run."""
SECONDS: Final = float(os.environ.get("LINES_SECONDS", "0"))
SEED: Final = int(os.environ.get("LINES_SEED", "0")) or (secrets.randbits(32) if SECONDS else 1)
GROWTH: Final = 96 << 20
"""Bytes by which a process may be larger at the end of a conversation than when it had answered a call."""
_HTTPS_OWN: Final = frozenset({-32020, -32022})
"""Errors of headers, which stdio has none of."""

_NO_JSON: Final = -32700
_NULL_ID: Final = b"Body must be a single JSON-RPC request or notification object"
"""What the SDK has against a notification with an id of null over HTTP, since 2026-07-28."""


class Conversation:
    """One process, and the server over HTTP that it is compared with."""

    def __init__(self, client: StdioClient, http: Process, maker: LineMaker, revision: str) -> None:
        self._client = client
        self._http = http
        self._maker = maker
        self._revision = revision
        self._fences = 0
        self._given_up = 0
        self._maybe: set[str] = set()
        self.compared = Counter[str]()

    def begin(self) -> None:
        """Shake hands, where the revision has that; be answered a call."""
        if self._revision != STATELESS:
            self._shake_hands()
        self.good_call()

    def good_call(self) -> None:
        self._say(self._good("good"))
        (told,) = self._all_until_fence(1)
        assert told["id"] == "good", told
        assert told["result"]["structuredContent"]["rows"] == [[1]], told

    def burst(self) -> None:
        """Write some lines at once; all that is told of them is what HTTP tells, in any order."""
        lines = [
            line for _ in range(self._maker.draw.choice((1, 1, 2, 8))) for line in self._maker.lines(self._revision)
        ]
        lines = [line for line in lines if _is_comparable(line)]
        # Of two requests with one id, in a batch and out of it, nobody can say whose answer is whose.
        has_batch = any(line.text.lstrip().startswith(b"[") for line in lines)
        for together in [[line] for line in lines] if has_batch else [lines]:
            self._compare(together)

    def _compare(self, lines: list[Line]) -> None:
        expected = [told for line in lines if (told := self._over_http(line)) is not None]
        for line in lines:
            self._say(line.text)
        answers: list[Any] = []
        try:
            self._until_fence(answers, len(expected))
        except TimeoutError:
            pytest.fail(f"no more comes: {self._explained(lines, expected, answers)}")
        assert len(answers) == len(expected), self._explained(lines, expected, answers)
        free = sum(each == {} for each in expected)
        left = Counter(map(_canonical, answers)) - Counter(map(_canonical, expected))
        assert left.total() == free, self._explained(lines, expected, answers)
        self.compared["compared"] += len(expected) - free
        self.compared["not compared"] += free

    def give_up(self) -> None:
        """Cancel a call at any moment, also before it and twice: one answer at most, and its id is free again."""
        draw = self._maker.draw
        self._given_up += 1
        name = f"given up {self._given_up}"
        seconds = draw.choice((0, 0.001, 0.01, 5))
        call = self._call(name, f"SELECT pg_sleep({seconds})", draw.choice((None, name, 7)))
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": name}}
        said = [call, *[json.dumps(cancel).encode()] * draw.choice((1, 1, 2))]
        if seconds < 1:
            draw.shuffle(said)
        self._maybe.add(name)
        for each in said:
            self._say(each)
            time.sleep(draw.choice((0, 0, 0.002)))
        assert self._all_until_fence() == []

    def huge_line(self) -> None:
        self._say(self._maker.huge().text)
        assert len(self._all_until_fence(1)) == 1

    def begin_again(self) -> None:
        """Shake hands once more, or for the first time: one answer, and the conversation goes on."""
        if self._revision != STATELESS:
            self._shake_hands()

    def leave(self) -> None:
        """Close the input in the middle of a line, with calls under way: what still comes are answers, none twice."""
        for number in range(3):
            self._say(self._call(f"left {number}", "SELECT pg_sleep(0.05)", None))
        text = self._good("left in the middle")
        self._client.write(text[: self._maker.draw.randrange(len(text))])
        told = Counter(each["id"] for each in self._client.close() if "id" in each and each["id"] not in self._maybe)
        assert not [name for name, times in told.items() if times > 1], told

    def _shake_hands(self) -> None:
        hello = {"protocolVersion": self._revision, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        self._say(json.dumps({"jsonrpc": "2.0", "id": "hello", "method": "initialize", "params": hello}).encode())
        (told,) = self._all_until_fence(1)
        assert told["id"] == "hello", told
        assert told["result"]["protocolVersion"] == self._revision, told

    def _say(self, text: bytes) -> None:
        data = text + self._maker.draw.choice((b"\n", b"\n", b"\r\n", b"\n\n", b" \n"))
        place = self._maker.draw.randrange(len(data)) if self._maker.draw.random() < 0.1 else len(data)
        self._client.write(data[:place])
        self._client.write(data[place:])

    def _all_until_fence(self, count: int = 0) -> list[Any]:
        """Return all that came before the answer to a question that is asked when so many answers have come."""
        told: list[Any] = []
        self._until_fence(told, count)
        return told

    def _until_fence(self, told: list[Any], count: int) -> None:
        while len(told) < count:
            told += self._kept(self._client.next())
        self._fences += 1
        name = f"fence {self._fences}"
        self._say(self._call(name, "SELECT 1", None))
        while (each := self._client.next()) == {} or isinstance(each, list) or each.get("id") != name:
            told += self._kept(each)

    def _kept(self, told: Any) -> list[Any]:  # noqa: ANN401 - JSON
        if isinstance(told, list):
            return [told]
        if "method" in told:
            assert told["method"] == "notifications/progress", told
            return []
        if isinstance(told["id"], str) and told["id"] in self._maybe:
            self._maybe.remove(told["id"])
            return []
        return [told]

    def _good(self, name: str) -> bytes:
        return self._call(name, "SELECT 1", None)

    def _call(self, name: str, query: str, token: str | int | None) -> bytes:
        params: dict[str, Any] = {"name": "execute_query", "arguments": {"tenant_id": "acme", "query": query}}
        meta = {
            **(envelope() if self._revision == STATELESS else {}),
            **({} if token is None else {"progressToken": token}),
        }
        if meta:
            params["_meta"] = meta
        return json.dumps({"jsonrpc": "2.0", "id": name, "method": "tools/call", "params": params}).encode()

    def _over_http(self, line: Line) -> Any:  # noqa: ANN401 - JSON
        """Return what HTTP answers; None for nothing, {} where it answers what has no counterpart here."""
        headers = {"Content-Type": "application/json", "MCP-Protocol-Version": self._revision}
        if self._revision == STATELESS:
            headers |= {name.decode(): value.decode() for name, value in mirrored(line.message)}
        status, body = self._http.request("POST", "/postgres/mcp", line.text, headers)
        if not _is_utf8(line.text):  # refused here; over HTTP the SDK takes halves of pairs
            return {}
        if status == 202 or _NULL_ID in body:
            return None
        told = json_of(body)
        error = told.get("error", {}) if isinstance(told, dict) else {}
        is_of_another_era = self._revision != STATELESS and (META.encode() in line.text or META in str(line.message))
        return {} if is_of_another_era or error.get("code") in _HTTPS_OWN else told

    def _explained(self, lines: list[Line], expected: list[Any], told: list[Any]) -> str:
        said = "\n".join(f"{line.changes} {line.text[:2000]!r}" for line in lines)
        more = Counter(map(_canonical, told)) - Counter(map(_canonical, expected))
        less = Counter(map(_canonical, expected)) - Counter(map(_canonical, told))
        return f"seed {SEED}, {self._revision}:\n{said}\nover stdio alone:\n{[*more]}\nover HTTP alone:\n{[*less]}"


def _canonical(told: Any) -> str:  # noqa: ANN401 - JSON
    if isinstance(told, str):
        return told
    if isinstance(told, list):  # in the order in which they were done
        return json.dumps(sorted(map(_canonical, told)))
    error = told.get("error", {})
    if (
        error.get("code") == _NO_JSON or error.get("message") == NO_MESSAGE
    ):  # which of them a line is, each parser tells
        return json.dumps([NO_MESSAGE, told["id"]])
    return json.dumps(told, sort_keys=True)


def _is_comparable(line: Line) -> bool:
    """Whether a line leaves the conversation as it is, and is no broken answer, which HTTP takes in some revisions."""
    message = line.message
    is_answer = "result" in message or "error" in message
    return message.get("method") != "initialize" and not (is_answer and ("method" in message or line.changes))


def _is_utf8(text: bytes) -> bool:
    return text.decode(errors="ignore").encode() == text


@pytest.fixture
def http(serve: Start, sample: SampleLogin) -> Process:
    server = serve()
    server.call("register_tenant", **fields_of("acme", sample))
    server.call("register_tenant", **fields_of("ours", sample), access="read_write")
    return server


def test_each_line_is_answered_as_over_http_once_or_not_at_all_and_the_next_is_heard(
    http: Process, env: dict[str, str], tmp_path: Path
) -> None:
    maker, until = LineMaker(SEED, _CALLS), time.monotonic() + SECONDS
    compared = Counter[str]()
    revisions = ["2025-03-26", STATELESS]
    while revisions or time.monotonic() < until:
        revision = revisions.pop() if revisions else maker.draw.choice((*HANDSHAKE, STATELESS))
        client = StdioClient(env, tmp_path / "stdio.log")
        try:
            compared += converse(Conversation(client, http, maker, revision), client, maker)
        finally:
            client.end()
    if SECONDS:
        sys.stderr.write(f"seed {SEED}: {dict(compared)}\n")
    assert compared["compared"] > compared["not compared"], compared


def converse(conversation: Conversation, client: StdioClient, maker: LineMaker) -> Counter[str]:
    """Have one conversation from beginning to end; return how much of it was compared."""
    conversation.begin()
    at_first = client.rss()
    for _ in range(BURSTS):
        move = maker.draw.choice((*[conversation.burst] * 12, conversation.give_up, conversation.begin_again))
        move()
    conversation.huge_line()
    conversation.good_call()
    assert client.rss() - at_first < GROWTH, "the server grows with what it is told"
    conversation.leave()
    return conversation.compared
