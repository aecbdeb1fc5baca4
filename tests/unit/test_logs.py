"""Log lines: no secret in any of them, whoever wrote it and however deep it lies."""

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import pytest
import structlog

from server.log_fields import Telling
from server.logs import configure, without_secrets

CANARY: Final = "hunter2-canary"
URLS: Final = (
    f"redis://:{CANARY}@redis:6379/0",
    f"rediss://user:{CANARY}@redis",
    f"postgresql://reader:{CANARY}@db.example:5432/app?sslmode=require",
    f"postgresql://reader:p@{CANARY}@db/app",
    f"HTTP://user:{CANARY}@proxy",
)

Lines: TypeAlias = Callable[[], str]


@pytest.fixture(params=["json", "console"])
def lines(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """Configure logging as the process does; call it for what was written so far."""
    root, written = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "stderr", written)
    configure("debug", request.param)
    yield written.getvalue
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("url", URLS)
def test_a_password_in_a_url_is_blanked_in_our_lines_wherever_it_stands(lines: Lines, url: str) -> None:
    logger = structlog.get_logger("ours")
    logger.info("connecting to %s now", url)
    logger.info(f"connecting to {url} now")  # noqa: G004 - what a library of ours may do, too
    logger.warning("failed", reason=f"({url})", tried=[url], detail={"where": {"url": url}}, error=OSError(url))
    told = lines()
    assert (told.count("connecting to"), told.count("failed")) == (2, 1)
    assert CANARY not in told
    assert "***@" in told


@pytest.mark.parametrize("url", URLS)
def test_a_password_in_a_url_is_blanked_in_the_lines_of_libraries(lines: Lines, url: str) -> None:
    logging.getLogger("some.library").warning("cannot reach %s: %r", url, {"url": url})
    assert "cannot reach" in lines()
    assert CANARY not in lines()


@pytest.mark.parametrize("logger", [structlog.get_logger, logging.getLogger], ids=["ours", "theirs"])
def test_a_password_is_blanked_in_tracebacks_and_no_local_variable_is_shown(
    lines: Lines, logger: Callable[[str], Any]
) -> None:
    def connect(password: str) -> None:
        raise ConnectionError(f"no answer from {URLS[0]}") from ValueError(f"at {URLS[1]}, {len(password)}")

    try:
        connect(CANARY)
    except ConnectionError:
        logger("somebody").exception("broke")
    assert "Traceback" in lines()
    assert "ConnectionError" in lines()
    assert "ValueError" in lines()
    assert CANARY not in lines()


@pytest.mark.parametrize(
    "field", ["password", "dsn", "secret", "token", "authorization", "redis_url", "data", "key", "Authorization"]
)
def test_a_field_that_may_hold_a_secret_is_blanked_whatever_it_holds(lines: Lines, field: str) -> None:
    logger = structlog.get_logger("ours")
    logger.info("said", **{field: CANARY})
    logger.info("nested", around={"in": [{field: CANARY}]}, **{field: [CANARY, {"a": CANARY}]})
    logger.bind(**{field: CANARY}).info("bound")
    assert all(event in lines() for event in ("said", "nested", "bound"))
    assert CANARY not in lines()


def test_what_is_no_secret_is_told_as_it_is() -> None:
    line: dict[str, Any] = {
        "event": "tool call at http://127.0.0.1:8001/mcp for a@b.example",
        "ms": 1.5,
        "count": 3,
        "ok": True,
        "reason": None,
        "tenants": ["acme", "b"],
    }
    assert without_secrets(None, "info", dict(line)) == line


@pytest.mark.parametrize("lines", ["json"], indirect=True)
def test_every_line_is_one_json_object_whoever_wrote_it(lines: Lines) -> None:
    structlog.get_logger("ours").info("two\nlines", tenant="acme", odd=object())
    logging.getLogger("theirs").warning("also\ntwo")
    ours, theirs = (json.loads(line) for line in lines().splitlines())
    assert (ours["event"], ours["tenant"], ours["level"], ours["logger"]) == ("two\nlines", "acme", "info", "ours")
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("also\ntwo", "warning", "theirs")


def test_chatty_libraries_are_told_to_be_quiet(lines: Lines) -> None:
    for name in ("uvicorn", "mcp", "asyncio", "asyncpg"):
        logging.getLogger(f"{name}.part").info("chatter")
    assert lines() == ""


@pytest.mark.parametrize("lines", ["json"], indirect=True)
def test_a_line_that_cannot_be_written_stops_nobody_and_half_a_pair_of_surrogates_is_told(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    structlog.get_logger("ours").info("half \ud800 of a pair")
    assert json.loads(lines())["event"] == "half \ud800 of a pair"
    closed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", closed)
    configure("debug", "json")
    closed.close()
    structlog.get_logger("ours").info("nobody hears this")


@pytest.mark.parametrize("lines", ["json"], indirect=True)
def test_a_line_tells_what_every_line_of_its_request_tells(lines: Lines) -> None:
    with Telling("request_id", "r1"), Telling("subject", "ann"):
        structlog.get_logger("ours").info("both", subject="bob")
        logging.getLogger("theirs").warning("theirs")
    structlog.get_logger("ours").info("neither")
    both, theirs, neither = (json.loads(line) for line in lines().splitlines())
    assert (both["request_id"], both["subject"], theirs["request_id"], theirs["subject"]) == ("r1", "bob", "r1", "ann")
    assert "request_id" not in neither
    assert neither["timestamp"].endswith("Z")
