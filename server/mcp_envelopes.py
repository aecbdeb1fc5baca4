"""The SDK's word on `_meta`: its own validators, asked about each distinct one once (`server/envelopes.py`)."""

import json
from typing import TYPE_CHECKING, Any, Final

import mcp_types
import msgspec
import pydantic_core
from mcp_types import methods
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from server.envelopes import Verdict

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

_MORE: Final = ("progressToken", mcp_types.LOG_LEVEL_META_KEY)
"""What asks for notifications beside the answer."""


class SdkJudge:
    """Judges `_meta` as the SDK does before it calls a tool.

    Args:
        server: Whose name and version results tell.
    """

    def __init__(self, server: "Server[Any]") -> None:
        self.info = msgspec.json.encode({mcp_types.SERVER_INFO_META_KEY: server.server_info_stamp})

    def verdict(self, revision: str, meta: bytes) -> Verdict | None:
        """Judge the `_meta` of a call of this revision; None unless the SDK would take it, and call, and no more."""
        try:
            return _judged(revision, meta)
        except (ValueError, ValidationError, RecursionError):
            return None


def _judged(revision: str, meta: bytes) -> Verdict | None:
    stateless = revision in MODERN_PROTOCOL_VERSIONS
    told = json.loads(meta) if stateless else pydantic_core.from_json(meta)
    params = {"name": "any", "_meta": told}
    methods.validate_client_request("tools/call", revision, params)
    mcp_types.CallToolRequestParams.model_validate(params, by_name=False)
    if not isinstance(told, dict) or any(each in told for each in _MORE):
        return None
    if not stateless:
        return Verdict(elicits=False)  # nobody can be asked while a request is answered at once
    if told.get(mcp_types.PROTOCOL_VERSION_META_KEY) != revision:
        return None
    capabilities = told.get(mcp_types.CLIENT_CAPABILITIES_META_KEY)
    return Verdict(elicits="elicitation" in capabilities) if isinstance(capabilities, dict) else None
