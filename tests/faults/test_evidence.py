"""What is read out of a replica's log."""

import json
from pathlib import Path

from registry.entries import Position
from tests.faults.evidence import leaks, marks_of
from tests.faults.history import Announced, Applied, Began, Complained, Noticed, Restored
from tests.faults.workload import password_of

BEGAN = Began(replica="a", life=2, pid=1, port=1, at=0.0)


def line(event: str, level: str = "info", **fields: object) -> str:
    return json.dumps({"event": event, "level": level, "timestamp": "2026-01-01T00:00:07Z", **fields}) + "\n"


def test_what_was_applied_announced_and_restored_is_read_in_order(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        line("registry replaying", position="0@0-0")
        + line("registry following", position="1@1-0")
        + line("applied", "debug", position="2@2-0", prev="1@1-0", tenant="acme", version=1, state="live")
        + line("log restored", epoch="new", position="9@9-0")
    )

    marks = list(marks_of(log, BEGAN, lambda timestamp: float(timestamp[17:19])))

    announced, applied, restored = (mark for mark in marks if not isinstance(mark, Noticed))

    assert announced == Announced(replica="a", life=2, position=Position(1, "1-0"))
    assert applied == Applied(
        replica="a",
        life=2,
        position=Position(2, "2-0"),
        prev=Position(1, "1-0"),
        tenant="acme",
        version=1,
        state="live",
    )
    assert restored == Restored(replica="a", life=2, epoch="new", at=7.0)


def test_what_was_found_and_each_change_of_phase_is_read_with_its_reason_and_its_time(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        line("log does not link", "warning", finding="log_gone", reason="it is gone")
        + line("registry restoring", "warning", reason="it is gone")
        + line("log restored", epoch="new")
        + line("redis not checked")
    )

    noticed = [mark for mark in marks_of(log, BEGAN, lambda _: 7.0) if isinstance(mark, Noticed)]

    assert [(each.what, each.reason, each.at) for each in noticed] == [
        ("log_gone", "it is gone", 7.0),
        ("registry restoring", "it is gone", 7.0),
        ("log restored", "", 7.0),
    ]


def test_an_error_and_what_is_no_json_are_complaints_and_a_line_that_a_kill_cut_off_is_not(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(line("follower broke", "error") + "Traceback (most recent call last):\n" + '{"event": "appl')

    said = list(marks_of(log, BEGAN, lambda _: 0.0))

    assert [complaint.event for complaint in said if isinstance(complaint, Complained)] == ["follower broke", ""]


def test_a_password_is_found_in_whatever_file_it_lies(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "appendonly.aof").write_bytes(b"\xff" + password_of("w1").encode())
    (tmp_path / "replica-a.1.log").write_text("nothing")

    assert [leak.file for leak in leaks(tmp_path)] == ["redis/appendonly.aof"]
