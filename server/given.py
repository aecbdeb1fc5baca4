"""Where settings come from: the command line, then the environment, then the defaults; checked all at once at start."""

from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from registry import redis_url
from registry.secrets import Secret
from server.embedded.binaries import POSTGRES_VARIABLE, VALKEY_VARIABLE
from server.redaction import redacted
from server.setting_rules import problems_of
from server.settings import NAMED, SETTINGS, Command, Settings, SettingsError, variable_of

_OURS: Final = "MCP_POSTGRES_"
_OF_KUBERNETES: Final = ("MCP_POSTGRES_SERVICE_", "MCP_POSTGRES_PORT_")
"""What it tells each pod of a service that is called mcp-postgres."""


def load(arguments: Mapping[str, object], environment: Mapping[str, str], command: Command = "serve") -> Settings:
    """Return what `command` honours of the settings; `SettingsError` lists every problem.

    Empty variables count as unset.
    """
    problems: list[str] = []
    values: dict[str, object] = {}
    defaults = Settings()
    for setting in SETTINGS:
        if command not in setting.commands:
            continue
        given = None if setting.secret else arguments.get(setting.field)
        raw = given if given is not None else environment.get(setting.variable, "").strip() or None
        if raw is not None:
            values[setting.field] = _words(raw) if isinstance(getattr(defaults, setting.field), tuple) else raw
    if command in NAMED and values.get("redis_url") is None:
        values["redis_url"] = _redis_url_from_parts(environment, problems)
    checked = _convert(values, problems)
    problems.extend(problems_of(checked, needs_key=command != "log"))
    if problems:
        raise SettingsError([_without_secrets(problem, values.values()) for problem in problems])
    return checked


def _without_secrets(problem: str, values: Iterable[object]) -> str:
    """Return the problem with what was given blanked where it looks like a secret: a URL, or a key for its file."""
    for given in map(str, values):
        told = redacted(given)
        if told != given:  # a path is shown without the second of two slashes
            problem = problem.replace(given, told).replace(str(Path(given)), told)
    return problem


def _convert(values: dict[str, object], problems: list[str]) -> Settings:
    """Convert field by field, so that one wrong value does not hide the next."""
    good: dict[str, object] = {}
    for field in msgspec.structs.fields(Settings):
        if field.name not in values:
            continue
        try:
            good[field.name] = msgspec.convert(values[field.name], field.type, strict=False, dec_hook=_made)
        except (msgspec.ValidationError, ValueError):
            problems.append(f"{variable_of(field.name)} is {values[field.name]!r}, which is no {_kind(field.type)}.")
    return Settings(**good)  # type: ignore[arg-type]  # each value was converted to its field's type


def _redis_url_from_parts(environment: Mapping[str, str], problems: list[str]) -> str | None:
    """Put the URL together. A part that is wrong is told and not shown, and the rest is checked without it."""
    host = environment.get("REDIS_HOST", "").strip()
    if not host:
        return None
    if not redis_url.is_host(host):
        problems.append("REDIS_HOST must be the name or address of a host, and nothing else.")
        host = "localhost"
    port = _number_of(environment, "REDIS_PORT", "6379", range(1, 65_536), problems)
    database = _number_of(environment, "REDIS_DB", "0", range(100_000), problems)
    password = environment.get("REDIS_PASSWORD")
    login = f":{quote(password, safe='')}@" if password else ""
    host = f"[{host}]" if ":" in host else host
    return f"redis://{login}{host}:{port}/{database}"


def _number_of(environment: Mapping[str, str], variable: str, default: str, allowed: range, problems: list[str]) -> str:
    text = environment.get(variable, "").strip() or default
    if text.isascii() and text.isdecimal() and len(text) <= len(str(allowed.stop)) and int(text) in allowed:
        return text
    problems.append(f"{variable} must be a whole number from {allowed.start} to {allowed.stop - 1}.")
    return default


def _words(raw: object) -> list[str]:
    return [word.strip() for word in str(raw).split(",") if word.strip()]


def _kind(kind: object) -> str:
    return {int: "whole number", float: "number", bool: "yes or no (1 or 0)"}.get(kind, "valid value")  # type: ignore[call-overload,no-any-return]  # a type or a union


def _made(kind: type, value: object) -> object:
    made = {Path: Path, Secret: Secret}.get(kind)
    return value if made is None else made(str(value))


def unknown_variables(environment: Iterable[str]) -> list[str]:
    """Return the variables that are named as ours are and set nothing: a limit that is misspelt is none."""
    known = {setting.variable for setting in SETTINGS} | {VALKEY_VARIABLE, POSTGRES_VARIABLE}
    return sorted(
        name
        for name in environment
        if name.startswith(_OURS) and not name.startswith(_OF_KUBERNETES) and name not in known
    )


def forget_secrets(environment: MutableMapping[str, str]) -> None:
    """Take the settings that are secrets out, once they are read: no child of this process is to have them."""
    for setting in SETTINGS:
        if setting.secret:
            environment.pop(setting.variable, None)
