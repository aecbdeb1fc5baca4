"""What a server says before it answers anybody."""

import pytest
import structlog

from server.serving import _advise
from server.settings import Settings

_BEYOND = "192.0.2.1"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (Settings(host="127.0.0.1"), False),
        (Settings(host=_BEYOND), True),
        (Settings(host=_BEYOND, min_sslmode="require"), True),
        (Settings(host=_BEYOND, allowed_networks=("public",)), False),
        (Settings(host=_BEYOND, denied_networks=("loopback",)), False),
        (Settings(host=_BEYOND, allowed_ports=("5432",)), False),
    ],
)
def test_who_lets_others_register_without_saying_where_tenants_may_point_is_advised_to(
    settings: Settings, *, told: bool
) -> None:
    with structlog.testing.capture_logs() as logs:
        _advise(settings)

    assert [each["log_level"] for each in logs] == ["warning"] * told
    assert all("MCP_POSTGRES_ALLOWED_NETWORKS" in each["event"] for each in logs)
