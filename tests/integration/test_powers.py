"""What a login could do beyond its tables, as Postgres has it: told at registration, refused where policy says so."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Final

import asyncpg
import pytest

from registry.errors import PolicyRefused
from registry.events import TenantConfig
from registry.secrets import Secret
from server.connect import Dialler
from server.embedded.postgres import EmbeddedPostgres
from server.tenant_policy import TenantPolicy

WITHIN: Final = 10.0
PASSWORD: Final = "canary-s3cr3t"

ROLES: Final = {
    "CREATE ROLE {role} LOGIN": (),
    "CREATE ROLE {role} LOGIN SUPERUSER": ("superuser",),
    "CREATE ROLE {role} LOGIN BYPASSRLS REPLICATION": ("bypass_rls", "replication"),
    "CREATE ROLE {role} LOGIN CREATEROLE CREATEDB": ("create_role", "create_database"),
    "CREATE ROLE {role} LOGIN IN ROLE pg_read_server_files": ("read_files",),
    "CREATE ROLE {role} LOGIN NOINHERIT IN ROLE pg_read_server_files": ("read_files",),
    "CREATE ROLE {role} LOGIN IN ROLE pg_write_server_files, pg_execute_server_program": (
        "write_files",
        "run_programs",
    ),
    "CREATE ROLE {role} LOGIN IN ROLE pg_read_all_data, pg_write_all_data": ("read_all_data", "write_all_data"),
    "CREATE ROLE {role} LOGIN IN ROLE pg_monitor, pg_signal_backend": ("monitor", "signal_backends"),
    "CREATE ROLE {role} LOGIN; CREATE ROLE {role}_a IN ROLE pg_execute_server_program; "
    "CREATE ROLE {role}_b IN ROLE {role}_a; GRANT {role}_b TO {role}": ("run_programs",),
    "CREATE ROLE {role} LOGIN; CREATE ROLE {role}_a BYPASSRLS; GRANT {role}_a TO {role}": ("bypass_rls",),
    "CREATE ROLE {role} LOGIN; CREATE ROLE {role}_a SUPERUSER; GRANT {role}_a TO {role}": ("superuser",),
    "CREATE ROLE {role} LOGIN; CREATE ROLE {role}_a; GRANT {role}_a TO {role}; ALTER ROLE {role} BYPASSRLS; "
    "ALTER ROLE {role} SET role = {role}_a": ("bypass_rls",),
    "CREATE ROLE {role} LOGIN; GRANT EXECUTE ON FUNCTION pg_read_file(text) TO {role}": ("read_files",),
    "CREATE ROLE {role} LOGIN; GRANT EXECUTE ON FUNCTION lo_export(oid, text) TO {role}": ("write_files",),
}
"""How a role is made, and what it could then do."""


class Roles:
    """Roles of one test, and logins as them."""

    def __init__(self, postgres: EmbeddedPostgres, admin: asyncpg.Connection) -> None:
        self.name = f"powers_{uuid.uuid4().hex[:12]}"
        self.admin = admin
        self._postgres = postgres

    @property
    def config(self) -> TenantConfig:
        return TenantConfig(
            host=self._postgres.host, port=self._postgres.port, database="postgres", user=self.name, ssl="disable"
        )

    async def make(self, how: str) -> None:
        await self.admin.execute(how.format(role=self.name))
        await self.admin.execute(f"ALTER ROLE {self.name} PASSWORD '{PASSWORD}'")

    async def drop(self) -> None:
        found = "SELECT rolname FROM pg_roles WHERE rolname LIKE $1 ORDER BY length(rolname)"
        for row in await self.admin.fetch(found, f"{self.name}%"):
            await self.admin.execute(f"DROP OWNED BY {row[0]}; DROP ROLE {row[0]}")


@pytest.fixture
async def roles(postgres: EmbeddedPostgres) -> AsyncIterator[Roles]:
    admin = await asyncpg.connect(postgres.dsn("postgres"))
    made = Roles(postgres, admin)
    yield made
    await made.drop()
    await admin.close()


def refusing(*powers: str) -> Dialler:
    return Dialler(WITHIN, TenantPolicy(refused_powers=frozenset(powers)))


@pytest.mark.parametrize(("how", "powers"), ROLES.items())
async def test_a_login_is_told_what_it_could_do_itself_by_membership_and_by_becoming_another(
    roles: Roles, how: str, powers: tuple[str, ...]
) -> None:
    await roles.make(how)

    login = await Dialler(WITHIN).try_login("acme", roles.config, Secret(PASSWORD))

    assert login.powers == powers
    assert login.superuser is ("SUPERUSER" in how.split(";", maxsplit=1)[0])


@pytest.mark.parametrize(
    ("how", "refused"),
    [
        ("CREATE ROLE {role} LOGIN IN ROLE pg_read_server_files", "read_files"),
        ("CREATE ROLE {role} LOGIN IN ROLE pg_monitor", "any"),
        ("CREATE ROLE {role} LOGIN SUPERUSER", "superuser"),
        ("CREATE ROLE {role} LOGIN SUPERUSER", "run_programs"),
    ],
)
async def test_a_login_that_may_do_what_policy_refuses_is_neither_registered_nor_used(
    roles: Roles, how: str, refused: str
) -> None:
    await roles.make(how)

    for attempt in (refusing(refused).try_login, refusing(refused).connect):
        with pytest.raises(PolicyRefused, match="MCP_POSTGRES_REFUSED_POWERS"):
            await attempt("acme", roles.config, Secret(PASSWORD))

    left = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND state IS NOT NULL"
    async with asyncio.timeout(WITHIN):
        while await roles.admin.fetchval(left, roles.name):
            pass


async def test_a_login_that_may_do_less_than_what_policy_refuses_is_used(roles: Roles) -> None:
    await roles.make("CREATE ROLE {role} LOGIN IN ROLE pg_monitor")

    connection = await refusing("superuser", "read_files").connect("acme", roles.config, Secret(PASSWORD))

    assert await connection.fetchval("SELECT current_user") == roles.name
    await connection.close()


async def test_a_power_that_is_granted_later_ends_with_the_next_connection(roles: Roles) -> None:
    await roles.make("CREATE ROLE {role} LOGIN")
    through = refusing("any")
    first = await through.connect("acme", roles.config, Secret(PASSWORD))
    await roles.admin.execute(f"GRANT pg_read_server_files TO {roles.name}")

    with pytest.raises(PolicyRefused, match="read_files"):
        await through.connect("acme", roles.config, Secret(PASSWORD))
    await first.close()


async def test_a_login_whose_powers_have_to_be_looked_at_is_not_registered_unseen(roles: Roles) -> None:
    with pytest.raises(PolicyRefused, match=r"verify=false.*MCP_POSTGRES_REFUSED_POWERS"):
        await refusing("superuser").check("acme", roles.config, verify=False)
    await refusing("superuser").check("acme", roles.config, verify=True)
    await Dialler(WITHIN).check("acme", roles.config, verify=False)
