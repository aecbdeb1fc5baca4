"""A relay between a client and its server that counts round trips: how often the client spoke anew after an answer."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

_CANCEL: Final = struct.pack(">ii", 16, 80877102)
_SYNC: Final = b"S\0\0\0\4"
_REFUSED: Final = b"E\0\0\0\x17SERROR\0C57014\0Mno\0\0"


class Relay:
    """Passes bytes on, both ways, for any number of connections.

    Attributes:
        port: Where it listens, on the loopback address.
        round_trips: How often a client said something and was answered, over all connections.
        cancels: How many requests to cancel a statement came.
        refusing: How many more times a client that wants to begin a transaction is told that this cannot be.
        cancelling: Set while those are passed on; otherwise they wait.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._writers: list[asyncio.StreamWriter] = []
        self.port = 0
        self.round_trips = 0
        self.cancels = 0
        self.refusing = 0
        self.cancelling = asyncio.Event()
        self.cancelling.set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Relay"]:
        """Listen while the context lasts."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self.cancelling.set()
            server.close()
            for writer in self._writers:
                writer.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers += [writer, questions]
        told, skipping = True, False

        async def ask() -> None:
            nonlocal told, skipping
            while data := await reader.read(1 << 16):
                if data.startswith(_CANCEL):
                    self.cancels += 1
                    await self.cancelling.wait()
                self.round_trips += told
                told = False
                if self.refusing and data.startswith(b"P") and data[6:].startswith(b"BEGIN"):
                    self.refusing -= 1
                    writer.write(_REFUSED)
                    skipping = True
                if skipping:  # what was to run in one go with it, up to the Sync that the server answers
                    _, found, rest = data.partition(_SYNC)
                    data, skipping = found + rest, not found
                questions.write(data)
            questions.close()

        async def tell() -> None:
            nonlocal told
            while data := await answers.read(1 << 16):
                told = True
                writer.write(data)
            writer.close()

        await asyncio.gather(ask(), tell(), return_exceptions=True)
