"""The command `mcp-postgres`."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NoReturn

from registry.errors import TenancyError
from server import __version__
from server.errors import StartError
from server.settings import SETTINGS, Command, Settings, SettingsError
from server.tracebacks import tell_crashes, told

_DESCRIPTION: Final = "A Postgres MCP server for many tenants, whose registry is an event log on Redis Streams."
_EPILOG: Final = """\
examples:
  mcp-postgres run                          all on this machine, with a sample tenant
  mcp-postgres keys new --out master.key    make the key that seals the tenants' passwords
  REDIS_URL=redis://redis:6379/0 MCP_POSTGRES_KEY_FILE=master.key mcp-postgres serve
  mcp-postgres tokens new --subject ann --role reader --tenants 'acme-*' --file tokens.toml
  mcp-postgres tenants list

exit codes: 0 done, 1 failed (the reason is on standard error), 2 wrong usage or settings,
130 interrupted before it was done (a server that is stopped is done)
"""
_OK: Final = 0
_FAILED: Final = 1
_USAGE: Final = 2
_INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; what fails is told in one line on standard error."""
    return outcome_of(lambda: _do(arguments))


def outcome_of(work: Callable[[], None]) -> int:
    """Do it and return the exit code; what fails is told in one line on standard error."""
    tell_crashes(lambda what, error: _tell(f"{what}; please report this\n{told(error)}"))
    try:
        work()
    except SettingsError as error:
        for problem in error.problems:
            _tell(problem)
        return _USAGE
    except (StartError, TenancyError) as error:
        _tell(str(error))
        return _FAILED
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has left; nothing is wrong and there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _OK


