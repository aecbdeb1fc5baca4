"""What is deployed is checked by the tools that deploy it; no engine is needed for that."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.settings import SETTINGS

ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent


@pytest.fixture
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return loaded


def run_tool(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [TOOLS / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_real_compose_takes_the_file() -> None:
    told = run_tool("docker-compose", "-f", "compose.yaml", "config", "--quiet")
    assert told.returncode == 0, told.stderr


def test_the_real_compose_would_not_take_a_misspelt_one(tmp_path: Path, compose: dict[str, Any]) -> None:
    compose["services"]["balancer"]["depends_on"]["replica-1"]["condition"] = "service_helthy"
    (tmp_path / "compose.yaml").write_text(yaml.safe_dump(compose))
    assert run_tool("docker-compose", "-f", str(tmp_path / "compose.yaml"), "config", "--quiet").returncode != 0


def test_the_file_fits_the_compose_specification() -> None:
    told = run_tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml")
    assert told.returncode == 0, told.stdout


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    told = run_tool("hadolint", "Dockerfile")
    assert told.returncode == 0, told.stdout


def test_redis_keeps_what_it_is_given(compose: dict[str, Any]) -> None:
    redis = compose["services"]["redis"]
    command = " ".join(redis["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert redis["volumes"] == ["redis:/data"]


def test_there_are_two_replicas_that_are_set_up_alike(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert services["replica-1"] == services["replica-2"]
    known = {setting.variable for setting in SETTINGS}
    assert set(services["replica-1"]["environment"]) <= known


def test_every_file_that_is_mounted_or_copied_is_there(compose: dict[str, Any]) -> None:
    mounted = [
        volume.split(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", ())
        if volume.startswith("./")
    ]
    copied = [
        word
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    ]
    assert mounted
    assert copied
    assert [name for name in (*mounted, *copied) if not (ROOT / name).exists()] == []


def test_the_balancers_configuration_is_one_that_nginx_takes(tmp_path: Path) -> None:
    nginx = shutil.which("nginx")
    if nginx is None:
        pytest.skip("nginx is not on this machine")
    text = (ROOT / "deploy" / "balancer.conf").read_text()
    hosts = text.replace("replica-1", "127.0.0.1").replace("replica-2", "127.0.0.1")
    whole = f"error_log {tmp_path}/e;\npid {tmp_path}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{hosts}\n}}\n"
    (tmp_path / "nginx.conf").write_text(whole)
    told = subprocess.run([nginx, "-t", "-c", tmp_path / "nginx.conf"], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
