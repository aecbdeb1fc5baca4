"""Settings: flags before environment before defaults, every problem at once, and documents that keep up."""

import re
from pathlib import Path
from typing import Final

import pytest

from server import cli
from server.settings import SETTINGS, Setting, Settings, SettingsError, load

DOCUMENT: Final = (Path(__file__).parents[2] / "docs" / "settings.md").read_text("utf-8")
OTHERS: Final[dict[str, tuple[str, object]]] = {
    "host": ("127.0.0.2", "127.0.0.2"),
    "port": ("9000", 9000),
    "path": ("/db", "/db"),
    "allowed_hosts": ("a.example, b.example:8001,", ("a.example", "b.example:8001")),
    "insecure": ("1", True),
    "redis_url": ("rediss://:p%40ss@redis.example:6380/3", "rediss://:p%40ss@redis.example:6380/3"),
    "prefix": ("eu:pg", "eu:pg"),
    "data_dir": ("/var/lib/x", Path("/var/lib/x")),
    "max_body_bytes": ("2048", 2048),
    "statement_timeout": ("2.5", 2.5),
    "lock_timeout": ("0.5", 0.5),
    "max_rows": ("7", 7),
    "max_result_bytes": ("4096", 4096),
    "connect_timeout": ("1", 1.0),
    "drain_seconds": ("0", 0.0),
    "max_pools": ("3", 3),
    "max_connections": ("4", 4),
    "log_level": ("debug", "debug"),
    "log_format": ("json", "json"),
}
"""A value for each setting that is not its default: as text, and as it is meant."""


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "master.key"
    path.touch()
    return path


@pytest.fixture(scope="module")
def serve_help() -> str:
    """What `mcp-postgres serve --help` prints, in one line."""
    patch = pytest.MonkeyPatch()
    patch.setenv("COLUMNS", "1000")
    try:
        parser = cli._parser()
        (commands,) = (action for action in parser._actions if isinstance(action.choices, dict))
        assert isinstance(commands.choices, dict)
        return " ".join(commands.choices["serve"].format_help().split())
    finally:
        patch.undo()


def problems_of(arguments: dict[str, object] | None = None, **environment: str) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        load(arguments or {}, environment)
    return raised.value.problems


def test_nothing_said_means_the_defaults() -> None:
    assert load({}, {}) == Settings()


def test_every_field_can_be_set_and_every_setting_is_a_field() -> None:
    fields = Settings.__struct_fields__
    assert [setting.field for setting in SETTINGS] == list(fields)
    assert {*OTHERS, "key_file"} == set(fields)
    assert len({setting.variable for setting in SETTINGS}) == len(fields)


@pytest.mark.parametrize("field", OTHERS)
def test_a_setting_comes_from_its_variable_and_a_flag_goes_before_it(field: str, key_file: Path) -> None:
    text, meant = OTHERS[field]
    (variable,) = (setting.variable for setting in SETTINGS if setting.field == field)
    around = {"MCP_POSTGRES_KEY_FILE": str(key_file)}
    assert getattr(Settings(), field) != meant
    assert getattr(load({}, {**around, variable: text}), field) == meant
    assert getattr(load({field: text}, {**around, variable: "overruled"}), field) == meant
    assert getattr(load({field: None}, {**around, variable: text}), field) == meant


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.field)
def test_an_empty_variable_counts_as_unset(setting: Setting) -> None:
    assert load({}, {setting.variable: " "}) == Settings()


def test_the_key_file_is_where_the_variable_says(key_file: Path) -> None:
    assert load({}, {"MCP_POSTGRES_KEY_FILE": str(key_file)}).key_file == key_file


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.field)
def test_every_setting_is_told_in_the_help_and_the_document_with_its_default(setting: Setting, serve_help: str) -> None:
    flag = "--" + setting.field.replace("_", "-")
    default = getattr(Settings(), setting.field)
    shown = "" if default in (None, (), False) else str(default)
    assert f"{setting.meaning} [{setting.variable}{'; ' if shown else ''}{shown}]" in serve_help
    assert re.search(rf"{flag}( X)? {re.escape(setting.meaning)}", serve_help)
    quoted = f"`{shown}`" if shown else ""
    assert f"| `{setting.variable}` | `{flag}` | {quoted} | {setting.meaning} |" in DOCUMENT


def test_the_document_tells_of_no_setting_that_is_not_there() -> None:
    told = re.findall(r"^\| `(\w+)` \|", DOCUMENT, re.MULTILINE)
    assert told == [setting.variable for setting in SETTINGS]


