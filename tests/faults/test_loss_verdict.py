"""What a history with losses is judged by: each check finds what it is for, and a good history passes them all."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from registry.entries import Position
from tests.faults.history import (
    Action,
    Announced,
    Applied,
    Began,
    Complained,
    Counted,
    History,
    Leaked,
    Logged,
    Lost,
    Noticed,
    Ok,
    Operation,
    Outcome,
    Record,
    Refused,
    Seen,
    Written,
)
from tests.faults.loss_summary import summarise
from tests.faults.loss_verdict import judge


def at(seq: int, log: int = 1) -> Position:
    """A position of the first log, or of the one that was begun after it was lost."""
    return Position(seq, f"{log}{seq:02}-0")


def written(seq: int, version: int, value: str | None, moment: float, born: float | None, **more: Any) -> Written:  # noqa: ANN401 - fields of a record
    told = {
        "position": at(seq, more.pop("log", 1)),
        "kind": "tenant_registered.v1",
        "tenant": "acme",
        "version": version,
        "alive": value is not None,
        "value": value,
        "event": f"event-{moment}",
        "moment": moment,
        "born": born,
        "at": moment,
        **more,
    }
    return Written(**told)


def asked(
    command: int, time: float, outcome: Outcome, action: Action = "register", *, life: int = 1, value: str | None = None
) -> Operation:
    return Operation(
        client=1,
        replica="a",
        life=life,
        command=command,
        action=action,
        tenant=None if action == "list" else "acme",
        value=value,
        invoked=time,
        returned=time + 0.3,
        outcome=outcome,
    )


def wrote(command: int, time: float, seq: int, version: int, *, log: int = 1, served: bool = True) -> Operation:
    answer = {"position": str(at(seq, log)), "version": version, "status": "replaced", "served": served}
    return asked(command, time, Ok(answer), value=f"w{command}")


def removed(command: int, time: float, seq: int, version: int, *, log: int = 1, confirmed: bool = True) -> Operation:
    answer = {
        "position": str(at(seq, log)),
        "version": version,
        "status": "removed",
        "confirmed": ["vm-1-f00d"] if confirmed else [],
    }
    return asked(command, time, Ok(answer), "remove")


def looked(time: float, seq: int, version: int, value: str, *, log: int = 1) -> Operation:
    answer = {"position": str(at(seq, log)), "version": version, "database": value}
    return asked(90, time, Ok(answer), "get")


def applied(seq: int, version: int, state: str, *, log: int = 1) -> Applied:
    told = {"tenant": "acme", "version": version, "state": state}
    return msgspec.convert(
        {"replica": "a", "life": 1, "position": at(seq, log), "prev": at(seq - 1, log), **told},
        Applied,
        from_attributes=True,
    )


def noticed(what: str, time: float, reason: str = "") -> Noticed:
    return Noticed(replica="a", life=1, what=what, reason=reason, at=time)


def logged(seq: int, version: int, value: str | None, command: int | None = None) -> Logged:
    return Logged(
        position=at(seq, 2),
        prev=at(seq - 1, 2).entry,
        tenant="acme",
        version=version,
        alive=value is not None,
        value=value,
        command=command,
    )


def counted(by: str, **findings: int) -> Counted:
    return Counted(replica="a", life=1, by=by, findings=findings)


FLUSHED = Lost(kind="FLUSHALL", told_by=("log_gone",), begun=3.0, healed=3.1, settled=4.5)
GOOD: tuple[Record, ...] = (
    Began(replica="a", life=1, pid=1, port=1, at=0.0),
    wrote(1, 1, 2, 1),
    wrote(2, 2, 3, 2),
    FLUSHED,
    wrote(3, 5, 4, 3, log=2),
    looked(6, 4, 3, "w3", log=2),
    Announced(replica="a", life=1, position=at(1)),
    applied(2, 1, "live"),
    applied(3, 2, "live"),
    noticed("log_gone", 3.5),
    noticed("log restored", 4.0),
    Announced(replica="a", life=1, position=at(3, 2)),
    applied(4, 3, "live", log=2),
    Written(position=at(1), kind="log_created.v1", at=0.1),
    written(2, 1, "w1", 1.1, 1.1),
    written(3, 2, "w2", 2.1, 1.1),
    Written(position=at(1, 2), kind="log_created.v1", at=3.6),
    Written(position=at(2, 2), kind="log_restored.v1", at=3.7),
    written(3, 2, "w2", 2.1, 1.1, log=2, kind="tenant_restated.v1", at=3.8),
    written(4, 3, "w3", 5.1, 1.1, log=2),
    Logged(position=at(1, 2), prev="0-0"),
    Logged(position=at(2, 2), prev=at(1, 2).entry),
    logged(3, 2, "w2"),
    logged(4, 3, "w3", 3),
    Seen(by="the keys", tenants={"acme": (3, "w3")}),
    counted("its log", log_gone=1),
    counted("/readyz", log_gone=1),
    counted("/metrics", log_gone=1),
)


def but(change: Callable[[Record], Record | None]) -> History:
    """The good history with a record changed or left out (None)."""
    return History([changed for record in GOOD if (changed := change(record)) is not None])


def without(*gone: Record) -> History:
    return History([record for record in GOOD if record not in gone])


def wrong(history: History) -> set[str]:
    return {check for check, found in judge(history).items() if found}


def ending_with(*states: Written, then: tuple[Record, ...] = ()) -> History:
    """Two changes were acknowledged and lost, and these states are what the new log has."""
    last = states[-1]
    return History(
        [
            *GOOD[:3],
            FLUSHED,
            noticed("log_gone", 3.5),
            *GOOD[14:16],
            *states,
            *(logged(state.position.seq, state.version, state.value) for state in states),
            Seen(by="the keys", tenants={"acme": (last.version, last.value)} if last.value else {}),
            counted("its log"),
            *then,
        ]
    )


def test_a_good_history_passes_every_check() -> None:
    assert wrong(History(GOOD)) == set()
    assert wrong(ending_with(written(2, 2, "w2", 2.1, 1.1, log=2))) == set()


def test_a_change_that_was_acknowledged_and_is_no_more_at_the_end_is_lost() -> None:
    history = ending_with(written(2, 1, "w1", 1.1, 1.1, log=2))

    assert wrong(history) == {"nothing that was read is lost"}
    assert summarise(history).lost == 1


def test_a_change_that_gave_way_to_a_later_one_of_its_life_is_not_lost_and_to_an_earlier_one_it_is() -> None:
    later, earlier = written(2, 3, "w9", 2.5, 1.1, log=2), written(2, 3, "w9", 1.5, 1.1, log=2)

    assert wrong(ending_with(later)) == set()
    assert wrong(ending_with(earlier)) == {"nothing that was read is lost"}


def test_a_change_may_give_way_to_a_removal_of_its_life_and_to_a_later_life_and_not_to_an_earlier_one() -> None:
    removal, reborn = written(2, 3, None, 1.5, None, log=2), written(2, 3, "w9", 2.5, 2.5, log=2)
    elder = written(2, 3, "w9", 9.0, 0.5, log=2)

    assert wrong(ending_with(removal)) == set()
    assert wrong(ending_with(reborn)) == set()
    assert wrong(ending_with(elder)) == {"nothing that was read is lost"}


def test_a_version_that_an_acknowledged_change_had_is_not_given_to_another() -> None:
    assert wrong(ending_with(written(2, 2, "w9", 2.5, 1.1, log=2))) == {"nothing that was read is lost"}


def test_what_nobody_had_read_may_be_lost_and_what_any_process_applied_may_not() -> None:
    unread = wrote(7, 2.6, 4, 3, served=False)
    records = (unread, written(4, 3, "w7", 2.7, 1.1))
    history = ending_with(written(2, 2, "w2", 2.1, 1.1, log=2), then=records)
    read = History([*history.records, applied(4, 3, "live")])

    assert wrong(history) == set()
    assert summarise(history).unread == 1
    assert wrong(read) == {"nothing that was read is lost"}


def test_an_answer_that_names_a_position_at_which_nothing_of_it_was_ever_written_is_wrong() -> None:
    assert wrong(History([*GOOD, wrote(8, 5.5, 9, 3)])) == {"nothing that was read is lost"}
    assert wrong(History([*GOOD, wrote(8, 5.5, 4, 3, log=2)])) == {"nothing that was read is lost"}


def test_a_confirmed_removal_is_not_undone_by_one_who_says_the_life_that_it_ended_again() -> None:
    def history(again: Written, *, confirmed: bool = True) -> History:
        removal = written(4, 3, None, 2.5, None)
        states = (again, written(3, again.version + 1, None, 2.5, None, log=2))
        return ending_with(*states, then=(removal, removed(4, 2.4, 4, 3, confirmed=confirmed)))

    again = written(2, 2, "w2", 2.1, 1.1, log=2, kind="tenant_restated.v1", at=4.0)
    reborn = written(2, 4, "w9", 2.9, 2.9, log=2, kind="tenant_restated.v1", at=4.0)

    assert wrong(history(again)) == {"removals hold"}
    assert "removals hold" not in wrong(history(again, confirmed=False))
    unasked = Began(replica="b", life=1, pid=2, port=2, at=0.0)
    assert "removals hold" not in wrong(History([unasked, *history(again).records]))
    assert "removals hold" not in wrong(history(reborn))


def test_a_removal_that_was_acknowledged_is_not_outlived_by_the_life_that_it_ended() -> None:
    removal = (written(4, 3, None, 2.5, None), removed(4, 2.4, 4, 3, confirmed=False))
    changed_since = written(2, 4, "w9", 2.9, 1.1, log=2)

    assert wrong(ending_with(changed_since, then=removal)) == {"nothing that was read is lost"}


def test_a_version_that_does_not_go_up_in_the_log_is_found() -> None:
    repeated = written(5, 3, "w3", 5.1, 1.1, log=2)

    assert wrong(History([*GOOD, repeated, logged(5, 3, "w3")])) == {"versions never go back"}


@pytest.mark.parametrize(
    "look",
    [
        pytest.param(looked(7, 3, 2, "w2", log=2), id="an older version"),
        pytest.param(asked(9, 7, Refused("unknown_tenant"), "get"), id="none at all"),
        pytest.param(asked(9, 7, Refused("removed_tenant", 2), "get"), id="an older removal"),
        pytest.param(
            asked(9, 7, Ok({"tenants": [{"tenant_id": "acme", "version": 2, "database": "w2"}]}), "list"), id="a list"
        ),
    ],
)
def test_what_one_process_tells_of_a_tenant_does_not_go_back(look: Operation) -> None:
    of_another = msgspec.structs.replace(look, life=2)

    assert wrong(History([*GOOD, look])) == {"versions never go back"}
    assert wrong(History([*GOOD, of_another])) == set()


def test_a_look_during_a_change_may_tell_what_was_before_it() -> None:
    assert wrong(History([*GOOD, looked(5.1, 3, 2, "w2", log=2)])) == set()


def test_a_look_that_tells_what_nobody_ever_wrote_is_found() -> None:
    assert wrong(History([*GOOD, looked(7, 4, 3, "another", log=2)])) == {"looks tell what was written"}
    assert wrong(History([*GOOD, looked(7, 8, 3, "w3", log=2)])) == {"looks tell what was written"}


def test_a_process_applies_what_was_written_in_order_and_without_a_hole_between_two_findings() -> None:
    finding, announced = GOOD[9], GOOD[11]

    assert wrong(History([*GOOD, applied(5, 4, "live", log=2)])) == {"watch guarantees"}
    assert wrong(History([*GOOD, applied(4, 3, "live", log=2)])) == {"watch guarantees"}
    assert wrong(without(finding, announced)) == {"losses are told", "watch guarantees"}


def test_a_command_leads_to_two_entries_only_where_something_was_lost_between_its_tries() -> None:
    twice: list[Record] = [logged(5, 4, "w3", 3), written(5, 4, "w3", 5.5, 1.1, log=2)]
    earlier = asked(3, 2.5, Refused("unreachable"), value="w3")

    assert "once unless lost" in wrong(History([*GOOD, *twice]))
    assert "once unless lost" not in wrong(History([*GOOD, *twice, earlier]))


def test_a_refused_command_is_in_no_log() -> None:
    def refused(record: Record) -> Record:
        mine = isinstance(record, Operation) and record.command == 3
        return msgspec.structs.replace(record, outcome=Refused("version_conflict", 2)) if mine else record

    assert wrong(but(refused)) == {"once unless lost"}


def test_who_tells_something_else_at_the_end_has_not_converged() -> None:
    assert wrong(History([*GOOD, Seen(by="replica b", tenants={"acme": (2, "w2")})])) == {"convergence"}


def test_a_loss_that_nobody_tells_of_before_the_next_is_found() -> None:
    again = msgspec.structs.replace(FLUSHED, begun=7.0, healed=7.1, settled=8.0)
    foreign = Lost(kind="foreign XADD", told_by=("registry halted",), about="7-0", begun=7.0, healed=7.1, settled=8.0)

    assert wrong(History([*GOOD, again])) == {"losses are told"}
    assert wrong(History([*GOOD, again, noticed("log_gone", 7.2)])) == set()
    assert wrong(History([*GOOD, foreign, noticed("registry halted", 7.2, "entry 6-0")])) == {"losses are told"}
    assert wrong(History([*GOOD, foreign, noticed("registry halted", 7.2, "entry 7-0")])) == set()


def test_what_is_counted_is_what_was_told() -> None:
    def counts_two(record: Record) -> Record:
        metered = isinstance(record, Counted) and record.by == "/metrics"
        return counted("/metrics", log_gone=2) if metered else record

    assert wrong(but(counts_two)) == {"losses are counted"}
    assert "losses are counted" in wrong(without(*GOOD[-3:]))


WAITED = (
    msgspec.structs.replace(FLUSHED, permitted=6.5, begun=5.9, healed=6.0, settled=8.0),
    noticed("log_gone", 6.01),
    noticed("registry diverged", 6.0),
    noticed("registry following", 7.0),
)


def test_while_an_operator_is_waited_for_nothing_is_said_again() -> None:
    early = Written(position=at(5, 2), kind="log_restored.v1", at=6.2)

    assert wrong(History([*GOOD, *WAITED])) == set()
    assert wrong(History([*GOOD, *WAITED, early])) == {"nobody writes without an operator"}
    assert wrong(History([*GOOD, *WAITED, msgspec.structs.replace(early, at=6.6)])) == set()


def test_while_an_operator_is_waited_for_no_change_is_made_and_looks_are_answered() -> None:
    change = wrote(2, 6.1, 3, 2)
    look = asked(9, 6.1, Refused("log_diverged"), "list")
    refused = asked(9, 6.1, Refused("log_diverged"), "remove")

    assert "nobody writes without an operator" in wrong(History([*GOOD, *WAITED, change]))
    assert "nobody writes without an operator" in wrong(History([*GOOD, *WAITED, look]))
    assert wrong(History([*GOOD, *WAITED, refused])) == set()


@pytest.mark.parametrize("code", ["internal", "log_diverged", "corrupt_entry", "secret_unreadable", "http_500"])
def test_nobody_is_told_of_a_broken_log_when_it_is_whole(code: str) -> None:
    long_after = msgspec.structs.replace(asked(9, 60.0, Refused(code), "remove"), replica="b")

    assert wrong(History([*GOOD, *WAITED, long_after])) == {"expected refusals"}


def test_a_leak_and_a_complaint_that_no_loss_justifies_are_found() -> None:
    said = Complained(replica="a", life=1, event="registry diverged", line="{}")
    traceback = Complained(replica="a", life=1, line="Traceback (most recent call last):")

    assert wrong(History([*GOOD, Leaked(file="redis-before/x.aof")])) == {"no clear password"}
    assert wrong(History([*GOOD, said])) == {"calm logs"}
    assert wrong(History([*GOOD, *WAITED, said])) == set()
    assert wrong(History([*GOOD, *WAITED, traceback])) == {"calm logs"}


def test_a_summary_tells_how_soon_the_first_and_the_last_replica_saw_a_loss() -> None:
    late = msgspec.structs.replace(noticed("log_gone", 4.1), replica="b")

    summary = summarise(History([*GOOD, late]))

    assert (summary.acknowledged, summary.lost, summary.restorations, summary.restated) == (3, 0, 1, 1)
    assert summary.findings == {"log_gone": 2}
    assert (round(summary.seen_by_first, 1), round(summary.seen_by_all, 1)) == (0.4, 1.0)
