"""`mcp-postgres tenants …`: the tenant tools from the command line, on the registry itself; no server needs to run."""

import argparse
import getpass
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

from server.backing import backing_of
from server.errors import StartError
from server.first_read import first_read
from server.principal import Principal
from server.replica import Replica, open_replica
from server.settings import Settings
from server.toolbox import Call

_PATIENCE: Final = 5.0
"""Seconds that a command waits for a Redis from which nothing comes."""
_PAGE: Final = 1000
_ARGUMENTS: Final = (
    *("tenant_id", "host", "port", "database", "user", "ssl", "min_pool_size", "max_pool_size"),
    *("max_concurrent_requests", "expected_version", "reason", "command_id", "limit", "verify", "password_ref"),
    *("access", "roles"),
)


async def run_tenants(settings: Settings, options: argparse.Namespace) -> None:
    """Run one of the `tenants` commands and print its answer. Raises `StartError` with the answer's error."""
    # Before the replica opens: whoever types a password holds up everything else.
    secrets = _secrets(options) if options.action == "register" else {}
    async with (
        backing_of(settings, join=True) as backing,
        open_replica(
            settings, backing.redis_url, backing.master, serving=False, writing=options.action == "register"
        ) as replica,
    ):
        status = await first_read(replica.follower, _PATIENCE)
        if not status.ready:
            raise StartError(f"The registry cannot be read. {status.reason or 'Redis does not answer.'}")
        match options.action:
            case "list":
                _print_list(await _all_tenants(replica), as_json=options.json)
            case "get":
                _print(await _call(replica, "get_tenant", _given(options)))
            case "history":
                _print(await _call(replica, "tenant_history", _given(options)))
            case "register":
                _print(await _call(replica, "register_tenant", {**_given(options), **secrets}))
            case "remove":
                _print(await _call(replica, "remove_tenant", _given(options)))
            case unknown:
                raise StartError(f"There is no action {unknown!r}.")


def user() -> str:
    """Return who runs this; a container's user may have a number and no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


async def _call(replica: Replica, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    answer = await replica.toolbox.call(tool, arguments, Call(principal=Principal(f"cli:{user()}")))
    told: dict[str, Any] = json.loads(answer.payload)
    if answer.is_error:
        raise StartError(told["error"]["message"])
    return told


async def _all_tenants(replica: Replica) -> list[dict[str, Any]]:
    tenants: list[dict[str, Any]] = []
    after: dict[str, Any] = {}
    while True:
        page = await _call(replica, "list_tenants", {"limit": _PAGE, **after})
        tenants += page["tenants"]
        if "next" not in page:
            return tenants
        after = {"after": page["next"]}


def _given(options: argparse.Namespace) -> dict[str, Any]:
    return {name: value for name in _ARGUMENTS if (value := getattr(options, name, None)) is not None}


def _secrets(options: argparse.Namespace) -> dict[str, str]:
    """Read what must not stand on a command line, where all of the machine can read it, or is too long."""
    secrets: dict[str, str] = {}
    if options.dsn_file is not None:
        secrets["dsn"] = _text_of("--dsn-file", options.dsn_file)
    if options.ssl_root_ca_file is not None:
        secrets["ssl_root_ca"] = _text_of("--ssl-root-ca-file", options.ssl_root_ca_file)
    if options.password_file is not None:
        secrets["password"] = _text_of("--password-file", options.password_file)
    elif options.dsn_file is None and options.password_ref is None and sys.stdin.isatty():
        secrets["password"] = getpass.getpass("Password (empty for none): ")
    return secrets


def _text_of(option: str, path: str) -> str:
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        # Not what was given: it may be the password itself.
        raise StartError(f"The file that {option} names cannot be read ({type(error).__name__}).") from None
    return text.removesuffix("\n")


def _print_list(tenants: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        _print({"tenants": tenants})
        return
    rows = [("TENANT", "VERSION", "DATABASE")]
    rows += [
        (each["tenant_id"], str(each["version"]), f"{each['host']}:{each['port']}/{each['database']}")
        for each in tenants
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for tenant, version, database in rows:
        _write(f"{tenant:<{widths[0]}}  {version:>{widths[1]}}  {database}")


def _print(told: dict[str, Any]) -> None:
    _write(json.dumps(told, indent=2, ensure_ascii=False))


def _write(text: str) -> None:
    """Print it, with JSON's escapes for what a terminal would obey: registrants choose names and reasons."""
    shown = (each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text)
    print("".join(shown))  # noqa: T201 - what the command is for
