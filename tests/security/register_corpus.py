"""The inputs that registrants have tried on servers of this kind, and what each must lead to.

`corpus/register_inputs.json` is the data; who tests what is here, so that no case is left to nobody.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

CORPUS: Final = Path(__file__).parent / "corpus" / "register_inputs.json"
Expected = Literal["blocked", "allowed", "timeout"]


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One input. A value may be a note: the text behind a blank in brackets says under which circumstances."""

    field: str
    value: Any
    expected: Expected
    why: str

    @property
    def said(self) -> Any:  # noqa: ANN401 - a text, or fields
        """The value without the note."""
        return self.value.partition(" (")[0] if isinstance(self.value, str) else self.value


WHERE_IT_LEADS: Final = ("169.254.169.254", "rebind.example", "2130706433", "good.example,127.0.0.1", "blackhole")
"""In the values whose harm is the address that is connected to."""
WHO_LOGS_IN: Final = ("super:p@",)
"""In the values whose harm is what the login may do."""


def cases() -> Sequence[Case]:
    """Return all."""
    return msgspec.convert(json.loads(CORPUS.read_text("utf-8")), list[Case])


def of_words(*marks: str) -> Sequence[Case]:
    """Return those whose value has one of the words in it."""
    return [case for case in cases() if any(mark in str(case.value) for mark in marks)]


def of_input() -> Sequence[Case]:
    """Return those that are wrong, or right, as they are written: fields, DSNs and ids."""
    others = of_words(*WHERE_IT_LEADS, *WHO_LOGS_IN)
    return [case for case in cases() if case.field in {"tenant_id", "dsn", "fields"} and case not in others]
