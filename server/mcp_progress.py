"""Tells a client that wants to know it that its call still runs, so that it need not give up what only takes long."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import anyio

from server.call_progress import Progress
from server.loops import running

EVERY: Final = 1.0
"""Seconds from one report to the next, and until the first: most calls are over before."""


@asynccontextmanager
async def reporting(context: Any) -> AsyncIterator[Progress | None]:  # noqa: ANN401 - the SDK leaves its type open
    """Report how far what is inside is, without holding it up, if the request has a token for that.

    Yields what is to be told how far that is; None where nobody wants to know.
    """
    if (context.meta or {}).get("progress_token") is None:
        yield None
        return
    progress = Progress()
    async with running(_report(context.session, progress, time.monotonic())):
        yield progress


async def _report(session: Any, progress: Progress, begun: float) -> None:  # noqa: ANN401 - as above
    with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):  # the client has gone: so will the call
        while True:
            await asyncio.sleep(EVERY)
            spent = round(time.monotonic() - begun, 1)
            rows = f", {progress.rows} rows so far" if progress.rows else ""
            await session.report_progress(spent, message=f"Running for {spent:g} s{rows}.")
