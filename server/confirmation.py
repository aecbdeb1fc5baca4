"""Whether a user has confirmed a write: what they are asked, when, and what follows where nobody can be asked.

Rules: no SDK and no I/O but the asking itself. A confirmation is for these very statements with these parameters. It is
the word of the client, who speaks with the user: it keeps a model from writing unseen, and not a client that lies.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Final, TypeAlias

import msgspec

from registry.errors import NobodyToAsk, NotConfirmed

_SHOWN: Final = 1500
"""Characters of the statements that a user is shown: a dialog is read, or it is clicked away."""


class Policy(StrEnum):
    """Which users are asked: none; those whose client can ask; or all, and one who cannot be asked cannot write."""

    NEVER = "never"
    ASK = "ask"
    REQUIRE = "require"


_encode: Final = msgspec.json.Encoder().encode


class Question(msgspec.Struct, frozen=True):
    """What a user is asked: a text to read, and a digest of all that they say yes to."""

    text: str
    digest: str


class AnswerNeeded(Exception):
    """The client is to ask its user and to call again with the answer (the 2026-07-28 revision has no other way)."""

    def __init__(self, question: Question) -> None:
        super().__init__("a question for the user")
        self.question = question


Ask: TypeAlias = Callable[[Question], Awaitable[bool | None]]
"""Asks the user: yes, no, or None where the client cannot ask. May raise `AnswerNeeded`; may be cancelled."""


def question_of(tenant: str, role: str | None, statements: Sequence[tuple[str, Sequence[object]]]) -> Question:
    """Return the question whether statements, with their parameters, may be run and committed."""
    told = [f"{sql} {_encode(list(params)).decode()}" if params else sql for sql, params in statements]
    text = "\n".join(told)
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]} … ({len(text) - _SHOWN} characters more)"
    clean = "".join(each if each.isprintable() or each == "\n" else f"\\u{ord(each):04x}" for each in shown)
    asked = f"Write to {tenant}{f' as {role}' if role else ''}? {len(told)} statement{'s' * (len(told) != 1)}:\n{clean}"
    digest = hashlib.sha256(_encode([tenant, role, [[sql, list(params)] for sql, params in statements]])).hexdigest()
    return Question(asked, digest)


async def require_confirmed(policy: Policy, question: Question, ask: Ask | None) -> None:
    """Return if the write may go on; raises `NotConfirmed`, `NobodyToAsk` and what `ask` raises."""
    if policy is Policy.NEVER:
        return
    answer = await ask(question) if ask is not None else None
    if answer is None and policy is Policy.REQUIRE:
        raise NobodyToAsk(
            "This server writes only what its user has confirmed, and this client cannot ask (it does not offer "
            "elicitation here). Use dry_run, or a client that can."
        )
    if answer is False:
        raise NotConfirmed("The user did not confirm the write; nothing was written. Ask them what they want instead.")
