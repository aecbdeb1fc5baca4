"""The metrics of all workers, told by any one of them: each keeps its own and gives them to a sibling that asks.

The asking worker puts one end of a new connection into the other's mailbox, a socket that both got at their start; the
answer comes over that connection. A mailbox outlives its worker: one that has ended, or stands still, answers late or
never.
"""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog

_PATIENCE: Final = 1.0
"""Seconds that a sibling gets."""
_SAMPLE: Final = re.compile(rb"^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{)?", re.MULTILINE)
_HELP: Final = b"# HELP "
_UP: Final = b"mcp_postgres_worker_up"


class Siblings:
    """The other workers.

    Args:
        number: Which worker this is.
        mailbox: Where the others ask.
        others: Where they are asked, by number.
        tell: Returns this worker's metrics.
    """

    def __init__(
        self, number: int, mailbox: socket.socket, others: Mapping[int, socket.socket], tell: Callable[[], bytes]
    ) -> None:
        self._number = number
        self._mailbox = mailbox
        self._others = others
        self._tell = tell
        self._answers: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """Answer the others for as long as this lasts."""
        loop = asyncio.get_running_loop()
        self._mailbox.settimeout(0)
        loop.add_reader(self._mailbox.fileno(), self._asked)
        try:
            yield
        finally:
            loop.remove_reader(self._mailbox.fileno())

    async def metrics(self) -> bytes:
        """Return everybody's metrics as one text; of a sibling that does not answer within a second, that alone."""
        told = await asyncio.gather(*(self._ask(mailbox) for mailbox in self._others.values()))
        return merged({self._number: self._tell(), **dict(zip(self._others, told, strict=True))})

    async def _ask(self, mailbox: socket.socket) -> bytes | None:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(mailbox, [b"?"], [theirs.fileno()], socket.MSG_DONTWAIT)
            reader, writer = await asyncio.open_unix_connection(sock=ours)
        except OSError:  # its mailbox is full
            ours.close()
            return None
        try:
            async with asyncio.timeout(_PATIENCE):
                return await reader.read() or None
        except (OSError, TimeoutError):
            return None
        finally:
            writer.close()

    def _asked(self) -> None:
        try:
            _, (answer, *_), _, _ = socket.recv_fds(self._mailbox, 1, 1)
        except (OSError, ValueError):  # it was for nothing, or without what to answer to
            return
        task = asyncio.get_running_loop().create_task(self._answer(socket.socket(fileno=answer)))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _answer(self, asker: socket.socket) -> None:
        try:
            _, writer = await asyncio.open_unix_connection(sock=asker)
        except OSError:
            asker.close()
            return
        try:
            writer.write(self._tell())
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await writer.drain()
        except Exception:  # noqa: BLE001 - a task that nobody awaits: what broke is told here or nowhere
            structlog.get_logger("siblings").exception("metrics not told")
        finally:
            writer.close()


def merged(told: Mapping[int, bytes | None]) -> bytes:
    """Return the expositions of several workers as one, each sample with its worker's number as a label.

    Args:
        told: What each worker told, by number; None of one that did not answer.
    """
    families: dict[bytes, list[bytes]] = {}
    for worker, text in sorted(told.items()):
        for family in (text or b"").split(_HELP)[1:]:
            head, kind, *samples = family.splitlines()
            families.setdefault(_HELP + head + b"\n" + kind, []).extend(_labelled(each, worker) for each in samples)
    up = [b'%b{worker="%d"} %d' % (_UP, worker, text is not None) for worker, text in sorted(told.items())]
    families[b"%b%b Whether the worker answered.\n# TYPE %b gauge" % (_HELP, _UP, _UP)] = up
    return b"".join(b"\n".join([head, *samples, b""]) for head, samples in families.items())


def _labelled(sample: bytes, worker: int) -> bytes:
    label = b'{worker="%d"' % worker
    return _SAMPLE.sub(lambda found: found[1] + label + (b"," if found[2] else b"}"), sample, count=1)
