"""No bearer token is anywhere but with who sent it: not in logs, answers, metrics, history or Redis, right or wrong."""

import base64
import json
from pathlib import Path
from typing import Final

import pytest
import redis

from server.embedded.valkey import EmbeddedValkey
from tests.processes import Process, run_command
from tests.security.doors import EVERYTHING, Caller, TokenFile, call_of, send, serving
from tests.security.leaks import Planted, found

LIST: Final = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


class Visits:
    """What was sent, what it came to, and all that came of it."""

    def __init__(self) -> None:
        self.sent: dict[str, str] = {}
        self.harvest: list[tuple[str, bytes]] = []

    def send(self, server: Process, what: str, secret: str, headers: list[tuple[str, str]], path: str = "") -> int:
        self.sent[what] = secret
        body = json.dumps(LIST).encode()
        json_body = [("Content-Type", "application/json"), *headers]
        told = send(server.port, "POST", f"/postgres/mcp{path}", json_body, body)
        self.harvest.append(("answer", told.body + repr(told.headers).encode()))
        return told.status


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory, valkey_url: str) -> Visits:
    """Tokens that are let in, that lack something, that are wrong, late, odd, and in the wrong place."""
    home, visits = tmp_path_factory.mktemp("tokens"), Visits()
    file = TokenFile(home / "tokens.toml")
    admin = file.add("admin", EVERYTHING, ["*"])
    reader = file.add("reader", ("tenants:read",), ["acme"])
    late = file.add("late", EVERYTHING, ["*"], "expires = 2026-01-31T00:00:00Z")
    env = {"MCP_POSTGRES_TOKENS_FILE": str(file.path), "MCP_POSTGRES_LOG_LEVEL": "debug", "PYTHONASYNCIODEBUG": "1"}
    with serving(home, valkey_url, **env) as server:
        visits.sent |= {"a token that is let in": admin, "a token that may do little": reader}
        fields = {"host": "h", "database": "d", "user": "u", "password": "p", "verify": False}
        told = Caller(server, admin).call("register_tenant", tenant_id="acme", **fields)
        assert told.code == "ok", told.body
        for tool in ("tenant_history", "get_tenant"):
            visits.harvest.append(("answer", Caller(server, admin).call(tool, tenant_id="acme").body))
        refused = Caller(server, reader).post(call_of("remove_tenant", tenant_id="acme"))
        assert b"forbidden" in refused.body or refused.status == 403
        visits.harvest.append(("answer", refused.body + repr(refused.headers).encode()))
        _knock_wrongly(visits, server, late)
        for path in ("/livez", "/readyz", "/metrics"):
            page = Caller(server, admin).request("GET", path)
            visits.harvest.append((f"page {path}", page.body))
    visits.harvest += [("log", log.read_bytes()) for log in home.glob("*.log")]
    with redis.Redis.from_url(valkey_url) as client:
        visits.harvest += [("Redis", client.dump(key) or b"") for key in client.scan_iter()]
    return visits


def _knock_wrongly(visits: Visits, server: Process, late: str) -> None:
    """Send what does not get in, from one place each: who fails often is made to wait."""

    def bearer(token: str) -> list[tuple[str, str]]:
        return [("Authorization", f"Bearer {token}")]

    core = Planted.at("a token that nobody knows").core
    statuses = {visits.send(server, "a token that is late", late, bearer(late))}
    statuses.add(visits.send(server, "a token of another form", core, bearer(core)))
    claims = base64.urlsafe_b64encode(json.dumps({"sub": core, "iss": "x"}).encode()).decode().rstrip("=")
    odd = f"eyJhbGciOiJub25lIn0.{claims}.c2ln"
    statuses.add(visits.send(server, "a JWT that nobody signed", odd, bearer(odd)))
    for what, headers, path in (
        ("a token behind Basic", [("Authorization", "Basic {}")], ""),
        ("a token without a scheme", [("Authorization", "{}")], ""),
        ("a token in two headers", [("Authorization", "Bearer {}"), ("Authorization", "Bearer {}")], ""),
        ("a token with a space in it", [("Authorization", "Bearer {} {}")], ""),
        ("a token in the query", [], "?access_token={}"),
        ("a token in a cookie", [("Cookie", "token={}")], ""),
        ("a token in the path", [], "/{}"),
    ):
        secret = Planted.at(what).core
        given = [(name, value.replace("{}", secret)) for name, value in headers]
        statuses.add(visits.send(server, what, secret, given, path.replace("{}", secret)))
    assert statuses <= {400, 401, 404, 429}, statuses


def test_no_token_is_in_anything_that_left_the_server(visits: Visits) -> None:
    leaks = [
        f"{what}, in {where}: {found(Planted(what, token, token), data)[:3]}"
        for what, token in visits.sent.items()
        for where, data in visits.harvest
        if found(Planted(what, token, token), data)
    ]
    assert {where for where, _ in visits.harvest} >= {"answer", "log", "Redis", "page /metrics"}
    assert b"tool call" in b"".join(data for where, data in visits.harvest if where == "log")
    assert not leaks, "\n".join(leaks)


def test_the_token_file_and_what_is_said_beside_it_hold_the_hash_alone(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    made = run_command(
        *("tokens", "new", "--subject", "ann", "--role", "reader", "--tenants", "*", "--file", str(file))
    )
    token = made.stdout.strip()
    assert len(token) > 20
    assert found(Planted("token", token, token), made.stderr.encode() + file.read_bytes()) == []


@pytest.mark.parametrize("broken", ['sha256 = "{}"', "token = '{}'", "{}", '[[tokens]]\nsubject = "a"\nsecret = "{}"'])
def test_a_token_in_clear_in_the_file_is_told_by_its_line_alone(tmp_path: Path, broken: str) -> None:
    """Somebody puts the token where its hash belongs; the server says so without it."""
    planted = Planted.at("token file")
    file, key = tmp_path / "tokens.toml", tmp_path / "master.key"
    assert run_command("keys", "new", "--out", str(key)).returncode == 0
    text = broken if broken.startswith("[[") else f"[[tokens]]\n{broken}\n"
    file.write_text(text.replace("{}", planted.text))
    file.chmod(0o600)
    env = {"REDIS_URL": "redis://127.0.0.1:1/0", "MCP_POSTGRES_KEY_FILE": str(key)}

    told = run_command("serve", "--port", "0", "--tokens-file", str(file), env=env)

    assert told.returncode in {1, 2}
    assert told.stderr
    assert found(planted, (told.stderr + told.stdout).encode()) == []


@pytest.fixture(scope="module")
def valkey_url(valkey: EmbeddedValkey) -> str:
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    return valkey.url
