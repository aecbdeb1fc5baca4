"""What a plain key of the earlier system must say to be taken over."""

import json

import pytest

from registry.adoption import registration_of
from registry.errors import InvalidInput
from registry.inputs import Limits, from_fields
from registry.secrets import Secret
from tests.tables import table


def test_every_field_of_the_earlier_system_is_taken_over() -> None:
    document = {
        "tenant_id": "acme",
        "host": "db",
        "port": 6432,
        "database": "app",
        "user": "reader",
        "password": "p@:/?#[]%",
        "min_pool_size": 1,
        "max_pool_size": 4,
        "ssl": True,
        "max_concurrent_requests": 8,
    }
    assert registration_of("acme", json.dumps(document).encode()) == from_fields(
        host="db",
        port=6432,
        database="app",
        user="reader",
        password=Secret("p@:/?#[]%"),
        ssl="require",
        limits=Limits(min_pool_size=1, max_pool_size=4, max_concurrent_requests=8),
    )


def test_what_a_plain_key_leaves_out_has_the_defaults_of_a_registration() -> None:
    assert registration_of("acme", b'{"host":"db","database":"app","user":"reader"}') == from_fields(
        host="db", database="app", user="reader", password=None
    )


@table(
    ("tenant", "raw", "reason"),
    [
        ("acme", b"", "JSON"),
        ("acme", b"\xff", "JSON"),
        ("acme", b'{"host":"db"}', "database"),
        ("acme", b'{"host":"db","database":"app","user":"u","port":0}', "port"),
        ("acme", b'{"host":"/tmp","database":"app","user":"u"}', "unix sockets"),
        ("acme", b'{"host":"db","database":"app","user":"u","seq":7}', "the log was lost"),
        ("a b", b'{"host":"db","database":"app","user":"u"}', "tenant_id"),
    ],
)
def test_a_key_that_cannot_be_taken_over_says_why(tenant: str, raw: bytes, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        registration_of(tenant, raw)
