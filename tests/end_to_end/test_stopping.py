"""A server that stops answers every call that it has: its caller is told to call again, and no error is logged."""

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from server.embedded.postgres import EmbeddedPostgres
from server.embedded.sample import SampleLogin
from tests.databases import sleeping
from tests.processes import Start, eventually, fields_of

SLEEP: Final = "SELECT pg_sleep(94) /* stopped */"


@pytest.mark.parametrize(
    ("drain", "number", "signals"),
    [("0.3", signal.SIGTERM, 1), ("600", signal.SIGINT, 2)],
    ids=["its time is over", "a second signal"],
)
def test_a_call_that_runs_when_its_server_stops_is_told_so_and_leaves_nothing_behind(
    serve: Start, sample: SampleLogin, postgres: EmbeddedPostgres, drain: str, number: signal.Signals, signals: int
) -> None:
    replica = serve("--drain-seconds", drain, "--statement-timeout", "100")
    replica.call("register_tenant", **fields_of("acme", sample))
    with ThreadPoolExecutor(1) as clients:
        told = clients.submit(replica.call, "execute_query", tenant_id="acme", query=SLEEP)
        eventually(lambda: sleeping(postgres, SLEEP) == 1, "the query never began")
        for _ in range(signals):
            logged = replica.log.read_text().count('"stopping"')
            replica.popen.send_signal(number)
            eventually(lambda: replica.log.read_text().count('"stopping"') > logged, "the signal was not heard")  # noqa: B023 - called at once
        assert replica.popen.wait(20) == 0
        error = told.result()
    assert error["code"] == "tenant_changed"
    assert error["retryable"]
    assert sleeping(postgres, SLEEP) == 0
    levels = [json.loads(line)["level"] for line in replica.log.read_text().splitlines() if line.startswith("{")]
    assert {"error", "critical"}.isdisjoint(levels)
