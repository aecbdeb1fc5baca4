"""Where the SDK's requests come in and its errors go out: what all handlers share."""

from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import mcp_types
import msgspec
import structlog
from mcp.shared.exceptions import MCPError
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.types import Scope

from registry.errors import Forbidden, InvalidInput, RemovedTenant, TenancyError, UnknownResource, UnknownTenant
from server.departure import ClientLeft, Departure
from server.resource_uris import LONGEST
from server.toolbox import BROKEN, Answer, failure

T = TypeVar("T")

_NO_RESOURCE: Final = -32002
"""In the handshake's era; since then the protocol says `INVALID_PARAMS`."""
_NOT_THERE: Final = frozenset({UnknownResource.code, UnknownTenant.code, RemovedTenant.code, InvalidInput.code})
_CALLERS_FAULT: Final = _NOT_THERE | {Forbidden.code}
_logger = structlog.get_logger("mcp")


def scope_of(context: Any) -> Scope | None:  # noqa: ANN401 - the SDK leaves the type of its request open
    """Return the scope of the HTTP request behind a context; None over stdio."""
    scope: Scope | None = context.request.scope if context.request else None
    return scope


async def answered(context: Any, work: Coroutine[Any, Any, T]) -> T:  # noqa: ANN401 - as above
    """Return what `work` returns, for as long as the client is there. Raises `MCPError` alone. May be cancelled."""
    departure = Departure.of(scope_of(context))
    try:
        return await (departure.unless_left(work) if departure else work)
    except MCPError:
        raise
    except TenancyError as error:
        raise rpc_error(failure(error)) from None
    except ClientLeft:
        raise MCPError(mcp_types.INTERNAL_ERROR, "The client left.") from None
    except Exception:  # the supervising edge: the SDK would tell the client what an error says
        _logger.exception("call broke", method=context.method)
        raise MCPError(mcp_types.INTERNAL_ERROR, BROKEN) from None


def rpc_error(answer: Answer) -> MCPError:
    """Return a tool's error as one of the protocol's: `data` has what a program needs."""
    told: dict[str, Any] = msgspec.json.decode(answer.payload)["error"]
    message = told.pop("message")
    return MCPError(
        mcp_types.INVALID_PARAMS if told["code"] in _CALLERS_FAULT else mcp_types.INTERNAL_ERROR, message, told
    )


def no_elicitation(answer: Answer) -> MCPError:
    """Return the error of a call whose client would have to offer elicitation: 400 over HTTP, since 2026-07-28."""
    form = mcp_types.ElicitationCapability(form=mcp_types.FormElicitationCapability())
    wanted = mcp_types.MissingRequiredClientCapabilityErrorData(
        required_capabilities=mcp_types.ClientCapabilities(elicitation=form)
    )
    error = rpc_error(answer).error
    data = {**error.data, **wanted.model_dump(by_alias=True, mode="json", exclude_none=True)}
    return MCPError(mcp_types.MISSING_REQUIRED_CLIENT_CAPABILITY, error.message, data)


def no_resource(answer: Answer, uri: str, revision: str) -> MCPError:
    """Return the error of a resource that cannot be read; it names the address, as the protocol wants it.

    One that is too long for any resource is cut.
    """
    error = rpc_error(answer)
    data = {**error.error.data, "uri": uri[:LONGEST].encode("utf-8", "replace").decode()}
    is_old = revision in HANDSHAKE_PROTOCOL_VERSIONS and data["code"] in _NOT_THERE
    return MCPError(_NO_RESOURCE if is_old else error.error.code, error.error.message, data)
