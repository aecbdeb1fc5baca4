"""Write what is in the product as CycloneDX: `sbom.py LOCK OUT`, or `make sbom`.

Versions and hashes are those of the lock file, licences and who needs whom those that the packages declare, as far as
they are installed here. The same lock gives the same file: no time, no serial number, everything sorted.
"""

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

PRODUCT: Final = "mcp-postgres-tenants"
_ROOT: Final = Path(__file__).parents[1]
_LICENCE_CLASSIFIER: Final = "License :: OSI Approved :: "
_SHORT: Final = 60
"""Characters of a licence's name; what is longer is the licence itself."""


def bom_of(lock: Path) -> dict[str, Any]:
    """Return the whole document. Raises `CalledProcessError` if the generator does not take the lock file."""
    generated = _generated(lock)
    components = sorted((_component(each) for each in generated["components"]), key=lambda each: str(each["purl"]))
    refs = {canonicalize_name(each["name"]): each["bom-ref"] for each in components}
    root = {
        "type": "application",
        "bom-ref": f"pkg:pypi/{PRODUCT}@{metadata.version(PRODUCT)}",
        "purl": f"pkg:pypi/{PRODUCT}@{metadata.version(PRODUCT)}",
        "name": PRODUCT,
        "version": metadata.version(PRODUCT),
        "licenses": _licences(PRODUCT),
    }
    needs = {str(root["bom-ref"]): _needed(PRODUCT, refs)}
    needs.update({ref: _needed(name, refs) for name, ref in refs.items()})
    return {
        "$schema": generated["$schema"],
        "bomFormat": generated["bomFormat"],
        "specVersion": generated["specVersion"],
        "version": 1,
        "metadata": {"component": root, "tools": generated["metadata"]["tools"]},
        "components": components,
        "dependencies": [{"ref": ref, "dependsOn": needed} for ref, needed in sorted(needs.items())],
    }


def _generated(lock: Path) -> dict[str, Any]:
    program = str(Path(sys.executable).with_name("cyclonedx-py"))
    words = [program, "requirements", "--output-reproducible", "--sv", "1.6", str(lock)]
    done = subprocess.run(words, capture_output=True, check=True)  # noqa: S603 - our own argument list, no shell
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _component(generated: dict[str, Any]) -> dict[str, Any]:
    """Return the generator's component with a name of its own that does not change with the lock's lines."""
    kept = {name: value for name, value in generated.items() if name not in {"bom-ref", "description"}}
    licences = _licences(kept["name"])
    return {**kept, "bom-ref": kept["purl"], **({"licenses": licences} if licences else {})}


def _licences(name: str) -> list[dict[str, Any]]:
    """Return what an installed package declares: an SPDX expression, or names; nothing for one of another platform."""
    try:
        told = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return []
    for expression in told.get_all("License-Expression") or ():
        return [{"expression": expression}]
    classified = [each for each in told.get_all("Classifier") or () if each.startswith(_LICENCE_CLASSIFIER)]
    named = [each.removeprefix(_LICENCE_CLASSIFIER) for each in classified] or told.get_all("License") or []
    return [{"license": {"name": each}} for each in named if 0 < len(each) <= _SHORT and "\n" not in each]


def _needed(name: str, refs: dict[Any, str]) -> list[str]:
    try:
        required = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []
    return sorted({refs[each] for each in map(_name_of, required) if each in refs})


def _name_of(required: str) -> str:
    """Return whom a requirement names, or nothing if it is for an extra; other platforms count."""
    try:
        requirement = Requirement(required)
    except InvalidRequirement:
        return ""
    return "" if re.search(r"\bextra\b", str(requirement.marker)) else canonicalize_name(requirement.name)


def main(lock: str, out: str) -> None:
    """Write the file."""
    text = json.dumps(bom_of(_ROOT / lock), indent=2, sort_keys=True) + "\n"
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    Path(out).write_text(text, "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
