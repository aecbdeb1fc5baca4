"""One of the processes of `--workers`: a replica of its own, on a socket that it shares (`server/seat.py`).

`python -P -m server.worker`, started by `server/workers.py` and by nobody else.
"""

import asyncio
import os
import socket
import sys
import threading
import time
from contextlib import suppress

import uvloop

from server import seat
from server.backing import backing_of
from server.cli import outcome_of
from server.connect import forget_libpq_environment
from server.given import forget_secrets
from server.log_fields import Telling
from server.logs import configure, watch_crashes, watch_loop
from server.replica import open_replica
from server.seat import Seat
from server.serving import serve_http
from server.shared_port import SharedPort


def main() -> int:
    """Serve until the supervisor wants no more, or is gone."""
    # Not as standard input: nothing that is started here is to read from it.
    line = socket.socket(fileno=os.dup(0))
    try:
        given = seat.take(line)
    except EOFError:
        return 1
    return outcome_of(lambda: _serve(given, line))


def _serve(given: Seat, line: socket.socket) -> None:
    settings = given.settings
    configure(settings.log_level, settings.log_format)
    watch_crashes()
    forget_secrets(os.environ)
    forget_libpq_environment()

    async def work() -> None:
        watch_loop()
        port = SharedPort(given)
        loop = asyncio.get_running_loop()
        threading.Thread(target=_watch, args=(line, loop, port, given.patience), name="supervisor", daemon=True).start()

        async def listening(_base: str) -> None:
            line.send(seat.LISTENING)

        async with (
            backing_of(settings) as backing,
            open_replica(settings, backing.redis_url, backing.master) as replica,
        ):
            await serve_http(replica, settings, listening, port)

    with Telling("worker", str(given.number)):
        uvloop.run(work())


def _watch(line: socket.socket, loop: asyncio.AbstractEventLoop, port: SharedPort, patience: float) -> None:
    """Stop well when the supervisor closes the line, or dies in whatever way; and in any case in time."""
    with suppress(OSError):
        while line.recv(64):
            pass
    with suppress(RuntimeError):  # the loop has ended already
        loop.call_soon_threadsafe(port.leave)
    time.sleep(patience)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
