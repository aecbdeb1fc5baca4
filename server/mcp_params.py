"""What the SDK says of params that are not the protocol's, in words that tell what to correct: it names no field.

Rules: no value that was sent is told again, it may be a password, and none of its names but those of the protocol.
"""

from typing import Any, Final

import mcp_types
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from registry.errors import InvalidInput

_EARLY: Final = "Invalid request parameters"
"""What the SDK says where the handshake is still to come."""
_OUTERMOST: Final = "params"
_SHOWN: Final = 80
"""Characters of a method that there is not."""


async def told_in_words(ctx: Any, call_next: Any) -> Any:  # noqa: ANN401 - the SDK leaves its types open
    """Pass a request on, and raise `MCPError` with our words for the SDK's. May be cancelled."""
    try:
        return await call_next(ctx)
    except ValidationError as error:
        raise _refused(_wrong(ctx.method, error), field=_fields(error)[0]) from None
    except MCPError as error:
        if error.error.code == mcp_types.METHOD_NOT_FOUND:
            raise MCPError(error.error.code, error.error.message, ctx.method[:_SHOWN]) from None
        if error.error.message != _EARLY:
            raise
        raise _refused(
            "The handshake is still to come: begin with initialize, or send the _meta of 2026-07-28."
        ) from None


def _wrong(method: str, error: ValidationError) -> str:
    return (
        f"The params of {method} are not what the protocol has there. Missing, or of another type: "
        f"{', '.join(_fields(error))}."
    )


def _fields(error: ValidationError) -> list[str]:
    """Return the fields of the params that are wrong, by the protocol's names, each once."""
    places = [[str(part) for part in each["loc"]] for each in error.errors(include_input=False, include_url=False)]
    inner = [place[1:] if place[:1] == [_OUTERMOST] else place for place in places]
    return [*dict.fromkeys(place[0] if place else _OUTERMOST for place in inner)]


def _refused(message: str, field: str | None = None) -> MCPError:
    data = {"code": InvalidInput.code, "retryable": InvalidInput.retryable, **({"field": field} if field else {})}
    return MCPError(mcp_types.INVALID_PARAMS, message, data)
