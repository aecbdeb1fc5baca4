"""Says by HTTP that a caller lacks the permission for a tool, so that a client may ask its issuer for more.

MCP's authorization wants that of a server (403 and `insufficient_scope`). It is a form of the answer and no guard: the
toolbox refuses by itself, whatever way a call comes, and what cannot be read here is left to it.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from starlette.types import Scope, Send

from server.admission import Doorman, caller_of
from server.refused import Refused
from server.toolbox import Tool


class _Params(msgspec.Struct):
    name: str


class _Peek(msgspec.Struct):
    """As much of a message as tells which tool is called."""

    method: str
    params: _Params
    id: int | str | None = None


_PEEK: Final = msgspec.json.Decoder(_Peek)


class ToolPermission:
    """Answers calls of tools that are not the caller's.

    Args:
        tools: All there are, by name.
        doorman: Tells them so.
    """

    def __init__(self, tools: Mapping[str, Tool], doorman: Doorman) -> None:
        self._tools = tools
        self._doorman = doorman
        self._needed = {each.needs for each in tools.values()}

    async def refuses(self, scope: Scope, body: bytes, send: Send) -> bool:
        """Answer 403 if the message in the body calls a tool whose permission the caller lacks; return whether."""
        caller = caller_of(scope)
        if all(map(caller.may, self._needed)):
            return False
        try:
            told = _PEEK.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        tool = self._tools.get(told.params.name)
        if told.method != "tools/call" or tool is None or caller.may(tool.needs):
            return False
        message = (
            f"{tool.name} needs the permission {tool.needs}, which {caller.subject!r} does not have; ask the operator."
        )
        await self._doorman.answer(Refused("forbidden", message, scope=(tool.needs,)), send, message_id=told.id)
        return True
