"""Lists that are longer than one answer: each says how to go on, and whoever does has seen everything once."""

from collections.abc import Iterator
from typing import Any, Final

import pytest
import redis

from server import resource_uris as uris
from server.embedded.sample import SampleLogin
from server.embedded.valkey import EmbeddedValkey
from server.resources import PAGE
from tests.processes import Fields, Process, fields_of
from tests.security.doors import serving

TENANTS: Final = [f"t-{number:03}" for number in range(PAGE + 5)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, valkey: EmbeddedValkey) -> Iterator[Process]:
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    with serving(tmp_path_factory.mktemp("lists"), valkey.url) as server:
        yield server


@pytest.fixture
def login(sample: SampleLogin) -> Fields:
    return {**fields_of("", sample), "verify": False}


def ask(server: Process, method: str, **params: Any) -> Any:  # noqa: ANN401 - the result
    status, told = server.post({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    assert status == 200, told
    return told["result"]


def pages(server: Process) -> Iterator[list[str]]:
    cursor: Fields = {}
    while True:
        told = ask(server, "resources/list", **cursor)
        yield [each["uri"] for each in told["resources"]]
        if "nextCursor" not in told:
            return
        cursor = {"cursor": told["nextCursor"]}


def test_whoever_goes_on_has_seen_all_of_it_once(server: Process, login: Fields) -> None:
    for tenant in TENANTS:
        assert server.call("register_tenant", **{**login, "tenant_id": tenant})["status"] == "registered"

    first, second = pages(server)
    assert (len(first), len(second)) == (2 + 2 * PAGE, 10)
    assert len({*first, *second}) == len(first) + len(second)

    seen: list[str] = []
    page: Fields = {"next": ""}
    while "next" in page:
        page = server.call("list_tenants", limit=100, **({"after": page["next"]} if page["next"] else {}))
        seen += [each["tenant_id"] for each in page["tenants"]]
    assert seen == TENANTS


def test_a_history_goes_on_where_it_was_cut_also_as_a_resource(server: Process, login: Fields) -> None:
    for number in range(23):
        assert "code" not in server.call(
            "register_tenant", **{**login, "tenant_id": "acme", "max_pool_size": 1 + number}
        )

    whole = server.call("tenant_history", tenant_id="acme", limit=100)
    assert "next" not in whole
    few = server.call("tenant_history", tenant_id="acme")
    rest = server.call("tenant_history", tenant_id="acme", after=few["next"])
    assert [*few["changes"], *rest["changes"]] == whole["changes"]
    assert "next" not in rest
    (contents,) = ask(server, "resources/read", uri=f"{uris.history_uri('acme')}?after={few['next']}")["contents"]
    assert '"version":3,' in contents["text"]
    assert '"version":4,' not in contents["text"]

    server.call("register_tenant", **{**login, "tenant_id": "beta"})
    refused = server.call("tenant_history", tenant_id="beta", after=few["next"])
    assert refused["code"] == "invalid_input", "another tenant's history is not to be had under this one's name"
