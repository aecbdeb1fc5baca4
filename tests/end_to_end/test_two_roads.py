"""Requests go one of two roads, and nobody can tell which: the fast path answers as the SDK does, or leaves it to it.

Thousands of made-up requests, right, wrong and hostile, go down both roads of one server over real ones, and statuses,
headers, answers and log lines are compared. `make roads SECONDS=600` does that for longer, with a new seed each time.
"""

import asyncio
import json
import os
import secrets
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from server.admission import Admission, Doorman, caller_of
from server.attendance import ALIVE_EVERY
from server.authentication import Bearers
from server.challenge import Challenge
from server.embedded.sample import SampleLogin
from server.http_front import Front, Outside
from server.http_intake import Intake, Limits
from server.http_names import LOOPBACK, Names
from server.mcp_roads import roads_of
from server.mcp_server import build_server
from server.presence import PRESENCE, Presence
from server.refusals import HttpTally
from server.replica import Replica
from server.settings import Settings
from server.token_file import watched_grants
from server.tool_permission import ToolPermission
from tests.end_to_end.made_up_requests import Maker, Request
from tests.processes import fields_of
from tests.security.doors import EVERYTHING, TokenFile
from tests.security.replicas import call, key_file, replica

CASES: Final = 2000
SECONDS: Final = float(os.environ.get("ROADS_SECONDS", "0"))
SEED: Final = int(os.environ.get("ROADS_SEED", "0")) or (secrets.randbits(32) if SECONDS else 1)
ACME: Final = {"tenant_id": "acme"}
CALLS: Final[list[tuple[str, dict[str, Any]]]] = [
    ("list_tenants", {}),
    ("list_tenants", {"limit": 1, "after": "acme"}),
    ("get_tenant", ACME),
    ("get_tenant", {"tenant_id": "nobody"}),
    ("get_tenant", {"tenant_id": "caf\u00e9"}),
    ("tenant_history", {**ACME, "limit": 2}),
    ("list_schemas", ACME),
    ("list_tables", ACME),
    ("list_tables", {**ACME, "schema": "nowhere"}),
    ("describe_table", {**ACME, "table": "orders"}),
    ("describe_table", {**ACME, "table": "nothing"}),
    ("execute_query", {**ACME, "query": "SELECT 1"}),
    ("execute_query", {**ACME, "query": "SELECT $1::int8 + 1, $2::text", "params": [9007199254740993, "é\U0001f600"]}),
    ("execute_query", {**ACME, "query": "SELECT generate_series(1, 30) AS n, repeat('x', 50)", "limit": 20}),
    ("execute_query", {**ACME, "query": """SELECT '{"a": 1e999, "b": [12345678901234567890123, 1.10]}'::json"""}),
    ("execute_query", {**ACME, "query": "SELECT ('[1' || repeat('0', 2000) || ', 1e5]')::json, 'e123'"}),
    ("execute_query", {**ACME, "query": "SELECT ('[' || repeat('9', 500) || ', null, 0.1]')::jsonb"}),
    ("execute_query", {**ACME, "query": "SELECT 1.5::float8, 'NaN'::float8, 1e300::float8, 0.1::numeric, null"}),
    ("execute_query", {**ACME, "query": "SELECT nothing FROM nowhere"}),
    ("execute_query", {**ACME, "query": "DELETE FROM orders"}),
    ("execute_query", {**ACME, "query": "SELEC"}),
    ("execute_write", {**ACME, "statements": [{"sql": "DELETE FROM orders"}]}),
    ("execute_write", {"tenant_id": "ours", "statements": [{"sql": "SELECT 1"}], "dry_run": True}),
    ("register_tenant", {"tenant_id": "wrong id", "dsn": "postgres://u:hunter2@h/db"}),
    ("register_tenant", {**ACME, "host": "h", "dsn": "postgres://u:hunter2@h/db"}),
    # Of a version that is not there: a change of its tenant must not remove one that the other road looks for.
    ("remove_tenant", {"tenant_id": "nobody", "expected_version": 7}),
]


@dataclass
class Scene:
    """One server with both roads, and who calls it."""

    fast: Front
    slow: Front
    tally: HttpTally
    tokens: list[str]


@pytest.fixture
async def scene(tmp_path: Path, redis_url: str, sample: SampleLogin) -> AsyncIterator[Scene]:
    settings = Settings(redis_url=redis_url, key_file=key_file(tmp_path / "master.key", "one"))
    async with replica(settings) as running:
        await call(running, "register_tenant", **fields_of("acme", sample))
        await call(running, "register_tenant", **fields_of("ours", sample), access="read_write")
        async with _scene(running, tmp_path) as made:
            yield made


