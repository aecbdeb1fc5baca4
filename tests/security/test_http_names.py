"""Pages of others, which reach the server through the browser of somebody who may.

They come under a name of theirs that they had pointed here (DNS rebinding), or from their own origin.
"""

from collections.abc import Iterator

import pytest
import redis

from server.embedded.valkey import EmbeddedValkey
from tests.processes import Process
from tests.security.raw_http import LIST_TOOLS, Answer, Wire, head, post, running


@pytest.fixture(scope="module")
def server(valkey: EmbeddedValkey) -> Iterator[Process]:
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    with running(valkey.url, {"allowed_origins": "https://console.example"}) as process:
        yield process


@pytest.fixture(scope="module")
def open_server(valkey: EmbeddedValkey) -> Iterator[Process]:
    """One that answers any Host."""
    with running(valkey.url, {"allowed_hosts": "*"}) as process:
        yield process


def asked(server: Process, request: bytes) -> Answer:
    with Wire(server.port) as wire:
        return wire.send(request).answer()


PATHS = ("/mcp", "/postgres/mcp", "/livez", "/readyz", "/metrics", "/nowhere")
FOREIGN = [
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "2130706433",
    "0x7f.1",
    "127.1",
    "localhos",
]
MALFORMED = [
    *("user@localhost", "localhost@evil.example", "localhost,evil.example", "localhost:8001:80", "localhost:99999"),
    *(
        "localhost:-1",
        "localhost:+80",
        "local host",
        "http://localhost",
        "[::1",
        "[localhost]",
        "::1",
        "",
        ".",
        "[::1%lo]",
    ),
    *("localhost/", "localhost#", "localh\xf6st", "\xd9\xa1.0.0.1", "localhost:\xb2"),
]


@pytest.mark.parametrize("path", PATHS)
def test_a_host_that_is_not_ours_reaches_nothing_and_is_told_what_an_operator_would_set(
    server: Process, path: str
) -> None:
    for host in FOREIGN:
        told = asked(server, head(path, method="GET", host=host))
        assert told.status == 421, host
        assert "MCP_POSTGRES_ALLOWED_HOSTS" in str(told.json)


@pytest.mark.parametrize("path", PATHS)
def test_a_host_that_is_none_is_a_bad_request(server: Process, path: str) -> None:
    for host in MALFORMED:
        assert asked(server, head(path, method="GET", host=host)).status == 400, host


def test_two_host_headers_are_a_bad_request_also_if_both_are_ours(server: Process, open_server: Process) -> None:
    for each in (server, open_server):
        for first, second in (("localhost", "localhost"), ("localhost", "evil.example"), ("evil.example", "localhost")):
            assert asked(each, head("/livez", f"Host: {second}", method="GET", host=first)).status == 400
            assert asked(each, head("/mcp", f"hOST: {second}", method="POST", host=first)).status == 400


def test_a_request_without_a_host_may_ask_for_health_by_the_old_protocol_and_nothing_else(
    server: Process, open_server: Process
) -> None:
    assert asked(server, b"GET /livez HTTP/1.1\r\n\r\n").status == 400
    assert asked(server, b"GET /livez HTTP/1.0\r\n\r\n").status == 200
    old = b"POST /mcp HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
    assert asked(server, old % (len(LIST_TOOLS), LIST_TOOLS)).status == 421
    assert asked(open_server, old % (len(LIST_TOOLS), LIST_TOOLS)).status == 200


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "localhost.", "LocalHost.:80", "127.0.0.1:9", "[::1]:8001", "[0:0::1]", "localhost:"],
)
def test_our_own_host_is_known_however_it_is_written(server: Process, host: str) -> None:
    request = head("/mcp", "Content-Type: application/json", f"Content-Length: {len(LIST_TOOLS)}", host=host)
    assert asked(server, request + LIST_TOOLS).status == 200


def test_probes_and_scrapers_ask_by_number_and_callers_do_not(server: Process) -> None:
    for host in ("10.1.2.3:8001", "[fd00::17]:8001", "192.0.2.1"):
        for path in ("/livez", "/readyz", "/metrics"):
            assert asked(server, head(path, method="GET", host=host)).status == 200
        assert asked(server, head("/mcp", host=host)).status == 421


@pytest.mark.parametrize(
    "target", ["http://evil.example/livez", "http://localhost/livez", "//", "evil.example:80", "?x", "\x80", "*"]
)
def test_a_target_that_names_a_host_of_its_own_or_is_no_path_gets_nothing(server: Process, target: str) -> None:
    assert asked(server, head(target, method="GET")).status in {400, 404}
    assert asked(server, head(target, method="CONNECT")).status in {400, 404, 405}


FOREIGN_ORIGINS = [
    *(
        "https://evil.example",
        "null",
        "NULL",
        "",
        "file://",
        "http://localhost.evil.example",
        "https://console.example:8443",
    ),
    *(
        "http://console.example",
        "http://localhost@evil.example",
        "https://console.example/",
        "chrome-extension://abcdef",
    ),
    *("https://console.example https://evil.example", "localhost", "http://2130706433", "https://sub.console.example"),
]


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
def test_a_page_of_another_origin_reaches_nothing_and_is_told_what_an_operator_would_set(
    server: Process, open_server: Process, origin: str
) -> None:
    for each in (server, open_server):
        told = asked(each, post(LIST_TOOLS, f"Origin: {origin}"))
        assert told.status == 403
        assert "MCP_POSTGRES_ALLOWED_ORIGINS" in told.json["error"]["message"]
        assert "access-control-allow-origin" not in told.headers
        assert asked(each, head("/metrics", f"Origin: {origin}", method="GET")).status == 403


def test_a_rebound_page_is_refused_by_its_origin_also_where_any_host_is_answered(open_server: Process) -> None:
    own = ("Content-Type: application/json", f"Content-Length: {len(LIST_TOOLS)}", "Origin: http://evil.example:8001")
    assert asked(open_server, head("/mcp", *own, host="evil.example:8001") + LIST_TOOLS).status == 403


def test_two_origins_are_refused_also_if_both_are_allowed(server: Process) -> None:
    twice = ("Origin: https://console.example", "Origin: https://console.example")
    assert asked(server, post(LIST_TOOLS, *twice)).status == 403


@pytest.mark.parametrize("origin", ["https://console.example", "HTTPS://Console.Example:443", "http://localhost:3000"])
def test_a_page_that_was_allowed_may_call_and_read_the_answer(server: Process, origin: str) -> None:
    wish = (f"Origin: {origin}", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization")
    before = asked(server, head("/mcp", *wish, method="OPTIONS"))
    assert before.status == 204
    assert before.headers["access-control-allow-origin"] == origin
    assert "authorization" in before.headers["access-control-allow-headers"]
    told = asked(server, post(LIST_TOOLS, f"Origin: {origin}"))
    assert (told.status, told.headers["access-control-allow-origin"], told.headers["vary"]) == (200, origin, "origin")


def test_a_page_that_was_not_allowed_learns_from_no_preflight_that_it_may(server: Process) -> None:
    wish = ("Origin: https://evil.example", "Access-Control-Request-Method: POST")
    assert asked(server, head("/mcp", *wish, method="OPTIONS")).status == 403
