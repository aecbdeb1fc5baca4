"""The HTTP endpoint as curl sees it."""

import json
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from server.embedded.postgres import EmbeddedPostgres
from server.embedded.sample import SampleLogin
from tests.databases import sleeping
from tests.processes import Fields, Process, Start, eventually, fields_of

LIST_TABLES = {
    "jsonrpc": "2.0",
    "method": "tools/call",
    "params": {"name": "list_tables", "arguments": {"tenant_id": "acme"}},
    "id": 1,
}


@pytest.fixture
def acme(sample: SampleLogin) -> Fields:
    """What registers tenant acme with the sample database, which has books, authors and orders."""
    return fields_of("acme", sample)


def test_one_post_without_handshake_or_accept_header_lists_real_tables(serve: Start, acme: Fields) -> None:
    server = serve()
    server.call("register_tenant", **acme)
    status, told = server.post(LIST_TABLES)
    assert status == 200
    assert told["id"] == 1
    names = {name for _schema, name, *_rest in told["result"]["structuredContent"]["tables"]}
    assert {"books", "authors", "orders"} <= names
    assert json.loads(told["result"]["content"][0]["text"]) == told["result"]["structuredContent"]


def test_the_short_path_answers_like_the_long_one(serve: Start, acme: Fields) -> None:
    server = serve()
    server.call("register_tenant", **acme)
    assert server.post(LIST_TABLES, "/mcp") == server.post(LIST_TABLES)


def test_a_path_of_the_operators_choice_is_served_beside_the_short_one(serve: Start) -> None:
    server = serve("--path", "/db")
    for path in ("/db", "/mcp"):
        assert server.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, path)[0] == 200
    status, told = server.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, "/postgres/mcp")
    assert status == 404
    assert "/db" in told["error"]


def test_every_tool_tells_clients_what_it_takes_and_does(serve: Start) -> None:
    server = serve()
    _, told = server.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    tools = {tool["name"]: tool for tool in told["result"]["tools"]}
    assert set(tools) == {
        *("register_tenant", "remove_tenant", "list_tenants", "get_tenant", "tenant_history", "registry_status"),
        *("list_schemas", "list_tables", "describe_table", "execute_query", "execute_write"),
    }
    for tool in tools.values():
        assert tool["description"]
        assert tool["inputSchema"]["type"] == "object"
        assert tool["annotations"]["readOnlyHint"] or tool["annotations"]["destructiveHint"]
    assert tools["execute_query"]["annotations"]["readOnlyHint"] is True
    assert tools["remove_tenant"]["annotations"]["destructiveHint"] is True


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, -32700),
        (b"[]", 400, -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/dance"}', 200, -32601),
    ],
)
def test_a_body_that_is_no_request_is_told_so(serve: Start, body: bytes, status: int, code: int) -> None:
    server = serve()
    answered, told = server.request("POST", "/mcp", body, {"Content-Type": "application/json"})
    assert answered == status
    assert json.loads(told)["error"]["code"] == code


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("x" * 100_000, {}),
        ("tools/call", {"name": "x" * 100_000, "arguments": {}}),
        ("tools/call", {"name": "list_tables", "arguments": {"tenant_id": "acme", "x" * 100_000: 1}}),
        ("resources/read", {"uri": "x" * 100_000}),
    ],
)
def test_a_name_that_nothing_has_is_not_told_again_in_all_its_length(
    serve: Start, method: str, params: dict[str, object]
) -> None:
    _status, told = serve().post({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})

    assert "xxx" in json.dumps(told)
    assert len(json.dumps(told)) < 5000


def test_a_body_over_the_limit_is_refused_and_the_server_goes_on(serve: Start) -> None:
    server = serve(MCP_POSTGRES_MAX_BODY_BYTES="2000")
    big = json.dumps({**LIST_TABLES, "padding": "x" * 3000}).encode()
    assert server.request("POST", "/mcp", big, {"Content-Type": "application/json"})[0] == 413
    assert server.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})[0] == 200


def test_a_body_that_does_not_arrive_is_answered_408_and_its_connection_closed(serve: Start) -> None:
    server = serve(MCP_POSTGRES_BODY_TIMEOUT="0.5")
    for framing in (b"Content-Length: 100\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"):
        head = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        assert said_to(server, head + framing).startswith(b"HTTP/1.1 408 ")
    assert server.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})[0] == 200


