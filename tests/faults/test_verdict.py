"""What a history is judged by: each check finds what it is there for, and a good history passes them all."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from registry.appender import REMEMBERED
from registry.entries import Position
from tests.faults.history import (
    Announced,
    Applied,
    Began,
    Broken,
    Complained,
    History,
    Leaked,
    Logged,
    Ok,
    Operation,
    Outcome,
    Record,
    Recorder,
    Refused,
    Restored,
    Seen,
    Unknown,
    command_id_of,
)
from tests.faults.verdict import judge, steps_of, summarise


def logged(seq: int, version: int, value: str | None, command: int) -> Logged:
    return Logged(
        position=Position(seq, f"{seq}-0"),
        prev=f"{seq - 1}-0",
        tenant="acme",
        version=version,
        alive=value is not None,
        value=value,
        command=command,
        command_id=command_id_of(command),
    )


def applied(seq: int, version: int, state: str) -> Applied:
    told = {
        "replica": "a",
        "life": 1,
        "position": {"seq": seq, "entry": f"{seq}-0"},
        "prev": {"seq": seq - 1, "entry": f"{seq - 1}-0"},
        "tenant": "acme",
        "version": version,
        "state": state,
    }
    return msgspec.convert(told, Applied)


def wrote(command: int, time: float, seq: int, version: int, status: str = "replaced", *, tries: int = 1) -> Operation:
    removes = status == "removed"
    return Operation(
        client=1,
        replica="a",
        life=1,
        command=command,
        action="remove" if removes else "register",
        tenant="acme",
        value=None if removes else f"w{command}",
        command_id=command_id_of(command),
        invoked=time,
        returned=time + 0.5 * tries,
        outcome=Ok({"position": f"{seq}@{seq}-0", "version": version, "status": status}),
    )


CREATED = Logged(position=Position(1, "1-0"), prev="0-0")
GOOD: tuple[Record, ...] = (
    Began(replica="a", life=1, pid=1, port=1, at=0.0),
    Broken(kind="reset", target="a", begun=0.5, healed=0.7),
    wrote(1, 1, 2, 1, "registered"),
    wrote(2, 2, 3, 2),
    wrote(3, 5, 4, 3, "removed"),
    wrote(4, 6, 5, 4, "registered"),
    Announced(replica="a", life=1, position=Position(1, "1-0")),
    applied(2, 1, "live"),
    applied(3, 2, "live"),
    applied(4, 3, "removed"),
    applied(5, 4, "live"),
    CREATED,
    logged(2, 1, "w1", 1),
    logged(3, 2, "w2", 2),
    logged(4, 3, None, 3),
    logged(5, 4, "w4", 4),
    Seen(by="the keys", tenants={"acme": (4, "w4")}),
)


def but(change: Callable[[Record], Record | None]) -> History:
    """The good history with a record changed or left out (None)."""
    return History([changed for record in GOOD if (changed := change(record)) is not None])


def wrong(history: History) -> set[str]:
    return {check for check, found in judge(history).items() if found}


def told(command: int, outcome: Outcome) -> History:
    def change(record: Record) -> Record:
        mine = isinstance(record, Operation) and record.command == command
        return msgspec.structs.replace(record, outcome=outcome) if mine else record

    return but(change)


def test_a_good_history_passes_every_check() -> None:
    assert wrong(History(GOOD)) == set()


def test_an_acknowledged_change_that_the_log_does_not_have_is_lost() -> None:
    def without_the_last(record: Record) -> Record | None:
        return None if isinstance(record, Logged) and record.command == 4 else record

    assert {"nothing acknowledged is lost", "convergence"} <= wrong(but(without_the_last))
    assert summarise(but(without_the_last)).lost == 1


def test_an_acknowledged_change_in_whose_place_the_log_has_another_is_lost() -> None:
    def of_another_command(record: Record) -> Record:
        mine = isinstance(record, Logged) and record.command == 2
        return msgspec.structs.replace(record, command=99) if mine else record

    assert "nothing acknowledged is lost" in wrong(but(of_another_command))


def test_a_command_that_led_to_two_entries_did_not_happen_once() -> None:
    def repeated(record: Record) -> Record:
        mine = isinstance(record, Logged) and record.command == 2
        return msgspec.structs.replace(record, command=1, command_id=command_id_of(1)) if mine else record

    assert "exactly once" in wrong(but(repeated))


def test_a_callers_retry_after_more_events_than_are_remembered_is_another_command_and_an_own_one_is_not() -> None:
    def with_other_id(record: Record) -> Record:
        mine = isinstance(record, Logged) and record.command == 1
        return msgspec.structs.replace(record, command_id="made-by-the-product") if mine else record

    late = logged(6, REMEMBERED + 2, "w1", 1)
    own = msgspec.structs.replace(late, command_id="made-by-the-product")

    assert "exactly once" in wrong(History([*GOOD, logged(6, REMEMBERED + 1, "w1", 1)]))
    assert "exactly once" not in wrong(History([*GOOD, late]))
    assert "exactly once" in wrong(History([*but(with_other_id).records, own]))


def test_two_answers_to_one_command_must_be_the_same() -> None:
    assert "nothing acknowledged is lost" in wrong(History([*GOOD, wrote(2, 3, 3, 7)]))
    assert wrong(History([*GOOD, wrote(2, 3, 3, 2)])) == set()


def test_a_refused_change_must_not_happen() -> None:
    assert "exactly once" in wrong(told(2, Refused("version_conflict", 1)))


def test_a_change_without_an_answer_may_be_in_the_log() -> None:
    assert wrong(told(2, Unknown("TimeoutError"))) == set()


def test_a_view_that_differs_from_the_log_has_not_converged() -> None:
    assert wrong(History([*GOOD, Seen(by="replica b", tenants={})])) == {"convergence"}
    assert wrong(History([*GOOD, Seen(by="replica b", tenants={"acme": (4, "w2")})])) == {"convergence"}
    assert wrong(but(lambda record: None if isinstance(record, Seen) else record)) == {"convergence"}


def test_a_change_that_takes_effect_before_it_was_asked_for_is_not_linearizable() -> None:
    def late(record: Record) -> Record:
        mine = isinstance(record, Operation) and record.command == 2
        return msgspec.structs.replace(record, invoked=8.0, returned=9.0) if mine else record

    assert wrong(but(late)) == {"linearizable changes"}


def test_a_refusal_as_removed_while_the_tenant_lives_is_not_linearizable() -> None:
    look = Operation(
        client=2,
        replica="b",
        life=1,
        command=9,
        action="get",
        tenant="acme",
        invoked=9.0,
        returned=9.5,
        outcome=Refused("removed_tenant", 3),
    )

    assert wrong(History([*GOOD, look])) == {"linearizable changes"}


def test_a_hole_in_what_was_applied_breaks_the_watch_guarantees() -> None:
    def with_a_hole(record: Record) -> Record | None:
        return None if isinstance(record, Applied) and record.position.seq == 3 else record

    assert wrong(but(with_a_hole)) == {"watch guarantees"}


@pytest.mark.parametrize("code", ["internal", "log_diverged", "corrupt_entry", "secret_unreadable", "http_500"])
def test_nobody_is_to_be_told_of_what_cannot_be_where_nothing_was_lost(code: str) -> None:
    assert "expected refusals" in wrong(told(3, Refused(code)))


def test_a_complaint_in_a_log_and_a_leak_are_found() -> None:
    complaint = Complained(replica="a", life=1, line="Traceback (most recent call last):")

    assert wrong(History([*GOOD, complaint, Leaked(file="replica-a.1.log")])) == {"calm logs", "no clear password"}


def test_a_log_that_nothing_lost_is_neither_missed_nor_restored() -> None:
    said = Complained(replica="a", life=1, event="registry diverged", line="{}")

    assert wrong(History([*GOOD, said])) == {"calm logs"}
    assert "calm logs" in wrong(History([*GOOD, Restored(replica="a", life=1, epoch="new", at=2.5)]))


def test_the_tries_of_one_command_are_one_step_from_the_first_call_to_the_first_answer() -> None:
    first = msgspec.structs.replace(wrote(2, 1.6, 3, 2), outcome=Unknown("TimeoutError"))

    (step,) = [each for each in steps_of(History([first, *GOOD]))["acme"] if each.value == "w2"]

    assert (step.invoked, step.returned) == (1.6, 2.5)


def test_a_summary_counts_what_was_asked_what_broke_and_how_long_nothing_worked() -> None:
    summary = summarise(History(GOOD))

    assert (summary.operations, summary.acknowledged, summary.lost, summary.entries) == (4, 4, 0, 5)
    assert summary.faults == {"reset": 1}
    assert summary.unavailable == 3.0


def test_a_history_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "history.jsonl")
    for record in (*GOOD, Restored(replica="a", life=1, epoch="new", at=2.5), Leaked(file="x")):
        recorder.tell(record)
    recorder.close()

    assert History.read(recorder.path).records == recorder.history().records
