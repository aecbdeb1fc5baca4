"""Settings: flags before environment before defaults, and documents that keep up."""

import math
import re
from pathlib import Path
from typing import Final

import pytest

from server import cli
from server.given import load
from server.setting_rules import BOUNDS
from server.settings import OF_REDIS, SETTINGS, Setting, Settings
from tests.tables import table

DOCUMENT: Final = (Path(__file__).parents[2] / "docs" / "settings.md").read_text("utf-8")
TLS: Final = ("tls_cert", "tls_key", "tls_client_ca")
OTHERS: Final[dict[str, tuple[str, object]]] = {
    "host": ("127.0.0.2", "127.0.0.2"),
    "port": ("9000", 9000),
    "path": ("/db", "/db"),
    "allowed_hosts": ("a.example, b.example:8001,", ("a.example", "b.example:8001")),
    "allowed_origins": ("https://a.example, http://b.example:8001", ("https://a.example", "http://b.example:8001")),
    "insecure": ("1", True),
    "oauth_audience": ("a, b", ("a", "b")),
    "oauth_jwks": ("https://id.example/keys", "https://id.example/keys"),
    "oauth_algorithms": ("ES256,EdDSA", ("ES256", "EdDSA")),
    "oauth_issuer": ("https://id.example/realm", "https://id.example/realm"),
    "resource_url": ("https://mcp.example/db", "https://mcp.example/db"),
    "oauth_scope_claim": ("permissions", "permissions"),
    "oauth_tenants_claim": ("https://id.example/tenants", "https://id.example/tenants"),
    "oauth_subject_claim": ("email", "email"),
    "redis_url": ("rediss://:p%40ss@redis.example:6380/3", "rediss://:p%40ss@redis.example:6380/3"),
    "allow_unsafe_redis": ("1", True),
    "secrets_dir": ("/run/secrets/{tenant}", Path("/run/secrets/{tenant}")),
    "secrets_env_prefix": ("TENANT_", "TENANT_"),
    "prefix": ("eu:pg", "eu:pg"),
    "data_dir": ("/var/lib/x", Path("/var/lib/x")),
    "max_body_bytes": ("2048", 2048),
    "body_timeout": ("12", 12.0),
    "max_requests": ("5", 5),
    "workers": ("2", 2),
    "max_clients": ("6", 6),
    "statement_timeout": ("2.5", 2.5),
    "lock_timeout": ("0.5", 0.5),
    "max_rows": ("7", 7),
    "max_result_bytes": ("4096", 4096),
    "strict_reads": ("1", True),
    "keep_prepared": ("0", False),
    "write_timeout": ("90", 90.0),
    "confirm_writes": ("require", "require"),
    "audit_file": ("/audit.jsonl", Path("/audit.jsonl")),
    "connect_timeout": ("1", 1.0),
    "allowed_networks": ("private, 192.0.2.0/24", ("private", "192.0.2.0/24")),
    "denied_networks": ("loopback", ("loopback",)),
    "allowed_ports": ("5432,6000-6010", ("5432", "6000-6010")),
    "min_sslmode": ("verify-full", "verify-full"),
    "refused_powers": ("any", ("any",)),
    "drain_seconds": ("0", 0.0),
    "repair_seconds": ("2", 2.0),
    "max_staleness": ("inf", math.inf),
    "removal_wait": ("0", 0.0),
    "replica_name": ("web-1", "web-1"),
    "on_log_loss": ("halt", "halt"),
    "full_replay": ("1", True),
    "max_pools": ("3", 3),
    "max_connections": ("4", 4),
    "caller_rate": ("2.5", 2.5),
    "tenant_rate": ("100", 100.0),
    "rate_burst": ("1", 1.0),
    "log_level": ("debug", "debug"),
    "log_format": ("json", "json"),
}
"""A value for each setting that is not its default: as text, and as it is meant."""
OAUTH: Final = {
    "MCP_POSTGRES_OAUTH_ISSUER": "https://id.example",
    "MCP_POSTGRES_RESOURCE_URL": "https://mcp.example/postgres/mcp",
}
"""What each setting of OAuth wants beside it."""


@pytest.fixture(scope="module")
def serve_help() -> str:
    """What `mcp-postgres serve --help` prints, in one line."""
    return help_of("serve")


def help_of(*words: str) -> str:
    """Return what `mcp-postgres … --help` prints, in one line."""
    patch = pytest.MonkeyPatch()
    patch.setenv("COLUMNS", "1000")
    try:
        parser = cli._parser()
        for word in words:
            (commands,) = (action for action in parser._actions if isinstance(action.choices, dict))
            assert isinstance(commands.choices, dict)
            parser = commands.choices[word]
        return " ".join(parser.format_help().split())
    finally:
        patch.undo()


