"""Servers that pretend to be Postgres and misbehave, and callers of theirs: a process of its own, see `main`.

Each kind is one way in which a tenant's database can be slow, dead or lying. They speak just enough of the protocol for
a client to believe them until they do what they are here for. Not to be imported by anything that measures: they would
share its interpreter.
"""

import asyncio
import json
import random
import socket
import struct
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

SECOND: Final = 1.0
_SSL_REQUEST: Final = 80877103
_CANCEL_REQUEST: Final = 80877102
_IDLE: Final = b"Z\0\0\0\5I"
_BUSY: Final = b"Z\0\0\0\5T"
_BEGINS: Final = (b"BEGIN", b"SET ")
"""How statements begin that begin a call, and are agreed to."""
_TEXT: Final = 25
_HEAD: Final = (
    b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n"
)
_WORD: Final = b"x" * 200

Behave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def message(kind: bytes, body: bytes = b"") -> bytes:
    """Return one message of the protocol."""
    return kind + struct.pack(">i", len(body) + 4) + body


def row(cell: bytes) -> bytes:
    """Return a row of one column."""
    return message(b"D", struct.pack(">hi", 1, len(cell)) + cell)


WELCOME: Final = (
    message(b"R", struct.pack(">i", 0))
    + b"".join(
        message(b"S", name + b"\0" + value + b"\0")
        for name, value in ((b"server_version", b"18.0"), (b"client_encoding", b"UTF8"), (b"integer_datetimes", b"on"))
    )
    + message(b"K", struct.pack(">ii", 1, 2))
    + _IDLE
)
DESCRIPTION: Final = (
    message(b"1")
    + message(b"t", struct.pack(">h", 0))
    + message(b"T", struct.pack(">h", 1) + b"c\0" + struct.pack(">ihihih", 0, 0, _TEXT, -1, -1, 0))
)


