"""A caller who does not get in, or not there, and why. What is refused of a request's form is `server/refusals.py`."""

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from server.principal import Permission

Reason: TypeAlias = Literal["no_token", "bad_request", "bad_token", "forbidden", "too_many", "unavailable"]
_STATUS: Final[dict[Reason, int]] = {
    "no_token": 401,
    "bad_request": 400,
    "bad_token": 401,
    "forbidden": 403,
    "too_many": 429,
    "unavailable": 503,
}


class Refused(Exception):
    """A request that is answered without being carried out.

    Attributes:
        reason: Why; `status` is the HTTP status that says so.
        message: What to do about it. It has nothing of the token.
        scope: The permissions that would do.
    """

    def __init__(self, reason: Reason, message: str, *, scope: Sequence[Permission] = ()) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.scope = tuple(scope)

    @property
    def status(self) -> int:
        """The status of the answer."""
        return _STATUS[self.reason]
