"""Tells a client that wants to know it that its call still runs, so that it need not give up what only takes long."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import anyio

from server.loops import running

EVERY: Final = 1.0
"""Seconds from one report to the next, and until the first: most calls are over before."""


@asynccontextmanager
async def reporting(context: Any) -> AsyncIterator[None]:  # noqa: ANN401 - the SDK leaves the type of its request open
    """Report the seconds that what is inside takes, without holding it up, if the request has a token for that."""
    if (context.meta or {}).get("progress_token") is None:
        yield
        return
    async with running(_report(context.session, time.monotonic())):
        yield


async def _report(session: Any, begun: float) -> None:  # noqa: ANN401 - as above
    with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):  # the client has gone: so will the call
        while True:
            await asyncio.sleep(EVERY)
            spent = round(time.monotonic() - begun, 1)
            await session.report_progress(spent, message=f"Running for {spent:g} s.")
