"""Addresses: whatever a name is made of, its address leads back to it, and no other text leads anywhere."""

from hypothesis import given, strategies as st

from server import resource_uris as uris
from server.resource_uris import Target, target_of
from tests.tables import table
from tests.uris import table_uri

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)


@given(tenant=NAMES, schema=NAMES, table=NAMES)
def test_the_address_of_a_table_leads_to_it_whatever_the_names_are_made_of(
    tenant: str, schema: str, table: str
) -> None:
    uri = table_uri(tenant, schema, table)

    assert uri.isascii()
    assert target_of(uri) == Target("describe_table", {"tenant_id": tenant, "schema": schema, "table": table})
    assert uris.names_of(uris.table_name(schema, table)) == (schema, table)


@given(tenant=NAMES)
def test_the_addresses_of_a_tenant_lead_to_its_tools(tenant: str) -> None:
    assert target_of(uris.schemas_uri(tenant)) == Target("list_schemas", {"tenant_id": tenant})
    assert target_of(uris.history_uri(tenant)) == Target("tenant_history", {"tenant_id": tenant})


@table(
    ("uri", "target"),
    [
        (uris.TENANTS, Target("list_tenants")),
        (uris.REPLICAS, Target("registry_status")),
        ("REGISTRY://tenants", Target("list_tenants")),
        ("registry://tenants?after=acme", Target("list_tenants", {"after": "acme"})),
        ("registry://replicas?after=acme", Target("registry_status", {"after": "acme"})),
        ("registry://tenants/a/history?after=1-0", Target("tenant_history", {"tenant_id": "a", "after": "1-0"})),
        ("postgres://a/schemas?after=x%26y", Target("list_schemas", {"tenant_id": "a", "after": "x&y"})),
        (
            "postgres://a/tables/bücher.täg",
            Target("describe_table", {"tenant_id": "a", "schema": "bücher", "table": "täg"}),
        ),
        ("postgres://a/tables/x.y.z", Target("describe_table", {"tenant_id": "a", "table": "x.y.z"})),
        ("postgres://a/tables/x.y%2Ez", Target("describe_table", {"tenant_id": "a", "schema": "x", "table": "y.z"})),
    ],
)
def test_an_address_stands_for_a_call_of_a_tool(uri: str, target: Target) -> None:
    assert target_of(uri) == target


@table(
    "uri",
    [
        *("", "x", "://", "registry://", "registry://tenant", "registry://tenants/", "registry://tenants/a"),
        *("registry://tenants//history", "registry://tenants/a/history/", "registry://tenants/a/b/history"),
        *("registry://replicas?before=x", "registry://tenants?limit=1", "registry://tenants?after=a&limit=1"),
        *("registry://tenants#x", "postgres:///schemas", "postgres://a", "postgres://a/tables/x"),
        *("postgres://a/tables/x/y.z", "postgres://a/tables/x.y?after=z", "postgres://a/b/schemas"),
        *("postgres://a/tables/%00.x", "postgres://a/schemas?after=x%00", "postgres://a\0/schemas"),
        *("postgres://%zz/schemas", "postgres://%/schemas", "postgres://%ff/schemas", "postgres://a b/schemas"),
        *("postgres://\ud800/schemas", "http://a/schemas", "postgres://user:pw@host:5432/db"),
        "postgres://" + "a" * 2048 + "/schemas",
    ],
)
def test_what_is_no_address_of_ours_leads_nowhere(uri: str) -> None:
    assert target_of(uri) is None


@given(st.text(max_size=40))
def test_no_text_breaks_the_reader(text: str) -> None:
    for uri in (text, f"postgres://{text}", f"postgres://a/tables/{text}", f"registry://tenants/{text}"):
        assert target_of(uri) is None or isinstance(target_of(uri), Target)
