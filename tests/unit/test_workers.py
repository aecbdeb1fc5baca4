"""What workers of one port tell each other, and what they are told, without any process."""

import math
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from registry.secrets import Secret
from server.board import Board, Doing, new_board
from server.seat import Seat, encode, take
from server.settings import Settings
from server.siblings import merged


@pytest.fixture
def board() -> Iterator[Board]:
    """A board of three workers, all of them ready and with two clients."""
    file = new_board(3)
    made = Board(file, 3)
    for worker in (1, 2, 3):
        made.tell(worker, Doing.READY)
        made.count(worker, 2)
    yield made
    os.close(file)


def nexts(board: Board) -> list[int]:
    return [worker for worker in (1, 2, 3) if board.is_next(worker)]


def test_the_next_client_is_whoevers_has_the_fewest(board: Board) -> None:
    board.count(2, 1)
    assert nexts(board) == [2]
    board.count(2, 2)
    assert nexts(board) == [1, 2, 3], "whoever is first"


def test_where_there_are_many_nearly_as_few_is_as_good(board: Board) -> None:
    for worker, clients in ((1, 160), (2, 170), (3, 171)):
        board.count(worker, clients)
    assert nexts(board) == [1, 2], "a sixteenth more is no difference"


def test_who_is_not_ready_or_gone_leaves_clients_to_the_others_and_keeps_nobody_waiting(board: Board) -> None:
    board.tell(1, Doing.UNREADY)
    board.count(1, 0)
    board.clear(2)
    assert nexts(board) == [3]
    assert board.ready == 1


def test_as_long_as_nobody_is_ready_all_take_clients_to_tell_them_so(board: Board) -> None:
    board.tell(1, Doing.UNREADY)
    board.tell(2, Doing.UNREADY)
    board.clear(3)
    assert nexts(board) == [1, 2]
    board.clear(1)
    board.clear(2)
    assert nexts(board) == []


def test_all_that_was_set_arrives_at_the_worker_secrets_and_endless_times_too() -> None:
    settings = Settings(
        keys=Secret("one:AAAA"), audit_file=Path("/var/log/audit"), max_staleness=math.inf, allowed_hosts=("a", "b")
    )
    given = Seat(
        number=2,
        workers=3,
        settings=settings,
        listener=5,
        board=6,
        mailbox=7,
        siblings={1: 8, 3: 9},
        patience=20.0,
    )
    supervisor, worker = socket.socketpair()
    with supervisor, worker:
        supervisor.sendall(encode(given))
        assert take(worker) == given
    assert given.inherited == (5, 6, 7, 8, 9)


def test_a_worker_whose_supervisor_is_gone_before_it_was_told_anything_knows_that() -> None:
    supervisor, worker = socket.socketpair()
    with worker:
        supervisor.sendall(b"\0\0")
        supervisor.close()
        with pytest.raises(EOFError):
            take(worker)


_ONE = b"""# HELP calls_total Calls.
# TYPE calls_total counter
calls_total{tool="a",outcome="ok"} 1.0
calls_total{tool="b {x}",outcome="ok"} 2.0
# HELP clients Clients.
# TYPE clients gauge
clients 3.0
"""
_TWO = b"""# HELP calls_total Calls.
# TYPE calls_total counter
calls_total{tool="a",outcome="ok"} 4.0
# HELP clients Clients.
# TYPE clients gauge
clients 5.0
"""


def test_metrics_of_several_workers_are_one_text_in_which_each_sample_has_its_worker() -> None:
    told = merged({1: _ONE, 2: _TWO, 3: None})
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(told.decode())
        for sample in family.samples
    }
    assert samples == {
        ("calls_total", ("outcome", "ok"), ("tool", "a"), ("worker", "1")): 1.0,
        ("calls_total", ("outcome", "ok"), ("tool", "b {x}"), ("worker", "1")): 2.0,
        ("calls_total", ("outcome", "ok"), ("tool", "a"), ("worker", "2")): 4.0,
        ("clients", ("worker", "1")): 3.0,
        ("clients", ("worker", "2")): 5.0,
        ("mcp_postgres_worker_up", ("worker", "1")): 1.0,
        ("mcp_postgres_worker_up", ("worker", "2")): 1.0,
        ("mcp_postgres_worker_up", ("worker", "3")): 0.0,
    }
    assert told.count(b"# TYPE calls_total") == 1
