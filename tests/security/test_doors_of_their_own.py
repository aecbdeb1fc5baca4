"""Who gets in, at servers that each test starts for itself, over HTTP and stdio; and how tokens are made."""

import json
import re
import socket
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import redis
from prometheus_client.parser import text_string_to_metric_families

from server.embedded.sample import SampleLogin
from server.principal import PERMISSIONS
from server.tokens import RANDOM_BYTES, is_whole, token_of
from tests.processes import COMMAND, clean, eventually, fields_of, run_command
from tests.security.doors import EVERYTHING, Caller, TokenFile, Told, call_of, send, serving
from tests.security.issuer import Key, issuing

STRANGER: Final = token_of(b"\x07" * RANDOM_BYTES)
"""A token of the right form that no file has."""
LIST: Final = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


def test_many_failed_logins_are_slowed_and_counted_and_hold_up_nobody_who_has_a_token(
    tmp_path: Path, redis_url: str
) -> None:
    tokens = TokenFile(tmp_path / "tokens.toml")
    admin_token = tokens.add("admin", EVERYTHING, ["*"])
    with serving(tmp_path, redis_url, MCP_POSTGRES_TOKENS_FILE=str(tokens.path)) as server:
        admin, stranger = Caller(server, admin_token), Caller(server, STRANGER)
        with ThreadPoolExecutor(40) as threads:
            failing = [threads.submit(stranger.post, LIST) for _ in range(120)]
            assert [admin.post(LIST).status for _ in range(20)] == [200] * 20
            told = [future.result() for future in failing]
        refused = _refused(admin.request("GET", "/metrics"))

    codes = {(each.status, each.code) for each in told}
    assert codes == {(401, "bad_token"), (429, "too_many")}
    assert all("retry-after" in each.headers for each in told if each.status == 429)
    assert (refused["bad_token"] + refused["too_many"], refused["no_token"]) == (120, 0)
    log = server.log.read_text()
    assert 1 <= log.count("login failed") <= 60
    assert STRANGER not in log
    assert STRANGER[-20:] not in log


def test_a_registrant_whose_servers_hang_takes_no_more_requests_than_they_leave_to_others(
    tmp_path: Path, redis_url: str
) -> None:
    tokens = TokenFile(tmp_path / "tokens.toml")
    greedy, reader = (tokens.add(name, EVERYTHING, ["*"]) for name in ("greedy", "reader"))
    env = {"MCP_POSTGRES_MAX_REQUESTS": "8", "MCP_POSTGRES_CONNECT_TIMEOUT": "3"}
    env["MCP_POSTGRES_TOKENS_FILE"] = str(tokens.path)
    with serving(tmp_path, redis_url, **env) as server, socket.create_server(("127.0.0.1", 0)) as silent:
        hanging = {"host": "127.0.0.1", "port": silent.getsockname()[1], "database": "d", "user": "u"}
        with ThreadPoolExecutor(20) as threads:
            calls = [
                threads.submit(Caller(server, greedy).call, "register_tenant", tenant_id=f"t{number}", **hanging)
                for number in range(20)
            ]
            eventually(lambda: any(call.done() for call in calls), "nobody was refused")
            others = [Caller(server, reader).post(LIST).status for _ in range(20)]
        told = [call.result() for call in calls]

    assert others == [200] * 20
    assert sorted({each.status for each in told}) == [200, 503]
    assert [each.status for each in told].count(200) == 4


def test_a_server_with_tokens_listens_beyond_loopback(tmp_path: Path, redis_url: str) -> None:
    tokens = TokenFile(tmp_path / "tokens.toml")
    token = tokens.add("ann", EVERYTHING, ["*"])
    around = {"MCP_POSTGRES_TOKENS_FILE": str(tokens.path), "MCP_POSTGRES_HOST": "0.0.0.0"}  # noqa: S104 - the point
    with serving(tmp_path, redis_url, MCP_POSTGRES_ALLOWED_HOSTS="*", **around) as server:
        assert Caller(server).post(LIST).status == 401
        assert Caller(server, token).post(LIST).status == 200


