"""Metrics as Prometheus gets them from a real process, and the document that explains them."""

import re
from pathlib import Path
from typing import Final

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from server.embedded.sample import SampleLogin
from tests.processes import Fields, Process, Start, eventually, fields_of

DOCUMENT: Final = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text("utf-8")


@pytest.fixture
def acme(sample: SampleLogin) -> Fields:
    return fields_of("acme", sample)


def scraped(replica: Process) -> str:
    status, body = replica.request("GET", "/metrics")
    assert status == 200
    return body.decode()


def values(replica: Process) -> dict[str, float]:
    """Return each sample's value by its name and labels, as Prometheus's own parser reads them."""
    return {
        sample.name.removeprefix("mcp_postgres_")
        + "".join(f" {value}" for _, value in sorted(sample.labels.items())): (sample.value)
        for family in text_string_to_metric_families(scraped(replica))
        for sample in family.samples
    }


def test_the_document_names_every_metric_with_its_kind_and_no_other(serve: Start) -> None:
    told = re.findall(r"^\| `(\w+)` \| (\w+) \|", DOCUMENT, re.MULTILINE)
    shown = re.findall(r"^# TYPE (\w+) (\w+)$", scraped(serve()), re.MULTILINE)
    assert told == shown


def test_the_document_names_every_label(serve: Start, acme: Fields) -> None:
    replica = serve()
    replica.call("register_tenant", **acme)
    told = dict(re.findall(r"^\| `(\w+)` \| \w+ \| ([\w, ]*)\|", DOCUMENT, re.MULTILINE))
    for family in text_string_to_metric_families(scraped(replica)):
        for sample in family.samples:
            name = sample.name if sample.name in told else family.name
            labels = {label for label in sample.labels if label != "le"}
            assert labels == {label for label in told[name].strip().split(", ") if label}, sample.name


def test_the_numbers_are_those_of_what_happened(serve: Start, acme: Fields, redis_url: str) -> None:
    replica = serve(MCP_POSTGRES_REPAIR_SECONDS="1")
    replica.call("register_tenant", **acme)
    replica.call("list_tables", tenant_id="acme")
    replica.call("list_tables", tenant_id="nobody")
    replica.post({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "made_up", "arguments": {}}})
    now = values(replica)
    assert now["registry_phase following"] == 1
    assert sum(value for name, value in now.items() if name.startswith("registry_phase")) == 1
    assert (now["registry_ready"], now["registry_position"], now["registry_tenants"]) == (1, 2, 1)
    assert now["tool_calls_total ok list_tables"] == 1
    assert now["tool_calls_total unknown_tenant list_tables"] == 1
    assert now["tool_call_seconds_count list_tables"] == now["tool_call_seconds_bucket +Inf list_tables"] == 2
    assert (now["pools_open"], now["pool_connections"], now["pool_calls_running"]) == (1, 1, 0)
    assert now["key_repairs_total"] == 0
    assert (now["log_appends_total appended"], now["log_appends_total conflict"]) == (1, 0)
    assert now["registry_staleness_seconds"] >= 0
    with redis.Redis.from_url(redis_url) as client:
        client.delete("mcp:postgres:tenant:acme")
    eventually(lambda: values(replica)["key_repairs_total"] == 1, "the repair was not counted")
    assert "acme" not in scraped(replica)
    assert "made_up" not in scraped(replica)


def test_a_lost_log_and_its_restoration_are_counted(serve: Start, acme: Fields, redis_url: str) -> None:
    replica = serve()
    replica.call("register_tenant", **acme)
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    eventually(lambda: values(replica)["log_restorations_total"] == 1, "nothing was restored")
    assert values(replica)["log_findings_total log_gone"] == 1


def test_replicas_are_counted_and_one_that_is_not_ready_still_answers(serve: Start) -> None:
    one, _ = serve(), serve()
    eventually(lambda: values(one)["replicas_live"] == 2, "two replicas do not see each other")
    away = serve(ready=False, REDIS_URL="unix:///nowhere/redis.sock")
    eventually(lambda: _answers(away), "no metrics without Redis")
    now = values(away)
    assert (now["registry_ready"], now["registry_phase connecting"], now["replicas_live"]) == (0, 1, 0)
    assert "registry_staleness_seconds" not in now


def _answers(replica: Process) -> bool:
    try:
        return replica.request("GET", "/metrics")[0] == 200
    except (ConnectionError, TimeoutError):
        return False
