"""The fast path: tool calls that are right in every respect, answered without the SDK and as the SDK would.

Rules: what is not surely alike goes on to the SDK, unchanged; nothing is refused here. Errors of tools are answers and
are given here, so that who makes mistakes does not cost the others more than who makes none. A test sends generated
requests down both roads and compares (`tests/end_to_end/test_two_roads.py`).
"""

from typing import Final, Literal

import msgspec
import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from server.admission import caller_of
from server.attendance import Attendance
from server.departure import ClientLeft
from server.envelopes import Envelopes
from server.fast_head import Head, head_of, mirrored_of, mirrors
from server.http_heads import OfHead
from server.http_intake import BODY
from server.presence import PRESENCE
from server.refusals import HttpTally
from server.toolbox import BROKEN, Answer, Arguments, Call, Tool, Toolbox
from server.wide_numbers import tamed


class _Params(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")
    meta: msgspec.Raw | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="_meta")


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    """A call, and nothing else."""

    jsonrpc: Literal["2.0"]
    id: int | str
    method: Literal["tools/call"]
    params: _Params


class _Asked(msgspec.Struct, frozen=True):
    """A call to be answered here."""

    id: int | str
    tool: str
    arguments: Arguments
    call: Call
    info: bytes | None
    streams: bool


_MESSAGES: Final = msgspec.json.Decoder(_Message)
_encode: Final = msgspec.json.Encoder().encode
_BROKEN: Final = _encode({"code": -32603, "message": BROKEN})


class FastPath:
    """Stands before the endpoint, behind an `Intake`.

    Args:
        toolbox: Has the tools, and calls them.
        envelopes: What the SDK says of `_meta`.
        otherwise: Answers what is not answered here: the SDK.
        tally: Counts which road requests take.
        must_ask: Whether no write is committed before its user was asked.
    """

    def __init__(
        self, toolbox: Toolbox, envelopes: Envelopes, otherwise: ASGIApp, tally: HttpTally, *, must_ask: bool = False
    ) -> None:
        self._toolbox = toolbox
        self._envelopes = envelopes
        self._otherwise = otherwise
        self._tally = tally
        self._must_ask = must_ask
        self._head = OfHead(head_of)
        self._mirrored = {name: mirrored_of(tool) for name, tool in toolbox.tools.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one POST whose body was read, or hand it on."""
        asked = self._asked(scope)
        if asked is None:
            self._tally.roads["sdk"] += 1
            await self._otherwise(scope, receive, send)
            return
        self._tally.roads["fast"] += 1
        attendance = Attendance(scope[PRESENCE], send, streams=asked.streams)
        try:
            body = await attendance.while_there(self._answer(asked))
        except ClientLeft:
            return
        await attendance.answer(body)

    def _asked(self, scope: Scope) -> _Asked | None:
        """Return the call that a request makes; None unless the SDK would find nothing wrong with it."""
        head, caller = self._head(scope), caller_of(scope)
        if head is None:
            return None
        try:
            message = _MESSAGES.decode(scope[BODY])
            tool = self._toolbox.tools.get(message.params.name)
            if tool is None or not caller.may(tool.needs) or not self._allows(message.params.meta, head, tool):
                return None
            arguments = self._toolbox.read(tool.name, message.params.arguments)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if head.stateless and not mirrors(head, tool, self._mirrored[tool.name], arguments):
            return None
        info = self._envelopes.info if head.stateless else None
        return _Asked(message.id, tool.name, arguments, Call(principal=caller), info, head.streams)

    def _allows(self, meta: msgspec.Raw | msgspec.UnsetType, head: Head, tool: Tool) -> bool:
        """Whether `_meta` is right, and asks for nothing that is not done here."""
        if isinstance(meta, msgspec.UnsetType):
            return not head.stateless
        verdict = self._envelopes.verdict(head.revision, bytes(meta))
        # A user who can be asked may be, by a tool that changes something, and through the SDK; which knows, too, what
        # a client is told that would have to ask.
        asks = verdict is not None and (verdict.elicits or (head.stateless and self._must_ask))
        return verdict is not None and (tool.hints.read_only or not asks)

    async def _answer(self, asked: _Asked) -> bytes:
        try:
            answer = await self._toolbox.call(asked.tool, asked.arguments, asked.call)
        except Exception:  # noqa: BLE001 - the supervising edge, as on the SDK's road
            structlog.get_logger("mcp").exception("call broke", tool=asked.tool)
            return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (_encode(asked.id), _BROKEN)
        return answered(asked.id, answer, asked.info)


def answered(message_id: int | str, answer: Answer, info: bytes | None) -> bytes:
    """Return the JSON-RPC message of an answer.

    Args:
        message_id: What it answers.
        answer: A tool's.
        info: The `_meta` of results as the 2026-07-28 revision has it, as JSON; None before that.
    """
    text = _encode(answer.payload.decode())
    told = b"true" if answer.is_error else b'false,"structuredContent":' + tamed(answer.payload)
    more = b"" if info is None else b',"resultType":"complete","_meta":' + info
    return b'{"jsonrpc":"2.0","id":%b,"result":{"content":[{"type":"text","text":%b}],"isError":%b%b}}' % (
        _encode(message_id),
        text,
        told,
        more,
    )
