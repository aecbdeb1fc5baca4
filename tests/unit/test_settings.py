"""Settings: flags before environment before defaults, every problem at once, and documents that keep up."""

import math
import os
import re
from pathlib import Path
from typing import Final

import pytest

from registry import redis_url
from registry.redis_node import NodeMaker
from registry.secrets import Secret, new_master_key
from server import cli, commands
from server.addresses import is_loopback
from server.given import load
from server.setting_rules import BOUNDS
from server.settings import OF_REDIS, SETTINGS, Setting, Settings, SettingsError
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


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "master.key"
    path.touch()
    return path


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


def problems_of(arguments: dict[str, object] | None = None, **environment: str) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        load(arguments or {}, environment)
    return raised.value.problems


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


@table(
    ("field", "wrong"),
    [
        *(("port", wrong) for wrong in ("-1", "65536", "1.5", "http")),
        *(("path", wrong) for wrong in ("mcp", "/livez", "/readyz", "/metrics", "/.well-known/x")),
        *(("prefix", wrong) for wrong in ("{a}", "a*", "a b", "a\nb")),
        *(("statement_timeout", wrong) for wrong in ("0", "-1", "nan", "inf", "soon")),
        *(("lock_timeout", wrong) for wrong in ("0", "nan", "inf")),
        *(("connect_timeout", wrong) for wrong in ("0", "nan", "inf")),
        *(("drain_seconds", wrong) for wrong in ("-1", "nan", "inf")),
        *((field, wrong) for field in ("max_rows", "max_pools", "max_connections") for wrong in ("0", "-3", "x")),
        *((field, "1023") for field in ("max_body_bytes", "max_result_bytes")),
        *((field, f"{high + 1}") for field, (_, high) in BOUNDS.items() if high < math.inf),
        *(("max_staleness", wrong) for wrong in ("-1", "nan", "-inf", "1e400", "soon")),
        *(("removal_wait", wrong) for wrong in ("-1", "nan", "inf")),
        *(("replica_name", wrong) for wrong in ("a b", "-a", "a\n", "x" * 101, "{a}")),
        *((field, "1e400") for field in ("statement_timeout", "lock_timeout", "connect_timeout", "drain_seconds")),
        ("max_rows", "9" * 5000),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("insecure", "perhaps"),
        *(
            (field, wrong)
            for field in ("allowed_networks", "denied_networks")
            for wrong in ("db.example", "10.0.0.1/8")
        ),
        ("allowed_ports", "5432,postgres"),
        ("min_sslmode", "tls"),
        ("refused_powers", "superuser,root"),
    ],
)
def test_a_wrong_value_is_one_problem_that_names_the_variable(field: str, wrong: str) -> None:
    (variable,) = (setting.variable for setting in SETTINGS if setting.field == field)
    (problem,) = problems_of({field: wrong})
    assert problem.startswith(variable)