@pytest.mark.parametrize(
    "begun", [b"", b"POST /mcp HTTP/1.1\r\nHost: lo", b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET"]
)
def test_a_connection_whose_headers_do_not_arrive_is_closed(serve: Start, begun: bytes) -> None:
    server = serve(MCP_POSTGRES_BODY_TIMEOUT="0.5")
    assert said_to(server, begun).count(b"HTTP/1.1") == (1 if b"livez" in begun else 0)


def test_a_slash_too_many_is_no_redirect_to_a_host_that_the_caller_names(serve: Start) -> None:
    server = serve()
    for host, status in ((b"localhost", b"404"), (b"evil.example", b"421")):
        head = b"POST /mcp/ HTTP/1.1\r\nHost: " + host + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        told = said_to(server, head)
        assert told.startswith(b"HTTP/1.1 " + status)
        assert b"location" not in told.lower()
        assert b"evil.example" not in told


def test_whoever_asks_for_a_websocket_gets_a_plain_answer_and_the_log_no_advice(serve: Start) -> None:
    server = serve("--log-level", "debug")
    upgrade = (
        b"Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n"
    )
    told = said_to(server, b"GET /mcp HTTP/1.1\r\nHost: localhost\r\n" + upgrade + b"\r\n")
    assert told.startswith(b"HTTP/1.1 405 ")
    assert server.stop() == 0
    assert "pip install" not in server.log.read_text()


def said_to(server: Process, sent: bytes) -> bytes:
    """Send these bytes and return what comes until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(sent)
        told = b""
        while part := connection.recv(65536):
            told += part
        return told


def test_a_get_is_refused_instead_of_held_open(serve: Start) -> None:
    assert serve().request("GET", "/mcp")[0] == 405


def test_a_host_header_of_somebody_elses_page_is_refused(serve: Start) -> None:
    server = serve()
    headers = {"Content-Type": "application/json", "Host": "evil.example"}
    assert server.request("POST", "/mcp", b"{}", headers)[0] == 421


def test_an_unknown_tool_is_an_error_that_names_those_there_are(serve: Start) -> None:
    params = {"name": "drop_everything", "arguments": {}}
    _, told = serve().post({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    assert told["error"]["code"] == -32602
    assert "list_tables" in told["error"]["message"]


WRONG_CALLS: list[tuple[str, Fields, str, str]] = [
    ("list_tables", {"tenant_id": "nobody"}, "unknown_tenant", "list_tenants"),
    ("list_tables", {"tenant_id": "a b"}, "invalid_input", "tenant_id"),
    ("list_tables", {"tenant_id": "{a}"}, "invalid_input", "tenant_id"),
    ("list_tables", {"tenant_id": "a:b"}, "invalid_input", "tenant_id"),
    ("list_tables", {"tenant_id": "*"}, "invalid_input", "tenant_id"),
    ("list_tables", {"tenant_id": "x" * 64}, "invalid_input", "63"),
    ("list_tables", {}, "invalid_input", "tenant_id"),
    ("list_tables", {"tenant_id": 5}, "invalid_input", "str"),
    ("list_tables", {"tenant_id": "a", "color": "red"}, "invalid_input", "color"),
    ("describe_table", {"tenant_id": "a", "table": "a." * 1000}, "invalid_input", "$.table"),
    ("describe_table", {"tenant_id": "a", "table": "a", "schema": "b" * 256}, "invalid_input", "$.schema"),
    ("list_tables", {"tenant_id": "a", "schema": "b" * 256}, "invalid_input", "$.schema"),
    ("list_tables", {"tenant_id": "a", "after": "a." * 1000}, "invalid_input", "$.after"),
    ("register_tenant", {"tenant_id": "a"}, "invalid_input", "host"),
    (
        "register_tenant",
        {"tenant_id": "a", "host": "h", "database": "d", "user": "u", "port": 0},
        "invalid_input",
        "port",
    ),
    (
        "register_tenant",
        {"tenant_id": "a", "host": "h", "database": "d", "user": "u", "port": "x"},
        "invalid_input",
        "port",
    ),
    ("register_tenant", {"tenant_id": "a", "dsn": "postgresql://u@h/d", "host": "h"}, "invalid_input", "dsn"),
    ("register_tenant", {"tenant_id": "a", "dsn": "mysql://u@h/d"}, "invalid_input", "postgresql://"),
    ("register_tenant", {"tenant_id": "a", "dsn": "postgresql://u:p@h/d?options=-c%20x"}, "invalid_input", "sslmode"),
    ("remove_tenant", {"tenant_id": "nobody"}, "unknown_tenant", "list_tenants"),
    ("get_tenant", {"tenant_id": "nobody"}, "unknown_tenant", "list_tenants"),
    ("tenant_history", {"tenant_id": "nobody"}, "unknown_tenant", "list_tenants"),
]


def test_wrong_calls_say_what_is_wrong_and_leave_nothing_behind(serve: Start) -> None:
    server = serve()
    before = server.get("/readyz")[1]["position"]
    for tool, arguments, code, hint in WRONG_CALLS:
        error = server.call(tool, **arguments)
        assert (error["code"], error["retryable"]) == (code, False), (tool, arguments, error)
        assert hint in error["message"], (tool, arguments, error)
    assert server.get("/readyz")[1]["position"] == before


def test_a_registration_whose_login_fails_says_why_and_registers_nothing(
    serve: Start, acme: Fields, free_port: Callable[[], int]
) -> None:
    server = serve()
    for change, code, hint in (
        ({"password": "wrong-hunter2"}, "login_refused", "password"),
        ({"database": "no_such_database"}, "login_refused", "no_such_database"),
        ({"user": "no_such_user"}, "login_refused", "no_such_user"),
        ({"port": free_port()}, "tenant_unreachable", "Nothing listens"),
        ({"host": "no-such-host.invalid"}, "tenant_unreachable", "no-such-host.invalid"),
        ({"ssl": "require"}, "login_refused", "TLS"),
    ):
        error = server.call("register_tenant", **{**acme, **change})
        assert error["code"] == code, error
        assert hint in error["message"], error
        assert "hunter2" not in json.dumps(error)
    assert server.call("list_tenants")["total"] == 0
    assert server.call("get_tenant", tenant_id="acme")["code"] == "unknown_tenant"


def test_a_tenant_can_be_registered_unseen_and_its_calls_say_what_is_wrong(
    serve: Start, acme: Fields, free_port: Callable[[], int]
) -> None:
    server = serve()
    told = server.call("register_tenant", **{**acme, "port": free_port(), "verify": False})
    assert (told["status"], told["version"]) == ("registered", 1)
    error = server.call("list_tables", tenant_id="acme")
    assert (error["code"], error["retryable"]) == ("tenant_unreachable", True)
    assert "acme" in server.call("get_tenant", tenant_id="acme")["error"]


def test_the_same_registration_again_is_unchanged_and_another_is_a_new_version(serve: Start, acme: Fields) -> None:
    server = serve()
    first = server.call("register_tenant", **acme)
    again = server.call("register_tenant", **acme)
    other = server.call("register_tenant", **acme, max_pool_size=3, reason="smaller")
    assert [told["status"] for told in (first, again, other)] == ["registered", "unchanged", "replaced"]
    assert [told["version"] for told in (first, again, other)] == [1, 1, 2]
    assert first["position"] == again["position"] != other["position"]
    assert first["login"]["server"].startswith("PostgreSQL 18")
    assert first["login"]["superuser"] is False
    conflict = server.call("register_tenant", **acme, expected_version=1)
    assert (conflict["code"], conflict["current_version"]) == ("version_conflict", 2)


def test_a_registration_by_dsn_is_the_same_as_by_fields(serve: Start, acme: Fields, sample: SampleLogin) -> None:
    server = serve()
    server.call("register_tenant", **acme)
    dsn = f"postgresql://{sample.user}:{sample.password}@{sample.host}:{sample.port}/{sample.database}?sslmode=disable"
    assert server.call("register_tenant", tenant_id="acme", dsn=dsn)["status"] == "unchanged"


def test_the_history_tells_who_changed_what_and_why_and_outlives_the_tenant(serve: Start, acme: Fields) -> None:
    server = serve()
    server.call("register_tenant", **acme, reason="first customer")
    server.call("register_tenant", **acme, max_pool_size=3)
    server.call("remove_tenant", tenant_id="acme", reason="contract ended")
    removed, changed, registered = server.call("tenant_history", tenant_id="acme")["changes"]
    assert (removed["what"], removed["version"], removed["reason"]) == ("removed", 3, "contract ended")
    assert (changed["fields"], changed.get("password_changed")) == ({"max_pool_size": 3}, None)
    assert registered["reason"] == "first customer"
    assert registered["password_changed"] is True
    assert acme["password"] not in json.dumps([removed, changed, registered])


def test_the_password_is_in_no_answer_and_no_log_line(serve: Start, acme: Fields) -> None:
    server = serve("--log-level", "debug")
    answers = [server.call("register_tenant", **acme)]
    answers += [server.call(tool, tenant_id="acme") for tool in ("get_tenant", "tenant_history", "list_tables")]
    answers.append(server.call("register_tenant", tenant_id="x", dsn=f"postgresql://u:{acme['password']}@[bad/d"))
    server.stop()
    assert acme["password"] not in json.dumps(answers)
    assert acme["password"] not in server.log.read_text()


def test_log_lines_are_json_and_carry_request_id_and_tenant(serve: Start, acme: Fields) -> None:
    server = serve()
    server.call("register_tenant", **acme)
    body = json.dumps(LIST_TABLES).encode()
    server.request("POST", "/mcp", body, {"Content-Type": "application/json", "X-Request-Id": "from-the-proxy"})
    server.stop()
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    (call,) = [line for line in lines if line.get("tool") == "list_tables"]
    assert (call["request_id"], call["tenant"], call["outcome"]) == ("from-the-proxy", "acme", "ok")


def test_a_query_comes_back_as_columns_and_rows_within_its_limits(serve: Start, acme: Fields) -> None:
    server = serve(MCP_POSTGRES_MAX_ROWS="50")
    server.call("register_tenant", **acme)

    def query(sql: str, **more: object) -> Fields:
        told: Fields = server.call("execute_query", tenant_id="acme", query=sql, **more)
        return told

    told = query("SELECT $1::int + 1 AS n, $2::text AS t", params=[41, "o'clock"])
    assert (told["columns"], told["rows"]) == (
        [{"name": "n", "type": "int4"}, {"name": "t", "type": "text"}],
        [[42, "o'clock"]],
    )
    assert query("SELECT generate_series(1, 40)", limit=7)["row_count"] == 7
    many = query("SELECT generate_series(1, 1000)")
    assert (many["row_count"], many["truncated"], many["truncated_by"]) == (50, True, "rows")
    assert query("SELECT '[1e400, 1.10]'::jsonb, ('1' || repeat('0', 6000))::jsonb")["rows"][0][0][1] == 1.1
    for depth, kind in ((200, list), (201, str), (5000, str)):
        (cell,) = query(f"SELECT (repeat('[', {depth}) || repeat(']', {depth}))::json")["rows"][0]
        assert isinstance(cell, kind)
    assert query("INSERT INTO books DEFAULT VALUES")["code"] == "query_refused"
    assert query("SELECT 1; SELECT 2")["code"] == "query_refused"
    assert query("SELEC 1")["code"] == "query_refused"
    assert query("SELECT no_such_column FROM books")["sqlstate"] == "42703"


def test_who_calls_too_often_is_told_when_to_come_again_and_is_let_in_then(serve: Start) -> None:
    server = serve(MCP_POSTGRES_CALLER_RATE="1", MCP_POSTGRES_RATE_BURST="3")
    told = [server.call("list_tenants") for _ in range(10)]
    refused = [error for error in told if error.get("code") == "rate_limited"]
    assert refused
    assert "tenants" in told[0]
    assert refused[0]["retryable"] is True
    time.sleep(refused[-1]["retry_after_ms"] / 1000)
    assert "tenants" in server.call("list_tenants")


def test_one_tenants_rate_is_no_other_tenants(serve: Start, acme: Fields) -> None:
    server = serve(MCP_POSTGRES_TENANT_RATE="0.01", MCP_POSTGRES_RATE_BURST="0")
    for tenant in ("one", "two"):
        server.call("register_tenant", **{**acme, "tenant_id": tenant})
    assert "schemas" in server.call("list_schemas", tenant_id="one")
    assert server.call("list_schemas", tenant_id="one")["code"] == "rate_limited"
    assert "schemas" in server.call("list_schemas", tenant_id="two")
    assert server.call("list_schemas", tenant_id="nobody")["code"] == "unknown_tenant"


def test_the_query_of_a_client_that_left_is_cancelled_in_postgres(
    serve: Start, acme: Fields, postgres: EmbeddedPostgres
) -> None:
    server = serve(MCP_POSTGRES_STATEMENT_TIMEOUT="100")
    server.call("register_tenant", **acme)
    params = {"name": "execute_query", "arguments": {"tenant_id": "acme", "query": SLEEP}}
    body = json.dumps({**LIST_TABLES, "params": params}).encode()
    json_only = {"Content-Type": "application/json"}
    with ThreadPoolExecutor(1) as thread:
        leaving = thread.submit(server.request, "POST", "/mcp", body, json_only, patience=3.0)
        eventually(lambda: sleeping(postgres, SLEEP) == 1, "the query never began")
        with pytest.raises(TimeoutError):
            leaving.result()
    eventually(lambda: sleeping(postgres, SLEEP) == 0, "the query ran on for nobody")


SLEEP = "SELECT pg_sleep(90) /* left behind */"
