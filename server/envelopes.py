"""What the `_meta` of a call asks for. The SDK judges it, and verdicts are kept: clients send the same few again."""

from typing import Final, Protocol

import msgspec

_REMEMBERED: Final = 256
_LONGEST: Final = 2048
"""Bytes. With as many as are remembered, half a MiB at most."""


class Verdict(msgspec.Struct, frozen=True):
    """A `_meta` that is right and asks for nothing but the call; and whether the client offers to ask its user."""

    elicits: bool


class Judge(Protocol):
    """The SDK, once it is imported."""

    @property
    def info(self) -> bytes:
        """The `_meta` of every result in the 2026-07-28 revision, as JSON."""

    def verdict(self, revision: str, meta: bytes) -> Verdict | None:
        """Judge the `_meta` of a call; None if anything is wrong with it, or it asks for more than the call."""


class Envelopes:
    """Verdicts, each found once. Until there is a judge, nothing is known to be right."""

    def __init__(self) -> None:
        self._judge: Judge | None = None
        self._known: dict[tuple[bytes, bytes], Verdict | None] = {}
        self.info = b"{}"

    def ask(self, judge: Judge) -> None:
        """Ask this one from now on."""
        self._judge = judge
        self.info = judge.info

    def verdict(self, revision: bytes, meta: bytes) -> Verdict | None:
        """Return the verdict; None for what has to go to the SDK."""
        known = (revision, meta)
        if known in self._known:
            return self._known[known]
        if self._judge is None or len(meta) > _LONGEST:
            return None
        if len(self._known) == _REMEMBERED:
            self._known.clear()
        found = self._known[known] = self._judge.verdict(revision.decode(), meta)
        return found
