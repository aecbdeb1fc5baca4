"""The two roads of an MCP request whose body was read, put together: the fast path, and the SDK behind it."""

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from server import sql_parse
from server.envelopes import Envelopes
from server.fast_path import FastPath
from server.refusals import HttpTally
from server.replica import Replica
from server.sdk_road import Endpoint, SdkRoad
from server.tool_permission import ToolPermission

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp.server.lowlevel import Server

_FIRST_CALLS: Final = 0.25
"""Seconds for those who waited for the registry: their calls are answered first."""
Build: TypeAlias = "Callable[[], Server[Any]]"


def roads_of(
    build: Build,
    replica: Replica,
    permission: ToolPermission,
    max_body: int,
    tally: HttpTally,
    *,
    must_ask: bool = False,
) -> tuple[FastPath, SdkRoad]:
    """Return what answers MCP, and the road behind it, which is to be run.

    Args:
        build: Makes the SDK's server, in a thread.
        replica: Whose tools the fast path calls.
        permission: Answers calls of tools that are not the caller's.
        max_body: Bytes of the largest request body.
        tally: Counts which road requests take.
        must_ask: Whether no write is committed before its user was asked.
    """
    envelopes = Envelopes()

    def import_sdk() -> Endpoint:
        sql_parse.load()  # for the first queries, which need nothing else of this
        from server import mcp_envelopes, mcp_server  # noqa: PLC0415 - half a second of imports, in a thread

        mcp = build()
        envelopes.ask(mcp_envelopes.SdkJudge(mcp))
        return mcp_server.StreamableHttp(mcp, max_body, permission)

    async def quiet() -> None:
        await replica.follower.complete()
        await asyncio.sleep(_FIRST_CALLS)

    sdk = SdkRoad(import_sdk, quiet)
    return FastPath(replica.toolbox, envelopes, sdk, tally, must_ask=must_ask), sdk
