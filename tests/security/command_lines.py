"""The ways on which a secret could leave the command line: what it prints, and what it says when it cannot start."""

import base64
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from urllib.parse import quote

from tests.processes import COMMAND, clean, run_command
from tests.security.hostile import listening, redis_that_echoes
from tests.security.scene import Scene

_PARALLEL: Final = 3
_INITIALIZE: Final = (
    '{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18", '
    '"capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}}'
)


def looking(scene: Scene) -> None:
    """Every command that looks, in every form."""
    tenant = "role_plain"
    words = (
        ("tenants", "list", "--json"),
        ("tenants", "get", tenant),
        ("tenants", "history", tenant),
        ("log", "verify"),
        ("log", "tail", "--json"),
        ("log", "tail"),
        ("log", "export"),
        ("log", "rebuild-keys"),
    )
    with ThreadPoolExecutor(_PARALLEL) as pool:
        printed = list(pool.map(lambda each: scene.command(*each, env=scene.env()), words))
    assert all("role_json" in told for told in (printed[0], *printed[4:7])), printed
    for place in ("master key", "signing key"):
        scene.use(place, "role_plain" in printed[1])


def registering(scene: Scene) -> None:
    """A password from standard input and a DSN from a file work; what is given in the wrong place is not repeated."""
    fields = ("--host", "127.0.0.1", "--port", str(scene.postgres.port), "--database", "postgres", "--ssl", "disable")
    user = ("--user", "role_quotes")
    password = scene.planted["password, quotes"].text
    told = scene.command(
        *("tenants", "register", "cli", *fields, *user, "--password-file", "-"), env=scene.env(), stdin=password
    )
    assert '"login"' in told, told
    file = scene.home / "dsn"
    place = "password in a DSN's file"
    file.write_text(f"postgresql://role_quotes:{scene.plant(place)}@127.0.0.1:{scene.postgres.port}/postgres\n")
    told = scene.command("tenants", "register", "cli", "--dsn-file", str(file), env=scene.env())
    scene.use(place, "refuses the login" in told)
    for place, words, said in (
        ("password as an option", ("--password", "{}"), "not taken from the command line"),
        ("password as an option, behind an equals sign", ("--password={}",), "not taken from the command line"),
        ("password as half an option", ("--passw={}",), "unknown: --passw"),
        ("password as an option that is none", ("--pass-word", "{}"), "unknown: --pass-word"),
        ("password behind an equals sign", ("--pass-word={}",), "unknown: --pass-word"),
        ("DSN as a word too many", ("postgresql://u:{}@h/d",), "a word too many"),
    ):
        secret = scene.plant(place)
        given = [word.replace("{}", secret) for word in words]
        scene.use(place, said in scene.command("tenants", "register", "cli", *given, env=scene.env()))


