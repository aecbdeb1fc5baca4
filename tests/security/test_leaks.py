"""Nothing leaks: secrets given in every place, and all that leaves the processes searched for each, in every form.

One run of real processes for all places; each place is proven to have been used, or its test fails. Not searched are a
process's own memory, its `/proc/PID/environ` and a core dump: whoever reads those is the operator, or has won already.
"""

import json
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

import pytest

from server.embedded.binaries import find_valkey
from server.embedded.postgres import EmbeddedPostgres
from tests.processes import COMMAND, Process, clean
from tests.security import command_lines, ways
from tests.security.leaks import found
from tests.security.scene import PREFIX, Scene
from tests.servers import Server, eventually, free_port

VERBOSE: Final = {"MCP_POSTGRES_LOG_LEVEL": "debug", "PYTHONASYNCIODEBUG": "1", "PYTHONFAULTHANDLER": "1"}
KEY_FILE: Final = "MCP_POSTGRES_KEY_FILE"
ALL: Final = ("allkeys", "allchannels", "allcommands")


@pytest.fixture(scope="module")
def scene(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The run, with everything that came of it."""
    home = tmp_path_factory.mktemp("leaks")
    server = Server(find_valkey(), home, "--appendonly", "yes", "--loglevel", "debug")
    server.start()
    scene = Scene(home=home, redis=server, postgres=postgres)
    try:
        _prepare(scene)
        with _monitored(scene):
            _play(scene)
            _keep_redis(scene)
        _end(scene)
        yield scene
    finally:
        for replica in scene.replicas:
            replica.stop(signal.SIGKILL)
        server.kill()


def test_every_secret_was_used_and_none_is_anywhere(scene: Scene) -> None:
    unused = set(scene.planted) - scene.used
    leaks = {
        f"{place}, in {what}, as {', '.join(found(planted, data)[:4])}"
        for place, planted in scene.planted.items()
        for what, data in scene.harvest
        if what not in scene.told.get(place, ()) and found(planted, data)
    }
    size = sum(len(data) for _, data in scene.harvest)
    print(f"{len(scene.planted)} secrets looked for in {len(scene.harvest)} things of {size} bytes")  # noqa: T201
    assert not unused, unused
    assert not leaks, "\n".join(sorted(leaks))


def test_the_run_left_what_is_searched(scene: Scene) -> None:
    """Lines of every kind, what Redis was told, what it keeps: an empty harvest holds no secret either."""
    kept: dict[str, bytes] = {}
    for what, data in scene.harvest:
        kept[what] = kept.get(what, b"") + data
    for what, told in {
        "log 0, json": (
            b'"level":"debug"',
            b"tool call",
            b'"logger":"audit"',
            b"cut off",
            b"Fatal Python error: Aborted",
        ),
        "log 1, console": (b"tool call", b"cut_off", b"stopping"),
        "MONITOR": (b"XREAD", b"EVALSHA", b"HSET"),
        "keys in Redis": (b"mcp:postgres:tenant-events", b"tenant_registered.v1", b"role_json"),
        "append-only file": (b"tenant_registered.v1",),
        "page /metrics": (b"mcp_postgres_tool_call",),
        "answer": (b"login_refused", b"unknown_tenant", b"invalid_input"),
    }.items():
        assert [word for word in told if word not in kept.get(what, b"")] == [], what


def _prepare(scene: Scene) -> None:
    """Give Redis its passwords, leave a plain key of the earlier system, and make roles and keys."""
    (scene.home / "secrets").mkdir()
    command_lines.make_keys(scene)
    ways.make_roles(scene)
    default = scene.plant("Redis password in REDIS_PASSWORD", "d/{}@:%")
    app = scene.plant("Redis password in REDIS_URL", "u#{} ?é")
    scene.redis.run("CONFIG", "SET", "slowlog-log-slower-than", "0")
    scene.redis.run("ACL", "SETUSER", "operator", "on", "nopass", *ALL)
    scene.redis.run("ACL", "SETUSER", "app", "on", f">{app}", *ALL)
    scene.redis.run("ACL", "SETUSER", "default", "resetpass", f">{default}")
    plain = {"host": "127.0.0.1", "port": scene.postgres.port, "database": "postgres", "user": "role_url", "ssl": False}
    document = {**plain, "password": scene.planted["password, URL"].text}
    with scene.operator() as redis:
        redis.set(f"{PREFIX}:tenant:adopted", json.dumps(document))
        redis.slowlog_reset()


def _play(scene: Scene) -> None:
    references = {
        "MCP_POSTGRES_SECRETS_DIR": str(scene.home / "secrets"),
        "MCP_POSTGRES_SECRETS_ENV_PREFIX": "TENANT_",
        ways.VARIABLE: scene.planted["password, in a variable"].text,
    }
    first = _serve(scene, "json", scene.env(**VERBOSE, **references))
    in_parts = {name: value for name, value in scene.env(**VERBOSE).items() if name not in {"REDIS_URL", KEY_FILE}}
    keys = {"MCP_POSTGRES_KEYS": (scene.home / "master.key").read_text()}
    password = scene.planted["Redis password in REDIS_PASSWORD"].text
    redis = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(scene.redis.port), "REDIS_PASSWORD": password}
    second = _serve(scene, "console", {**in_parts, **redis, **keys})
    for replica in (first, second):
        replica.wait_ready()
    scene.use("Redis password in REDIS_URL", first.get("/readyz")[1]["ready"])
    scene.use("Redis password in REDIS_PASSWORD", second.get("/readyz")[1]["ready"])
    query = {"tenant_id": "adopted", "query": "SELECT 1"}
    # Plain keys are taken over once the server is ready, not before.
    eventually(lambda: "rows" in scene.call(first, "execute_query", query), "the plain key was not taken over")
    ways.passwords_that_work(scene, first)
    ways.passwords_that_stay(scene, first)
    ways.logins_that_fail(scene, first, free_port)
    ways.databases_that_echo(scene, first)
    ways.wrong_arguments(scene, second)
    ways.names_that_are_none(scene, first)
    ways.statements(scene, first)
    ways.writes(scene, first)
    ways.requests(scene, second)
    with ThreadPoolExecutor(2) as pool:
        # They mostly wait: a command is patient with a Redis that does not let it in.
        patient = [
            pool.submit(each, scene) for each in (command_lines.starts_that_fail, command_lines.redis_that_tells_on)
        ]
        command_lines.looking(scene)
        command_lines.registering(scene)
        command_lines.over_stdio(scene)
        for each in patient:
            each.result()
    for replica in (first, second):
        ways.pages(scene, replica)


def _serve(scene: Scene, style: str, env: dict[str, str]) -> Process:
    number, port = len(scene.replicas), free_port()
    log = scene.home / f"log {number}, {style}"
    with log.open("wb") as out:
        words = [str(COMMAND), "serve", "--port", str(port), "--log-format", style]
        popen = subprocess.Popen(words, env=clean(env), stdout=out, stderr=out)
    scene.replicas.append(Process(port=port, log=log, popen=popen))
    return scene.replicas[-1]


@contextmanager
def _monitored(scene: Scene) -> Iterator[None]:
    """Keep every command that Redis is given meanwhile, as it tells them to an operator who asks."""
    told = bytearray()
    with socket.create_connection(("127.0.0.1", scene.redis.port)) as operator:

        def listen() -> None:
            while part := operator.recv(65536):
                told.extend(part)

        operator.sendall(b"AUTH operator any\r\nMONITOR\r\n")
        thread = threading.Thread(target=listen)
        thread.start()
        yield
        operator.shutdown(socket.SHUT_RDWR)
        thread.join()
    scene.harvest.append(("MONITOR", bytes(told)))


def _keep_redis(scene: Scene) -> None:
    """Keep what Redis holds, what it noted of its clients, and its file.

    The file holds the adopted tenant's plain key as the earlier system wrote it until it is rewritten, and so do the
    backups: docs/operations.md says so.
    """
    with scene.operator() as redis:
        for key in redis.scan_iter(count=1000):
            read = {b"string": redis.get, b"hash": redis.hgetall, b"stream": redis.xrange}[redis.type(key)]
            scene.harvest.append(("keys in Redis", key + b" " + repr(read(key)).encode()))
            scene.harvest.append(("keys in Redis, dumped", redis.dump(key) or b""))
        for words in (("SLOWLOG", "GET", "-1"), ("CLIENT", "LIST"), ("ACL", "LOG"), ("INFO",)):
            scene.harvest.append((" ".join(words), repr(redis.execute_command(*words)).encode()))
        redis.bgrewriteaof()
        eventually(lambda: redis.info("persistence")["aof_rewrite_in_progress"] == 0, "the file is not rewritten")


def _end(scene: Scene) -> None:
    """Take Redis away, have one replica dump its stacks and the other leave, and keep what was written to disk."""
    scene.redis.kill()
    first, second = scene.replicas
    for replica in (first, second):
        eventually(lambda log=replica.log: "cut_off" in log.read_text(), "Redis is not missed")  # type: ignore[misc]
    first.stop(signal.SIGABRT)
    second.stop()
    for replica in scene.replicas:
        scene.harvest.append((replica.log.name, replica.log.read_bytes()))
    scene.harvest.append(("log of Redis", (scene.redis.home / "log").read_bytes()))
    for file in (scene.redis.home / "appendonlydir").iterdir():
        scene.harvest.append(("append-only file", file.read_bytes()))