@asynccontextmanager
async def _scene(running: Replica, home: Path) -> AsyncIterator[Scene]:
    file = TokenFile(home / "tokens.toml")
    tokens = [
        *[file.add("ann", EVERYTHING, ["*"])] * 3,
        file.add("bob", ["tenants:read", "query:read"], ["*"]),
        file.add("cyd", EVERYTHING, ["ac*"]),
    ]
    doorman, tally = Doorman(Challenge(None, None), 1), HttpTally()
    bearers = Bearers(watched_grants(file.path), None, time.time)
    permission = ToolPermission(running.toolbox.tools, doorman)
    fast, sdk = roads_of(
        lambda: build_server(running.toolbox, caller_of, running.beyond), running, permission, 1 << 20, tally
    )

    def front(endpoint: Any) -> Front:  # noqa: ANN401 - ASGI
        limits = Limits(max_body=1 << 20, seconds=5, max_requests=8)
        intake = Intake(endpoint, limits, tally, lambda scope: caller_of(scope).subject)
        mcp = Admission(intake, bearers, doorman)
        return Front(mcp, mcp, frozenset({"/mcp"}), frozenset(), Outside(Names(LOOPBACK, []), tally))

    holding = asyncio.create_task(sdk.run())
    try:
        yield Scene(front(fast), front(sdk), tally, tokens)
    finally:
        holding.cancel()
        await asyncio.wait([holding])


async def test_no_request_can_tell_the_fast_path_from_the_sdk(scene: Scene) -> None:
    make, until = Maker(SEED, CALLS, scene.tokens), time.monotonic() + SECONDS
    roads = Counter[tuple[str, bool]]()
    number = 0
    while number < CASES or time.monotonic() < until:
        number += 1
        request = make.request()
        before = scene.tally.roads["fast"]
        fast, slow = await told(scene.fast, request), await told(scene.slow, request)
        taken = scene.tally.roads["fast"] > before
        roads["fast" if taken else "sdk", bool(request.changes)] += 1
        assert fast == slow, (
            f"seed {SEED}, request {number} ({', '.join(request.changes) or 'right'}):\n{request.headers}\n"
            f"{request.body!r}\nfast path:\n{fast}\nSDK:\n{slow}"
        )
    if SECONDS:
        sys.stderr.write(f"seed {SEED}: {number} requests, {dict(roads)}\n")
    assert roads["fast", False] > roads["sdk", False], "what is right is to be answered by the fast path"
    assert roads["fast", True] > number / 10, "so are the mistakes of tools"
    assert roads["sdk", True] > number / 10, "and not those that are for the SDK to judge"


async def told(front: Front, request: Request) -> dict[str, Any]:
    """Return all of an answer that may not differ, and the lines that were logged of it."""
    coming = [{"type": "http.request", "body": request.body, "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:  # noqa: ANN401 - ASGI
        if not coming:
            await asyncio.Event().wait()
        return coming.pop()

    async def send(message: Any) -> None:  # noqa: ANN401 - ASGI
        sent.append(message)

    target = {"method": "POST", "path": "/mcp", "raw_path": b"/mcp", "query_string": b"", "root_path": ""}
    ends = {"scheme": "http", "server": ("127.0.0.1", 1), "client": ("127.0.0.1", 2)}
    head = {"type": "http", "http_version": "1.1", "headers": [*request.headers], "state": {}}
    scope = {**head, **target, **ends, PRESENCE: Presence(asyncio.get_running_loop(), ALIVE_EVERY)}
    with capture_logs() as lines:
        await front(scope, receive, send)
    headers = sorted(
        (name, value) for name, value in sent[0]["headers"] if name not in {b"x-request-id", b"content-length"}
    )
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return {
        "status": sent[0]["status"],
        "headers": headers,
        "body": body_of(body, dict(headers).get(b"content-type", b"")),
        "lines": [{name: value for name, value in line.items() if name not in VARYING} for line in lines],
    }


VARYING: Final = frozenset({"ms", "time", "write", "request_id"})
"""Fields of log lines."""


def body_of(body: bytes, media_type: bytes) -> list[str]:
    """Return the JSON of an answer, or of each event of a stream, in one form."""
    texts = [body] if body else []
    if media_type.startswith(b"text/event-stream"):
        texts = [line[6:] for line in body.splitlines() if line.startswith(b"data: ")]
    return [json.dumps(json.loads(text, parse_int=_integer), sort_keys=True) for text in texts]


def _integer(digits: str) -> dict[str, str]:
    """Return an integer as it is written: an id may have more digits than Python reads."""
    return {"integer": "0" if digits == "-0" else digits}
