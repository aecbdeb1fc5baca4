"""What a tool call costs: round trips to the tenant's Postgres and commands to Redis, counted on the wire.

Exact numbers and no times, so that they hold on any machine. Whoever makes one of them grow has to say so here.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from redis.asyncio import Redis

from server.embedded.postgres import EmbeddedPostgres
from server.embedded.sample import SampleLogin
from server.replica import Replica
from server.settings import Settings
from server.shared_reads import AT_ONCE
from tests.processes import fields_of
from tests.relay import Relay
from tests.security.replicas import call, key_file, replica

Cost = tuple[int, dict[str, int]]

ACME: Final = {"tenant_id": "acme"}
COSTS: Final[dict[str, tuple[dict[str, Any], Cost]]] = {
    "list_tenants": ({}, (0, {})),
    "get_tenant": (ACME, (0, {})),
    "tenant_history": (ACME, (0, {"XRANGE": 1})),
    "registry_status": ({}, (0, {"EVALSHA": 1})),
    "execute_query": ({**ACME, "query": "SELECT * FROM orders LIMIT $1", "params": [5]}, (1, {})),
    "list_schemas": (ACME, (1, {})),
    "list_tables": (ACME, (1, {})),
    "describe_table": ({**ACME, "table": "orders"}, (1, {})),
    "execute_write": ({**ACME, "statements": [{"sql": "SELECT 1"}]}, (5, {})),
}
"""Each tool with its arguments, its round trips to Postgres where the connection knows the statement, and its commands
to Redis."""
REGISTER: Final[Cost] = (6, {"EVALSHA": 3, "HMGET": 2})
"""Registering logs in once, to try it, and looks around. The commands: whether the command was told before, the append,
the tenant's key, and what other replicas have applied, which a removal may have to ask once more."""
_BESIDE: Final = frozenset({"ECHO", "HELLO", "CLIENT", "XREAD"})
"""What marks a place here, what begins a connection, and how a replica follows the log."""
_TIMES: Final = 5


class Redises:
    """What is said to a Redis, as that itself tells."""

    def __init__(self, client: "Redis") -> None:
        self._client = client
        self._marks = itertools.count()
        self._seen: list[str] = []
        self._arrived = asyncio.Event()

    async def follow(self) -> None:
        """Listen until cancelled."""
        async with self._client.monitor() as monitor:
            async for told in monitor.listen():
                if told["client_type"] != "lua":
                    self._seen.append(told["command"])
                    self._arrived.set()

    async def since(self) -> Counter[str]:
        """Return how often each command came since this was asked last."""
        mark = f"ECHO mark-{next(self._marks)}"
        while mark not in self._seen:
            self._arrived.clear()
            await self._client.execute_command(mark)
            await asyncio.wait_for(self._arrived.wait(), 10)
        told, self._seen = [each.partition(" ")[0] for each in self._seen], []
        return Counter(name for name in told if name not in _BESIDE)


class Wires:
    """A replica with a tenant, and what goes over its wires."""

    def __init__(self, running: Replica, postgres: Relay, commands: Redises, fields: dict[str, Any]) -> None:
        self._running = running
        self._postgres = postgres
        self._commands = commands
        self.fields = fields
        self.tools = running.toolbox.tools

    async def cost(self, tool: str, *arguments: dict[str, Any]) -> Cost:
        """Return the round trips to Postgres and the commands to Redis of a call.

        The least of some, one with each of the arguments: what a replica does beside them goes over the same wires.
        """
        seen = [await self._once(tool, each) for each in arguments]
        fewest = seen[0][1]
        for _, commands in seen:
            fewest = fewest & commands
        return min(trips for trips, _ in seen), dict(fewest)

    async def cost_together(self, tool: str, *arguments: dict[str, Any]) -> int:
        """Return the round trips to Postgres of calls at the same time, the least of some times; all answers agree."""
        seen = []
        for _ in range(_TIMES):
            before = self._postgres.round_trips
            first, *others = await asyncio.gather(*(call(self._running, tool, **each) for each in arguments))
            assert "error" not in first
            assert others == [first] * len(others)
            seen.append(self._postgres.round_trips - before)
        return min(seen)

    async def _once(self, tool: str, arguments: dict[str, Any]) -> tuple[int, Counter[str]]:
        await self._commands.since()
        before = self._postgres.round_trips
        answer = await call(self._running, tool, **arguments)
        assert "error" not in answer, answer
        return self._postgres.round_trips - before, await self._commands.since()


@pytest.fixture
async def wires(
    tmp_path: Path, redis_url: str, postgres: EmbeddedPostgres, sample: SampleLogin
) -> AsyncIterator[Wires]:
    settings = Settings(redis_url=redis_url, key_file=key_file(tmp_path / "master.key", "one"))
    async with (
        Relay(postgres.port).listening() as relay,
        _followed(redis_url) as commands,
        replica(settings) as running,
    ):
        fields = fields_of("acme", sample) | {"port": relay.port, "access": "read_write"}
        await call(running, "register_tenant", **fields)
        yield Wires(running, relay, commands, fields)


@asynccontextmanager
async def _followed(url: str) -> AsyncIterator[Redises]:
    async with Redis.from_url(url, decode_responses=True) as client:
        commands = Redises(client)
        following = asyncio.create_task(commands.follow())
        try:
            yield commands
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


@pytest.mark.parametrize("tool", COSTS)
async def test_a_call_costs_what_is_written_here_and_no_more(wires: Wires, tool: str) -> None:
    arguments, cost = COSTS[tool]
    assert await wires.cost(tool, *[arguments] * _TIMES) == cost


@pytest.mark.parametrize("tool", ["list_schemas", "list_tables", "describe_table"])
async def test_ten_who_ask_the_same_of_a_catalogue_at_the_same_time_are_answered_by_three_reads(
    wires: Wires, tool: str
) -> None:
    arguments, _ = COSTS[tool]
    assert await wires.cost_together(tool, *[arguments] * 10) == AT_ONCE + 1


async def test_a_change_of_the_registry_costs_what_is_written_here_and_no_more(wires: Wires) -> None:
    tenants = [{"tenant_id": f"tenant-{number}"} for number in range(_TIMES)]
    trips, commands = await wires.cost("register_tenant", *({**wires.fields, **tenant} for tenant in tenants))
    assert commands.pop("EVALSHA") <= REGISTER[1]["EVALSHA"]  # what others have applied is told beside the call
    assert (trips, commands) == (REGISTER[0], {"HMGET": 2})
    trips, commands = await wires.cost("remove_tenant", *tenants)
    assert commands.pop("EVALSHA") <= REGISTER[1]["EVALSHA"] + 1
    assert (trips, commands) == (0, {"HMGET": 2})


async def test_every_tool_has_its_cost_written_down(wires: Wires) -> None:
    assert set(wires.tools) == {*COSTS, "register_tenant", "remove_tenant"}
