"""What a message must be before the SDK sees it: that takes some which are none for notifications, and answers nothing.

Rules: pure.
"""

import re
from typing import Any, Final, TypeAlias

import msgspec

from server.refusals import PARSE_ERROR
from server.revisions import HANDSHAKE, STATELESS

INVALID_REQUEST: Final = -32600
INVALID_PARAMS: Final = -32602
UNSUPPORTED_REVISION: Final = -32022
NULL: Final = b"null"
NO_ID: Final = msgspec.Raw(NULL)
_ABSENT: Final = msgspec.Raw(b"")
MOST_IN_BATCH: Final = 32
"""Messages; they are answered one after the other, and hold one place among the requests in flight."""

_BATCHES: Final = frozenset({None, b"2024-11-05", b"2025-03-26"})
"""Revisions that have batches; who names none is taken to speak 2025-03-26."""
_ID: Final = re.compile(rb'".*"|-?\d+', re.DOTALL)
NO_MESSAGE: Final = (
    'This is no JSON-RPC 2.0 message. Send one object with jsonrpc ("2.0"), id, method, and params, which is an object.'
)
_NO_BATCH: Final = f"Batches were removed from MCP with 2025-06-18. {NO_MESSAGE}"
_BATCH_SIZE: Final = f"A batch has 1 to {MOST_IN_BATCH} messages."
_ALONE: Final = "initialize is sent by itself, in no batch."
_NOT_JSON: Final = "The body is no JSON."
_BAD_PARAMS: Final = "The params of a message are an object."
_BAD_ID: Final = "The id of a request is a string or an integer; a notification has none."
_NO_REVISION: Final = (
    "This revision of MCP is not spoken here. data.supported has what is; those from 2024-11-05 to 2025-11-25 begin "
    "with initialize."
)


class _Message(msgspec.Struct):
    """As much of a message as tells whether it is one."""

    jsonrpc: Any = None
    id: msgspec.Raw = _ABSENT
    method: Any = None
    params: msgspec.Raw = _ABSENT
    result: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with a message; an answer of HTTP status 400."""

    code: int
    message: str
    id: msgspec.Raw = NO_ID
    data: dict[str, Any] | None = None

    def body(self) -> bytes:
        """Return the answer."""
        error = {"code": self.code, "message": self.message, **({"data": self.data} if self.data else {})}
        return msgspec.json.encode({"jsonrpc": "2.0", "id": self.id, "error": error})


Batch: TypeAlias = list[msgspec.Raw]
_BODY: Final = msgspec.json.Decoder(_Message | Batch)
_MESSAGE: Final = msgspec.json.Decoder(_Message)


def judged(body: bytes, revision: bytes | None) -> Problem | Batch | None:
    """Return what is wrong with a body, or the messages of a batch; None for one message that the SDK may see.

    Args:
        body: What was posted.
        revision: What the MCP-Protocol-Version header says; None without one.
    """
    try:
        told = _BODY.decode(body)
    except msgspec.ValidationError:
        return Problem(INVALID_REQUEST, NO_MESSAGE)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Problem(PARSE_ERROR, _NOT_JSON)
    if isinstance(told, _Message):
        return _problem_of(told) or _unspoken(told, revision)
    if revision not in _BATCHES:
        return Problem(INVALID_REQUEST, _NO_BATCH)
    return told if 0 < len(told) <= MOST_IN_BATCH else Problem(INVALID_REQUEST, _BATCH_SIZE)


def judged_of_batch(message: bytes) -> Problem | None:
    """Return what is wrong with a message of a batch. It may be no handshake: what follows would depend on it."""
    try:
        told = _MESSAGE.decode(message)
    except msgspec.ValidationError:
        return Problem(INVALID_REQUEST, NO_MESSAGE)
    except (msgspec.DecodeError, UnicodeDecodeError):  # text that is none; the batch was read without looking into it
        return Problem(PARSE_ERROR, _NOT_JSON)
    return _problem_of(told) or (
        Problem(INVALID_REQUEST, _ALONE, _echoed(told)) if told.method == "initialize" else None
    )


def _problem_of(told: _Message) -> Problem | None:
    if told.method is not None and told.id and not _is_id(bytes(told.id)) and not _is_notification(told):
        return Problem(INVALID_REQUEST, _BAD_ID)
    says_something = isinstance(told.method, str) or (told.method is None and (told.result or told.error))
    if told.jsonrpc != "2.0" or not says_something:
        return Problem(INVALID_REQUEST, NO_MESSAGE, _echoed(told))
    if told.params and not bytes(told.params).startswith((b"{", NULL)):
        return Problem(INVALID_PARAMS, _BAD_PARAMS, _echoed(told))
    return None


def answers_and_asks(message: bytes) -> Problem | None:
    """Return what is wrong with a message that is read as an answer and has the method and the id of a request, too."""
    told = _MESSAGE.decode(message)
    asks = told.method is not None and _is_id(bytes(told.id))
    return Problem(INVALID_REQUEST, NO_MESSAGE, told.id) if asks else None


def _is_notification(told: _Message) -> bool:
    """Whether it is one that some clients write with an id of null: they wait for no answer to it."""
    return bytes(told.id) == NULL and isinstance(told.method, str) and told.method.startswith("notifications/")


def _unspoken(told: _Message, revision: bytes | None) -> Problem | None:
    if revision is None or revision in HANDSHAKE or revision == STATELESS:
        return None
    data = {"supported": [STATELESS.decode()], "requested": revision.decode("latin-1")}
    return Problem(UNSUPPORTED_REVISION, _NO_REVISION, _echoed(told), data)


def _echoed(told: _Message) -> msgspec.Raw:
    return told.id if _is_id(bytes(told.id)) else NO_ID


def _is_id(told: bytes) -> bool:
    try:
        told.decode()
    except UnicodeDecodeError:
        return False
    return _ID.fullmatch(told) is not None