def _do(arguments: Sequence[str] | None) -> None:
    parser = _parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        # Not the words themselves: `--password` is not an option, and what follows it is one.
        named = [word.partition("=")[0] for word in unknown if word.startswith("-")]
        parser.error(f"unknown: {', '.join(named) or 'a word too many'}; --help lists what there is")
    from server import commands  # noqa: PLC0415 - --help and a wrong word answer without a second of imports

    getattr(commands, options.run)(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mcp-postgres",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mcp-postgres {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    serve = commands.add_parser("serve", help="answer MCP over HTTP, or over stdio", description="Run one replica.")
    serve.add_argument("--stdio", action="store_true", help="answer on standard input and output instead of HTTP")
    _add_settings(serve, "serve")
    serve.set_defaults(run="serve")
    run = commands.add_parser(
        "run", help="try it: embedded servers and a sample tenant", description="Run all on this machine."
    )
    _add_settings(run, "run")
    run.set_defaults(run="run")
    _add_tenants(commands.add_parser("tenants", help="register, remove and look at tenants", epilog=_tenants_epilog()))
    _add_log(commands.add_parser("log", help="verify, follow, export, import, mend, compact and restore the log"))
    _add_keys(commands.add_parser("keys", help="make, look at and rotate the keys that seal passwords"))
    _add_tokens(commands.add_parser("tokens", help="make bearer tokens for clients"))
    return parser


def _add_settings(parser: argparse.ArgumentParser, command: Command) -> None:
    defaults = Settings()
    group = parser.add_argument_group(
        "settings", f"each also by the environment variable behind it{_unflagged(command)}"
    )
    for setting in SETTINGS:
        if command not in setting.commands or setting.secret:
            continue
        flag = "--" + setting.field.replace("_", "-")
        default = getattr(defaults, setting.field)
        shown = "" if default in (None, (), False) else f"; {int(default) if default is True else default}"
        meaning = f"{setting.meaning} [{setting.variable}{shown}]"
        if default is False:
            group.add_argument(flag, action="store_true", default=None, help=meaning)
        else:
            group.add_argument(flag, metavar="X", help=meaning.replace("%", "%%"))


def _unflagged(command: Command) -> str:
    """Tell of the settings that are secrets: a flag is read by everybody on the machine."""
    secrets = [setting for setting in SETTINGS if setting.secret and command in setting.commands]
    return "".join(f"; by a variable alone: {setting.meaning} [{setting.variable}]" for setting in secrets)


def _add_tenants(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    listing = actions.add_parser("list", help="all tenants")
    listing.add_argument("--json", action="store_true", help="as JSON, for programs")
    get = actions.add_parser("get", help="one tenant, without its password")
    history = actions.add_parser("history", help="who changed a tenant, when, why and what")
    history.add_argument("--limit", type=int, help="events at most [20]")
    register = actions.add_parser(
        "register",
        help="add a tenant, or replace how it is reached",
        allow_abbrev=False,  # what is ambiguous is told with what stands behind its equals sign
    )
    _add_registration(register)
    remove = actions.add_parser("remove", help="end a tenant")
    for action in (get, history, register, remove):
        action.add_argument("tenant_id", metavar="TENANT")
    for action in (register, remove):
        action.add_argument("--reason", help="why, for the audit history")
        action.add_argument("--command-id", metavar="ID", help="a retry with the same one changes nothing twice")
        action.add_argument(
            "--expected-version", type=int, metavar="N", help="refuse unless the tenant is at version N"
        )
    for action in (listing, get, history, register, remove):
        _add_settings(action, "tenants")
        action.set_defaults(run="tenants")


def _add_log(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    verify = actions.add_parser("verify", help="look for what is wrong; exit code 1 if anything is")
    tail = actions.add_parser("tail", help="tell the events, one a line")
    tail.add_argument("--after", metavar="POSITION", help="begin behind it, as 12@1763860000000-0; end: what comes now")
    tail.add_argument("--follow", action="store_true", help="go on with what comes, until Ctrl-C")
    tail.add_argument("--tenant", metavar="TENANT", help="its events alone")
    for action in (verify, tail):
        action.add_argument("--json", action="store_true", help="as JSON, for programs")
    export = actions.add_parser("export", help="write the whole log to a file; passwords stay sealed")
    export.add_argument("--out", metavar="FILE", help="readable by you alone; without it, standard output")
    importing = actions.add_parser("import", help="put an exported log into a Redis that has none")
    importing.add_argument("file", metavar="FILE")
    importing.add_argument("--force", action="store_true", help="also if something is wrong with the log in the file")
    rebuild = actions.add_parser("rebuild-keys", help="make heads and tenants' keys equal to the log")
    compact = actions.add_parser("compact", help="take old entries out of the log")
    compact.add_argument(
        "--before", required=True, metavar="WHEN", help="a position, a duration (30d, 12h) or a date (2026-01-31)"
    )
    compact.add_argument("--backup", metavar="FILE", help="export the log there first")
    restore = actions.add_parser("restore", help="let replicas that wait for an operator restore a lost log")
    restore.add_argument("--minutes", type=int, default=10, metavar="N", help="for how long they may [10]")
    for action in (verify, importing, rebuild, compact):
        action.add_argument(
            "--signed-since", metavar="POSITION", help="do not miss signatures of entries before, as 12@1763860000000-0"
        )
    for action in (importing, rebuild, compact, restore):
        action.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    for action in actions.choices.values():
        _add_settings(action, "log")
        action.set_defaults(run="log")


def _tenants_epilog() -> str:
    variables = ", ".join(setting.variable for setting in SETTINGS if "tenants" in setting.commands)
    return f"Settings are honoured from {variables}; each action's --help has their flags."


def _add_registration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dsn-file", metavar="FILE", help="file with postgresql://user:password@host:port/database; - for stdin"
    )
    parser.add_argument("--host", dest="host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--database")
    parser.add_argument("--user")
    parser.add_argument(
        "--password-file", metavar="FILE", help="file with the password; - for stdin; asked for on a terminal"
    )
    parser.add_argument("--password", action=_Refused, help=argparse.SUPPRESS)
    parser.add_argument(
        "--password-ref", metavar="REF", help="file:NAME or env:NAME, where the servers have the password, instead"
    )
    parser.add_argument("--ssl", help="a libpq sslmode [prefer]")
    parser.add_argument(
        "--ssl-root-ca-file", metavar="FILE", help="PEM of the authorities that verify-ca and verify-full believe"
    )
    parser.add_argument("--access", choices=("read_only", "read_write"), help="whether calls may write [read_only]")
    parser.add_argument(
        "--role", dest="roles", action="append", metavar="ROLE", help="a role that calls may take on; once for each"
    )
    for name in ("min-pool-size", "max-pool-size", "max-concurrent-requests"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument(
        "--no-verify", dest="verify", action="store_const", const=False, help="register without a test login"
    )


class _Refused(argparse.Action):
    """An option that people expect, and that would show a password to everybody on the machine."""

    def __call__(
        self, parser: argparse.ArgumentParser, _namespace: object, _values: object, option: str | None = None
    ) -> NoReturn:
        """Say what to use instead, without what was given."""
        parser.error(f"{option} is not taken from the command line, where all of the machine can read it: --help")


def _add_keys(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    new = actions.add_parser("new", help="write a new key file, readable by you alone")
    new.add_argument("--out", required=True, type=Path, metavar="FILE")
    new.set_defaults(run="new_key")
    status = actions.add_parser(
        "status", help="which master keys the data keys are under; exit code 1 if some do not open"
    )
    rotate = actions.add_parser(
        "rotate", help="bring every data key under the first master key; the log stays as it is"
    )
    rotate.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    for action in (status, rotate):
        action.add_argument("--json", action="store_true", help="as JSON, for programs")
        _add_settings(action, "keys")
        action.set_defaults(run="keys")


def _add_tokens(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    new = actions.add_parser("new", help="make a token and tell it once; the file keeps its hash")
    new.add_argument("--subject", required=True, metavar="NAME", help="whose it is, for the audit history")
    new.add_argument("--role", required=True, metavar="ROLE", help="reader, writer, auditor, admin or one of the file")
    new.add_argument("--tenants", required=True, metavar="GLOBS", help="which tenants, comma-separated: 'acme-*,demo'")
    new.add_argument("--days", type=int, metavar="N", help="expires after so many days; else never")
    new.add_argument("--file", type=Path, metavar="FILE", help="the token file to add it to, made if it is not there")
    new.set_defaults(run="tokens")


def _tell(text: str) -> None:
    print(f"mcp-postgres: {text}", file=sys.stderr)  # noqa: T201 - how a command says what is wrong