def starts_that_fail(scene: Scene) -> None:
    """Settings with a secret in them that are wrong: one line each, without it."""
    key = base64.b64encode(os.urandom(32)).decode()
    broken = {name: scene.home / f"{name}.key" for name in ("short", "nameless")}
    redis, nothing = f"127.0.0.1:{scene.redis.port}", "REDIS_URL"
    list_tenants = ("REDIS_URL with two @", "REDIS_URL with a wrong password")
    cases: list[tuple[str, str, dict[str, str], str]] = [
        ("REDIS_URL with two @", "{}", {"REDIS_URL": f"redis://:{{}}@@{redis}/0"}, "put them into"),
        ("REDIS_URL with a slash in its password", "{}", {"REDIS_URL": f"redis://:a/{{}}@{redis}/0"}, nothing),
        ("REDIS_URL without a colon", "{}", {"REDIS_URL": f"redis//:{{}}@{redis}/0"}, nothing),
        ("REDIS_URL with a database that is none", "{}", {"REDIS_URL": f"redis://:{{}}@{redis}/zero"}, nothing),
        ("REDIS_URL with a password as its port", "{}", {"REDIS_URL": "redis://127.0.0.1:{}/0"}, nothing),
        ("REDIS_URL with a wrong password", "{}", {"REDIS_URL": f"redis://app:{{}}@{redis}/0"}, "put them into"),
        ("REDIS_URL with an unknown option", "{}", {"REDIS_URL": f"redis://{redis}/0?password={{}}"}, nothing),
        ("REDIS_HOST with a password", "{}", {"REDIS_HOST": "redis://:{}@h"}, "REDIS_HOST"),
        ("MCP_POSTGRES_HOST with a URL", "{}", {"MCP_POSTGRES_HOST": "redis://:{}@h"}, "MCP_POSTGRES_HOST"),
        (
            "MCP_POSTGRES_MAX_ROWS with a URL",
            "{}",
            {"MCP_POSTGRES_MAX_ROWS": "postgresql://u:{}@h/d"},
            "MCP_POSTGRES_MAX_ROWS",
        ),
        ("key instead of its file", "{}", {"MCP_POSTGRES_KEY_FILE": f"k1:{key}"}, "where no file is"),
        ("short key", "k1:{}", {"MCP_POSTGRES_KEY_FILE": str(broken["short"])}, "Line 1 of the key file"),
        ("key without a name", "{}", {"MCP_POSTGRES_SIGNING_KEY_FILE": str(broken["nameless"])}, "Line 1"),
    ]
    for place, shape, env, _ in cases:
        secret = scene.plant(place, shape)
        for name, file in broken.items():
            if str(file) in env.values():
                file.write_text(secret if name == "short" else f"{secret}\n")
    scene.note("key instead of its file", key)

    def started(case: tuple[str, str, dict[str, str], str]) -> str:
        place, _, more, _ = case
        given = {name: value.replace("{}", quote(scene.planted[place].text, safe="")) for name, value in more.items()}
        env = {**scene.env(), **given}
        if "REDIS_HOST" in given:
            del env["REDIS_URL"]
        words = ("tenants", "list") if place in list_tenants else ("serve", "--port", "0")
        return scene.command(*words, env=env)

    with ThreadPoolExecutor(_PARALLEL) as pool:
        for (place, _, _, said), told in zip(cases, pool.map(started, cases), strict=True):
            assert "Traceback" not in told, told
            scene.use(place, said in told)


def redis_that_tells_on(scene: Scene) -> None:
    """A server in the place of Redis that answers with what it was sent, the password among it."""
    place = "Redis password, echoed by a hostile server"
    password = scene.plant(place)
    with listening(redis_that_echoes) as server:
        url = f"redis://app:{password}@127.0.0.1:{server.port}/0"
        told = scene.command("tenants", "list", env=scene.env(REDIS_URL=url))
    scene.use(place, any(password.encode() in said for said in server.heard) and "Redis" in told)


def over_stdio(scene: Scene) -> None:
    """What is no message, and a call, on standard input: all that comes on both outputs."""
    cut, batch, shape, fine = (f"password over stdio, {what}" for what in ("cut short", "batch", "wrong shape", "call"))
    call = '{"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": '
    fields = {
        "tenant_id": "stdio",
        "host": "h",
        "database": "d",
        "user": "u",
        "ssl": "odd",
        "password": scene.plant(fine),
    }
    lines = (
        _INITIALIZE,
        '{"password": "' + scene.plant(cut),
        f'[{{"password": "{scene.plant(batch)}"}}]',
        f'{call}"{scene.plant(shape)}"}}',
        f'{call}{{"name": "register_tenant", "arguments": {json.dumps(fields)}}}}}',
    )
    debug = scene.env(MCP_POSTGRES_LOG_LEVEL="debug")
    words = [str(COMMAND), "serve", "--stdio"]
    piped = subprocess.PIPE
    with subprocess.Popen(words, env=clean(debug), stdin=piped, stdout=piped, stderr=piped, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        print(*lines, sep="\n", file=server.stdin, flush=True)
        told = [server.stdout.readline() for _ in range(len(lines))]  # each is answered
        rest, logged = server.communicate(timeout=20)
    scene.harvest.append(("stdio", "".join((*told, rest, logged)).encode()))
    for place in (cut, batch, shape, fine):
        scene.use(place, any("invalid_input" in line for line in told))


def make_keys(scene: Scene) -> None:
    """Make the key files of the scene, and plant what is in them."""
    for name in ("master", "signing"):
        file = scene.home / f"{name}.key"
        assert run_command("keys", "new", "--out", str(file)).returncode == 0
        scene.note(f"{name} key", file.read_text().split(":")[-1].strip())
