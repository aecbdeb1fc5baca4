"""Who calls, what they may do, and to which tenants.

Rules: pure. A tool names the one permission that it needs; a tenant that a caller may not touch does not exist for
them, by the same answers and the same way to them (`server/sight.py`).
"""

import re
from collections.abc import Sequence
from fnmatch import translate
from functools import cached_property
from typing import Final, Literal, TypeAlias, get_args

from registry.errors import Forbidden

Permission: TypeAlias = Literal["tenants:read", "tenants:write", "query:read", "query:write", "audit:read"]
PERMISSIONS: Final[frozenset[Permission]] = frozenset(get_args(Permission))
EVERY_TENANT: Final = ("*",)


class Principal:
    """One caller, whose identity was checked.

    Args:
        subject: The name that the audit history and the logs tell.
        permissions: What they may do.
        tenants: To which tenants: ids, or globs of `fnmatch` (`acme-*`), case counting.
    """

    def __init__(
        self, subject: str, permissions: frozenset[Permission] = PERMISSIONS, tenants: Sequence[str] = EVERY_TENANT
    ) -> None:
        self.subject = subject
        self.permissions = permissions
        self.tenants = tuple(tenants)

    def __repr__(self) -> str:
        return f"Principal({self.subject!r})"

    def may(self, permission: Permission) -> bool:
        """Whether the caller has the permission."""
        return permission in self.permissions

    def require(self, permission: Permission) -> None:
        """Raise `Forbidden` unless the caller has the permission."""
        if not self.may(permission):
            raise Forbidden(
                f"This needs the permission {permission}, which {self.subject!r} does not have; ask the operator.",
                permission=permission,
            )

    @property
    def touches_all(self) -> bool:
        """Whether every tenant is among those of the caller."""
        return self._pattern is None

    def touches(self, tenant_id: str) -> bool:
        """Whether the tenant, if there is one of that id, is among those of the caller."""
        return self._pattern is None or self._pattern.match(tenant_id) is not None

    def require_touch(self, tenant_id: str) -> None:
        """Raise `Forbidden`, whether or not there is such a tenant, if it would not be among those of the caller."""
        if not self.touches(tenant_id):
            told = ", ".join(self.tenants[:_SHOWN]) or "none"
            raise Forbidden(
                f"{self.subject!r} may not register {tenant_id!r}, but only tenants of these ids: {told}.",
                field="tenant_id",
            )

    def beginnings(self) -> list[str]:
        """Return what the ids of the caller's tenants begin with, in order; none of it begins with another."""
        found: list[str] = []
        for literal in sorted(_WILDCARD.split(glob, maxsplit=1)[0] for glob in self.tenants):
            if not (found and literal.startswith(found[-1])):
                found.append(literal)
        return found

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        """One pattern of all globs; None where every tenant fits."""
        if "*" in self.tenants:
            return None
        return re.compile("|".join(map(translate, self.tenants)) or r"(?!)")


def check_subject(subject: str) -> str | None:
    """Return what is wrong with the name of a caller who comes from outside, or None: events keep it for ever."""
    if not 1 <= len(subject) <= _SUBJECT_AT_MOST or not subject.isprintable():
        return f"is not 1 to {_SUBJECT_AT_MOST} printable characters"
    if subject.startswith(_RESERVED):
        return f"begins with {' or '.join(map(repr, _RESERVED))}, which is for who is on this machine"
    if subject in _OURS:
        return "is a name under which the server itself makes changes"
    return None


_WILDCARD: Final = re.compile(r"[*?[]")
_SHOWN: Final = 5
"""Globs in a message."""
_SUBJECT_AT_MOST: Final = 200
_RESERVED: Final = ("cli:", "stdio:")
_OURS: Final = frozenset({"adoption", "anonymous", "mcp-postgres run"})
