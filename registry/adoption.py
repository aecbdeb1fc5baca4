"""Taking over what an earlier system left: plain JSON keys with clear passwords, and no log.

Each such key becomes a registration, marked as adopted, and is rewritten with its password sealed. The command's id is
the tenant's name, so of several replicas that start together one registers and the others find it done. A key that
cannot be taken over is named and left alone.
"""

from collections.abc import AsyncIterator
from typing import Final

import msgspec

from registry.errors import InvalidInput, LogDiverged, RegistryUnavailable, TenancyError
from registry.events import SslMode
from registry.inputs import Limits, Registration, from_fields
from registry.names import Names, check_tenant_id
from registry.planner import Caller
from registry.redis_client import RedisClient
from registry.secrets import Secret
from registry.service import ReadSide, TenantRegistry

ACTOR: Final = "adoption"


class Adopted(msgspec.Struct, frozen=True):
    """What became of the keys: tenants taken over, and why others were not, by tenant."""

    tenants: list[str]
    refused: dict[str, str]


class _PlainDocument(msgspec.Struct):
    """The earlier system's key. `seq` is ours alone: a key that has it is no plain one."""

    host: str
    database: str
    user: str
    port: int = 5432
    password: str | None = None
    ssl: bool | SslMode | None = None
    min_pool_size: int = 0
    max_pool_size: int = 10
    max_concurrent_requests: int = 20
    seq: int | None = None


_PLAIN: Final = msgspec.json.Decoder(_PlainDocument)


async def adopt(redis: RedisClient, names: Names, view: ReadSide, registry: TenantRegistry, adopted: Adopted) -> None:
    """Register what plain keys say of tenants that the log never heard of, and note in `adopted` what became of each.

    Raises `RegistryUnavailable` and `LogDiverged`. May be cancelled, and repeated with the same `adopted`: what was
    taken over is known to the log then.
    """
    async for tenant_id in tenant_keys(redis, names):
        # What is folded already is known without a word to Redis: most starts find nothing else.
        if view.knows(tenant_id) or await view.refresh(tenant_id) is not None:
            continue
        try:
            registration = registration_of(tenant_id, await _read(redis, names.tenant(tenant_id)))
            caller = Caller(actor=ACTOR, reason="adopted from a plain key", command_id=f"adopt:{tenant_id}"[:64])
            # The earlier system may have had two that differ in case alone: both were in use, and both go on.
            await registry.register(tenant_id, registration, caller, beside_twin=True)
        except (RegistryUnavailable, LogDiverged):
            raise
        except TenancyError as error:
            # Another replica may have taken it over between the two looks.
            if await view.refresh(tenant_id) is None:
                adopted.refused[tenant_id] = error.message
            continue
        adopted.tenants.append(tenant_id)


async def _read(redis: RedisClient, key: str) -> bytes:
    if await redis.run("TYPE", key) != b"string":
        raise InvalidInput("it is no plain string")
    raw: bytes = await redis.run("GET", key) or b""
    return raw


async def tenant_keys(redis: RedisClient, names: Names) -> AsyncIterator[str]:
    """Yield the names behind the prefix. A scan may tell a key twice, or miss one that moves: it is looked at again."""
    prefix = names.tenant("")
    async for key in redis.scan(f"{prefix}*"):
        yield key.decode("utf-8", "replace").removeprefix(prefix)


def registration_of(tenant_id: str, raw: bytes) -> Registration:
    """Return what a plain key says; `InvalidInput` if it cannot be taken over."""
    check_tenant_id(tenant_id)
    try:
        plain = _PLAIN.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"it is not the earlier system's JSON ({error})") from None
    if plain.seq is not None:
        raise InvalidInput("it is of this system's form, and the log does not know the tenant: the log was lost")
    return from_fields(
        host=plain.host,
        port=plain.port,
        database=plain.database,
        user=plain.user,
        password=Secret(plain.password) if plain.password else None,
        ssl=plain.ssl,
        limits=Limits(
            min_pool_size=plain.min_pool_size,
            max_pool_size=plain.max_pool_size,
            max_concurrent_requests=plain.max_concurrent_requests,
        ),
    )
