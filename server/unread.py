"""Reading that is paused, and a client that leaves meanwhile: where nothing is read, the loop hears of no end.

A client that sends a request before it has the answer to the one before is not read on until then. It may have left for
all that, so the kernel is asked now and then: else whoever sends two calls and leaves would be worked for to the end.
Under TLS that is the end of the connection, and not the goodbye before it, which would have to be read.
"""

import asyncio
import select
from typing import Final

from uvicorn.protocols.http.flow_control import FlowControl

from server.deadline import Deadline

LOOK_EVERY: Final = 0.5
"""Seconds."""
_ENDED: Final = select.POLLERR | select.POLLHUP | getattr(select, "POLLRDHUP", 0)
"""That the client says no more, too, where the kernel tells: who has closed its side of a connection has left."""


class Unread(FlowControl):
    """uvicorn's control of what is read and written, which goes on looking whether the client is there.

    Args:
        loop: The running one.
        transport: What is paused.
        wire: What the bytes come from; closed when the client has left, as it would be if that had been read.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, wire: asyncio.Transport) -> None:
        super().__init__(transport)
        self._wire = wire
        self._next = Deadline(loop, LOOK_EVERY, self._look)

    def pause_reading(self) -> None:
        """Read no more until somebody resumes."""
        super().pause_reading()
        if not self._next.is_set:
            self._next.set()

    def end(self) -> None:
        """Look no more: the connection has ended."""
        self._next.end()

    def _look(self) -> None:
        if not self.read_paused or self._wire.is_closing():
            return
        if _has_ended(self._wire.get_extra_info("socket").fileno()):
            self._wire.close()
        else:
            self._next.set()


def _has_ended(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, _ENDED)
    return bool(poll.poll(0))
