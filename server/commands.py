"""What each command of the command line does, once its words are understood.

Each imports its own: a server's start waits for none of the others' modules, and who only watches workers, or makes a
key, needs neither of the clients.
"""

import argparse
import os
from collections.abc import Coroutine, Mapping

import structlog
import uvloop

from server.backing import backed, backing_of
from server.connect import forget_libpq_environment
from server.given import forget_secrets, load, unknown_variables
from server.logs import configure, watch_crashes, watch_loop
from server.master_keys import make_key_file
from server.settings import OF_REDIS, Command, Settings, SettingsError
from server.workers import run_workers


def serve(options: argparse.Namespace) -> None:
    """Run one replica until a signal, or until the client of `--stdio` leaves."""
    settings = _settings(vars(options), "serve")

    if settings.workers > 1 and options.stdio:
        raise SettingsError(["MCP_POSTGRES_WORKERS and --stdio do not go together: one client talks to one process."])

    async def watch() -> None:
        async with backing_of(settings) as backing:
            await run_workers(backed(settings, backing), _announce)

    async def run_replica() -> None:
        from server.replica import open_replica  # noqa: PLC0415 - see above
        from server.serving import serve_http, serve_stdio  # noqa: PLC0415 - see above

        async with (
            backing_of(settings) as backing,
            open_replica(settings, backing.redis_url, backing.master) as replica,
        ):
            if options.stdio:
                await serve_stdio(replica)
            else:
                await serve_http(replica, settings, _announce)

    _run(watch() if settings.workers > 1 else run_replica())


def run(options: argparse.Namespace) -> None:
    """Run everything on this machine until a signal."""
    from server.demo import run_demo  # noqa: PLC0415 - see above

    unused = [variable for variable in OF_REDIS if os.environ.get(variable)]
    settings = _settings(vars(options), "run")
    if unused:
        structlog.get_logger("run").warning(
            "run keeps its tenants in an embedded Valkey under a key of its own; not used", variables=unused
        )
    _run(run_demo(settings))


def tenants(options: argparse.Namespace) -> None:
    """Run one of the `tenants` commands. A tenant's host or port is not this process's, and what fails is one line."""
    from server.tenants_command import run_tenants  # noqa: PLC0415 - see above

    _run(run_tenants(_settings(vars(options), "tenants", "error"), options))


def log(options: argparse.Namespace) -> None:
    """Run one of the `log` commands. To stop following a log is not to cut it short."""
    from server.log_command import run_log  # noqa: PLC0415 - see above

    try:
        _run(run_log(_settings(vars(options), "log", "info"), options))
    except KeyboardInterrupt:
        if not getattr(options, "follow", False):
            raise


def keys(options: argparse.Namespace) -> None:
    """Run one of the `keys` commands that look at Redis."""
    from server.keys_command import run_keys  # noqa: PLC0415 - see above

    uvloop.run(run_keys(_settings(vars(options), "keys", "error"), options))


def new_key(options: argparse.Namespace) -> None:
    """Write a new key file."""
    make_key_file(options.out)
    print(  # noqa: T201 - what the command is for
        f"Wrote {options.out}. Set MCP_POSTGRES_KEY_FILE={options.out} on every replica, and keep a copy apart."
    )


def tokens(options: argparse.Namespace) -> None:
    """Make a bearer token."""
    from server.tokens_command import run_tokens  # noqa: PLC0415 - see above

    run_tokens(options)


def _run(work: Coroutine[None, None, None]) -> None:
    async def watched() -> None:
        watch_loop()
        await work

    uvloop.run(watched())


async def _announce(base: str) -> None:
    structlog.get_logger("server").info("listening", url=base)


def _settings(arguments: Mapping[str, object], command: Command, log_level: str | None = None) -> Settings:
    """Check the settings and set up what the process shares: the log, an environment without secrets or libpq's."""
    settings = load(arguments, os.environ, command)
    forget_secrets(os.environ)
    configure(log_level or settings.log_level, settings.log_format)
    watch_crashes()
    unknown = unknown_variables(os.environ)
    if unknown:
        structlog.get_logger("settings").warning(
            "no settings of these names; correct or unset them (--help lists all)", variables=unknown
        )
    forget_libpq_environment()
    return settings
