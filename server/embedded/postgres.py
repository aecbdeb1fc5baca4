"""The embedded Postgres: a place for the sample tenant, and for the databases of the tests."""

import shutil
import signal
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import asyncpg

from server.embedded.base import EmbeddedServer
from server.embedded.binaries import find_postgres
from server.embedded.errors import EmbeddedUnavailable
from server.embedded.private import lasting_password, make_private_directory, read_or_none, write_private
from server.embedded.process import LeashedProcess
from server.embedded.sockets import LOOPBACK, free_port, is_free, make_socket_directory
from server.embedded.unprivileged import Account, account_for

_ATTEMPTS = 3  # a port that was free a moment ago may be taken by the time Postgres wants it
_SETTINGS = (
    f"listen_addresses={LOOPBACK}",
    "unix_socket_permissions=0700",
    "max_connections=200",
    "max_wal_size=256MB",
    "timezone=UTC",
    "log_timezone=UTC",
    "cluster_name=mcp-postgres",
)
_FORGETFUL = ("fsync=off", "full_page_writes=off")  # synchronous_commit stays on: without it a kill loses commits


class EmbeddedPostgres(EmbeddedServer):
    """A Postgres on `data`/postgres, reachable from this machine with a password.

    It listens on TCP because tenants are reached by host and port only.

    Args:
        data: Where embedded servers keep their directories.
        durable: Whether data survive a crash of the machine; a kill of the server they survive in any case.
    """

    name: ClassVar[str] = "postgres"
    host: ClassVar[str] = LOOPBACK
    superuser: ClassVar[str] = "postgres"

    def __init__(self, data: Path, *, durable: bool = True) -> None:
        super().__init__(data)
        self._durable = durable
        self._cluster = self.home / "cluster"
        self._port: int | None = None

    @property
    def port(self) -> int:
        """Where it listens; the same as the last time unless somebody else took that. Raises before the first start."""
        if self._port is None:
            raise RuntimeError("an embedded Postgres has no port before it is started")
        return self._port

    @property
    def password(self) -> str:
        """The superuser's, made up once and kept in a file that only this user reads."""
        return lasting_password(self.home / "password")

    @property
    def pid(self) -> int:
        """The postmaster's process."""
        return int((self._cluster / "postmaster.pid").read_text().split(maxsplit=1)[0])

    def dsn(self, database: str, user: str | None = None, password: str | None = None) -> str:
        """Return the address of a database, for this user or for the superuser."""
        login = f"{quote(user, safe='')}:{quote(password or '', safe='')}" if user else self._superuser_login()
        return f"postgresql://{login}@{self.host}:{self.port}/{quote(database, safe='')}?sslmode=disable"

    def _superuser_login(self) -> str:
        return f"{self.superuser}:{self.password}"

    async def _launch(self, lock: int) -> None:
        program = find_postgres()
        account = account_for(program, self.home)
        if not self._cluster.exists():
            await self._make_cluster(program, account, lock)
        await self._start_on_some_port(program, account, lock)

    async def _make_cluster(self, program: Path, account: Account, lock: int) -> None:
        """Make the cluster under another name and rename it, so that one which is there is whole."""
        fresh = self.home / "cluster.new"
        shutil.rmtree(fresh, ignore_errors=True)
        make_private_directory(fresh)
        lasting_password(self.home / "password")
        account.own(self.home, self.home / "password", fresh)
        argv = [*account.prefix, program.with_name("initdb"), *self._initdb_options(fresh)]
        log = self.home / "initdb.log"
        process = self._process = LeashedProcess("initdb", argv, stop=signal.SIGTERM, log=log, lock=lock)
        if await process.end() != 0:
            process.check()
        await process.stop()
        fresh.rename(self._cluster)

    def _initdb_options(self, directory: Path) -> tuple[str | Path, ...]:
        return (
            *("--pgdata", directory, "--username", self.superuser, "--pwfile", self.home / "password"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--wal-segsize=1", "--no-instructions"),
            *(() if self._durable else ("--no-sync",)),
        )

    async def _start_on_some_port(self, program: Path, account: Account, lock: int) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            port = self._choose_port()
            try:
                await self._start_on(port, program, account, lock)
            except EmbeddedUnavailable:
                if attempt == _ATTEMPTS or is_free(port):
                    raise
                await self._end_process()
            else:
                write_private(self.home / "port", str(port))
                return

    async def _end_process(self) -> None:
        if self._process is not None:
            await self._process.stop()

    def _choose_port(self) -> int:
        remembered = read_or_none(self.home / "port")
        return int(remembered) if remembered and is_free(int(remembered)) else free_port()

    async def _start_on(self, port: int, program: Path, account: Account, lock: int) -> None:
        sockets = make_socket_directory(self.home, account.uid)
        account.own(self.home, self._cluster, sockets)
        # We hold the directory's lock, so whoever wrote this file is gone. Postgres goes by the process id in it, which
        # after a restart of a container is likely to be somebody else's. (A server started by hand still stops us: it
        # holds the cluster's shared memory.)
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)
        argv = [*account.prefix, program, *self._options(port, sockets)]
        log = self.home / "postgres.log"
        process = LeashedProcess(self.name, argv, stop=signal.SIGINT, log=log, lock=lock)  # SIGINT: a fast shutdown
        self._process, self._port = process, port
        await self._wait_until(self._accepts, process)

    def _options(self, port: int, sockets: Path) -> tuple[str | Path, ...]:
        settings = _SETTINGS if self._durable else (*_SETTINGS, *_FORGETFUL)
        return ("-D", self._cluster, "-k", sockets, "-p", str(port), *(f"--{setting}" for setting in settings))

    async def _accepts(self) -> bool:
        """Tell whether a query is answered. One that can be connected to may still be recovering from a crash."""
        try:
            connection = await asyncpg.connect(self.dsn("postgres"), timeout=5)
        except (OSError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError):
            return False
        except asyncpg.PostgresError as error:
            raise EmbeddedUnavailable(
                f"postgres does not let us in ({error}): put {self.home / 'password'} back as it was, or remove "
                f"{self.home} to begin afresh"
            ) from error
        try:
            return bool(await connection.fetchval("SELECT true"))
        finally:
            await connection.close()
