"""Requests that call no tool pass the toolbox all the same: admitted, counted, logged, and told no more than calls."""

import asyncio

import pytest
from structlog.testing import capture_logs

from registry.errors import LogDiverged, RateLimited, TenancyError, UnknownTenant
from server.principal import Principal
from server.toolbox import OPERATORS_KNOW, Toolbox

ANN = Principal("ann", tenants=["own-*"])
CANARY = "hunter2-canary"


class Counted:
    """What a toolbox tells of requests, and whom it admits."""

    def __init__(self, refusal: TenancyError | None = None) -> None:
        self.outcomes: list[tuple[str, str]] = []
        self.subjects: list[str] = []
        self._refusal = refusal
        self.toolbox = Toolbox((), self.note, self.admit)

    def note(self, name: str, outcome: str, seconds: float) -> None:
        assert seconds >= 0
        self.outcomes.append((name, outcome))

    def admit(self, subject: str) -> None:
        self.subjects.append(subject)
        if self._refusal is not None:
            raise self._refusal

    async def hold(self, error: BaseException | None = None, principal: Principal = ANN) -> None:
        async with self.toolbox.request("resources_list", principal):
            if error is not None:
                raise error


async def test_a_request_is_admitted_by_its_caller_and_counted_under_its_name() -> None:
    counted = Counted()
    with capture_logs() as lines:
        await counted.hold()

    assert (counted.subjects, counted.outcomes) == (["ann"], [("resources_list", "ok")])
    assert [(line["event"], line["request"], line["outcome"]) for line in lines] == [
        ("request", "resources_list", "ok")
    ]


async def test_a_caller_over_their_rate_gets_nothing_done() -> None:
    counted = Counted(RateLimited("Too often.", retry_after_ms=1))
    with pytest.raises(RateLimited):
        await counted.hold(AssertionError("it was done"))
    assert counted.outcomes == [("resources_list", "rate_limited")]


async def test_an_error_is_counted_by_its_code_and_told_as_it_is() -> None:
    counted = Counted()
    with pytest.raises(UnknownTenant, match="No tenant"):
        await counted.hold(UnknownTenant("No tenant 'x'."))
    assert counted.outcomes == [("resources_list", "unknown_tenant")]


@pytest.mark.parametrize(("principal", "told"), [(ANN, OPERATORS_KNOW), (Principal("root"), "of far-1")])
async def test_an_error_that_may_name_others_tenants_is_told_to_who_has_them_all(
    principal: Principal, told: str
) -> None:
    error = LogDiverged("of far-1")
    error.names_anybody = True
    with pytest.raises(LogDiverged) as raised:
        await Counted().hold(error, principal)
    assert raised.value.message == told


async def test_a_bug_is_told_to_the_log_and_not_to_the_caller() -> None:
    counted = Counted()
    with capture_logs() as lines, pytest.raises(TenancyError) as raised:
        await counted.hold(ValueError(CANARY))
    assert CANARY not in raised.value.message
    assert counted.outcomes == [("resources_list", "internal")]
    assert "request failed" in [line["event"] for line in lines]


async def test_a_request_that_is_given_up_is_counted_as_that() -> None:
    counted = Counted()
    with pytest.raises(asyncio.CancelledError):
        await counted.hold(asyncio.CancelledError())
    assert counted.outcomes == [("resources_list", "cancelled")]
