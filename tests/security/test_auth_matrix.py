"""Every tool, resource, prompt and completion with every permission on an own, a foreign and an unknown tenant.

Over HTTP, at a real server.

Whoever adds a tool adds a row here: which permission it needs, and what a call of it takes beside the tenant.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, product
from typing import Final

import pytest
import redis

from server.cursors import write_cursor
from server.embedded.sample import SampleLogin
from server.embedded.valkey import EmbeddedValkey
from server.principal import Principal
from tests.processes import Fields, Process, eventually, fields_of
from tests.security.doors import EVERYTHING, Caller, TokenFile, Told, serving

PERMISSIONS: Final = ("tenants:read", "tenants:write", "query:read", "query:write", "audit:read")
GIVEN: Final = (*((each,) for each in PERMISSIONS), PERMISSIONS, ())
"""What a token may have: each alone, all, none."""


@dataclass(frozen=True)
class Row:
    """What one tool needs, and a call of it that works on a tenant of the sample's database."""

    needs: str
    arguments: Fields = field(default_factory=dict)
    of_a_tenant: bool = True
    changes: bool = False


ROWS: Final = {
    "register_tenant": Row("tenants:write", {"verify": False, "access": "read_write"}, changes=True),
    "remove_tenant": Row("tenants:write", {"wait_seconds": 0}, changes=True),
    "list_tenants": Row("tenants:read", of_a_tenant=False),
    "get_tenant": Row("tenants:read"),
    "tenant_history": Row("audit:read"),
    "registry_status": Row("tenants:read", of_a_tenant=False),
    "list_schemas": Row("query:read"),
    "list_tables": Row("query:read"),
    "describe_table": Row("query:read", {"table": "books"}),
    "execute_query": Row("query:read", {"query": "SELECT 1"}),
    "execute_write": Row("query:write", {"statements": [{"sql": "SELECT 1 FOR UPDATE"}], "dry_run": True}),
}
READ: Final = {
    "registry://tenants": "list_tenants",
    "registry://replicas": "registry_status",
    "registry://tenants/{}/history": "tenant_history",
    "postgres://{}/schemas": "list_schemas",
    "postgres://{}/tables/public.books": "describe_table",
}
"""What addresses stand for: each is read as its tool is called."""
PROMPTS: Final = {
    "explore_database": "query:read",
    "explain_slow_query": "query:read",
    "review_tenant_history": "audit:read",
}
KINDS: Final = ("own", "foreign", "unknown", "unknown_own")
"""Whose tenant: the caller's, somebody else's, nobody's, and nobody's of a name that would be the caller's."""


class Scene:
    """A server with tenants of two owners, and a caller for each set of permissions, who may touch those of one."""

    def __init__(self, tokens: TokenFile, server: Process, login: Fields) -> None:
        self._tokens = tokens
        self._server = server
        self._login = login
        self._numbers = count(100)
        self.admin = Caller(server, tokens.add("admin", EVERYTHING, ["*"]))
        self.callers = {given: self.caller(given) for given in GIVEN}

    def caller(self, given: tuple[str, ...]) -> Caller:
        return Caller(self._server, self._tokens.add("+".join(given) or "nobody", given, ["own-*"]))

    def tenant(self, kind: str) -> str:
        """Return a fresh id, all of the same length; a tenant of that kind is there if there is one to be."""
        tenant = {"own": "own-", "unknown_own": "own-"}.get(kind, "far-") + str(next(self._numbers))
        if kind in ("own", "foreign"):
            self.register(tenant)
        return tenant

    def register(self, tenant: str) -> None:
        assert self.admin.call("register_tenant", **self.arguments("register_tenant", tenant)).code == "ok"

    def arguments(self, tool: str, tenant: str) -> Fields:
        row = ROWS[tool]
        login = {**self._login} if tool == "register_tenant" else {}
        return {**login, **row.arguments, **({"tenant_id": tenant} if row.of_a_tenant else {})}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, valkey: EmbeddedValkey, sample: SampleLogin) -> Iterator[Scene]:
    """One server for all tests of this file: none of them relies on which tenants there are."""
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    home = tmp_path_factory.mktemp("matrix")
    tokens = TokenFile(home / "tokens.toml")
    with serving(home, valkey.url, MCP_POSTGRES_TOKENS_FILE=str(tokens.path)) as server:
        scene = Scene(tokens, server, fields_of("", sample))
        wait_known(scene)
        yield scene


