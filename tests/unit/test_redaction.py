"""What looks like a secret is blanked in any text, and what does not is told as it is."""

import base64
import json
import os
from typing import Any, Final

import pytest
from hypothesis import given, strategies as st

from server import redaction
from server.redaction import redacted, shown, without_secrets
from tests.tables import table

CANARY: Final = "hunter2-canary"
KEY: Final = base64.b64encode(os.urandom(32)).decode()


@table(
    "text",
    [
        f"postgresql://reader:my {CANARY} with spaces@db/app",
        f"postgresql://reader:a/{CANARY}/b@db/app?sslmode=require",
        f"postgres://{CANARY}@db",
        f"redis://{CANARY}@redis:6379/0",
        f"redis+sentinel://:{CANARY}@a,b/service",
        f"postgresql%3A%2F%2Freader%3A{CANARY}%40db",
        f"postgresql+asyncpg://reader:{CANARY}@db",
        f"cannot reach REDISS://x:{CANARY}@redis",
        f"http://user:{CANARY}@proxy",
        f"host=db password={CANARY} user=u",
        f"host=db password = '{CANARY} with spaces' user=u",
        f"rediss://redis/0?sentinel_password={CANARY}&tls=true",
        f"PGPASSWORD={CANARY}",
        f"client_secret: {CANARY}",
        f"api-key={CANARY}",
        f"access_token={CANARY}",
        json.dumps({"password": CANARY, "user": "u"}),
        json.dumps({"text": json.dumps({"password": f'"{CANARY}'})}),
        repr({"password": CANARY}),
        repr({"dsn": f"postgresql://u:{CANARY}@h"}),
        f"Authorization: Bearer {CANARY}.abc",
        f"authorization: basic {CANARY}",
    ],
)
def test_a_secret_is_blanked_wherever_it_stands(text: str) -> None:
    assert CANARY not in redacted(text)
    assert CANARY not in redacted(f"before {text} after")
    assert "***" in redacted(text)


def test_a_key_of_a_key_file_is_blanked_also_where_a_file_should_be_named() -> None:
    assert redacted(f"MCP_POSTGRES_KEY_FILE names k1:{KEY}, where") == "MCP_POSTGRES_KEY_FILE names k1:***, where"
    assert shown(f"k1:{KEY}") == "'k1:***'"


@table(
    "text",
    [
        "tool call at http://127.0.0.1:8001/mcp for a@b.example",
        "Check user, password and the server's pg_hba.conf.",
        "redis://redis:6379/0",
        "tenant acme was registered by cli:root",
        "position 12@1763860000000-0 of mcp:postgres:tenant-events",
        "sha256 " + "0f" * 32,
        "bearer of news",
    ],
)
def test_what_is_no_secret_is_told_as_it_is(text: str) -> None:
    assert redacted(text) == text


@table(
    "field", ["Password", "sentinel_password", "client_secret", "api_key", "Authorization", "refresh_token", "cookie"]
)
def test_a_field_is_blanked_by_the_word_in_its_name(field: str) -> None:
    line: dict[str, Any] = {"event": "said", "in": [{field: [CANARY]}], field: CANARY}
    assert without_secrets(line) == {"event": "said", "in": [{field: "***"}], field: "***"}


def test_a_wrong_setting_is_shown_short() -> None:
    assert shown("http") == "'http'"
    assert shown("x" * 1000) == "'" + "x" * 120 + "…'"


PIECES: Final = (
    *("bearer", "Basic", "BASIC ", "Bearer\u2003abcdefgh", "ba\u017fic abcdefgh", "password", "pwd", "token", "=", ":"),
    *("://", "%3a%2f%2f", "postgres", "redis", "@", "/", " ", "\t", "\x1c", "a" * 43, KEY, "é", '"', "'", "\\", "x1"),
)


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=4)), max_size=8).map("".join))
def test_what_is_told_without_a_search_holds_nothing_that_the_search_would_find(text: str) -> None:
    told = redacted(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redaction, "_is_plain", lambda _text: False)
        assert redacted(text) == told


FIELDS: Final = st.sampled_from(["event", "tool", "key", "Password", "tenant", "_record", "api_key", "reason"])
TOLD: Final = st.one_of(
    *(st.sampled_from(PIECES), st.integers(), st.none(), st.floats(), st.just(ValueError("token=abc"))),
    st.lists(st.sampled_from(PIECES), max_size=2),
)


@given(st.dictionaries(FIELDS, TOLD, max_size=5))
def test_a_line_that_is_looked_at_as_a_whole_is_told_as_field_by_field(line: dict[str, Any]) -> None:
    told = without_secrets(line)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redaction, "_is_harmless", lambda _line: False)
        assert repr(without_secrets(line)) == repr(told)