async def silent(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Accept, and say nothing."""
    await asyncio.Event().wait()


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with what is no protocol at all, and a lot of it."""
    await reader.read(1)
    for _ in range(64):
        writer.write(b"\xff\x00\xc3HTTP/1.1 418\r\n" * 4096)
        await writer.drain()


async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one byte a second."""
    await reader.read(1)
    for byte in WELCOME:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(SECOND)


async def never_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Agree to TLS, and never shake hands."""
    await reader.readexactly(8)
    writer.write(b"S")
    await asyncio.Event().wait()


async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Let everybody in, and never answer what they ask."""
    await _let_in(reader, writer)
    await asyncio.Event().wait()


async def resetting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reset the connection in the middle of a result."""

    async def half() -> None:
        writer.write(row(_WORD) * 10 + row(_WORD)[:-50])
        await writer.drain()
        await asyncio.sleep(0.05)
        sock: socket.socket = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    await _converse(reader, writer, half)


async def huge(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send rows without an end, however few were asked for."""

    async def endless() -> None:
        rows = row(_WORD) * 1000
        while True:
            writer.write(rows)
            await writer.drain()
            await asyncio.sleep(0)  # or the loop never tells that the other side has left

    await _converse(reader, writer, endless)


async def crumbs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send the smallest rows there are without an end: the most work for each byte."""

    async def endless() -> None:
        rows = row(b"") * 20_000
        while True:
            writer.write(rows)
            await writer.drain()
            await asyncio.sleep(0)  # or the loop never tells that the other side has left

    await _converse(reader, writer, endless)


async def trickling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a result row by row, a second apart."""

    async def slowly() -> None:
        while True:
            writer.write(row(_WORD))
            await writer.drain()
            await asyncio.sleep(SECOND)

    await _converse(reader, writer, slowly)


BEHAVIOURS: Final[Mapping[str, Behave]] = {
    "silent": silent,
    "garbage": garbage,
    "dripping": dripping,
    "never-tls": never_tls,
    "mute": mute,
    "resetting": resetting,
    "huge": huge,
    "crumbs": crumbs,
    "trickling": trickling,
}
"""All kinds that accept a connection; `dropped` does not."""


async def _let_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        (length,) = struct.unpack(">i", await reader.readexactly(4))
        (code,) = struct.unpack(">i", (await reader.readexactly(length - 4))[:4])
        if code == _CANCEL_REQUEST:
            raise ConnectionResetError
        if code != _SSL_REQUEST:
            break
        writer.write(b"N")
    writer.write(WELCOME)


async def _converse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, send_result: Callable[[], Awaitable[None]]
) -> None:
    """Log in, agree to everything, and leave the result of an `Execute` to `send_result`."""
    await _let_in(reader, writer)
    state, texts, bound = _IDLE, dict[bytes, bytes](), b""
    while True:
        kind = await reader.readexactly(1)
        (length,) = struct.unpack(">i", await reader.readexactly(4))
        body = await reader.readexactly(length - 4)
        match kind:
            case b"Q":
                state = _BUSY if body.startswith(b"BEGIN") else _IDLE
                writer.write(message(b"C", b"BEGIN\0") + state)
            case b"P":
                name, text, _ = body.split(b"\0", 2)
                texts[name] = text
                writer.write(message(b"1") if text.startswith(_BEGINS) else b"")
            case b"D":
                writer.write(DESCRIPTION)
            case b"B":
                bound = texts[body.split(b"\0", 2)[1]]
                writer.write(message(b"2"))
            case b"E" if bound.startswith(_BEGINS):
                state = _BUSY
                writer.write(message(b"C", b"BEGIN\0"))
            case b"E":
                await send_result()
            case b"S":
                writer.write(state)
            case b"X":
                return
            case _:
                pass


def deaf() -> list[socket.socket]:
    """Return a listener whose queue is full, first, and what fills it: the system drops every further SYN."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    held = [listener]
    for _ in range(4):
        knocking = socket.socket()
        knocking.settimeout(0)
        knocking.connect_ex(listener.getsockname())
        held.append(knocking)
    return held


async def _open(behave: Behave, answering: set[asyncio.Task[None] | None]) -> int:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.add(asyncio.current_task())  # which the loop alone would let go of
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await behave(reader, writer)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    return port


class Crowd:
    """Callers of many tenants, who call again and again; what they were told is counted."""

    def __init__(self, port: int, callers: int, pause: float) -> None:
        self.told: dict[str, Counter[str]] = {}
        self._port = port
        self._callers = callers
        self._pause = pause

    async def call(self, tenants: list[str]) -> None:
        """Call until cancelled."""
        async with asyncio.TaskGroup() as group:
            for tenant in tenants:
                self.told[tenant] = Counter()
                for _ in range(self._callers):
                    group.create_task(self._keep_calling(tenant))

    async def _keep_calling(self, tenant: str) -> None:
        params = {"name": "execute_query", "arguments": {"tenant_id": tenant, "query": "SELECT 1"}}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
        chance = random.Random()  # noqa: S311 - when to call, no secret
        await asyncio.sleep(chance.random() * self._pause)
        while True:
            error = _error_of(await self._post(body))
            self.told[tenant][error.get("code", "ok")] += 1
            await asyncio.sleep(chance.uniform(0.5, 1.5) * self._pause)

    async def _post(self, body: bytes) -> Any:  # noqa: ANN401 - JSON
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(_HEAD % len(body) + body)
            answer = await reader.read()
        finally:
            writer.close()
        return json.loads(answer.partition(b"\r\n\r\n")[2])


def _error_of(answer: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    result = answer["result"]
    error: dict[str, Any] = json.loads(result["content"][0]["text"])["error"] if result["isError"] else {}
    return error


async def main() -> None:
    """Open all servers and tell their ports; told of a replica, call it until told to stop; tell what was answered.

    Lines, in turn: `{kind: port}`; in comes `{"port", "tenants", "callers", "pause"}`, and an empty line ends that;
    what was answered, `{tenant: {code: times}}`.
    """
    held, answering = deaf(), set[asyncio.Task[None] | None]()
    ports = {kind: await _open(behave, answering) for kind, behave in BEHAVIOURS.items()}
    _say({**ports, "dropped": held[0].getsockname()[1]})
    while order := json.loads(await asyncio.to_thread(sys.stdin.readline) or "null"):
        crowd = Crowd(order["port"], order["callers"], order["pause"])
        calling = asyncio.create_task(crowd.call(order["tenants"]))
        stopping = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
        await asyncio.wait({calling, stopping}, return_when=asyncio.FIRST_COMPLETED)
        calling.cancel()
        await asyncio.wait({calling})
        if not calling.cancelled():
            calling.result()
        _say(crowd.told)


def _say(told: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
