"""Servers that are no Postgres, or no longer: a login or a call that fails, never one that takes the process along."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeVar

import pytest
import uvloop

from registry.errors import ConnectionLost, TenantUnreachable
from registry.events import SslMode, TenantConfig
from registry.secrets import Secret
from server.connect import Dialler
from server.embedded.postgres import EmbeddedPostgres
from server.reads import ReadLimits, prepare_connection, read

LIMITS: Final = ReadLimits(max_rows=100, max_bytes=1 << 20, statement_timeout=10, lock_timeout=2)
LONG: Final = 40 << 20
WITHIN: Final = 5.0

T = TypeVar("T")


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack(">i", len(body) + 4) + body


LET_IN: Final = message(b"R", struct.pack(">i", 0))
VERSION: Final = message(b"S", b"server_version\x0018.0\x00")
READY: Final = message(b"Z", b"I")

STRANGERS: Final = {
    "five zero bytes": b"\0" * 5,
    "zero bytes without end": b"\0" * 100_000,
    "an HTTP server": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    "a Redis": b"-ERR unknown command\r\n",
    "an SSH server": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a TLS server": b"\x15\x03\x01\x00\x02\x02\x46",
    "a length of 0": b"R\0\0\0\0",
    "a length of 1": b"R\0\0\0\x01",
    "a length of 3": b"Z\0\0\0\x03",
    "a length below 0": b"E\xff\xff\xff\xff",
    "a login and nothing known of the server": LET_IN + READY,
    "a flood of being ready": LET_IN + VERSION + READY * 100_000,
    "being ready before a login": READY * 1000,
    "an error without a word": b"E\0\0\0\x04",
    "an error that does not end": message(b"E", b"Mtext"),
    "an error of forty megabytes": message(b"E", b"M" + b"x" * LONG + b"\0\0"),
    "a notice of forty megabytes": message(b"N", b"M" + b"x" * LONG + b"\0\0"),
    "notices without end": message(b"N", b"Mtext\0\0") * 200_000,
    "a way to log in that is none": message(b"R", struct.pack(">i", 4711)),
    "half a way to log in": message(b"R", struct.pack(">i", 10) + b"SCRAM-SHA-256"),
}


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def door(serve: Serve) -> AsyncIterator[int]:
    """A port where each caller is served, and that is left when all of them have gone."""
    visits: set[asyncio.Task[object] | None] = set()

    async def visit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.add(asyncio.current_task())
        with suppress(ConnectionError):
            await serve(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(visit, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.gather(*filter(None, visits))


@asynccontextmanager
async def stranger(answer: bytes) -> AsyncIterator[int]:
    """A port where somebody answers the first bytes with `answer`, and then waits."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(answer)
        await writer.drain()
        await reader.read()

    async with door(serve) as port:
        yield port


def at(port: int, ssl: SslMode = "disable") -> TenantConfig:
    return TenantConfig(host="127.0.0.1", port=port, database="postgres", user="postgres", ssl=ssl)


async def refusal_of(answer: bytes, ssl: SslMode = "disable") -> TenantUnreachable:
    """Log in at a stranger; return what the caller is told."""
    async with stranger(answer) as port:
        with pytest.raises(TenantUnreachable) as caught:
            await Dialler(WITHIN).try_login("acme", at(port, ssl), Secret("secret"))
        assert f"127.0.0.1:{port} " in caught.value.message
    assert len(caught.value.message) < 2000
    return caught.value


LOOPS: Final = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[object, object, object]], None]:
    """Run it on each of the event loops."""

    def on_a_loop(work: Coroutine[object, object, object]) -> None:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(work)

    return on_a_loop


Run = Callable[[Coroutine[object, object, object]], None]


@pytest.mark.parametrize("answer", STRANGERS.values(), ids=list(STRANGERS))
def test_a_stranger_is_told_as_one_that_cannot_be_reached(run: Run, answer: bytes) -> None:
    async def log_in() -> None:
        error = await refusal_of(answer)
        assert "not speak Postgres's protocol" in error.message or "cannot be reached" in error.message

    run(log_in())


@pytest.mark.parametrize("ssl", ["allow", "prefer", "require", "verify-full"])
@pytest.mark.parametrize("answer", ["five zero bytes", "an HTTP server", "a Redis", "a TLS server", "a length of 0"])
def test_a_stranger_who_is_asked_for_tls_is_told_as_one_too(run: Run, answer: str, ssl: SslMode) -> None:
    async def log_in() -> None:
        assert "not speak Postgres's protocol" in (await refusal_of(STRANGERS[answer], ssl)).message

    run(log_in())


async def test_an_error_without_fields_says_that_it_gives_no_reason() -> None:
    assert "no reason given" in (await refusal_of(message(b"E", b"\0"))).message


async def test_what_a_server_says_of_a_login_is_cut_and_told_on_one_line() -> None:
    error = await refusal_of(message(b"E", b"C53300\0M\x1b[31mred\r\nline" + b"x" * 500_000 + b"\0\0"))
    assert "\\u001b[31mred\\u000d\\u000aline" in error.message
    assert error.message.isprintable()
    assert error.facts == {"sqlstate": "53300"}


async def test_a_sqlstate_that_is_none_is_not_told() -> None:
    assert (await refusal_of(message(b"E", b"C" + b"x" * 9999 + b"\0Mno\0\0"))).facts == {"sqlstate": None}


class Proxy:
    """Between here and Postgres; from some moment on it says something of its own."""

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        self._postgres = postgres
        self._insertion = b""

    def say(self, insertion: bytes) -> None:
        """Say it before Postgres's next answer."""
        self._insertion = insertion

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, onwards = await asyncio.open_connection(self._postgres.host, self._postgres.port)
        await asyncio.gather(self._pump(reader, onwards), self._pump(there, writer, answers=True))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool = False) -> None:
        # uvloop says that a connection is closed already with an error of its own.
        with suppress(ConnectionError, RuntimeError):
            while data := await reader.read(1 << 16):
                if answers:
                    data, self._insertion = self._insertion + data, b""
                writer.write(data)
                await writer.drain()
        writer.close()


@pytest.mark.parametrize("said", [b"\0" * 5, b"HTTP/1.1 502 Bad Gateway\r\n\r\n", READY[:1] + b"\xff" * 4])
def test_a_server_that_turns_bad_after_its_login_costs_one_call(
    run: Run, postgres: EmbeddedPostgres, said: bytes
) -> None:
    async def call() -> None:
        proxy = Proxy(postgres)
        async with door(proxy.serve) as port:
            connection = await Dialler(WITHIN).connect("acme", at(port), Secret(postgres.password))
            await prepare_connection(connection)
            assert (await read(connection, "SELECT 1", limits=LIMITS)).rows == [[1]]
            proxy.say(said)
            with pytest.raises(ConnectionLost, match="not Postgres's protocol"):
                await read(connection, "SELECT 1", limits=LIMITS)
            assert connection.is_closed()

    run(call())


def test_a_call_that_is_cancelled_leaves_a_connection_that_works(run: Run, postgres: EmbeddedPostgres) -> None:
    async def call() -> None:
        connection = await Dialler(WITHIN).connect("acme", at(postgres.port), Secret(postgres.password))
        await prepare_connection(connection)
        with suppress(TimeoutError):
            await asyncio.wait_for(read(connection, "SELECT pg_sleep(60)", limits=LIMITS), 0.1)
        assert (await read(connection, "SELECT 1", limits=LIMITS)).rows == [[1]]
        await connection.close()

    run(call())