def test_nothing_said_means_the_defaults() -> None:
    assert load({}, {}) == Settings()


def test_every_field_can_be_set_and_every_setting_is_a_field() -> None:
    fields = Settings.__struct_fields__
    assert [setting.field for setting in SETTINGS] == list(fields)
    assert {*OTHERS, "key_file", "keys", "signing_key_file", "tokens_file", *TLS} == set(fields)
    assert len({setting.variable for setting in SETTINGS}) == len(fields)


@table("field", OTHERS)
def test_a_setting_comes_from_its_variable_and_a_flag_goes_before_it(field: str, key_file: Path) -> None:
    text, meant = OTHERS[field]
    (variable,) = (setting.variable for setting in SETTINGS if setting.field == field)
    around = {"MCP_POSTGRES_KEY_FILE": str(key_file), **OAUTH}
    assert getattr(Settings(), field) != meant
    assert getattr(load({}, {**around, variable: text}), field) == meant
    assert getattr(load({field: text}, {**around, variable: "overruled"}), field) == meant
    assert getattr(load({field: None}, {**around, variable: text}), field) == meant


@pytest.mark.parametrize(("words", "kept"), [([], True), (["--keep-prepared", "0"], False)])
def test_what_is_on_by_default_can_be_switched_off_by_its_flag(words: list[str], *, kept: bool) -> None:
    given = cli._parser().parse_args(["serve", *words])
    assert load(vars(given), {}).keep_prepared is kept


@table("setting", [pytest.param(setting, id=setting.field) for setting in SETTINGS])
def test_an_empty_variable_counts_as_unset(setting: Setting) -> None:
    assert load({}, {setting.variable: " "}) == Settings()


def test_the_key_file_is_where_the_variable_says(key_file: Path) -> None:
    assert load({}, {"MCP_POSTGRES_KEY_FILE": str(key_file)}).key_file == key_file


@table("setting", [pytest.param(setting, id=setting.field) for setting in SETTINGS])
def test_every_setting_is_told_in_the_help_and_the_document_with_its_default(setting: Setting, serve_help: str) -> None:
    flag = "--" + setting.field.replace("_", "-")
    default = getattr(Settings(), setting.field)
    shown = "" if default in (None, (), False) else "1" if default is True else str(default)
    assert f"{setting.meaning} [{setting.variable}{'; ' if shown else ''}{shown}]" in serve_help
    assert bool(re.search(rf"{flag}( X)? {re.escape(setting.meaning)}", serve_help)) != setting.secret
    quoted, flagged = f"`{shown}`" if shown else "", "none" if setting.secret else f"`{flag}`"
    assert f"| `{setting.variable}` | {flagged} | {quoted} | {setting.meaning} |" in DOCUMENT


def test_the_document_tells_every_bound() -> None:
    told = re.findall(r"^- `(\w+)`: (\S+) to (\d+|inf)", DOCUMENT, re.MULTILINE)
    variables = {setting.field: setting.variable for setting in SETTINGS}
    assert told == [(variables[field], str(low), str(high)) for field, (low, high) in BOUNDS.items()]


@pytest.mark.parametrize("words", [("serve",), ("run",), *(("tenants", action) for action in ("list", "register"))])
def test_a_command_offers_the_settings_that_it_honours_and_no_others(words: tuple[str, ...]) -> None:
    told = help_of(*words)
    offered = [setting.variable for setting in SETTINGS if f"[{setting.variable}" in told]
    assert offered == [setting.variable for setting in SETTINGS if words[0] in setting.commands]


def test_the_tenants_commands_take_the_log_and_the_key_and_nothing_that_only_servers_need(key_file: Path) -> None:
    assert "--redis-url" in help_of("tenants", "get")
    assert "--key-file" in help_of("tenants", "get")
    assert "MCP_POSTGRES_KEY_FILE" in help_of("tenants")
    servers = {"MCP_POSTGRES_HOST": "0.0.0.0", "MCP_POSTGRES_MAX_ROWS": "none"}  # noqa: S104 - the point of the test
    given = load({}, {"REDIS_URL": "redis://r", "MCP_POSTGRES_KEY_FILE": str(key_file), **servers}, "tenants")
    assert given == Settings(redis_url="redis://r", key_file=key_file)


def test_run_has_a_redis_and_a_key_of_its_own_whatever_is_set() -> None:
    assert load({}, dict.fromkeys(OF_REDIS, "no://good"), "run") == Settings()
    assert "--redis-url" not in help_of("run")


def test_the_document_tells_of_no_setting_that_is_not_there() -> None:
    told = re.findall(r"^\| `(\w+)` \|", DOCUMENT, re.MULTILINE)
    assert told == [setting.variable for setting in SETTINGS]
