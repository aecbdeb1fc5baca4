"""Says by HTTP that a caller lacks the permission for what they ask, so that a client may ask its issuer for more.

MCP's authorization wants that of a server (403 and `insufficient_scope`). It is a form of the answer and no guard: the
toolbox refuses by itself, whatever way a call comes, and what cannot be read here is left to it.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from starlette.types import Scope, Send

from server.access_refused import Refused
from server.admission import Doorman, caller_of
from server.principal import Permission
from server.prompts import PROMPTS
from server.resource_uris import target_of
from server.toolbox import Tool


class _Params(msgspec.Struct):
    name: str = ""
    uri: str = ""


class _Peek(msgspec.Struct):
    """As much of a message as tells which tool, resource or prompt is asked for."""

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
        """Answer 403 if the message asks for what takes a permission that the caller lacks; return whether."""
        caller = caller_of(scope)
        if all(map(caller.may, self._needed)):
            return False
        try:
            told = _PEEK.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        name, needs = self._wanted(told)
        if needs is None or caller.may(needs):
            return False
        message = f"{name} needs the permission {needs}, which {caller.subject!r} does not have; ask the operator."
        await self._doorman.answer(Refused("forbidden", message, scope=(needs,)), send, message_id=told.id)
        return True

    def _wanted(self, told: _Peek) -> tuple[str, Permission | None]:
        """Return what is asked for and the permission that it takes; None where that is not to be told from here."""
        match told.method:
            case "tools/call":
                name = told.params.name
            case "resources/read":
                target = target_of(told.params.uri)
                name = target.tool if target else ""
            case "prompts/get":
                prompt = PROMPTS.get(told.params.name)
                return (prompt.name, prompt.needs) if prompt else ("", None)
            case _:
                return "", None
        tool = self._tools.get(name)
        return name, tool.needs if tool else None
