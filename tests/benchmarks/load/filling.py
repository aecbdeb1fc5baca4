"""A log of many tenants, as if each had been registered: the product's own plans, appended two hundred at a time."""

import uuid
from datetime import UTC, datetime
from typing import Final

import msgspec

from projections.tenant_keys import TenantKeys
from registry import codec
from registry.entries import START, AsOf
from registry.events import LogCreated, TenantConfig
from registry.inputs import Registration
from registry.log import Appended, Proposal
from registry.names import Names
from registry.planner import Caller, Plan, Planner
from registry.redis_client import RedisClient
from registry.redis_log import RedisLog
from registry.secrets import MasterKeys, Secret
from registry.state import Live, Tenant, evolve
from registry.stored import proposed_head

_NAMES: Final = Names()
_PAGE: Final = 200
_CALLER: Final = Caller(actor="bench")


async def fill(url: str, master: MasterKeys, tenants: int) -> None:
    """Put so many tenants that nobody calls into a Redis that is empty."""
    client = RedisClient.from_url(url, timeout=60.0)
    try:
        log = RedisLog(client, client, _NAMES)
        planner = Planner(log, master, lambda: datetime.now(UTC), lambda: uuid.uuid4().hex)
        await _create(log)
        live: list[Tenant] = []
        for start in range(0, tenants, _PAGE):
            live += await _page(
                log, planner, [f"idle-{each:06d}" for each in range(start, min(start + _PAGE, tenants))]
            )
        cut = await log.cut()
        assert cut.end is not None
        assert cut.epoch is not None
        await TenantKeys(client, _NAMES).repair(tuple(live), AsOf(cut.epoch, cut.end))
    finally:
        await client.close()


async def _create(log: RedisLog) -> None:
    first = LogCreated(event_id=uuid.uuid4().hex, time=datetime.now(UTC), actor="bench", epoch=uuid.uuid4().hex)
    assert await log.create(codec.type_of(first), codec.encode(first), first.epoch) is not None


async def _page(log: RedisLog, planner: Planner, names: list[str]) -> list[Tenant]:
    end = await log.end()
    assert end is not None
    live: list[Tenant] = []
    proposals = []
    for name in names:
        plan = await planner.registration(name, None, _registration(name), _CALLER, uuid.uuid4().hex)
        assert isinstance(plan, Plan)
        after = evolve(None, plan.event, START)
        assert isinstance(after, Live)
        live.append(after)
        proposals.append(
            Proposal(
                tenant=name,
                expected=0,
                after=end,
                type=codec.type_of(plan.event),
                data=codec.encode(plan.event),
                head=proposed_head(after),
                key=plan.key,
            )
        )
    outcomes = await log.append(proposals)
    return [_placed(tenant, outcome) for tenant, outcome in zip(live, outcomes, strict=True)]


def _placed(tenant: Tenant, outcome: object) -> Tenant:
    assert isinstance(outcome, Appended), outcome
    return msgspec.structs.replace(tenant, position=outcome.position)


def _registration(name: str) -> Registration:
    config = TenantConfig(host=f"{name[-2:]}.db.example.com", database="app", user="reader")
    return Registration(config=config, password=Secret(f"password of {name}"))
