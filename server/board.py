"""What the workers of one port know of each other: a few numbers in shared memory.

Rules: each worker writes its own cells and reads everybody's; the supervisor clears those of a worker that has ended.
Nothing is locked: a number may be a moment old, and what is decided by it is who takes the next connection, no more.
"""

import mmap
import os
import tempfile
from enum import IntEnum

_CELLS = 2
"""Numbers of one worker: what it is doing, and how many clients it has."""
_CELL = 4
"""Bytes of one."""
_NEARLY = 16
"""So many times fewer clients are no difference."""


class Doing(IntEnum):
    """What a worker is doing."""

    GONE = 0
    UNREADY = 1
    READY = 2


class Board:
    """The numbers of all workers, counted from 1.

    Args:
        file: Memory that was made by `new_board` and is inherited; stays the caller's to close.
        workers: How many there are.
    """

    def __init__(self, file: int, workers: int) -> None:
        self.workers = workers
        self._memory = mmap.mmap(file, workers * _CELLS * _CELL)
        self._cells = memoryview(self._memory).cast("i")

    def tell(self, worker: int, doing: Doing) -> None:
        """Say what this worker is doing."""
        self._cells[(worker - 1) * _CELLS] = doing

    def count(self, worker: int, clients: int) -> None:
        """Say how many clients this worker has."""
        self._cells[(worker - 1) * _CELLS + 1] = clients

    def clear(self, worker: int) -> None:
        """Forget a worker that has ended."""
        self.tell(worker, Doing.GONE)
        self.count(worker, 0)

    @property
    def ready(self) -> int:
        """How many are ready."""
        return sum(self._doing(worker) is Doing.READY for worker in range(1, self.workers + 1))

    def is_next(self, worker: int) -> bool:
        """Whether the next client is this worker's: nobody has fewer of those who are ready, or of all if none is.

        Nearly as few is as good where there are many: hundreds that come at once would else wait for turns, one by one.
        """
        running = [each for each in range(1, self.workers + 1) if self._doing(each) is not Doing.GONE]
        able = [each for each in running if self._doing(each) is Doing.READY] or running
        fewest = min(map(self._clients, able), default=0)
        return worker in able and self._clients(worker) <= fewest + fewest // _NEARLY

    def _doing(self, worker: int) -> Doing:
        return Doing(self._cells[(worker - 1) * _CELLS])

    def _clients(self, worker: int) -> int:
        return self._cells[(worker - 1) * _CELLS + 1]


def new_board(workers: int) -> int:
    """Return a file of zeros in memory, which children may inherit; on a system without such files, on a disk."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("mcp-postgres-workers")
    else:
        with tempfile.TemporaryFile() as unnamed:
            file = os.dup(unnamed.fileno())
    os.ftruncate(file, workers * _CELLS * _CELL)
    return file