@table(
    "url",
    [
        *("http://hunter2", "hunter2", "localhost:hunter2", "redis://[hunter2", "redis://:hunter2@redis:port/0"),
        *("redis://:hunter2@redis:70000/0", "redis://:hunter2@redis:0/0", "redis://u:hunter2/x@redis:6379/0"),
        *("redis://:1/hunter2@redis:6379/0", "redis://:hunter2#x@redis/0", "redis://:1?hunter2@redis/0", "redis://"),
        *("redis://redis/hunter2", "redis://redis/-1", "redis://redis/0/hunter2", "redis://redis:6379/0?hunter2=1"),
        *("redis://redis/0?socket_timeout=abc", "redis://redis/0?ssl_cert_reqs=none"),
        *("redis://:hunter2 @redis/0", "redis://:hunter2\n@redis/0", "redis://:@hunter2$@/0", "redis://[::1/0"),
        *("rediss://redis/0?ssl_cert_reqs=hunter2", "rediss://redis/0?ssl_ca_certs=/hunter2/ca.pem"),
        *("rediss://redis/0?ssl_ca_certs=", "rediss://redis/0?ssl_check_hostname=true&ssl_check_hostname=false"),
        *("redis://a,hunter2/0", "rediss://a,hunter2:6380", "redis+sentinel://hunter2", "redis+sentinel://hunter2/"),
        *(
            "redis+sentinel://h:0/s",
            "redis+sentinel://:hunter2@/s",
            "redis+sentinel://h,/s",
            "redis+sentinel://h/s/hunter2",
        ),
        *("redis+sentinel://h/hunter2!/0", "redis+sentinel://h/s?hunter2=1", "redis+sentinel://h/s?tls=hunter2"),
        *("redis+sentinel://h/s?ssl_cert_reqs=none", "redis+sentinel://h/s?tls=true&ssl_ca_certs=/hunter2"),
        *("redis+sentinel://h/s?sentinel_password=a&sentinel_password=hunter2", "redis+cluster://h:x,hunter2:70000"),
        *("redis+cluster://h/1", "redis+cluster://h/hunter2", "redis+cluster://h?sentinel_password=hunter2"),
        *("redis+cluster://h?tls=false&ssl_cert_reqs=none", "rediss+cluster://hunter2", "redis+other://hunter2"),
        *("redis+cluster://", "redis+cluster://:hunter/2@h", "redis+cluster://[hunter2", "redis+cluster://h?"),
        *("unix://hunter2/redis.sock", "unix://", "unix:///run/redis.sock?db=hunter2", "unix:///r?socket_timeout=1"),
    ],
)
def test_a_redis_url_that_cannot_be_used_is_told_at_start_without_any_of_it(url: str, key_file: Path) -> None:
    problems = problems_of({"redis_url": url, "key_file": str(key_file)})
    assert all(problem.startswith("REDIS_URL") for problem in problems)
    assert not any("hunter2" in problem for problem in problems)


@table(
    "url",
    [
        *("redis://redis", "redis://redis:6379", "redis://redis:6379/", "redis://user:p%2Fss@redis.example:6379/15"),
        *("redis://[::1]:6379/0", "redis://[fe80::1%25eth0]/0", "redis://127.0.0.1", "unix:///run/redis.sock"),
        *("unix://:p@/run/redis.sock?db=2", "rediss://redis?ssl_cert_reqs=none&ssl_check_hostname=false"),
        *("redis+sentinel://h/service", "redis+sentinel://u:p%40ss@h1:26379,h2,[::1]:1/my.service-1/2"),
        *("redis+sentinel://h/s/0?tls=true&ssl_ca_certs={ca}", "redis+sentinel://h/s?sentinel_password=p%26"),
        *("redis+cluster://h", "redis+cluster://:p@h1:6379,[::1]:7000,h3/", "redis+cluster://h/0?tls=true"),
        *("rediss://redis/0?ssl_ca_certs={ca}", "rediss://redis/0?ssl_certfile={ca}&ssl_keyfile={ca}"),
    ],
)
def test_a_redis_url_that_is_accepted_is_one_that_the_client_takes(url: str, key_file: Path) -> None:
    url = url.format(ca=key_file)
    assert load({"redis_url": url, "key_file": str(key_file)}, {}).redis_url == url
    NodeMaker(redis_url.read(url), 1, 1.0).server(("redis", 6379))._pool.make_connection()


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


@pytest.mark.parametrize("port", ["no", "0", "70000", "\N{ARABIC-INDIC DIGIT SIX}", "9" * 5000])
def test_wrong_parts_of_redis_are_told_together_and_none_is_shown(key_file: Path, port: str) -> None:
    wrong = {"REDIS_HOST": "redis://:hunter2@redis", "REDIS_PORT": port, "REDIS_DB": "hunter2"}
    problems = problems_of({}, **wrong, REDIS_PASSWORD="hunter2", MCP_POSTGRES_KEY_FILE=str(key_file))
    assert [problem.split()[0] for problem in problems] == ["REDIS_HOST", "REDIS_PORT", "REDIS_DB"]
    assert not any("hunter2" in problem for problem in problems)


def test_a_redis_of_ones_own_wants_a_key_file_that_is_there(tmp_path: Path) -> None:
    (unset,) = problems_of(REDIS_URL="redis://redis")
    (missing,) = problems_of(REDIS_URL="redis://redis", MCP_POSTGRES_KEY_FILE=str(tmp_path / "none"))
    for problem in (unset, missing):
        assert problem.startswith("MCP_POSTGRES_KEY_FILE")
        assert "mcp-postgres keys new" in problem
    (folder,) = problems_of(REDIS_URL="redis://redis", MCP_POSTGRES_KEY_FILE=str(tmp_path))
    assert "folder" in folder
    (long,) = problems_of(REDIS_URL="redis://redis", MCP_POSTGRES_KEY_FILE=str(tmp_path / ("x" * 5000)))
    assert "cannot be looked at" in long


