"""Standard input and output: what is no message is answered here, where the SDK passes over it and says nothing."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import anyio
import mcp_types
from mcp.server.stdio import stdio_server
from mcp.shared.jsonrpc_dispatcher import cancelled_request_id_from_params
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from server.json_depth import is_too_deep
from server.json_rpc import INVALID_REQUEST, NO_MESSAGE, Problem, answers_and_asks, judged, judged_of_batch
from server.refusals import PARSE_ERROR
from server.revisions import STATELESS
from server.stdio_batches import ANSWERS, Batch, BatchedAnswers

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

_STDIN = 0


async def serve_stdio(server: "Server[Any]") -> None:
    """Answer on standard input and output until the client closes them."""
    lines = _Lines(_taken(_STDIN))
    async with stdio_server(stdin=cast("anyio.AsyncFile[str]", lines)) as (incoming, outgoing):
        lines.answers = BatchedAnswers(outgoing)  # before anything is awaited, so before the first line
        await server.run(incoming, cast("Any", lines.answers), server.create_initialization_options())


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

    answers: BatchedAnswers

    def __init__(self, file: BinaryIO) -> None:
        self._file = anyio.wrap_file(file)

    async def __aiter__(self) -> AsyncIterator[str]:
        """Yield the messages."""
        async for line in self._file:
            with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):  # nobody reads any more
                for message in await self._messages(line):
                    yield message

    async def _messages(self, line: bytes) -> list[str]:
        """Return what the SDK is to see of a line: a message, those of a batch, or nothing."""
        if not line.strip():
            return []
        too_deep = is_too_deep(line)
        found = (
            Problem(PARSE_ERROR, "The line nests too deep.")
            if too_deep
            else judged(line, self.answers.revision or STATELESS)
        )
        if isinstance(found, list):
            return await self._batch([bytes(message) for message in found])
        read = found or _read(line)
        if isinstance(read, Problem):
            await self.answers.send(SessionMessage(_answer(read)))
            return []
        await self._note(read)
        return [_text(line)]

    async def _batch(self, messages: list[bytes]) -> list[str]:
        """Return the good messages of a batch, whose answers are waited for from now on."""
        read = [judged_of_batch(message) or _read(message) for message in messages]
        wrong = [_answer(each) for each in read if isinstance(each, Problem)]
        asked = [each.id for each in read if isinstance(each, mcp_types.JSONRPCRequest)]
        await self.answers.begin(Batch(asked, [*wrong]))
        good: list[str] = []
        for message, each in zip(messages, read, strict=True):
            if not isinstance(each, Problem):
                await self._note(each)
                good.append(_text(message))
        return good

    async def _note(self, message: mcp_types.JSONRPCMessage) -> None:
        """Note that a request is cancelled, if that is what a message says."""
        if isinstance(message, mcp_types.JSONRPCNotification) and message.method == "notifications/cancelled":
            given_up = cancelled_request_id_from_params(message.params)
            if given_up is not None:
                await self.answers.cancelled(given_up)


def _read(message: bytes) -> "Problem | mcp_types.JSONRPCMessage":
    """Return a message as the SDK will read it; what it cannot read, it would pass over and never answer."""
    try:
        # Never with replacements: what a broken letter was meant to be would be written to a database as another one.
        read = mcp_types.jsonrpc_message_adapter.validate_json(_text(message), by_name=False)
    except UnicodeDecodeError:
        return Problem(PARSE_ERROR, "The line is no UTF-8.")
    except ValidationError:
        return Problem(INVALID_REQUEST, NO_MESSAGE)
    return (answers_and_asks(message) if isinstance(read, ANSWERS) else None) or read


def _text(message: bytes) -> str:
    return message.decode()


def _answer(problem: Problem) -> mcp_types.JSONRPCError:
    error = mcp_types.ErrorData(code=problem.code, message=problem.message)
    return mcp_types.JSONRPCError(jsonrpc="2.0", id=_writable(bytes(problem.id)), error=error)


def _writable(raw_id: bytes) -> str | int | None:
    """Return the id that is answered; None for one that is JSON and cannot be written."""
    try:
        told: str | int | None = json.loads(raw_id)
    except ValueError:  # Python reads no integer of more than 4,300 digits
        return None
    half = isinstance(told, str) and told.encode("utf-8", "ignore").decode() != told
    return None if half else told
