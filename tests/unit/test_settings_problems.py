"""Settings that are wrong or do not go together: every problem at once, each with what to set."""

import math
import os
from pathlib import Path

import pytest

from registry.secrets import Secret, new_master_key
from server import commands
from server.addresses import is_loopback
from server.given import load, unknown_variables
from server.setting_rules import BOUNDS
from server.settings import SETTINGS
from tests.settings_problems import problems_of
from tests.tables import table


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
    monkeypatch.delenv("MCP_POSTGRES_KEY_FILE", raising=False)  # a developer may have one
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


def test_a_variable_that_is_misspelt_is_told_of_and_those_of_others_are_not() -> None:
    environment = ["MCP_POSTGRES_ALLOWED_NETWORK", "MCP_POSTGRES_HOST", "MCP_POSTGRES_VALKEY_BIN", "PATH", "PGHOST"]
    of_kubernetes = ["MCP_POSTGRES_SERVICE_HOST", "MCP_POSTGRES_PORT_8001_TCP"]

    assert unknown_variables([*environment, *of_kubernetes]) == ["MCP_POSTGRES_ALLOWED_NETWORK"]
