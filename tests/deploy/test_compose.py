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


def test_every_service_is_confined(compose: dict[str, Any]) -> None:
    """A service that is broken into holds no capability but what it starts with, and cannot eat the machine."""
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["pids_limit"] > 0, name
        assert service["mem_limit"], name
        reaching = {"privileged", "network_mode", "pid", "ipc", "userns_mode", "devices", "volumes_from"} & set(service)
        assert not reaching, name
        assert not any("docker.sock" in volume for volume in service.get("volumes", ())), name
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert published == {"balancer": ["127.0.0.1:8001:8001"]}


def test_what_runs_our_image_writes_nowhere_and_gets_no_capability(compose: dict[str, Any]) -> None:
    ours = {name: each for name, each in compose["services"].items() if each["image"] == "mcp-postgres"}
    assert set(ours) == {"replica-1", "replica-2", "key", "demo"}
    for name, service in ours.items():
        assert service["read_only"] is True, name
        assert not {"cap_add", "tmpfs", "user"} & set(service), name
    writable = [name for name, service in ours.items() for volume in service["volumes"] if not volume.endswith(":ro")]
    assert writable == ["key"]


def test_the_image_runs_as_a_user_with_a_number_and_nothing_after_that_is_rooted() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["10001"]
    assert not [line for line in lines[lines.index("USER 10001") :] if line.startswith(("RUN ", "COPY ", "ADD "))]


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