def test_all_problems_are_told_at_once_each_with_what_to_set() -> None:
    problems = problems_of(
        {"port": "no", "log_level": "loud"},
        MCP_POSTGRES_HOST="0.0.0.0",  # noqa: S104 - the point of the test
        MCP_POSTGRES_MAX_ROWS="0",
        MCP_POSTGRES_PREFIX="a{b}",
        MCP_POSTGRES_PATH="db",
        MCP_POSTGRES_INSECURE="perhaps",
        REDIS_URL="http://redis",
    )
    named = [
        *("MCP_POSTGRES_PORT", "MCP_POSTGRES_INSECURE", "MCP_POSTGRES_MAX_ROWS", "MCP_POSTGRES_LOG_LEVEL"),
        *("MCP_POSTGRES_PATH", "MCP_POSTGRES_PREFIX", "REDIS_URL", "MCP_POSTGRES_KEY_FILE", "MCP_POSTGRES_HOST"),
        "MCP_POSTGRES_ALLOWED_HOSTS",
    ]
    assert [problem.split()[0] for problem in problems] == named


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        *(("port", wrong) for wrong in ("-1", "65536", "1.5", "http")),
        *(("path", wrong) for wrong in ("mcp", "/livez", "/readyz")),
        *(("prefix", wrong) for wrong in ("{a}", "a*", "a b", "a\nb")),
        *(("statement_timeout", wrong) for wrong in ("0", "-1", "nan", "inf", "soon")),
        *(("lock_timeout", wrong) for wrong in ("0", "nan", "inf")),
        *(("connect_timeout", wrong) for wrong in ("0", "nan", "inf")),
        *(("drain_seconds", wrong) for wrong in ("-1", "nan", "inf")),
        *((field, wrong) for field in ("max_rows", "max_pools", "max_connections") for wrong in ("0", "-3", "x")),
        *((field, "1023") for field in ("max_body_bytes", "max_result_bytes")),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("insecure", "perhaps"),
    ],
)
def test_a_wrong_value_is_one_problem_that_names_the_variable(field: str, wrong: str) -> None:
    (variable,) = (setting.variable for setting in SETTINGS if setting.field == field)
    (problem,) = problems_of({field: wrong})
    assert problem.startswith(variable)


@pytest.mark.parametrize(
    "url",
    [
        *("http://redis", "redis", "localhost:6379", "redis://[bad", "redis://:hunter2@redis:port/0"),
        *("redis://:hunter2@redis:99999/0", "redis://:hunter2/x@redis:6379/0"),
    ],
)
def test_a_redis_url_that_cannot_be_read_is_told_at_start_without_its_password(url: str, key_file: Path) -> None:
    (problem,) = problems_of({"redis_url": url, "key_file": str(key_file)})
    assert problem.startswith("REDIS_URL")
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    ("parts", "url"),
    [
        ({"REDIS_HOST": "redis"}, "redis://redis:6379/0"),
        (
            {"REDIS_HOST": "r", "REDIS_PORT": "7000", "REDIS_DB": "2", "REDIS_PASSWORD": "p@s/s:"},
            "redis://:p%40s%2Fs%3A@r:7000/2",
        ),
        ({"REDIS_HOST": "::1", "REDIS_PORT": "", "REDIS_DB": ""}, "redis://[::1]:6379/0"),
        ({"REDIS_HOST": "redis", "REDIS_URL": "redis://other"}, "redis://other"),
    ],
)
def test_redis_may_be_given_in_parts(parts: dict[str, str], url: str, key_file: Path) -> None:
    assert load({}, {**parts, "MCP_POSTGRES_KEY_FILE": str(key_file)}).redis_url == url


def test_parts_without_a_host_mean_the_embedded_redis() -> None:
    assert load({}, {"REDIS_PORT": "7000", "REDIS_PASSWORD": "p"}).redis_url is None


def test_wrong_parts_of_redis_are_told_together(key_file: Path) -> None:
    problems = problems_of(REDIS_HOST="redis", REDIS_PORT="no", REDIS_DB="first", MCP_POSTGRES_KEY_FILE=str(key_file))
    assert [problem.split()[0] for problem in problems[:2]] == ["REDIS_PORT", "REDIS_DB"]


def test_a_redis_of_ones_own_wants_a_key_file_that_is_there(tmp_path: Path) -> None:
    (unset,) = problems_of(REDIS_URL="redis://redis")
    (missing,) = problems_of(REDIS_URL="redis://redis", MCP_POSTGRES_KEY_FILE=str(tmp_path / "none"))
    for problem in (unset, missing):
        assert problem.startswith("MCP_POSTGRES_KEY_FILE")
        assert "mcp-postgres keys new" in problem


def test_listening_beyond_loopback_takes_a_word_and_host_names() -> None:
    beyond = {"host": "0.0.0.0"}  # noqa: S104 - the point of the test
    assert len(problems_of({**beyond})) == 2
    assert len(problems_of({**beyond, "insecure": True})) == 1
    assert len(problems_of({**beyond, "allowed_hosts": "*"})) == 1
    assert load({**beyond, "insecure": True, "allowed_hosts": "*"}, {}).allowed_hosts == ("*",)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_neither(host: str) -> None:
    assert load({"host": host}, {}).host == host
