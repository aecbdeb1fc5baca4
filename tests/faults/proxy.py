"""A TCP proxy that fails on demand, between a replica and its Redis. All proxies share one thread of their own."""

import asyncio
import enum
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

_CHUNK: Final = 65536
_ANSWER_WITHIN: Final = 5.0
_HANG_UP: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of zero seconds: closing sends a reset."""


class Mode(enum.Enum):
    """What becomes of what is sent."""

    PASS = "pass"
    BLACK_HOLE = "black hole"
    """Nothing arrives and nothing is refused; what was sent arrives when the hole is closed, as packets do."""
    RESET = "reset"
    """Connections are reset, those there are and every new one."""


class Proxy:
    """Forwards `port` to `target` on the loopback address. Made by `Proxies.add`; any thread may break and mend it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target: int) -> None:
        self.port = 0
        self.target = target
        self.dropped = 0
        """How many replies were dropped."""
        self._loop = loop
        self._mode = Mode.PASS
        self._flows = asyncio.Event()
        self._flows.set()
        self._drop_after: bytes | None = None
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None

    def break_(self, mode: Mode) -> None:
        """Enter the mode; `Mode.PASS` mends."""
        self._apart(lambda: self._enter(mode))

    def drop_next_reply(self, request: bytes = b"") -> None:
        """Forward the next request that holds these bytes, drop its reply, and close the connection."""
        self._apart(lambda: setattr(self, "_drop_after", request))

    def forget_to_drop(self) -> None:
        """Take `drop_next_reply` back if no such request came."""
        self._apart(lambda: setattr(self, "_drop_after", None))

    async def listen(self) -> None:
        """Begin; sets `port`."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Close everything."""
        if self._server:
            self._server.close()
        for link in list(self._links):
            link.hang_up()
        while self._links:
            self._flows.set()
            await asyncio.sleep(0.01)

    def _apart(self, change: Callable[[], None]) -> None:
        done = threading.Event()

        def make() -> None:
            change()
            done.set()

        self._loop.call_soon_threadsafe(make)
        if not done.wait(_ANSWER_WITHIN):
            raise TimeoutError("the proxies' thread does not answer")

    def _enter(self, mode: Mode) -> None:
        self._mode = mode
        if mode is Mode.BLACK_HOLE:
            self._flows.clear()
        else:
            self._flows.set()
        if mode is Mode.RESET:
            for link in list(self._links):
                link.hang_up()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(writer)
        self._links.add(link)
        try:
            if self._mode is Mode.RESET:
                return
            await self._flows.wait()
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
            link.far = far_writer
            forth = asyncio.create_task(self._forth(link, reader, far_writer))
            await asyncio.wait(
                [forth, asyncio.create_task(self._back(link, far_reader, writer))], return_when=asyncio.ALL_COMPLETED
            )
        except OSError:
            pass
        finally:
            link.hang_up()
            self._links.discard(link)

    async def _forth(self, link: "_Link", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(_CHUNK):
                await self._flows.wait()
                if self._drop_after is not None and self._drop_after in data:
                    self._drop_after, link.deaf = None, True
                writer.write(data)
                await writer.drain()
            await self._flows.wait()
            writer.write_eof()
        except OSError:
            link.hang_up()

    async def _back(self, link: "_Link", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(_CHUNK):
                await self._flows.wait()
                if link.deaf:
                    self.dropped += 1
                    break
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            link.hang_up()


class _Link:
    """One connection through the proxy."""

    def __init__(self, near: asyncio.StreamWriter) -> None:
        self.near = near
        self.far: asyncio.StreamWriter | None = None
        self.deaf = False

    def hang_up(self) -> None:
        """Reset the near side and leave the far one: what was forwarded is carried out."""
        _reset(self.near)
        if self.far:
            self.far.close()


class Proxies:
    """The thread in which proxies run; a context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)
        self._proxies: list[Proxy] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for proxy in self._proxies:
                asyncio.run_coroutine_threadsafe(proxy.close(), self._loop).result(_ANSWER_WITHIN)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_ANSWER_WITHIN)
            self._loop.close()

    def add(self, target: int) -> Proxy:
        """Return a proxy to this port of the loopback address."""
        proxy = Proxy(self._loop, target)
        asyncio.run_coroutine_threadsafe(proxy.listen(), self._loop).result(_ANSWER_WITHIN)
        self._proxies.append(proxy)
        return proxy


def _reset(writer: asyncio.StreamWriter) -> None:
    transport = writer.transport
    if transport.is_closing():
        return
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _HANG_UP)
    transport.abort()
