"""Lines as a broken or hostile desktop client writes them: from right messages, by a few changes each.

What is drawn depends on a seed alone.
"""

import copy
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.end_to_end.changed_messages import MESSAGES, Message
from tests.end_to_end.changed_texts import TEXTS
from tests.end_to_end.spoken_revisions import META, STATELESS

HUGE: Final = 3 << 20
"""Bytes of a line that HTTP would refuse for its size."""
_IDS: Final = (0, 1, -1, 7, 2**53 + 1, 2**63, "a", "7", "", "é\U0001f600", "a" * 300)
_OTHERS: Final[Sequence[Message]] = (
    {"method": "ping"},
    {"method": "tools/list"},
    {"method": "tools/list", "params": {"cursor": "nowhere"}},
    {"method": "prompts/list"},
    {"method": "prompts/get", "params": {"name": "nope"}},
    {"method": "resources/list"},
    {"method": "resources/templates/list"},
    {"method": "resources/read", "params": {"uri": "postgres://acme/schemas"}},
    {"method": "resources/read", "params": {"uri": "postgres://nobody/schemas"}},
    {"method": "nope/nope"},
    {"method": "server/discover"},
    {"method": "logging/setLevel", "params": {"level": "debug"}},
)
_UNANSWERED: Final[Sequence[Message]] = (
    {"method": "notifications/initialized"},
    {"method": "notifications/cancelled"},
    {"method": "notifications/cancelled", "params": {"requestId": "never asked"}},
    {"method": "notifications/cancelled", "params": {"requestId": [1]}},
    {"method": "notifications/progress", "params": {"progressToken": 1, "progress": 0.5}},
    {"method": "notifications/progress", "params": {"progressToken": {}, "progress": "x"}},
    {"method": "notifications/roots/list_changed"},
    {"method": "notifications/nope", "params": {"_meta": 5}},
    {"id": None, "method": "notifications/initialized"},
    {"id": 1, "result": {}},
    {"id": "never asked", "error": {"code": 1, "message": "no"}},
)


@dataclass(frozen=True)
class Line:
    """One line without its end.

    Attributes:
        text: It holds no newline.
        message: What it was made of, before its text was changed.
        changes: What is wrong with it, by name.
    """

    text: bytes
    message: Message
    changes: list[str] = field(default_factory=list)


class LineMaker:
    """Makes lines.

    Args:
        seed: What is drawn depends on it alone.
        calls: Right calls: tools and arguments.
    """

    def __init__(self, seed: int, calls: Sequence[tuple[str, dict[str, Any]]]) -> None:
        self.draw = random.Random(seed)  # noqa: S311 - the same again from the same seed
        self._calls = calls

    def lines(self, revision: str) -> list[Line]:
        """Return the next one, or those that a newlines within it makes of it."""
        draw = self.draw
        message = self._message(revision)
        changes = draw.choices((*MESSAGES, *TEXTS), k=draw.choice((0, 0, 1, 1, 1, 2, 3)))
        for change in changes:
            if change in MESSAGES:
                change(draw, message)
                message = copy.deepcopy(message)  # what is shared with other messages, the next one may change
        text = json.dumps(message, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass")
        for change in changes:
            if change in TEXTS:
                text = change(draw, text)
        names = [change.__name__ for change in changes]
        return [Line(part, message, names) for part in text.split(b"\n") if part.strip()]

    def huge(self) -> Line:
        """Return one that is too long for anybody: some right, some without an end, some that nest."""
        inside = self.draw.choice((b'"%b"' % (b"x" * HUGE), b"[" * HUGE, b'"%b' % (b"\xff" * HUGE), b"9" * HUGE))
        return Line(b'{"jsonrpc":"2.0","id":"huge","method":"ping","params":{"x":%b}}' % inside, {}, ["huge"])

    def _message(self, revision: str) -> Message:
        draw = self.draw
        kind = draw.random()
        if kind < 0.15:
            return {"jsonrpc": "2.0", **copy.deepcopy(draw.choice(_UNANSWERED))}
        message: Message = {"jsonrpc": "2.0", "id": draw.choice(_IDS)}
        if kind < 0.4:
            message |= copy.deepcopy(draw.choice(_OTHERS))
        else:
            tool, arguments = copy.deepcopy(draw.choice(self._calls))
            message |= {"method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        if revision == STATELESS:
            message.setdefault("params", {})["_meta"] = envelope()
        elif "params" in message and draw.random() < 0.2:
            message["params"]["_meta"] = draw.choice(({}, {"progressToken": 7}, {"progressToken": "t"}))
        return message


def envelope() -> Message:
    """Return the `_meta` of a stateless request."""
    told = {"protocolVersion": STATELESS, "clientInfo": {"name": "made-up", "version": "1"}, "clientCapabilities": {}}
    return {META + name: value for name, value in told.items()}
