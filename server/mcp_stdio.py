"""Standard input and output: what is no message is answered here, where the SDK passes over it and says nothing."""

import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import anyio
import mcp_types
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage

from server.json_depth import is_too_deep
from server.json_rpc import Problem, judged, judged_of_batch
from server.refusals import PARSE_ERROR

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

_STDIN = 0


async def serve_stdio(server: "Server[Any]") -> None:
    """Answer on standard input and output until the client closes them."""
    lines = _Lines(_taken(_STDIN))
    async with stdio_server(stdin=cast("anyio.AsyncFile[str]", lines)) as (incoming, outgoing):
        lines.answers = outgoing  # before anything is awaited, so before the first line
        await server.run(incoming, outgoing, server.create_initialization_options())


def _taken(descriptor: int) -> BinaryIO:
    """Take an input for ourselves: a child of this process that reads from it finds nothing, and waits for nothing."""
    own = os.dup(descriptor)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, descriptor)
    os.close(nothing)
    # Not closed by us: a thread may still be reading it at the end.
    return os.fdopen(own, "rb", closefd=False)


class _Lines:
    """An input as the SDK reads it, a message a line, without those that are none.

    Attributes:
        answers: Where those are answered.
    """

    answers: Any

    def __init__(self, file: BinaryIO) -> None:
        self._file = anyio.wrap_file(file)

    async def __aiter__(self) -> AsyncIterator[str]:
        """Yield the messages."""
        async for line in self._file:
            for message in _messages(line):
                if isinstance(message, Problem):
                    with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):  # nobody reads any more
                        await self.answers.send(SessionMessage(_answer(message)))
                else:
                    yield message.decode(errors="replace")


def _messages(line: bytes) -> Iterator[Problem | bytes]:
    """Return what a line says: a message, those of a batch, or what is wrong with it. An empty one says nothing."""
    if not line.strip():
        return
    found = Problem(PARSE_ERROR, "The line nests too deep.") if is_too_deep(line) else judged(line, None)
    if not isinstance(found, list):
        yield found or line
        return
    for message in map(bytes, found):
        yield judged_of_batch(message) or message


def _answer(problem: Problem) -> mcp_types.JSONRPCError:
    error = mcp_types.ErrorData(code=problem.code, message=problem.message)
    told = json.loads(bytes(problem.id))
    # Half a character is JSON, and cannot be written.
    writable = not isinstance(told, str) or told.isascii() or told.encode("utf-8", "ignore").decode() == told
    return mcp_types.JSONRPCError(jsonrpc="2.0", id=told if writable else None, error=error)