def wait_known(scene: Scene) -> None:
    """Wait until the server has read the last token of the file, and with it all before."""
    last = list(scene.callers.values())[-1]
    eventually(lambda: last.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).status == 200, "not known")


def test_every_tool_has_a_row(scene: Scene) -> None:
    assert scene.admin.tools() == set(ROWS), "a new tool needs a row: who may call it, and on which tenant"


def test_every_caller_is_shown_what_they_may_use_and_nothing_else(scene: Scene) -> None:
    for given, caller in scene.callers.items():
        assert caller.tools() == {tool for tool, row in ROWS.items() if row.needs in given}, given


def test_every_tool_with_every_permission_on_every_kind_of_tenant(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong, tried = [], 0
    standing = {kind: scene.tenant(kind) for kind in KINDS}
    for (tool, row), (given, caller) in product(ROWS.items(), scene.callers.items()):
        told: dict[str, tuple[str, Told]] = {}
        for kind in KINDS if row.of_a_tenant else ("own",):
            may = row.needs in given
            tenant = scene.tenant(kind) if may and row.changes else standing[kind]
            told[kind] = tenant, caller.call(tool, **scene.arguments(tool, tenant))
            tried += 1
            expected = expected_of(tool, kind) if may else "forbidden"
            status = 200 if may else 403
            if (told[kind][1].status, told[kind][1].code) != (status, expected):
                wrong.append(f"{tool} {given} {kind}: {told[kind][1].status} {told[kind][1].code}, not {expected}")
        if row.of_a_tenant and without_id(*told["foreign"]) != without_id(*told["unknown"]):
            wrong.append(f"{tool} {given}: a foreign tenant is told from an unknown one")
    with capsys.disabled():
        print(f"\nauth matrix: {tried} combinations of tool, permissions and tenant")  # noqa: T201 - whoever runs it sees how much was tried
    assert not wrong, "\n".join(wrong)
    assert tried == len(GIVEN) * sum(len(KINDS) if row.of_a_tenant else 1 for row in ROWS.values())


def test_what_tells_of_all_tenants_tells_a_caller_of_their_own(scene: Scene) -> None:
    scene.tenant("own")
    scene.tenant("foreign")
    caller = scene.callers[PERMISSIONS]

    every = [each["tenant_id"] for each in scene.admin.call("list_tenants", limit=1000).value["tenants"]]
    told = caller.call("list_tenants", limit=1000).value
    own = [tenant for tenant in every if tenant.startswith("own-")]

    assert 0 < len(own) < len(every)
    assert [each["tenant_id"] for each in told["tenants"]] == own
    assert told["total"] == caller.call("registry_status").value["tenants"] == len(own)


def test_what_a_caller_may_not_change_is_as_it_was_afterwards(scene: Scene) -> None:
    foreign = scene.tenant("foreign")
    before = scene.admin.call("tenant_history", tenant_id=foreign).value

    for tool, caller in product(("remove_tenant", "register_tenant"), scene.callers.values()):
        caller.call(tool, **scene.arguments(tool, foreign))

    assert scene.admin.call("tenant_history", tenant_id=foreign).value == before


def test_the_tokens_subject_is_who_did_it(scene: Scene) -> None:
    tenant = scene.tenant("unknown_own")
    scene.callers[("tenants:write",)].call("register_tenant", **scene.arguments("register_tenant", tenant))

    (change,) = scene.admin.call("tenant_history", tenant_id=tenant).value["changes"]

    assert change["by"] == "tenants:write"


def test_every_resource_with_every_permission_on_every_kind_of_tenant(scene: Scene) -> None:
    wrong = []
    standing = {kind: scene.tenant(kind) for kind in KINDS}
    for (address, tool), (given, caller) in product(READ.items(), scene.callers.items()):
        row, told = ROWS[tool], dict[str, tuple[str, Told]]()
        for kind in KINDS if row.of_a_tenant else ("own",):
            told[kind] = standing[kind], ask(caller, "resources/read", uri=address.format(standing[kind]))
            expected = ("ok" if kind == "own" else "unknown_tenant") if row.needs in given else "forbidden"
            if (told[kind][1].status == 403, came_to(told[kind][1])) != (expected == "forbidden", expected):
                wrong.append(f"{address} {given} {kind}: {told[kind][1].body!r}, not {expected}")
        if row.of_a_tenant and without_id(*told["foreign"]) != without_id(*told["unknown"]):
            wrong.append(f"{address} {given}: a foreign tenant is told from an unknown one")
    assert not wrong, "\n".join(wrong)


def test_every_caller_is_listed_the_resources_that_they_may_read_and_nothing_else(scene: Scene) -> None:
    own, foreign = scene.tenant("own"), scene.tenant("foreign")
    for given, caller in scene.callers.items():
        listed = {each["uri"] for each in ask(caller, "resources/list").json["result"]["resources"]}
        kinds = {
            each["uriTemplate"] for each in ask(caller, "resources/templates/list").json["result"]["resourceTemplates"]
        }
        may = {address for address, tool in READ.items() if ROWS[tool].needs in given}
        names = "tenants:read" in given
        assert {address.format(own) in listed for address in may if "tables" not in address} <= {names}, given
        assert not any(foreign in uri for uri in listed), given
        assert {"registry://tenants", "registry://replicas"} <= listed if names else not listed, given
        assert len(kinds) == len([address for address in may if "{}" in address]), given


def test_a_cursor_is_good_for_who_was_given_it_and_for_nobody_else(scene: Scene) -> None:
    cursor = write_cursor("resources", "own-1", Principal("x", frozenset(PERMISSIONS), ["own-*"]))

    assert came_to(ask(scene.callers[PERMISSIONS], "resources/list", cursor=cursor)) == "ok"
    for caller in (scene.admin, scene.callers["tenants:read",]):
        told = ask(caller, "resources/list", cursor=cursor)
        assert (came_to(told), told.json["error"]["code"]) == ("invalid_input", -32602)


def test_every_prompt_with_every_permission(scene: Scene) -> None:
    given_all = {"tenant_id": "own-x", "query": "SELECT 1"}
    for given, caller in scene.callers.items():
        listed = {each["name"]: each for each in ask(caller, "prompts/list").json["result"]["prompts"]}
        assert set(listed) == {name for name, needs in PROMPTS.items() if needs in given}, given
        for name, needs in PROMPTS.items():
            arguments = given_all if name == "explain_slow_query" else {"tenant_id": "own-x"}
            told = ask(caller, "prompts/get", name=name, arguments=arguments)
            assert came_to(told) == ("ok" if needs in given else "forbidden"), (name, given)


def test_nothing_is_completed_that_the_caller_could_not_list(scene: Scene) -> None:
    own, foreign = scene.tenant("own"), scene.tenant("foreign")
    table = {"type": "ref/resource", "uri": "postgres://{tenant}/tables/{schema}.{table}"}
    for given, caller in scene.callers.items():
        for typed in ("", own[:-1], foreign[:-1], foreign, "-"):
            values = completed(caller, table, "tenant", typed)
            assert not any(value.startswith("far-") for value in values), given
            assert (own in completed(caller, table, "tenant", own)) is ("tenants:read" in given), given
        for name in ("schema", "table"):
            assert bool(completed(caller, table, name, "", tenant=own)) is ("query:read" in given), (name, given)
            assert completed(caller, table, name, "", tenant=foreign) == [], (name, given)


def test_what_is_asked_beside_tools_is_counted_by_what_came_of_it(scene: Scene) -> None:
    for method, params in (("resources/list", {}), ("prompts/get", {"name": "review_tenant_history"})):
        ask(scene.admin, method, **params)
    ask(scene.admin, "resources/read", uri="no://such")

    shown = scene.admin.request("GET", "/metrics").body.decode()

    for name, outcome in (
        ("resources_list", "ok"),
        ("resources_read", "unknown_resource"),
        ("prompts_get", "invalid_input"),
    ):
        assert any(f'tool="{name}"' in line and f'"{outcome}"' in line for line in shown.splitlines()), name


def ask(caller: Caller, method: str, **params: object) -> Told:
    return caller.post({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


def came_to(told: Told) -> str:
    return str(told.json["error"]["data"]["code"]) if "error" in told.json else "ok"


def completed(caller: Caller, ref: Fields, name: str, typed: str, **chosen: str) -> list[str]:
    argument = {"name": name, "value": typed}
    told = ask(caller, "completion/complete", ref=ref, argument=argument, context={"arguments": chosen})
    values: list[str] = told.json["result"]["completion"]["values"]
    return values


def expected_of(tool: str, kind: str) -> str:
    """Return what a caller with the permission is told."""
    if kind == "own":
        return "ok"
    if tool == "register_tenant":
        return "ok" if kind == "unknown_own" else "forbidden"
    return "unknown_tenant"


def without_id(tenant: str, told: Told) -> bytes:
    return told.body.replace(tenant.encode(), b"TENANT")
