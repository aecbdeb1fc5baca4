"""The command `mcp-postgres` as an operator types it."""

import json
import os
import signal
import stat
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from server.embedded.sample import SampleLogin
from tests.certificates import certificate
from tests.processes import COMMAND, Start, clean, eventually, run_command


def test_help_names_every_command_and_says_how_to_begin() -> None:
    told = run_command("--help")
    assert told.returncode == 0
    for word in ("serve", "run", "tenants", "keys", "examples:", "exit codes:"):
        assert word in told.stdout


def test_all_wrong_settings_are_told_at_once_each_with_its_name() -> None:
    told = run_command(
        "serve",
        env={"MCP_POSTGRES_PORT": "http", "MCP_POSTGRES_MAX_ROWS": "0", "REDIS_URL": "http://redis", "REDIS_PORT": "x"},
    )
    assert told.returncode == 2
    assert "Traceback" not in told.stderr
    for word in ("MCP_POSTGRES_PORT", "MCP_POSTGRES_MAX_ROWS", "REDIS_URL", "MCP_POSTGRES_KEY_FILE", "keys new"):
        assert word in told.stderr
    assert all(line.startswith("mcp-postgres: ") for line in told.stderr.splitlines())


def test_a_key_file_is_private_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    assert run_command("keys", "new", "--out", str(path)).returncode == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_text()
    again = run_command("keys", "new", "--out", str(path))
    assert (again.returncode, path.read_text()) == (1, before)
    assert "exists" in again.stderr


@pytest.mark.parametrize("where", ["", "file", "file/master.key", "no-such-folder/master.key", "/proc/master.key"])
def test_a_place_where_no_key_file_can_be_is_told_in_one_line(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").touch()
    one_line(run_command("keys", "new", "--out", str(tmp_path / where)), 1)


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("run", "--port", "0"), ("tenants", "list")])
@pytest.mark.parametrize("where", ["file", "file/data", "/proc/data"])
def test_a_place_where_no_data_can_be_is_told_in_one_line(tmp_path: Path, command: tuple[str, ...], where: str) -> None:
    (tmp_path / "file").touch()
    one_line(run_command(*command, "--data-dir", str(tmp_path / where)), 1)


def test_a_folder_as_key_file_is_told_in_one_line(tmp_path: Path) -> None:
    told = one_line(run_command("tenants", "list", "--data-dir", str(tmp_path), "--key-file", str(tmp_path)), 1)
    assert str(tmp_path) in told


def test_data_whose_key_is_lost_are_left_alone_until_it_is_back(tmp_path: Path) -> None:
    data = ("--data-dir", str(tmp_path / "data"))
    assert run_command("tenants", "list", *data).returncode == 0
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == (0o711 if os.geteuid() == 0 else 0o700)
    key = tmp_path / "data" / "master.key"
    key.rename(tmp_path / "kept.key")
    for command in (("serve", "--port", "0"), ("run", "--port", "0"), ("tenants", "list")):
        told = one_line(run_command(*command, *data), 1)
        assert str(key) in told
        assert "put the file back" in told
    assert not key.exists()
    (tmp_path / "kept.key").rename(key)
    assert run_command("tenants", "list", *data).returncode == 0


def test_a_redis_url_that_cannot_be_used_is_told_without_its_password(key_file: Path) -> None:
    told = one_line(
        run_command("serve", "--key-file", str(key_file), env={"REDIS_URL": "redis://u:hunter/2@127.0.0.1:6379/0"}), 2
    )
    assert "REDIS_URL" in told
    assert "hunter" not in told


def test_a_log_that_cannot_be_followed_is_told_with_the_reason(env: dict[str, str], redis_url: str) -> None:
    assert run_command("tenants", "list", env=env).returncode == 0
    with redis.Redis.from_url(redis_url) as client:
        client.delete("mcp:postgres:tenant-events")
        client.xadd("mcp:postgres:tenant-events", {"what": "nobody knows"})
    told = run_command("tenants", "list", env=env)
    assert (told.returncode, told.stdout) == (1, "")
    assert "Traceback" not in told.stderr
    last = told.stderr.splitlines()[-1]  # the follower's own line is above it
    assert last.startswith("mcp-postgres: The registry cannot be read. ")
    assert "try again" not in last


