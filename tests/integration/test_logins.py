"""How a login to a tenant's database is made: TLS, passwords, and nothing of the operator's own."""

import os
from pathlib import Path

import pytest

from registry.errors import (
    LoginRefused,
    TenancyError,
    TenantUnreachable,
)
from server.connect import forget_libpq_environment
from server.embedded.postgres import EmbeddedPostgres
from tests.tenancies import PASSWORD, Tenancy, error_of


@pytest.mark.parametrize("ssl", ["disable", "allow", "prefer"])
async def test_modes_that_do_not_insist_on_tls_work_without_it(tenancy: Tenancy, ssl: str) -> None:
    tenancy.register(ssl=ssl)
    assert await tenancy.ask("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") is False


@pytest.mark.parametrize("ssl", ["require", "verify-ca", "verify-full"])
async def test_modes_that_insist_on_tls_are_refused_without_it_and_say_so(tenancy: Tenancy, ssl: str) -> None:
    tenancy.register(ssl=ssl)
    error = await error_of(tenancy.ask())
    assert isinstance(error, LoginRefused)
    assert "offers no TLS" in error.message
    assert f"ssl={ssl}" in error.message


@pytest.mark.parametrize("ssl", ["disable", "allow", "prefer"])
async def test_a_wrong_password_is_told_as_that_whatever_the_mode(tenancy: Tenancy, ssl: str) -> None:
    tenancy.register(ssl=ssl, password="wrong")
    error = await error_of(tenancy.ask())
    assert isinstance(error, LoginRefused)
    assert error.facts["sqlstate"] == "28P01"


@pytest.mark.parametrize(
    ("config", "kind", "hint"),
    [
        ({"database": "no_such_database"}, LoginRefused, "no_such_database"),
        ({"user": "no_such_user"}, LoginRefused, "no_such_user"),
        ({"host": "no-such-host.invalid"}, TenantUnreachable, "no-such-host.invalid"),
    ],
)
async def test_what_is_wrong_with_a_login_is_told_by_name(
    tenancy: Tenancy, config: dict[str, str], kind: type[TenancyError], hint: str
) -> None:
    tenancy.register(**config)
    error = await error_of(tenancy.ask())
    assert type(error) is kind
    assert hint in error.message
    assert PASSWORD not in error.message


@pytest.fixture
def operators_environment(
    tenancy: Tenancy, postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything that libpq would help itself to, with a password that works."""
    (tmp_path / ".pgpass").write_text(f"*:*:*:*:{PASSWORD}\n")
    (tmp_path / ".pgpass").chmod(0o600)
    service = f"[operator]\nhost={postgres.host}\nport={postgres.port}\nuser={tenancy.role}\npassword={PASSWORD}\n"
    (tmp_path / ".pg_service.conf").write_text(service)
    for name, value in {
        "HOME": str(tmp_path),
        "PGPASSWORD": PASSWORD,
        "PGPASSFILE": str(tmp_path / ".pgpass"),
        "PGSERVICEFILE": str(tmp_path / ".pg_service.conf"),
        "PGSERVICE": "operator",
        "PGHOST": "no-such-host.invalid",
        "PGPORT": "1",
        "PGUSER": "nobody",
        "PGDATABASE": "nothing",
        "PGSSLMODE": "verify-full",
        "PGOPTIONS": "-c statement_timeout=1",
        "PGTARGETSESSIONATTRS": "standby",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("operators_environment")
@pytest.mark.parametrize("ssl", ["disable", "prefer"])
async def test_a_tenant_without_a_password_does_not_borrow_the_operators(tenancy: Tenancy, ssl: str) -> None:
    tenancy.register(password=None, ssl=ssl)
    error = await error_of(tenancy.ask())
    assert isinstance(error, LoginRefused)
    assert PASSWORD not in error.message


@pytest.mark.usefixtures("operators_environment")
async def test_a_tenants_login_is_its_own_whatever_the_operators_environment_says(tenancy: Tenancy) -> None:
    assert await tenancy.ask("SELECT current_user || ' ' || current_database()") == f"{tenancy.role} postgres"


@pytest.mark.usefixtures("operators_environment")
async def test_the_process_forgets_the_operators_logins_and_nothing_else(
    tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.setenv(name, os.environ[name])
    forget_libpq_environment()
    assert dict(os.environ) == before
    assert await tenancy.ask() == 1


async def test_a_login_that_needs_no_password_works_without_one(tenancy: Tenancy) -> None:
    await tenancy.admin.execute(f"ALTER ROLE {tenancy.role} PASSWORD NULL")
    path = tenancy.postgres.home / "cluster" / "pg_hba.conf"
    rules = path.read_text()
    try:
        path.write_text(f"host all {tenancy.role} 127.0.0.1/32 trust\n{rules}")
        await tenancy.admin.execute("SELECT pg_reload_conf()")
        tenancy.register(password=None)
        assert await tenancy.ask("SELECT current_user::text") == tenancy.role
    finally:
        path.write_text(rules)
        await tenancy.admin.execute("SELECT pg_reload_conf()")
