"""Batches over stdio: their messages are worked on at once, each as if it came alone, and answered by one array.

The SDK writes an answer a line and knows no batches. It is handed a stream that keeps the answers of a batch until all
are there.
"""

from types import TracebackType
from typing import Any, Final, Self, TypeAlias, cast

import mcp_types
from mcp.shared.dispatcher import coerce_request_id
from mcp.shared.message import SessionMessage
from pydantic import RootModel

Told: TypeAlias = mcp_types.JSONRPCResponse | mcp_types.JSONRPCError
ANSWERS: Final = (mcp_types.JSONRPCResponse, mcp_types.JSONRPCError)
_Array: Final = RootModel[list[Told]]


class Batch:
    """One batch.

    Args:
        waiting: The ids of its requests, each as often as it is there.
        told: What is answered already: what was wrong with messages.
    """

    def __init__(self, waiting: list[mcp_types.RequestId], told: list[Told]) -> None:
        self.waiting = [coerce_request_id(each) for each in waiting]
        self.told = told


class BatchedAnswers:
    """The stream that the SDK's answers go into, in front of the one that is written.

    Invariant: a batch is open only while it waits for an answer that will come; a request that is cancelled has none.

    Attributes:
        revision: What the handshake agreed on, once its answer was sent: it says whether there are batches.
    """

    def __init__(self, outgoing: Any) -> None:  # noqa: ANN401 - the SDK's stream, which has no public name
        self.revision: bytes | None = None
        self._outgoing = outgoing
        self._open: list[Batch] = []

    async def begin(self, batch: Batch) -> None:
        """Wait for a batch's answers. What is wrong with all of it is told at once."""
        self._open.append(batch)
        await self._end_if_whole(batch)

    async def cancelled(self, request_id: mcp_types.RequestId) -> None:
        """Wait no more for a request. An answer that was already on its way is then a line of its own."""
        batch = self._take(request_id)
        if batch is not None:
            await self._end_if_whole(batch)

    async def send(self, message: SessionMessage) -> None:
        """Send a message on, or keep it for its batch's array."""
        told = message.message
        batch = self._take(told.id) if isinstance(told, ANSWERS) and told.id is not None else None
        if batch is None:
            if isinstance(told, mcp_types.JSONRPCResponse) and "protocolVersion" in told.result:
                self.revision = str(told.result["protocolVersion"]).encode()
            await self._outgoing.send(message)
            return
        batch.told.append(cast("Told", told))
        await self._end_if_whole(batch)

    async def aclose(self) -> None:
        """Close the stream behind."""
        await self._outgoing.aclose()

    async def __aenter__(self) -> Self:
        """Return this."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the stream behind."""
        await self.aclose()

    def _take(self, request_id: mcp_types.RequestId) -> Batch | None:
        """Return the first batch that waits for this answer, which then does not any more."""
        key = coerce_request_id(request_id)
        for batch in self._open:
            if key in batch.waiting:
                batch.waiting.remove(key)
                return batch
        return None

    async def _end_if_whole(self, batch: Batch) -> None:
        if batch.waiting:
            return
        self._open.remove(batch)
        if batch.told:
            await self._outgoing.send(SessionMessage(cast("Any", _Array(batch.told))))
