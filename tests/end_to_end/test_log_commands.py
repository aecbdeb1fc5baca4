"""`mcp-postgres log …` as an operator types it, beside a replica that is running."""

import asyncio
import json
import select
import signal
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis

from server.embedded.valkey import EmbeddedValkey
from tests.processes import COMMAND, Start, clean, eventually, run_command

STREAM = "mcp:postgres:tenant-events"
HEADS = "{mcp:postgres:tenant-events}:heads"
FIELDS = {"host": "db", "database": "app", "user": "reader", "password": "s3cr3t-canary", "verify": False}


@pytest.fixture
def signed(env: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The environment of replicas that sign, and of the operator."""
    path = tmp_path / "signing.key"
    assert run_command("keys", "new", "--out", str(path)).returncode == 0
    env["MCP_POSTGRES_SIGNING_KEY_FILE"] = str(path)
    return env


def log(env: dict[str, str], *words: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
    told = run_command("log", *words, env=env)
    assert told.returncode == code, (told.stdout, told.stderr)
    assert "Traceback" not in told.stderr
    assert "s3cr3t-canary" not in told.stdout + told.stderr
    return told


def verified(env: dict[str, str], *, code: int = 0) -> Any:  # noqa: ANN401 - what the command tells
    return json.loads(log(env, "verify", "--json", code=code).stdout)


def keep_running(serve: Start, *tenants: str, **more: str) -> Any:  # noqa: ANN401 - the process and where each tenant is
    process = serve(**more)
    return process, [process.call("register_tenant", tenant_id=each, **FIELDS)["position"] for each in tenants]


def test_help_names_every_verb() -> None:
    told = run_command("log", "--help")
    assert told.returncode == 0
    for verb in ("verify", "tail", "export", "import", "rebuild-keys", "compact", "restore"):
        assert verb in told.stdout


def test_a_log_that_nobody_touched_is_whole(serve: Start, signed: dict[str, str]) -> None:
    keep_running(serve, "acme", "beta")

    told = verified(signed)
    assert (told["ok"], told["live"], told["signatures"], told["passwords"]) == (
        True,
        2,
        {"checked": 3, "unchecked": 0},
        True,
    )
    assert "nothing is wrong" in log(signed, "verify").stdout


def test_verifying_needs_no_key_and_says_what_was_not_looked_at(serve: Start, signed: dict[str, str]) -> None:
    keep_running(serve, "acme")

    told = log({"REDIS_URL": signed["REDIS_URL"]}, "verify").stdout

    assert "signatures were not looked at" in told
    assert "passwords were not looked at" in told


def test_an_edited_head_is_named_in_one_line_and_the_exit_code_says_so(
    serve: Start, signed: dict[str, str], redis_url: str
) -> None:
    keep_running(serve, "acme")
    with redis.Redis.from_url(redis_url) as client:
        client.hset(HEADS, "acme", "nonsense")

    told = log(signed, "verify", code=1)

    assert "head of tenant 'acme': it cannot be read; log rebuild-keys puts it right" in told.stdout
    assert told.stderr.splitlines()[-1].startswith("mcp-postgres: 1 thing(s) wrong")
    assert [finding["kind"] for finding in verified(signed, code=1)["findings"]] == ["head"]


@pytest.mark.parametrize("content", ["nonsense", "", "one:AAAA"])
def test_a_wrong_signing_key_file_is_one_line(env: dict[str, str], tmp_path: Path, content: str) -> None:
    path = tmp_path / "wrong.key"
    path.write_text(content)
    path.chmod(0o600)
    for command in (("serve", "--port", "0"), ("log", "verify"), ("tenants", "list")):
        told = run_command(*command, "--signing-key-file", str(path), env=env)
        assert told.returncode == 1
        (line,) = told.stderr.splitlines()
        assert line.startswith("mcp-postgres: The signing key cannot be used. ")


def test_a_signing_key_file_that_is_not_there_is_wrong_usage(env: dict[str, str]) -> None:
    told = run_command("serve", "--signing-key-file", "/no/such/file", env=env)
    assert told.returncode == 2
    assert "MCP_POSTGRES_SIGNING_KEY_FILE names /no/such/file" in told.stderr


def test_events_are_told_and_followed_until_ctrl_c(serve: Start, signed: dict[str, str]) -> None:
    process, places = keep_running(serve, "acme", "beta")
    assert len(log(signed, "tail").stdout.splitlines()) == 3
    (line,) = log(signed, "tail", "--after", places[0]).stdout.splitlines()
    assert "  beta  v1  registered  by  " in line
    (told,) = log(signed, "tail", "--json", "--tenant", "acme").stdout.splitlines()
    assert (json.loads(told)["tenant"], json.loads(told)["fields"]["host"]) == ("acme", "db")

    following = subprocess.Popen(
        [COMMAND, "log", "tail", "--follow", "--after", "end"],
        env=clean(signed),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = following.stdout
    assert lines is not None
    try:
        seen: list[str] = []
        # It begins at the end, wherever that is when it has started: so there is always something new for it.
        numbers = iter(range(1000))

        def comes() -> bool:
            process.call("register_tenant", tenant_id="acme", **{**FIELDS, "host": f"db{next(numbers)}"})
            return following.poll() is None and has_line()

        def has_line() -> bool:
            if not select.select([lines], [], [], 0.1)[0]:
                return False
            seen.append(lines.readline())
            return True

        eventually(comes, "nothing was followed")
        assert "  acme  v" in seen[0]
        following.send_signal(signal.SIGINT)
        assert following.wait(10) == 0
    finally:
        following.kill()
        following.communicate()


def test_a_log_goes_through_a_file_into_an_empty_redis_and_is_the_same(
    serve: Start, signed: dict[str, str], redis_url: str, tmp_path: Path
) -> None:
    process, _ = keep_running(serve, "acme", "beta", MCP_POSTGRES_ON_LOG_LOSS="halt")
    before, path = verified(signed), tmp_path / "log.jsonl"
    assert "Wrote" in log(signed, "export", "--out", str(path)).stdout
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(log(signed, "export").stdout.splitlines()) == len(path.read_text().splitlines())
    refused = log(signed, "import", str(path), code=1)
    assert "nothing was written" in refused.stderr
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        assert "Would import 3 entries" in log(signed, "import", str(path), "--dry-run").stdout
        assert client.dbsize() <= 2  # what the running replica says of itself

    assert "Imported 3 entries" in log(signed, "import", str(path)).stdout

    assert verified(signed) == before
    eventually(lambda: process.get("/readyz")[1]["phase"] == "following", "the replica did not go on")
    assert process.call("register_tenant", tenant_id="acme", **{**FIELDS, "host": "db2"})["version"] == 2
    assert verified(signed)["ok"]


def test_a_file_that_is_no_export_is_told_in_one_line(env: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "nonsense"
    path.write_text("nonsense\n")
    for file in (path, tmp_path / "none", tmp_path):
        told = log(env, "import", str(file), code=1)
        assert len(told.stderr.splitlines()) == 1
    told = log(env, "export", "--out", str(tmp_path / "no" / "folder"), code=1)
    assert len(told.stderr.splitlines()) == 1


def test_keys_are_made_as_the_log_says(serve: Start, signed: dict[str, str], redis_url: str) -> None:
    process, _ = keep_running(serve, "acme", "beta")
    process.stop()
    with redis.Redis.from_url(redis_url) as client:
        client.hdel(HEADS, "acme")
        client.delete("mcp:postgres:tenant:beta")
        assert "Would mend 1 heads: acme." in log(signed, "rebuild-keys", "--dry-run").stdout
        assert client.hget(HEADS, "acme") is None

        told = log(signed, "rebuild-keys").stdout

        assert "Mended 1 heads: acme." in told
        assert "Mended 1 keys: beta." in told
        assert verified(signed)["ok"]
        client.hset(HEADS, "stranger", "nonsense")
        assert "stranger" in log(signed, "rebuild-keys", code=1).stderr
        assert client.hget(HEADS, "stranger") == b"nonsense"


def test_old_entries_are_taken_out_after_a_backup(
    serve: Start, signed: dict[str, str], redis_url: str, tmp_path: Path
) -> None:
    process, places = keep_running(serve, "old", "acme", "beta")
    path = tmp_path / "before.jsonl"
    assert "begins there or later" in log(signed, "compact", "--before", "1d").stdout
    assert "Would take out 3 entries" in log(signed, "compact", "--before", places[2], "--dry-run").stdout

    told = log(signed, "compact", "--before", places[2], "--backup", str(path)).stdout

    assert "Took out 3 entries" in told
    assert len(path.read_text().splitlines()) == 4 + 3 + 3 + 2
    told = log(signed, "verify").stdout
    assert "compacted: entries 1 to 3 were taken out; heads and keys alone tell of 2 tenants" in told
    another = serve()
    assert "log does not link" not in another.log.read_text()
    assert another.call("get_tenant", tenant_id="old")["version"] == 1
    assert another.call("tenant_history", tenant_id="old") == {"tenant_id": "old", "changes": [], "complete": False}
    assert "log compacted" in log(signed, "tail").stdout
    with redis.Redis.from_url(redis_url) as client:
        assert client.xlen(STREAM) == 2
    assert process.call("register_tenant", tenant_id="old", **{**FIELDS, "host": "db2"})["version"] == 2
    assert verified(signed)["ok"]


def test_replicas_that_wait_for_an_operator_restore_when_one_says_so(
    serve: Start, env: dict[str, str], redis_url: str
) -> None:
    process, _ = keep_running(serve, "acme", MCP_POSTGRES_ON_LOG_LOSS="halt")
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    eventually(lambda: process.get("/readyz")[1]["phase"] == "diverged", "the loss was not seen")
    assert process.call("remove_tenant", tenant_id="acme")["code"] == "log_diverged"
    log(env, "restore", "--dry-run")
    assert process.get("/readyz")[1]["phase"] == "diverged"

    assert "diverged" in log(env, "restore").stdout

    eventually(lambda: process.get("/readyz")[1]["phase"] == "following", "the log was not restored")
    assert process.call("get_tenant", tenant_id="acme")["version"] == 1
    assert "restored" in log(env, "tail").stdout


@pytest.mark.parametrize("before", ["yesterday", "5", "-3d", "7@x", "2026-13-01"])
def test_what_is_no_moment_is_told_in_one_line(serve: Start, signed: dict[str, str], before: str) -> None:
    keep_running(serve, "acme")
    told = log(signed, "compact", f"--before={before}", code=1)
    assert len(told.stderr.splitlines()) == 1


async def test_the_log_of_a_running_embedded_valkey_is_joined(tmp_path: Path) -> None:
    data = ("--data-dir", str(tmp_path / "data"))
    login = ("--host", "db", "--database", "app", "--user", "u", "--no-verify")
    assert (await asyncio.to_thread(run_command, "tenants", "register", "acme", *login, *data)).returncode == 0
    async with EmbeddedValkey(tmp_path / "data"):
        told = await asyncio.to_thread(run_command, "log", "verify", *data)
    assert (told.returncode, told.stdout.splitlines()[-1]) == (0, "nothing is wrong")


def test_a_log_that_was_signed_from_a_later_entry_on_can_be_mended_and_compacted(
    serve: Start, signed: dict[str, str], tmp_path: Path
) -> None:
    """Signing often begins when the log is long there: the operator says from where."""
    key = signed.pop("MCP_POSTGRES_SIGNING_KEY_FILE")
    process, _ = keep_running(serve, "acme", "beta")
    process.stop()
    signed["MCP_POSTGRES_SIGNING_KEY_FILE"] = key
    _, (first, _) = keep_running(serve, "gamma", "delta")
    since = ("--signed-since", first)

    assert verified(signed, code=1)["wrong"] == 3
    log(signed, "rebuild-keys", *since)
    log(signed, "compact", "--before", first, "--backup", str(tmp_path / "log.jsonl"), *since)
    log(signed, "verify", *since)
    log(signed, "rebuild-keys", code=0)
