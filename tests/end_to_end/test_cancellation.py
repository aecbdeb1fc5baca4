"""A call that its client gives up over stdio: the query ends in Postgres, and its place is free for the next call."""

import json
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import IO, Any, Final, cast

import pytest

from server.embedded.postgres import EmbeddedPostgres
from server.embedded.sample import SampleLogin
from tests.databases import sleeping
from tests.processes import COMMAND, Start, clean, eventually, fields_of

SLEEP: Final = "SELECT pg_sleep(91) /* given up over stdio */"


class Client:
    """A desktop client, line by line."""

    def __init__(self, popen: "subprocess.Popen[str]") -> None:
        self._in, self._out = cast("IO[str]", popen.stdin), cast("IO[str]", popen.stdout)

    def say(self, method: str, params: dict[str, Any], number: int | None = None) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        self._in.write(json.dumps(message if number is None else {**message, "id": number}) + "\n")
        self._in.flush()

    def say_all(self, *messages: dict[str, Any]) -> None:
        self._in.write(json.dumps([{"jsonrpc": "2.0", **each} for each in messages]) + "\n")
        self._in.flush()

    def hear_all(self) -> list[Any]:
        """Return the next line, which answers a batch."""
        told = json.loads(next(self._out))
        assert isinstance(told, list)
        return told

    def call(self, number: int, query: str) -> None:
        arguments = {"tenant_id": "acme", "query": query}
        self.say("tools/call", {"name": "execute_query", "arguments": arguments}, number)

    def hear(self, number: int) -> Any:  # noqa: ANN401 - JSON
        """Return the answer to request `number`."""
        for line in self._out:
            told = json.loads(line)
            if told.get("id") == number:
                return told
        raise AssertionError("the server has gone")


@pytest.fixture
def client(serve: Start, env: dict[str, str], sample: SampleLogin, tmp_path: Path) -> Iterator[Client]:
    """A client of a server whose tenant acme may run one query at a time, and let none wait."""
    limits = {"max_pool_size": 1, "max_concurrent_requests": 1}
    assert "code" not in serve().call("register_tenant", **fields_of("acme", sample), **limits)
    with (tmp_path / "stdio.log").open("wb") as log:
        popen = subprocess.Popen(
            [COMMAND, "serve", "--stdio"],
            env=clean({**env, "MCP_POSTGRES_STATEMENT_TIMEOUT": "100"}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        with popen:
            client = Client(popen)
            hello = {"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
            client.say("initialize", hello, 1)
            client.hear(1)
            client.say("notifications/initialized", {})
            yield client
            popen.terminate()


def test_a_call_that_is_cancelled_ends_in_postgres_and_leaves_its_place_to_the_next(
    client: Client, postgres: EmbeddedPostgres
) -> None:
    client.call(2, SLEEP)
    eventually(lambda: sleeping(postgres, SLEEP) == 1, "the query never began")
    client.call(3, "SELECT 1")
    assert "tenant_busy" in json.dumps(client.hear(3))
    client.say("notifications/cancelled", {"requestId": 2, "reason": "the user lost interest"})
    eventually(lambda: sleeping(postgres, SLEEP) == 0, "the query ran on for nobody")
    numbers = count(4)
    eventually(lambda: answered(client, next(numbers)), "its place was never free again")


def test_a_batch_is_worked_on_at_once_and_answered_by_one_array_without_what_was_cancelled(
    client: Client, postgres: EmbeddedPostgres
) -> None:
    arguments = {"tenant_id": "acme"}
    calls = {number: {**arguments, "query": query} for number, query in ((2, SLEEP), (3, "SELECT 1"))}
    client.say_all(
        *(
            {"method": "tools/call", "params": {"name": "execute_query", "arguments": each}, "id": number}
            for number, each in calls.items()
        ),
        {"method": "notifications/roots/list_changed"},
        {"method": "ping", "id": "p"},
        {"method": "ping", "id": 1.5},
        {"method": "initialize", "id": 5, "params": {}},
    )
    eventually(lambda: sleeping(postgres, SLEEP) == 1, "the query never began")
    client.say("ping", {}, 6)
    assert client.hear(6)["result"] == {}, "others wait for no batch"
    client.say("notifications/cancelled", {"requestId": 2})
    told = {each["id"]: each for each in client.hear_all()}
    assert told.keys() == {3, "p", None, 5}
    assert "tenant_busy" in json.dumps(told[3]), "the second call waited for the first"
    assert (told[None]["error"]["code"], told[5]["error"]["code"]) == (-32600, -32600)

    client.say_all({"method": "notifications/roots/list_changed"})
    client.say_all({"method": "ping", "id": 7})
    assert [each["id"] for each in client.hear_all()] == [7]


def answered(client: Client, number: int) -> bool:
    client.call(number, "SELECT 1")
    return client.hear(number)["result"]["isError"] is False