def test_a_redis_that_is_away_is_told_in_one_line(env: dict[str, str], free_port: Callable[[], int]) -> None:
    away = {**env, "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
    assert "Redis cannot be reached" in one_line(run_command("tenants", "list", env=away), 1)


def test_an_operator_gives_the_authorities_of_a_tenants_server_as_a_file(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(certificate()[0])
    fields = ["--host", "db.example", "--database", "app", "--user", "u", "--ssl", "verify-full", "--no-verify"]
    told = run_command(
        "tenants", "register", "acme", *fields, "--ssl-root-ca-file", str(tmp_path / "ca.pem"), env=env, stdin=""
    )
    assert told.returncode == 0, told.stderr
    shown = json.loads(run_command("tenants", "get", "acme", env=env).stdout)
    assert shown["ssl_root_ca"].startswith("sha256:")
    missing = run_command("tenants", "register", "acme", *fields, "--ssl-root-ca-file", "/no/such.pem", env=env)
    assert "--ssl-root-ca-file names cannot be read" in one_line(missing, 1)


def test_the_command_line_registers_by_the_policy_of_its_own_settings(env: dict[str, str]) -> None:
    fields = ["--host", "127.0.0.1", "--database", "app", "--user", "u", "--no-verify"]
    told = run_command("tenants", "register", "acme", *fields, "--denied-networks", "loopback", env=env, stdin="")
    assert "MCP_POSTGRES_DENIED_NETWORKS" in one_line(told, 1)


def test_an_operator_registers_looks_at_and_removes_a_tenant_without_a_server(
    env: dict[str, str], sample: SampleLogin
) -> None:
    fields = ["--host", sample.host, "--port", str(sample.port), "--database", sample.database, "--user", sample.user]
    told = run_command(
        "tenants", "register", "acme", *fields, "--password-file", "-", env=env, stdin=sample.password + "\n"
    )
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["status"] == "registered"
    listed = run_command("tenants", "list", env=env)
    assert "acme" in listed.stdout
    assert [
        each["tenant_id"] for each in json.loads(run_command("tenants", "list", "--json", env=env).stdout)["tenants"]
    ] == ["acme"]
    assert json.loads(run_command("tenants", "get", "acme", env=env).stdout)["user"] == sample.user
    removal = ("tenants", "remove", "acme", "--reason", "a test", "--command-id", "job-7")
    gone = run_command(*removal, env=env)
    assert json.loads(gone.stdout)["status"] == "removed"
    assert run_command(*removal, env=env).stdout == gone.stdout
    history = json.loads(run_command("tenants", "history", "acme", env=env).stdout)["changes"]
    assert [change["what"] for change in history] == ["removed", "registered"]
    assert history[0]["by"].startswith("cli:")
    again = run_command("tenants", "remove", "acme", env=env)
    assert (again.returncode, again.stdout) == (1, "")
    assert "removed" in again.stderr
    assert len(again.stderr.splitlines()) == 1


def test_an_operator_says_that_a_tenant_may_be_written_to_and_what_roles_it_lends(
    env: dict[str, str], sample: SampleLogin
) -> None:
    fields = ("--host", sample.host, "--port", str(sample.port), "--database", sample.database, "--user", sample.user)
    more = ("--access", "read_write", "--role", "writer", "--role", "Odd name", "--no-verify", "--password-file", "-")
    told = run_command("tenants", "register", "acme", *fields, *more, env=env, stdin=sample.password + "\n")
    assert json.loads(told.stdout)["status"] == "registered", told.stderr

    shown = json.loads(run_command("tenants", "get", "acme", env=env).stdout)
    assert (shown["access"], shown["roles"]) == ("read_write", ["writer", "Odd name"])


def test_an_operator_registers_a_tenant_whose_password_is_in_a_file_of_the_servers(
    env: dict[str, str], sample: SampleLogin, tmp_path: Path, serve: Start
) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "acme").write_text(sample.password + "\n")
    fields = ["--host", sample.host, "--port", str(sample.port), "--database", sample.database, "--user", sample.user]
    register = ("tenants", "register", "acme", *fields, "--password-ref", "file:acme")
    folder = {"MCP_POSTGRES_SECRETS_DIR": str(tmp_path / "secrets")}

    assert "MCP_POSTGRES_SECRETS_DIR" in one_line(run_command(*register, env=env), 1)
    told = run_command(*register, env={**env, **folder})

    assert told.returncode == 0, told.stderr
    assert json.loads(run_command("tenants", "get", "acme", env=env).stdout)["password_ref"] == "file:acme"
    assert "tables" in serve(**folder).call("list_tables", tenant_id="acme")
    assert serve().call("list_tables", tenant_id="acme")["code"] == "secret_unreadable"


def test_a_taken_port_is_told_in_one_line(env: dict[str, str], serve: Start) -> None:
    replica = serve()
    told = run_command("serve", "--port", str(replica.port), env=env)
    reason = one_line(told, 1)
    assert "--port" in reason
    assert reason.count("Address already in use") == 1


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1", "a..b"])
def test_a_host_that_cannot_be_listened_on_is_told_with_what_to_change(env: dict[str, str], host: str) -> None:
    told = run_command(
        "serve", "--port", "0", "--host", host, "--insecure", "--allowed-hosts", "*", "--log-level", "error", env=env
    )
    reason = one_line(told, 1)
    assert "--host" in reason
    assert "--port" not in reason


def test_run_says_that_it_does_not_use_the_redis_that_is_set(tmp_path: Path, free_port: Callable[[], int]) -> None:
    running = Run(tmp_path, free_port(), REDIS_URL="redis://redis.invalid", MCP_POSTGRES_KEY_FILE="no-such-file")
    assert running.call("list_tenants")["total"] == 1
    assert running.stop(signal.SIGTERM) == 0
    (told,) = [line for line in running.errors.read_text().splitlines() if "REDIS_URL" in line]
    assert "MCP_POSTGRES_KEY_FILE" in told
    assert run_command("run", "--redis-url", "redis://redis").returncode == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_answers_its_own_curl_stops_clean_and_finds_everything_again(
    tmp_path: Path, free_port: Callable[[], int], number: signal.Signals
) -> None:
    port = free_port()
    first = Run(tmp_path, port)
    assert f"http://127.0.0.1:{port}/postgres/mcp" in first.banner
    names = {name for _schema, name, *_rest in first.call("list_tables", tenant_id="demo")["tables"]}
    assert {"books", "orders"} <= names
    position = first.call("get_tenant", tenant_id="demo")["position"]
    assert first.stop(number) == 0
    assert processes_of(tmp_path) == []
    second = Run(tmp_path, port)
    assert second.call("get_tenant", tenant_id="demo")["position"] == position
    joined = run_command("tenants", "list", "--data-dir", str(tmp_path / "data"))
    assert "demo" in joined.stdout, joined.stderr
    second.stop(signal.SIGKILL)
    eventually(lambda: processes_of(tmp_path) == [], "a server outlived its parent")


class Run:
    """A `mcp-postgres run`."""

    def __init__(self, folder: Path, port: int, **env: str) -> None:
        self.port = port
        self.errors = folder / "errors.log"
        with self.errors.open("wb") as errors:
            self.popen = subprocess.Popen(
                [COMMAND, "run", "--port", str(port), "--data-dir", str(folder / "data")],
                env=clean(env),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.banner = self._read_banner()

    def _read_banner(self) -> str:
        assert self.popen.stdout is not None
        told = ""
        for line in self.popen.stdout:
            told += line
            if "Ctrl-C" in line:
                return told
        raise AssertionError(self.errors.read_text())

    def call(self, tool: str, **arguments: Any) -> Any:  # noqa: ANN401 - the tool's answer
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/mcp", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - the same
            return json.load(answer)["result"]["structuredContent"]

    def stop(self, number: signal.Signals) -> int:
        self.popen.send_signal(number)
        code = self.popen.wait(20)
        assert self.popen.stdout is not None
        self.popen.stdout.close()
        return code


def one_line(told: "subprocess.CompletedProcess[str]", code: int) -> str:
    """Return the one line of a command that failed."""
    assert (told.returncode, told.stdout) == (code, ""), told
    (line,) = told.stderr.splitlines()
    assert line.startswith("mcp-postgres: ")
    return line


def processes_of(folder: Path) -> list[str]:
    """Command lines of all processes that were started on this folder."""
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if str(folder) in line]
