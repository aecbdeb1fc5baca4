"""`mcp-postgres keys status` and `rotate`: the master keys and what they wrap; no server needs to run."""

import argparse
import uuid
from typing import Final

import msgspec

from projections.rotation import KeyStatus, Rotation
from registry.data_keys import DataKeys
from registry.errors import CommandRefused
from server.errors import StartError
from server.log_access import LogAccess, open_log
from server.settings import Settings

_NEEDS: Final = "+evalsha +eval +hget +hset +hgetall"
_SHOWN: Final = 20


async def run_keys(settings: Settings, options: argparse.Namespace) -> None:
    """Run one of the `keys` commands and print what it tells. Raises `StartError` if it ends with exit code 1."""
    async with open_log(settings) as access:
        rotation = _rotation(access)
        try:
            if options.action == "status" or options.dry_run:
                status = await rotation.status()
                _tell(status, options, _would(status) if options.action == "rotate" else [])
            else:
                rotated = await rotation.rotate()
                status = rotated.status
                _tell(status, options, [f"Wrapped {rotated.rewrapped} data keys anew.", ""], rotated.rewrapped)
        except CommandRefused as error:
            raise StartError(f"{error.message} keys {options.action} needs a Redis user with {_NEEDS}.") from None
    if not status.ok:
        raise StartError(f"{len(status.unreadable)} data key(s) do not open, the first: {status.unreadable[0].why}")


def _rotation(access: LogAccess) -> Rotation:
    assert access.master is not None  # noqa: S101 - the settings were checked: the command needs one
    return Rotation(DataKeys(access.redis, access.names), access.master, lambda: uuid.uuid4().hex)


def _would(status: KeyStatus) -> list[str]:
    return [f"Would wrap {status.left} data keys anew. Nothing was written.", ""]


def _tell(status: KeyStatus, options: argparse.Namespace, before: list[str], rewrapped: int | None = None) -> None:
    if options.json:
        told = {**msgspec.to_builtins(status), "ok": status.ok}
        if rewrapped is not None:
            told["rewrapped"] = rewrapped
        _print(msgspec.json.encode(told).decode())
        return
    for line in (*before, *_lines(status)):
        _print(line)


def _lines(status: KeyStatus) -> list[str]:
    rows = [("MASTER KEY", "DATA KEYS", "")]
    rows += [(key.name, str(key.data_keys), _role(key.wraps, key.held, key.data_keys)) for key in status.keys]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = [f"Master keys of {status.where}:", ""]
    lines += [f"  {name:<{widths[0]}}  {count:>{widths[1]}}  {role}".rstrip() for name, count, role in rows]
    lines.append("")
    lines += [f"  tenant {each.tenant!r}: {each.why}" for each in status.unreadable[:_SHOWN]]
    lines.append(_next_step(status))
    return lines


def _role(wraps: bool, held: bool, data_keys: int) -> str:  # noqa: FBT001 - three facts of one key
    if not held:
        return "missing: put it back, or register these tenants again"
    if wraps:
        return "wraps"
    return "to be rotated" if data_keys else "no data key needs it"


def _next_step(status: KeyStatus) -> str:
    told = [f"{status.left} of {status.data_keys} data keys are still to be rotated: mcp-postgres keys rotate."]
    if not status.left:
        told = [f"Of {status.data_keys} data keys none is to be rotated."]
    if status.unreadable:
        told.append(f"{len(status.unreadable)} do not open.")
    return " ".join(told)


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - what the command is for
