"""Every revision of MCP, as the specification has it on the wire: no client library between the test and the server."""

import http.client
import json
import subprocess
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import pytest

from server.embedded.sample import SampleLogin
from tests.processes import COMMAND, Process, Start, clean, fields_of

Headers: TypeAlias = Mapping[str, str]
JSON: Final[Headers] = {"Content-Type": "application/json"}
BOTH: Final[Headers] = {**JSON, "Accept": "application/json, text/event-stream"}
HANDSHAKE: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
STATELESS: Final = "2026-07-28"
PATHS: Final = ("/postgres/mcp", "/mcp")
META: Final = {
    "io.modelcontextprotocol/protocolVersion": STATELESS,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}


def request(method: str, params: dict[str, Any] | None = None, message_id: object = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": message_id, "method": method, **({} if params is None else {"params": params})}


def stateless(method: str, **params: object) -> dict[str, Any]:
    return request(method, {**params, "_meta": META})


def heads(method: str, name: str | None = None, **more: str) -> dict[str, str]:
    """Return the headers that 2026-07-28 wants."""
    told = {**BOTH, "MCP-Protocol-Version": STATELESS, "Mcp-Method": method, **({"Mcp-Name": name} if name else {})}
    return {**told, **{key.replace("_", "-"): value for key, value in more.items()}}


def post(server: Process, message: object, headers: Headers, path: str = "/postgres/mcp") -> tuple[int, Any]:
    """Send exactly these headers, and return the status and what came."""
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    status, told = server.request("POST", path, body, dict(headers))
    return status, json.loads(told) if told else None


def code_of(answer: tuple[int, Any]) -> tuple[int, int | None]:
    """Return the HTTP status and the error's code; None for a result."""
    status, told = answer
    return status, told["error"]["code"] if "error" in told else None


LIST_TABLES: Final = {"name": "list_tables", "arguments": {"tenant_id": "acme"}}
NAMED: Final = {"Mcp_Name": "list_tables", "Mcp_Param_Tenant_Id": "acme"}


def test_a_call_without_a_handshake_is_answered_whatever_accept_says_or_does_not(
    serve: Start, sample: SampleLogin
) -> None:
    server = serve()
    server.call("register_tenant", **fields_of("acme", sample))
    for path in PATHS:
        for accept in ({}, {"Accept": ""}, {"Accept": "*/*"}, {"Accept": "application/json"}):
            status, told = post(server, request("tools/call", LIST_TABLES), {**JSON, **accept}, path)
            assert status == 200, (path, accept, told)
            assert "books" in {name for _schema, name, *_rest in told["result"]["structuredContent"]["tables"]}


def test_an_accept_header_in_several_lines_is_one(serve: Start) -> None:
    server = serve()
    body = json.dumps(stateless("tools/list")).encode()
    for lines in (["application/json", "text/event-stream"], ["text/event-stream", "application/json"], ["", ""]):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.putrequest("POST", "/mcp")
        for name, value in {**heads("tools/list"), "Content-Length": str(len(body))}.items():
            if name != "Accept":
                connection.putheader(name, value)
        for line in lines:
            connection.putheader("Accept", line)
        connection.endheaders(body)
        assert connection.getresponse().status == 200, lines
        connection.close()


def test_each_revision_of_the_handshake_agrees_lists_calls_and_pings(serve: Start, sample: SampleLogin) -> None:
    server = serve()
    server.call("register_tenant", **fields_of("acme", sample))
    for revision in HANDSHAKE:
        hello = {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        status, agreed = post(server, request("initialize", hello), BOTH)
        assert (status, agreed["result"]["protocolVersion"]) == (200, revision)
        assert "resultType" not in agreed["result"]
        # Before 2025-06-18 no client sent the header, and its absence means no other revision.
        later = {**BOTH, "MCP-Protocol-Version": revision} if revision >= "2025-06-18" else BOTH
        assert post(server, {"jsonrpc": "2.0", "method": "notifications/initialized"}, later) == (202, None)
        assert post(server, request("notifications/initialized", None, None), later) == (202, None)
        assert post(server, request("ping"), later) == (200, {"jsonrpc": "2.0", "id": 1, "result": {}})
        listed = post(server, request("tools/list"), later)[1]["result"]["tools"]
        assert "list_tables" in {tool["name"] for tool in listed}
        called = post(server, request("tools/call", LIST_TABLES, "a"), later)[1]
        assert (called["id"], called["result"]["isError"]) == ("a", False)
        assert code_of(post(server, request("no/such"), later)) == (200, -32601)
        assert code_of(post(server, request("server/discover"), later)) == (200, -32601)


def test_a_handshake_for_a_revision_that_has_none_is_answered_with_the_newest_that_has(serve: Start) -> None:
    server = serve()
    for asked in ("1999-01-01", "2026-07-28", "2099-12-31"):
        hello = {"protocolVersion": asked, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        assert post(server, request("initialize", hello), BOTH)[1]["result"]["protocolVersion"] == "2025-11-25"


def test_each_revision_is_spoken_over_stdio(env: dict[str, str]) -> None:
    running: dict[str, subprocess.Popen[str]] = {}
    for revision in (*HANDSHAKE, STATELESS):
        hello = {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        begun = [request("initialize", hello, 0), {"jsonrpc": "2.0", "method": "notifications/initialized"}]
        lines: list[Any] = [stateless("tools/list")] if revision == STATELESS else [*begun, request("tools/list")]
        server = subprocess.Popen(
            [COMMAND, "serve", "--stdio"], env=clean(env), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert server.stdin is not None
        server.stdin.writelines(json.dumps(line) + "\n" for line in lines)
        server.stdin.flush()
        running[revision] = server
    for revision, server in running.items():
        told = {answer["id"]: answer["result"] for answer in answers_of(server, 1 if revision == STATELESS else 2)}
        assert "list_tables" in {tool["name"] for tool in told[1]["tools"]}, revision
        assert ("resultType" in told[1]) == (revision == STATELESS)
        assert told.get(0, {}).get("protocolVersion", STATELESS) == revision


def test_over_stdio_a_request_before_the_handshake_is_told_to_begin_with_it(env: dict[str, str]) -> None:
    server = subprocess.Popen(
        [COMMAND, "serve", "--stdio"], env=clean(env), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin is not None
    server.stdin.write(json.dumps(request("tools/list")) + "\n")
    server.stdin.flush()
    (told,) = answers_of(server, 1)
    assert told["error"]["code"] == -32602
    assert "begin with initialize" in told["error"]["message"]


@pytest.mark.parametrize("revision", ["2025-03-26", "2025-06-18"])
def test_over_stdio_too_a_batch_is_answered_where_the_agreed_revision_has_batches(
    env: dict[str, str], revision: str
) -> None:
    hello = {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    server = subprocess.Popen(
        [COMMAND, "serve", "--stdio"], env=clean(env), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(request("initialize", hello, 0)) + "\n")
    server.stdin.flush()
    server.stdout.readline()
    server.stdin.write(json.dumps([request("ping", None, 1), request("ping", None, 2)]) + "\n")
    server.stdin.flush()
    (told,) = answers_of(server, 1)
    if revision == "2025-03-26":
        assert sorted(each["id"] for each in told) == [1, 2]
    else:
        assert "Batches were removed" in told["error"]["message"]


def test_over_stdio_too_what_is_no_message_is_answered_and_the_next_is_heard(env: dict[str, str]) -> None:
    said: list[tuple[bytes, object, int | None]] = [
        (b"{", None, -32700),
        (b"\xff", None, -32700),
        (b"5", None, -32600),
        (b"[" * 100_000, None, -32700),
        (b'{"jsonrpc":"2.0","id":null,"method":"tools/list"}', None, -32600),
        (b'{"jsonrpc":"1.0","id":"\\ud800","method":"ping"}', None, -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}', 1, -32602),
        (b'{"jsonrpc":"2.0","id":2,"method":5}', 2, -32600),
        (b'[{"jsonrpc":"2.0","id":3,"method":"ping"}]', 3, None),
        (b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"ping"}', None, -32600),
        (b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"ping","params":[1]}', None, -32602),
        (b'[{"jsonrpc":"2.0","id":6,"method":"\xff"}]', None, -32700),
        (b'[{"jsonrpc":"\\ud800","id":6,"method":"ping"}]', None, -32700),
        (b'[{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"ping"}]', None, -32600),
        (b"", None, None),
        (b'{"jsonrpc":"2.0","id":5,"method":"ping","params":{"x":"\xff"}}', None, -32700),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping","error":{"code":1,"message":"no"}}', 7, -32600),
        (b'{"jsonrpc":"2.0","id":4,"method":"ping"}', 4, None),
    ]
    hello = {"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    begun = [request("initialize", hello, 0), {"jsonrpc": "2.0", "method": "notifications/initialized"}]
    lines = [*(json.dumps(each).encode() for each in begun), *(line for line, _, _ in said)]
    server = subprocess.Popen(
        [COMMAND, "serve", "--stdio"], env=clean(env), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(b"\n".join((*lines, b"")))
        server.stdin.flush()
        told = [json.loads(server.stdout.readline()) for _ in range(len(said))]
        server.stdin.close()
        assert server.wait(30) == 0
    alone = [answer[0] if isinstance(answer, list) else answer for answer in told]
    got = [(answer["id"], answer.get("error", {}).get("code")) for answer in alone if answer["id"] != 0]
    assert sorted(got, key=str) == sorted(((each, code) for line, each, code in said if line), key=str)


def answers_of(server: "subprocess.Popen[str]", count: int) -> list[Any]:
    """Read so many answers, then let the server go."""
    with server:
        assert server.stdout is not None
        assert server.stdin is not None
        answers = [json.loads(server.stdout.readline()) for _ in range(count)]
        server.stdin.close()
        assert server.wait(30) == 0
    return answers


def test_2026_07_28_tells_of_itself_lists_and_calls_without_anything_before(serve: Start, sample: SampleLogin) -> None:
    server = serve()
    server.call("register_tenant", **fields_of("acme", sample))
    status, told = post(server, stateless("server/discover"), heads("server/discover"))
    found = told["result"]
    assert (status, found["supportedVersions"], found["resultType"]) == (200, [STATELESS], "complete")
    assert "tools" in found["capabilities"]
    assert found["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "mcp-postgres"
    listed = post(server, stateless("tools/list"), heads("tools/list"))[1]["result"]
    assert listed["resultType"] == "complete"
    assert (listed["cacheScope"], listed["ttlMs"] >= 0) == ("private", True)
    called = post(server, stateless("tools/call", **LIST_TABLES), heads("tools/call", **NAMED))[1]["result"]
    assert (called["resultType"], called["isError"]) == ("complete", False)
    assert called["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "mcp-postgres"


def test_2026_07_28_refuses_what_its_headers_and_its_envelope_must_not_say(serve: Start, sample: SampleLogin) -> None:
    server = serve()
    server.call("register_tenant", **fields_of("acme", sample))
    call, listing = stateless("tools/call", **LIST_TABLES), stateless("tools/list")
    other = {**META, "io.modelcontextprotocol/protocolVersion": "2025-11-25"}
    no_capabilities = {"io.modelcontextprotocol/protocolVersion": STATELESS}
    anonymous = {key: value for key, value in META.items() if not key.endswith("clientInfo")}
    refused: dict[str, tuple[dict[str, Any], dict[str, str], tuple[int, int | None]]] = {
        "as it should be": (call, heads("tools/call", **NAMED), (200, None)),
        "nobody in particular": (
            request("tools/list", {"_meta": anonymous}),
            heads("tools/list"),
            (200, None),
        ),
        "no method": (listing, {**BOTH, "MCP-Protocol-Version": STATELESS}, (400, -32020)),
        "another method": (listing, heads("tools/call"), (400, -32020)),
        "a method in capitals": (listing, heads("Tools/List"), (400, -32020)),
        "no name": (call, heads("tools/call", Mcp_Param_Tenant_Id="acme"), (400, -32020)),
        "another name": (call, heads("tools/call", "list_schemas", Mcp_Param_Tenant_Id="acme"), (400, -32020)),
        "another tenant": (call, heads("tools/call", "list_tables", Mcp_Param_Tenant_Id="umbrella"), (400, -32020)),
        "no tenant": (call, heads("tools/call", "list_tables"), (400, -32020)),
        "another revision inside": (
            request("tools/list", {"_meta": other}),
            heads("tools/list"),
            (400, -32020),
        ),
        "no envelope": (request("tools/list"), heads("tools/list"), (400, -32602)),
        "no capabilities": (request("tools/list", {"_meta": no_capabilities}), heads("tools/list"), (400, -32602)),
        "an unknown method": (stateless("no/such"), heads("no/such"), (404, -32601)),
        "the handshake": (stateless("initialize"), heads("initialize"), (404, -32601)),
        "a ping": (stateless("ping"), heads("ping"), (404, -32601)),
        "an unknown tool": (stateless("tools/call", name="x"), heads("tools/call", "x"), (400, -32602)),
    }
    told = {name: code_of(post(server, message, headers)) for name, (message, headers, _) in refused.items()}
    assert told == {name: expected for name, (_, _, expected) in refused.items()}


def test_a_revision_that_nobody_speaks_is_refused_with_those_that_are_envelope_or_not(serve: Start) -> None:
    server = serve()
    unknown = {**BOTH, "MCP-Protocol-Version": "1999-01-01", "Mcp-Method": "tools/list"}
    envelope = {**META, "io.modelcontextprotocol/protocolVersion": "1999-01-01"}
    notification = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    for message in (request("tools/list", {"_meta": envelope}, "x"), request("tools/list", None, "x"), notification):
        status, told = post(server, message, unknown)
        assert (status, told["error"]["code"], told["id"]) == (400, -32022, message.get("id"))
        assert told["error"]["data"] == {"supported": [STATELESS], "requested": "1999-01-01"}


def test_white_space_around_the_value_of_a_header_is_no_part_of_it(serve: Start) -> None:
    server = serve()
    for space in ("", " ", "\t", "  \t "):
        spaced = {name: f"{space}{value}{space}" for name, value in heads("tools/list").items()}
        assert code_of(post(server, stateless("tools/list"), spaced)) == (200, None)


def test_what_is_no_request_is_refused_in_every_revision_and_never_left_without_an_answer(serve: Start) -> None:
    server = serve()
    revisions: list[Headers] = [BOTH, *({**BOTH, "MCP-Protocol-Version": each} for each in HANDSHAKE)]
    revisions.append(heads("tools/list"))
    no_ids: tuple[object, ...] = (None, 1.5, True, [], {})
    wrong = [request("tools/list", {"_meta": META}, each) for each in no_ids]
    for headers in revisions:
        for message in (*wrong, {"id": 1, "method": "tools/list"}, 5, []):
            assert code_of(post(server, message, headers)) == (400, -32600), (message, headers)
        for body in (b"", b"{", b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"x":NaN}}'):
            assert code_of(post(server, body, headers)) == (400, -32700), (body, headers)


def test_params_that_are_not_the_protocols_are_named_and_what_was_sent_is_not_told_again(serve: Start) -> None:
    server = serve()
    secret = {"name": "explore_database", "arguments": {"hunter2-key": 5}, "_meta": {**META}}
    asked: list[tuple[str, dict[str, Any], str]] = [
        ("tools/call", {"name": "list_tables", "arguments": ["hunter2-value"]}, "arguments"),
        ("tools/call", {"name": "list_tables", "_meta": {**META, "progressToken": ["hunter2-value"]}}, "_meta"),
        ("resources/list", {"cursor": 5}, "cursor"),
        ("prompts/get", secret, "arguments"),
        ("completion/complete", {"argument": {"name": "tenant_id", "value": ""}}, "ref"),
    ]
    for method, params, field in asked:
        name = str(params.get("name")) if "name" in params else None
        for headers, more in (({**BOTH}, {}), (heads(method, name), {"_meta": META})):
            status, told = post(server, request(method, {**more, **params}), headers)
            assert (status, told["error"]["code"]) == (400 if more else 200, -32602)
            assert told["error"]["message"].endswith(f": {field}."), told
            assert told["error"]["data"]["field"] == field
            assert "hunter2" not in json.dumps(told)


def test_there_are_no_sessions_and_no_stream_to_hold_open(serve: Start) -> None:
    server = serve()
    for path in PATHS:
        for method in ("GET", "DELETE", "PUT", "HEAD"):
            for headers in ({}, {"Accept": "text/event-stream"}, heads("tools/list")):
                assert server.request(method, path, None, headers)[0] == 405
    told = post(server, request("tools/list"), {**BOTH, "Mcp-Session-Id": "made-up"})
    assert code_of(told) == (200, None)


def test_a_batch_is_answered_where_the_revision_has_batches_message_by_message(
    serve: Start, sample: SampleLogin
) -> None:
    server = serve()
    server.call("register_tenant", **fields_of("acme", sample))
    batch = [
        request("ping", None, "first"),
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        request("tools/call", LIST_TABLES, 2),
        request("tools/call", {"name": "list_tables", "arguments": {"tenant_id": "nobody"}}, 3),
        request("no/such", None, 4),
        request("initialize", {}, 5),
        request("ping", None, None),
    ]
    for headers in (JSON, BOTH, {**BOTH, "MCP-Protocol-Version": "2025-03-26"}):
        status, told = post(server, batch, headers)
        assert (status, [each["id"] for each in told]) == (200, ["first", 2, 3, 4, 5, None])
        assert told[0]["result"] == {}
        assert [each["result"]["isError"] for each in told[1:3]] == [False, True]
        assert [each["error"]["code"] for each in told[3:]] == [-32601, -32600, -32600]
    assert post(server, batch[1:2], JSON) == (202, None)
    for revision in ("2025-06-18", "2025-11-25", STATELESS):
        assert code_of(post(server, batch, {**BOTH, "MCP-Protocol-Version": revision})) == (400, -32600)
