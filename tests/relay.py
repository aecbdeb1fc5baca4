"""A relay between a client and its server that counts round trips: how often the client spoke anew after an answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Relay:
    """Passes bytes on, both ways, for any number of connections.

    Attributes:
        port: Where it listens, on the loopback address.
        round_trips: How often a client said something and was answered, over all connections.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._writers: list[asyncio.StreamWriter] = []
        self.port = 0
        self.round_trips = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Relay"]:
        """Listen while the context lasts."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in self._writers:
                writer.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers += [writer, questions]
        told = True

        async def ask() -> None:
            nonlocal told
            while data := await reader.read(1 << 16):
                self.round_trips += told
                told = False
                questions.write(data)
            questions.close()

        async def tell() -> None:
            nonlocal told
            while data := await answers.read(1 << 16):
                told = True
                writer.write(data)
            writer.close()

        await asyncio.gather(ask(), tell(), return_exceptions=True)