def test_oauth_from_the_first_refusal_to_the_audit_history(tmp_path: Path, redis_url: str, sample: SampleLogin) -> None:
    key = Key.ec("ec-1")
    with issuing() as issuer:
        issuer.publish(key)
        resource = "https://mcp.example/postgres/mcp"
        env = {"MCP_POSTGRES_OAUTH_ISSUER": issuer.base, "MCP_POSTGRES_RESOURCE_URL": resource}
        with serving(tmp_path, redis_url, **env) as server:
            stranger = Caller(server).post(LIST)
            told = dict(re.findall(r'(\w+)="([^"]*)"', stranger.headers["www-authenticate"]))
            assert told == {
                "scope": "tenants:read query:read",
                "resource_metadata": "https://mcp.example/.well-known/oauth-protected-resource/postgres/mcp",
            }
            for path in ("/.well-known/oauth-protected-resource/postgres/mcp", "/.well-known/oauth-protected-resource"):
                document = send(server.port, "GET", path).json
                assert (document["resource"], document["authorization_servers"]) == (resource, [issuer.base])
                assert set(document["scopes_supported"]) == PERMISSIONS

            ann = Caller(server, key.sign(issuer.claims(scope="tenants:read tenants:write audit:read")))
            assert ann.call("register_tenant", **fields_of("acme-1", sample)).code == "ok"
            assert ann.call("register_tenant", **fields_of("other", sample)).code == "forbidden"
            assert ann.call("list_tables", tenant_id="acme-1").status == 403
            (change,) = ann.call("tenant_history", tenant_id="acme-1").value["changes"]
            assert change["by"] == "ann"

            expired = Caller(server, key.sign(issuer.claims(exp=1))).post(LIST)
            assert 'error="invalid_token", error_description="The token has expired."' in str(expired.headers)


def test_over_stdio_the_user_of_the_machine_is_who_did_it(tmp_path: Path, redis_url: str, sample: SampleLogin) -> None:
    _over_stdio(tmp_path, redis_url, call_of("register_tenant", **fields_of("acme", sample), verify=False))
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        (_, entry) = client.xrevrange("mcp:postgres:tenant-events", count=1)[0]
    assert json.loads(entry["data"])["actor"].startswith("stdio:")


def test_over_stdio_a_caller_is_held_to_the_rate_that_the_operator_set(tmp_path: Path, redis_url: str) -> None:
    calls = [{**call_of("list_tenants"), "id": number} for number in (1, 2)]
    answers = _over_stdio(tmp_path, redis_url, *calls, MCP_POSTGRES_CALLER_RATE="0.01", MCP_POSTGRES_RATE_BURST="0")
    told = [json.loads(answer["result"]["content"][0]["text"]) for answer in answers]

    assert sorted(each.get("error", {}).get("code", "ok") for each in told) == ["ok", "rate_limited"]


def _over_stdio(home: Path, redis_url: str, *calls: dict[str, Any], **env: str) -> list[dict[str, Any]]:
    """Have a server answer the calls over stdio; return their answers in the order in which they came."""
    key = home / "master.key"
    run_command("keys", "new", "--out", str(key))
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    messages = [
        {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        *calls,
    ]
    process = subprocess.Popen(
        [COMMAND, "serve", "--stdio"],
        env=clean({"REDIS_URL": redis_url, "MCP_POSTGRES_KEY_FILE": str(key), **env}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for message in messages:
        process.stdin.write(json.dumps(message) + "\n")
        process.stdin.flush()
    answers: list[dict[str, Any]] = []
    while len(answers) < len(calls):
        answer = json.loads(process.stdout.readline())
        answers += [answer] if answer.get("id") else []
    process.stdin.close()
    process.wait(30)
    process.stdout.close()
    return answers


def test_a_token_is_told_once_and_the_file_has_its_hash_alone(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    made = [
        run_command("tokens", "new", "--subject", name, "--role", "reader", "--tenants", "acme-*", "--file", str(path))
        for name in ("ann", "bob")
    ]
    tokens = [each.stdout.strip() for each in made]

    assert all(map(is_whole, tokens))
    assert len(set(tokens)) == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not any(token in path.read_text() + each.stderr for token, each in zip(tokens, made, strict=True))
    assert path.read_text().count("[[tokens]]") == 2


def _refused(told: Told) -> dict[str, int]:
    families = text_string_to_metric_families(told.body.decode())
    (family,) = (each for each in families if each.name == "mcp_postgres_refused_requests")
    return {sample.labels["reason"]: int(sample.value) for sample in family.samples if sample.name.endswith("_total")}
