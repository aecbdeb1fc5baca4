"""The official conformance suite against this HTTP stack, with the fixtures that the suite names behind it."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
import redis
import yaml

from server.embedded.sockets import free_port
from server.embedded.valkey import EmbeddedValkey
from tests.foreign import PACKAGES, node
from tests.processes import Process, clean, run_command

HERE: Final = Path(__file__).parent
SUITE: Final = PACKAGES / "@modelcontextprotocol" / "conformance"
EXPECTED: Final[Mapping[str, Mapping[str, str]]] = yaml.safe_load((HERE / "expected_failures.yaml").read_text("utf-8"))
REVISIONS: Final = ("2025-11-25", "2026-07-28")
Checks: TypeAlias = dict[str, list[dict[str, Any]]]
"""By scenario, what the suite looked at and what it found."""


@pytest.fixture(scope="module")
def fixture_server(valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """`mcp-postgres serve` with the suite's fixtures in place of the tools."""
    folder = tmp_path_factory.mktemp("conformance")
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    assert run_command("keys", "new", "--out", str(folder / "master.key")).returncode == 0
    port, log = free_port(), folder / "server.log"
    env = {
        "REDIS_URL": valkey.url,
        "MCP_POSTGRES_KEY_FILE": str(folder / "master.key"),
        "MCP_POSTGRES_PORT": str(port),
    }
    program = [sys.executable, "-m", "tests.conformance.program"]
    with log.open("wb") as out:
        popen = subprocess.Popen(program, env=clean(env), cwd=HERE.parents[1], stdout=out, stderr=out)
    process = Process(port=port, log=log, popen=popen)
    process.wait_ready()
    yield process
    process.stop()


@pytest.fixture(scope="module")
def found(fixture_server: Process, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checks]:
    """What the suite finds for each revision; both are looked at at once."""
    out = tmp_path_factory.mktemp("found")
    url = f"http://localhost:{fixture_server.port}/postgres/mcp"
    running = {
        revision: subprocess.Popen(
            node(str(SUITE / "dist" / "index.js"), *_words(url, revision, out / revision)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for revision in REVISIONS
    }
    told = {revision: each.communicate(timeout=120)[0] for revision, each in running.items()}
    return {revision: _read(out / revision, told[revision]) for revision in REVISIONS}


def _words(url: str, revision: str, out: Path) -> list[str]:
    return ["server", "--url", url, "--requirements", revision, "--output-dir", str(out)]


def _read(folder: Path, told: str) -> Checks:
    found = {}
    for path in folder.glob("server-*/checks.json"):
        scenario = re.sub(r"^server-(.*?)-\d{4}-\d\d-\d\dT.*$", r"\1", path.parent.name)
        found[scenario] = json.loads(path.read_text("utf-8"))
    assert found, told
    return found


def broken_in(checks: Checks) -> dict[str, str]:
    """Return what did not pass, as scenario:check, and what the suite says of it."""
    return {
        f"{scenario}:{check['id']}": str(check.get("errorMessage", ""))
        for scenario, each in checks.items()
        for check in each
        if check["status"] not in {"SUCCESS", "INFO", "SKIPPED"}
    }


def is_expected(broken: str, revision: str) -> bool:
    return broken in EXPECTED[revision] or broken.partition(":")[0] in EXPECTED[revision]


@pytest.mark.parametrize("revision", REVISIONS)
def test_nothing_fails_but_what_is_listed_with_its_reason(found: dict[str, Checks], revision: str) -> None:
    broken = broken_in(found[revision])
    assert {each: why for each, why in broken.items() if not is_expected(each, revision)} == {}


@pytest.mark.parametrize("revision", REVISIONS)
def test_what_is_listed_still_fails_or_the_list_would_hide_the_day_it_breaks_again(
    found: dict[str, Checks], revision: str
) -> None:
    broken = broken_in(found[revision])
    failing = broken.keys() | {each.partition(":")[0] for each in broken}
    assert EXPECTED[revision].keys() - failing == set()


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_scenario_that_the_revision_requires_was_run_and_something_was_seen_to_pass_in_it(
    found: dict[str, Checks], revision: str
) -> None:
    passing = {
        scenario for scenario, checks in found[revision].items() if any(each["status"] == "SUCCESS" for each in checks)
    }
    listed = {each.partition(":")[0] for each in EXPECTED[revision]}
    assert required_of(revision) - passing - listed == set()


@pytest.mark.usefixtures("found")
def test_everything_that_2026_07_28_requires_passes_whole() -> None:
    assert required_of("2026-07-28") & {each.partition(":")[0] for each in EXPECTED["2026-07-28"]} == set()


def required_of(revision: str) -> set[str]:
    """Return the server's scenarios of the revision's frozen list."""
    listed = yaml.safe_load((SUITE / "requirements" / f"{revision}.yaml").read_text("utf-8"))
    return set(listed["server"])
