"""What the tests of pools share: tenants of their own, and a door in front of their Postgres."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from server.embedded.postgres import EmbeddedPostgres
from tests.tenancies import PASSWORD, Door, MakeTenancy, Tenancy


@pytest.fixture
async def superuser(postgres: EmbeddedPostgres) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(postgres.dsn("postgres"))
    yield connection
    await connection.close()


@pytest.fixture
async def make_tenancy(postgres: EmbeddedPostgres, superuser: asyncpg.Connection) -> AsyncIterator[MakeTenancy]:
    """What makes a tenancy whose pools have bounds of the test's choice, its tenant acme registered."""
    tenancies: list[Tenancy] = []

    async def make(**bounds: float) -> Tenancy:
        tenancy = Tenancy(postgres, superuser, **bounds)
        await superuser.execute(f"CREATE ROLE {tenancy.role} LOGIN PASSWORD '{PASSWORD}'")
        tenancy.register()
        tenancies.append(tenancy)
        return tenancy

    yield make
    for tenancy in tenancies:
        await tenancy.pools.close()
        await tenancy.kill()
        await superuser.execute(f"DROP ROLE {tenancy.role}")


@pytest.fixture
async def tenancy(make_tenancy: MakeTenancy) -> Tenancy:
    return await make_tenancy()


@pytest.fixture
async def door(postgres: EmbeddedPostgres) -> AsyncIterator[Door]:
    door = Door(postgres)
    yield door
    await door.close()
