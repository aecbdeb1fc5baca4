"""Where a password is, for those who keep it out of Redis: the name of a file or of a variable of each replica.

Rules: pure. A reference is no secret and may be shown; what it names is looked up for one login and not kept. Which
folder and which variables are allowed is each replica's setting, not the registrant's.
"""

import re
from typing import Final, Literal, TypeAlias

import msgspec

from registry.errors import InvalidInput

Source: TypeAlias = Literal["file", "env"]

_FILE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*\Z")
"""No absolute path, no `..`, no hidden file: no part of it begins with a dot or is empty."""
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*\Z")
_LONGEST: Final = 255


class PasswordRef(msgspec.Struct, frozen=True):
    """One reference, taken apart."""

    source: Source
    name: str


def check_password_ref(text: str) -> str:
    """Return `text` if it can be a reference; `InvalidInput` otherwise."""
    parse_password_ref(text)
    return text


def parse_password_ref(text: str) -> PasswordRef:
    """Take a reference apart. `InvalidInput` that does not repeat it: somebody may have put a password there."""
    source, _, name = text.partition(":")
    if len(text) <= _LONGEST:
        if source == "file" and _FILE.match(name):
            return PasswordRef("file", name)
        if source == "env" and _VARIABLE.match(name):
            return PasswordRef("env", name)
    raise InvalidInput(
        "password_ref must be file:NAME, a file below the folder that the server allows (letters, digits, '.', '_', "
        f"'-' and '/', no '..', no part that begins with a dot), or env:NAME; at most {_LONGEST} characters.",
        field="password_ref",
    )
