"""Look every locked package up in a database of vulnerabilities: `audit.py [--service osv] LOCK…`, or `make audit`.

Exit codes: 0 all were looked up and none is known to be vulnerable; 1 some are; 3 some could not be looked up, because
no database is reachable or it does not know them, and none of the others is. pip-audit itself says "no known
vulnerabilities" also where it could look nothing up, as behind an index that has files and nothing else.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

OK: Final = 0
VULNERABLE: Final = 1
NOT_LOOKED_UP: Final = 3
_PINNED: Final = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^ ;\\]+)", re.MULTILINE)
_SHOWN: Final = 5


def pinned(text: str) -> list[str]:
    """Return `name==version` of each package of a lock file, those of other platforms included."""
    return [f"{name}=={version}" for name, version in _PINNED.findall(text)]


def verdict_of(packages: Sequence[str], told: Sequence[dict[str, Any]], service: str) -> tuple[int, list[str]]:
    """Return the exit code and the lines to print, from what the tool told of each package."""
    known = {f"{each['name']}=={each['version']}": each["vulns"] for each in told if "vulns" in each}
    bad = {package: vulns for package, vulns in known.items() if vulns}
    missing = [package for package in packages if package not in known]
    lines = [
        f"{package}: {vuln['id']} ({', '.join(vuln.get('aliases', ())) or 'no other name'}), fixed in "
        f"{', '.join(vuln.get('fix_versions', ())) or 'no version yet'}"
        for package, vulns in sorted(bad.items())
        for vuln in vulns
    ]
    if missing:
        some = ", ".join(missing[:_SHOWN]) + (", …" if len(missing) > _SHOWN else "")
        lines.append(
            f"NOT AUDITED: {len(missing)} of {len(packages)} packages could not be looked up in the database {service} "
            f"({some}). This is no finding that they are safe: run it where a database is reachable."
        )
    lines.append(f"{len(packages) - len(missing)} of {len(packages)} packages looked up, {len(bad)} vulnerable.")
    return (VULNERABLE if bad else NOT_LOOKED_UP if missing else OK), lines


def look_up(packages: Sequence[str], service: str) -> list[dict[str, Any]]:
    """Return what pip-audit tells of each package; nothing where it cannot reach the database."""
    program = str(Path(sys.executable).with_name("pip-audit"))
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as listed:
        listed.write("\n".join(packages))
        listed.flush()
        words = [
            program,
            "--disable-pip",
            "--no-deps",
            "--requirement",
            listed.name,
            "--vulnerability-service",
            service,
        ]
        words += ["--format", "json", "--progress-spinner", "off"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - our own argument list
    try:
        told: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        sys.stderr.write("\n".join(done.stderr.splitlines()[-1:]) + "\n")
        return []
    return told


def main() -> int:
    """Print the verdict and return the exit code."""
    parser = argparse.ArgumentParser(description="Look every locked package up in a database of vulnerabilities.")
    parser.add_argument("--service", default="pypi", choices=("pypi", "osv"), help="the database [pypi]")
    parser.add_argument("locks", nargs="+", type=Path, metavar="LOCK")
    options = parser.parse_args()
    packages = sorted({each for lock in options.locks for each in pinned(lock.read_text("utf-8"))})
    code, lines = verdict_of(packages, look_up(packages, options.service), options.service)
    sys.stdout.write("\n".join(lines) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
