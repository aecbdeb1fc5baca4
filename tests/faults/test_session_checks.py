"""The guarantees of a session, on looks that keep them and on looks that break them."""

from typing import Any

import pytest

from registry.entries import Position
from tests.faults.history import Action, Announced, History, Logged, Ok, Operation, Outcome, Record, Refused
from tests.faults.session_checks import check_sessions


def logged(seq: int, tenant: str, version: int, value: str | None) -> Logged:
    position = Position(seq, f"{seq}-0")
    return Logged(
        position=position, prev="", tenant=tenant, version=version, alive=value is not None, value=value, command=seq
    )


LOG = (
    Logged(position=Position(1, "1-0"), prev="0-0"),
    logged(2, "acme", 1, "one"),
    logged(3, "other", 1, "x"),
    logged(4, "acme", 2, "two"),
    logged(5, "acme", 3, None),
)


def look(time: float, outcome: Outcome, action: Action = "get", *, life: int = 1, lasts: float = 0.5) -> Operation:
    tenant = None if action == "list" else "acme"
    return Operation(
        client=1,
        replica="a",
        life=life,
        command=int(time * 10),
        action=action,
        tenant=tenant,
        invoked=time,
        returned=time + lasts,
        outcome=outcome,
    )


def saw(seq: int, version: int, value: str) -> Ok:
    return Ok({"position": f"{seq}@{seq}-0", "version": version, "database": value})


def listed(**tenants: tuple[int, str]) -> Ok:
    lines: list[dict[str, Any]] = [
        {"tenant_id": name, "version": version, "database": value} for name, (version, value) in tenants.items()
    ]
    return Ok({"tenants": lines})


def served(seq: int, version: int) -> Ok:
    return Ok({"position": f"{seq}@{seq}-0", "version": version, "status": "replaced"})


def wrong(*records: Record) -> list[str]:
    return check_sessions(History([*records, *LOG]))


def test_looks_that_go_forward_keep_the_guarantees_however_stale_they_are() -> None:
    assert not wrong(
        look(1, Refused("unknown_tenant")),
        look(2, saw(2, 1, "one")),
        look(3, listed(acme=(1, "one")), "list"),
        look(4, listed(acme=(1, "one"), other=(1, "x")), "list"),
        look(5, saw(2, 1, "one")),
        look(6, served(4, 2), "register"),
        look(7, saw(4, 2, "two")),
        look(8, Refused("removed_tenant", 3)),
        look(9, listed(other=(1, "x")), "list"),
    )


def test_an_older_state_after_a_newer_one_goes_back() -> None:
    assert wrong(look(1, saw(4, 2, "two")), look(2, saw(2, 1, "one")))


def test_an_older_list_after_a_newer_look_goes_back() -> None:
    assert wrong(look(1, saw(4, 2, "two")), look(2, listed(acme=(1, "one"), other=(1, "x")), "list"))


def test_a_tenant_that_is_unknown_after_it_was_seen_goes_back() -> None:
    assert wrong(look(1, saw(2, 1, "one")), look(2, Refused("unknown_tenant")))


def test_what_was_answered_as_written_must_be_read_on_that_replica() -> None:
    assert wrong(look(1, served(4, 2), "register"), look(2, saw(2, 1, "one")))


def test_a_change_that_says_that_it_is_not_served_yet_need_not_be_read() -> None:
    late = Ok({**served(4, 2).answer, "served": False})

    assert not wrong(look(1, late, "register"), look(2, saw(2, 1, "one")))


def test_looks_that_overlap_may_come_in_either_order() -> None:
    assert not wrong(look(1, saw(4, 2, "two"), lasts=2), look(2, saw(2, 1, "one"), lasts=2))


def test_another_process_may_be_behind() -> None:
    assert not wrong(look(1, saw(4, 2, "two")), look(2, saw(2, 1, "one"), life=2))


def test_a_process_is_never_behind_what_it_announced_first() -> None:
    assert wrong(Announced(replica="a", life=1, position=Position(4, "4-0")), look(2, saw(2, 1, "one")))


@pytest.mark.parametrize(
    "never",
    [saw(2, 1, "another"), saw(3, 1, "one"), saw(9, 7, "later"), listed(acme=(2, "two")), listed(acme=(9, "z"))],
)
def test_what_the_log_never_said_is_told_apart(never: Ok) -> None:
    action: Action = "list" if "tenants" in never.answer else "get"

    assert "never said" in wrong(look(1, never, action))[0]