def test_listening_beyond_loopback_takes_a_word_and_host_names() -> None:
    beyond = {"host": "0.0.0.0"}  # noqa: S104 - the point of the test
    assert len(problems_of({**beyond})) == 2
    assert len(problems_of({**beyond, "insecure": True})) == 1
    assert len(problems_of({**beyond, "allowed_hosts": "*"})) == 1
    assert load({**beyond, "insecure": True, "allowed_hosts": "*"}, {}).allowed_hosts == ("*",)


@table("host", ["127.evil.com", "127.1", "localhost.evil.com", "::", "10.0.0.1", "", "1270.0.0.1"])
def test_what_only_looks_like_loopback_is_beyond_it(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_neither(host: str) -> None:
    assert load({"host": host}, {}).host == host


def test_keys_in_the_environment_are_read_and_not_shown() -> None:
    keys = f"{new_master_key('a')},\n{new_master_key('b')}"
    settings = load({}, {"REDIS_URL": "redis://redis", "MCP_POSTGRES_KEYS": keys})

    assert settings.keys == Secret(keys)
    assert keys[2:20] not in repr(settings)


def test_a_key_in_the_environment_that_is_none_is_told_by_its_place_and_not_shown() -> None:
    keys = f"{new_master_key('a')},b:hunter2"
    (problem,) = problems_of(REDIS_URL="redis://redis", MCP_POSTGRES_KEYS=keys)

    assert "Line 2 of MCP_POSTGRES_KEYS" in problem
    assert "hunter2" not in problem


def test_keys_in_a_file_and_in_the_environment_are_one_too_many(key_file: Path) -> None:
    (problem,) = problems_of(
        REDIS_URL="redis://redis", MCP_POSTGRES_KEY_FILE=str(key_file), MCP_POSTGRES_KEYS=new_master_key("a")
    )

    assert problem.startswith("MCP_POSTGRES_KEY_FILE and MCP_POSTGRES_KEYS are both set")


def test_a_secret_is_taken_out_of_the_environment_so_that_no_child_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_POSTGRES_KEYS", new_master_key("a"))
    monkeypatch.setattr("server.commands.configure", lambda *_: None)

    settings = commands._settings({}, "serve")

    assert settings.keys is not None
    assert "MCP_POSTGRES_KEYS" not in os.environ


@pytest.mark.parametrize("prefix", ["1A", "A B", "{tenant}_PW", "", "A="])
def test_a_prefix_of_variables_is_the_beginning_of_a_variables_name(prefix: str) -> None:
    problems = problems_of({"secrets_env_prefix": prefix})
    assert [problem.split()[0] for problem in problems] == ["MCP_POSTGRES_SECRETS_ENV_PREFIX"]


def test_a_folder_of_secrets_is_there_unless_each_tenant_has_one(tmp_path: Path) -> None:
    (problem,) = problems_of({"secrets_dir": str(tmp_path / "none")})
    assert "where no folder is" in problem
    assert load({"secrets_dir": str(tmp_path / "{tenant}")}, {}).secrets_dir == tmp_path / "{tenant}"


def test_a_certificate_and_its_key_go_together(tmp_path: Path) -> None:
    file = str(tmp_path / "file")
    assert load({"tls_cert": file, "tls_key": file, "tls_client_ca": file}, {}).tls_client_ca == tmp_path / "file"
    for alone in ("tls_cert", "tls_key", "tls_client_ca"):
        (problem,) = problems_of({alone: file})
        assert "MCP_POSTGRES_TLS_CERT" in problem


def test_hosts_and_origins_that_can_be_none_are_told() -> None:
    problems = problems_of({"allowed_hosts": "https://a.example, b.example", "allowed_origins": "a.example"})
    assert [problem.split(":")[0] for problem in problems] == [
        "MCP_POSTGRES_ALLOWED_HOSTS",
        "MCP_POSTGRES_ALLOWED_ORIGINS",
    ]
