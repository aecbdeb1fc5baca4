"""What a `password_ref` names, looked up for one login: a file below one folder, or one of a few variables.

A registrant chooses the name, and an operator what may be named: nothing, unless the settings say so. With `{tenant}`
in a setting each tenant has its own: without it, who may register a tenant may have any of the secrets sent to a
server of their choice.
"""

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from registry.errors import InvalidInput, SecretUnreadable
from registry.inputs import check_password
from registry.password_refs import PasswordRef, parse_password_ref
from registry.secrets import Secret
from registry.state import Live

TENANT: Final = "{tenant}"
"""Stands for the tenant's id in both settings."""
Find: TypeAlias = Callable[[Live], Awaitable[Secret | None]]
_MAX_BYTES: Final = 8192
"""More than any password has bytes; a file that is larger holds something else."""
_OURS: Final = ("MCP_POSTGRES_", "REDIS_", "PG")
"""What the server itself is set up with is no tenant's password."""


class SecretFiles:
    """Looks references up.

    Args:
        folder: Below which files may be named; None: no file may.
        prefix: What a variable's name begins with that may be named, or its whole name if that holds `{tenant}`; None:
            no variable may.
        environment: Where variables are.
    """

    def __init__(self, folder: Path | None, prefix: str | None, environment: Mapping[str, str] = os.environ) -> None:
        self._folder = folder
        self._prefix = prefix
        self._environment = environment

    def check(self, tenant_id: str, text: str) -> None:
        """Raise `InvalidInput`, saying what to set or to write, unless the tenant may name `text` here."""
        refusal = self._refusal(tenant_id, parse_password_ref(text))
        if refusal:
            raise InvalidInput(refusal, field="password_ref")

    async def password(self, tenant_id: str, text: str) -> Secret:
        """Return the password as it is now; `SecretUnreadable` names the reference and shows nothing of the content."""
        ref = parse_password_ref(text)
        refusal = self._refusal(tenant_id, ref)
        if refusal:
            raise SecretUnreadable(refusal)
        raw = self._variable(ref) if ref.source == "env" else await asyncio.to_thread(self._file, tenant_id, ref)
        return _password_of(raw, _told(tenant_id, ref))

    def _refusal(self, tenant_id: str, ref: PasswordRef) -> str | None:
        if ref.source == "file":
            if self._folder is None:
                return "No folder is allowed for password_ref=file: on this server; set MCP_POSTGRES_SECRETS_DIR there."
            return None
        if self._prefix is None:
            return (
                "No variables are allowed for password_ref=env: on this server; set MCP_POSTGRES_SECRETS_ENV_PREFIX "
                "there."
            )
        allowed = self._prefix.replace(TENANT, tenant_id)
        fits = ref.name == allowed if TENANT in self._prefix else ref.name.startswith(allowed)
        if fits and not ref.name.startswith(_OURS):
            return None
        what = "be" if TENANT in self._prefix else "begin with"
        return f"A variable that password_ref=env: names must {what} {allowed!r} (MCP_POSTGRES_SECRETS_ENV_PREFIX)."

    def _variable(self, ref: PasswordRef) -> bytes | None:
        value = self._environment.get(ref.name)
        return None if value is None else os.fsencode(value)

    def _file(self, tenant_id: str, ref: PasswordRef) -> bytes | None:
        """Read the file; None if none may be read. Secrets that are mounted are links within the folder."""
        assert self._folder is not None  # noqa: S101 - or it was refused
        try:
            folder = Path(str(self._folder).replace(TENANT, tenant_id)).resolve(strict=True)
            path = (folder / ref.name).resolve(strict=True)
            return _read(path) if path.is_relative_to(folder) else None
        except (OSError, RuntimeError):  # a loop of links is a RuntimeError until Python 3.12
            return None


def passwords(files: SecretFiles, sealed: Find) -> Find:
    """Return what finds a tenant's password for one login, where its registration says: named, or sealed."""

    async def password(tenant: Live) -> Secret | None:
        ref = tenant.config.password_ref
        return await files.password(tenant.tenant, ref) if ref else await sealed(tenant)

    return password


def _read(path: Path) -> bytes | None:
    # Nothing that is no file, and no waiting for one who writes into a pipe.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(_MAX_BYTES + 1) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None


def _password_of(raw: bytes | None, told: str) -> Secret:
    if raw is None:
        raise SecretUnreadable(f"{told} is not there, or may not be read by this server; put it there.")
    if len(raw) > _MAX_BYTES:
        raise SecretUnreadable(f"{told} is larger than {_MAX_BYTES} bytes; name one that holds the password alone.")
    try:
        password = check_password(Secret(raw.decode().removesuffix("\n").removesuffix("\r")))
    except (InvalidInput, UnicodeDecodeError):
        raise SecretUnreadable(f"{told} holds no text that can be a password; write one into it.") from None
    if password is None:
        raise SecretUnreadable(f"{told} is empty; write the password into it.")
    return password


def _told(tenant_id: str, ref: PasswordRef) -> str:
    kind = "file" if ref.source == "file" else "variable"
    return f"The {kind} that password_ref={ref.source}:{ref.name} of tenant {tenant_id!r} names"
