"""Master keys rotated by an operator while replicas answer, and what `keys status` tells before and after."""

import asyncio
import json
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg
import redis

from registry.names import Names
from registry.secrets import MasterKeys, new_master_key
from server.embedded.postgres import EmbeddedPostgres
from server.embedded.sample import SampleLogin
from tests.processes import COMMAND, Process, Start, clean, eventually, fields_of, run_command
from tests.waiting import now

KEYS: Final = Names().data_keys
ROTATION: Final = Names().rotation


@contextmanager
def traffic(*replicas: Process) -> Iterator[Counter[str]]:
    """Ask the replicas for the tables of tenant acme, over and over; what they answered is counted."""
    answers: Counter[str] = Counter()
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            for each in replicas:
                told = each.call("list_tables", tenant_id="acme")
                answers["tables" if "tables" in told else json.dumps(told)] += 1

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield answers
    finally:
        over.set()
        asking.join()


def test_keys_are_rotated_under_traffic_and_afterwards_the_new_one_alone_is_enough(
    serve: Start, env: dict[str, str], key_file: Path, sample: SampleLogin, postgres: EmbeddedPostgres
) -> None:
    a, b = serve(), serve()
    a.call("register_tenant", **fields_of("acme", sample))
    a.call("register_tenant", **{**fields_of("quiet", sample), "verify": False})
    old, new = key_file.read_text(), new_master_key("new") + "\n"
    with traffic(a, b) as answers:
        key_file.write_text(new + old)
        assert run_command("keys", "rotate", "--dry-run", env=env).stdout.startswith("Would wrap 2 data keys anew.")

        rotated = run_command("keys", "rotate", env=env)

        assert rotated.returncode == 0, rotated.stderr
        assert "Wrapped 2 data keys anew." in rotated.stdout
        key_file.write_text(new)
        b.call("register_tenant", **{**fields_of("later", sample), "verify": False})
        asyncio.run(disconnect_all(postgres, sample.user))
        before = answers["tables"]
        eventually(lambda: answers["tables"] > before + 20, "no more answers")
    # A connection that is ended from outside may be told of to its caller once; the keys never are.
    assert not [answer for answer in answers if "secret" in answer], answers

    told = status(env)
    assert ([key["name"] for key in told["keys"]], told["left"], told["data_keys"]) == (["new"], 0, 3)
    for each in (a, b):
        each.stop()
        started = serve()
        for tenant in ("acme", "quiet", "later"):
            assert "tables" in started.call("list_tables", tenant_id=tenant)


def test_a_rotation_that_is_killed_in_the_middle_is_gone_on_with_and_no_data_key_is_lost(
    env: dict[str, str], key_file: Path, redis_url: str, serve: Start
) -> None:
    serve().stop()  # the log is there
    old = MasterKeys.parse(key_file.read_text())
    made = {f"t{number}": now(old.new_data_key(f"t{number}")) for number in range(20_000)}
    new = new_master_key("new")
    key_file.write_text(f"{new}\n{key_file.read_text()}")
    with redis.Redis.from_url(redis_url) as client:
        client.hset(KEYS, mapping={tenant: wrapped for tenant, (_, wrapped) in made.items()})
        with subprocess.Popen([COMMAND, "keys", "rotate"], env=clean(env), stdout=subprocess.DEVNULL) as rotating:
            eventually(lambda: bool(client.hexists(ROTATION, "last")), "nothing is rotated")
            rotating.kill()
        left = sum(
            b"|new|" not in wrapped for wrapped in client.hvals(KEYS)
        )  # 0 if the kill came late, on a busy machine

        again = run_command("keys", "rotate", "--json", env=env)

        told = json.loads(again.stdout)
        assert (told["rewrapped"], told["left"], told["data_keys"]) == (left, 0, len(made))
        wrapped = client.hgetall(KEYS)
    master = MasterKeys.parse(new)
    assert all(
        now(master.unwrap(each, wrapped[each.encode()].decode())).id == key.id for each, (key, _) in made.items()
    )


def test_a_data_key_that_does_not_open_is_told_and_ends_with_exit_code_one(
    serve: Start, env: dict[str, str], key_file: Path, sample: SampleLogin
) -> None:
    serve().call("register_tenant", **fields_of("acme", sample))
    key_file.write_text(new_master_key("other"))

    for action in (("status",), ("rotate",), ("rotate", "--dry-run")):
        told = run_command("keys", *action, env=env)
        assert told.returncode == 1
        for word in ("other", "missing", "'acme'", "1 do not open"):
            assert word in told.stdout
        assert "MCP_POSTGRES_KEY_FILE" in told.stderr


def test_keys_in_the_environment_do_without_a_file_and_both_together_are_refused(
    serve: Start, env: dict[str, str], key_file: Path, sample: SampleLogin
) -> None:
    keys = {"MCP_POSTGRES_KEYS": f"{new_master_key('new')},{key_file.read_text().splitlines()[-1]}"}
    of_file = serve()
    of_file.call("register_tenant", **fields_of("acme", sample))
    without_file = {name: value for name, value in env.items() if name != "MCP_POSTGRES_KEY_FILE"}

    assert run_command("keys", "rotate", env={**without_file, **keys}).returncode == 0
    of_environment = serve(MCP_POSTGRES_KEY_FILE="", **keys)

    assert "tables" in of_environment.call("list_tables", tenant_id="acme")
    told = run_command("serve", env={**env, **keys})
    assert (told.returncode, "MCP_POSTGRES_KEYS are both set" in told.stderr) == (2, True)
    assert keys["MCP_POSTGRES_KEYS"] not in told.stderr


def test_without_a_key_in_a_file_or_the_environment_a_server_does_not_start_and_says_how_to_make_one(
    redis_url: str,
) -> None:
    for command in (("serve",), ("keys", "status"), ("keys", "rotate")):
        told = run_command(*command, env={"REDIS_URL": redis_url})

        assert told.returncode == 2
        for word in ("MCP_POSTGRES_KEY_FILE", "MCP_POSTGRES_KEYS", "mcp-postgres keys new"):
            assert word in told.stderr


def status(env: dict[str, str]) -> Any:  # noqa: ANN401 - what the command tells programs
    """Return what `keys status` tells programs."""
    done = run_command("keys", "status", "--json", env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def disconnect_all(postgres: EmbeddedPostgres, user: str) -> None:
    """End a role's connections from the server's side, so that everybody has to log in anew."""
    admin = await asyncpg.connect(postgres.dsn("postgres"))
    try:
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", user)
    finally:
        await admin.close()
