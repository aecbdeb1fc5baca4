"""A great many calls of all kinds of one server, to see what becomes of its memory and its open files.

Clients call as people and programs do: mostly a small query, now and then each other tool, what goes through the SDK,
and what is refused, which is where leaks hide. They connect anew for each run of a second or two. What the memory is
compared with is what it is after a tenth of the calls: by then everything has been that is made on first use.
"""

import itertools
from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus
from typing import Final, NamedTuple

from tests.benchmarks.load.client import ask, load
from tests.benchmarks.load.messages import Endpoint, initialize, post, tool_call
from tests.benchmarks.load.targets import Target, WrongAnswer
from tests.benchmarks.load.timing import Measured, Pace, Watched

MIXTURE: Final = "mixture"
"""What is asked, as the results call it."""
TENANTS: Final = 5
POOL: Final = 2
"""Connections to each tenant: so few that all are soon there, for one takes some 60 KiB."""
_COMERS: Final = 4_000
"""Clients who come and go before calls are counted, if those are many. What a client leaves behind is garbage of which
there is most after some thousands: without them, the memory went on growing for 400,000 calls, by 4 MB, and no more."""
_PER_COMER: Final = 20
"""Calls that are counted for each of them, at least."""
_MOMENT: Final = Pace(0.02, warm_up=0.0)
_SMALL: Final = 30
"""Small queries between two of the rest."""


class Asked(NamedTuple):
    """A request, and what stands in the answer."""

    request: bytes
    expected: str


def mixture(at: Endpoint, tenants: Sequence[str]) -> list[Asked]:
    """Return one round of requests: small queries of every tenant, and among them each of the others."""
    small = itertools.cycle([_query(at, tenant, "SELECT 1", "[[1]]") for tenant in tenants])
    others = [*_tools(at, tenants), *_refused(at, tenants[0]), *_of_the_sdk(at)]
    return [each for other in others for each in (*itertools.islice(small, _SMALL), other)]


async def soak(target: Target, *, calls: int, clients: int, pace: Pace, postgres: int) -> AsyncIterator[Measured]:
    """Put each question once and then all of them again and again; yield each run, until so many calls were made.

    Raises `WrongAnswer` if the server does not answer one as it must, or nothing at all.
    """
    asked = mixture(target.endpoint, target.tenants)
    for each in dict.fromkeys(asked):
        await _prove(target.endpoint.port, each)
    turns = [itertools.cycle([each.request for each in asked])] * clients
    watched = Watched(server=target.program.processes, postgres=(postgres,))

    async def call(pace: Pace) -> Measured:
        return await load(target.endpoint.port, turns, lambda _body: None, pace=pace, watched=watched)

    for _ in range(min(_COMERS, calls // _PER_COMER) // clients):
        await call(_MOMENT)
    while calls > 0:
        run = await call(pace)
        if not run.calls:
            raise WrongAnswer(run.problem or "no call was answered")
        calls -= run.calls
        yield run


async def _prove(port: int, asked: Asked) -> None:
    answer = await ask(port, asked.request)
    if answer.status != HTTPStatus.OK or asked.expected.encode() not in answer.body:
        raise WrongAnswer(f"{asked.expected!r} is not in {answer.status} {answer.body[:300]!r}")


def _tools(at: Endpoint, tenants: Sequence[str]) -> list[Asked]:
    first = {"tenant_id": tenants[0]}
    return [
        *(Asked(tool_call(at, "list_tables", {"tenant_id": each}), "customers") for each in tenants),
        Asked(tool_call(at, "list_schemas", first), "public"),
        Asked(tool_call(at, "describe_table", {**first, "table": "customers"}), "created_at"),
        _query(at, tenants[1], "SELECT g, repeat('x', 50) FROM generate_series(1, 500) g", "[500,"),
        _query(at, tenants[2], "SELECT $1::int + $2::int", "[[3]]", [1, 2]),
        Asked(tool_call(at, "list_tenants", {"limit": 10}), tenants[0]),
        Asked(tool_call(at, "get_tenant", first), tenants[0]),
        Asked(tool_call(at, "tenant_history", first), "registered"),
        Asked(tool_call(at, "registry_status", {}), "following"),
    ]


def _refused(at: Endpoint, tenant: str) -> list[Asked]:
    return [
        _query(at, tenant, "SELECT 1/0", "division by zero"),
        _query(at, tenant, "SELEC", "begins with SELEC"),
        _query(at, tenant, "DROP TABLE customers", "query_refused"),
        _query(at, "nobody", "SELECT 1", "unknown_tenant"),
        Asked(tool_call(at, "execute_query", {"tenant_id": tenant}), "invalid_input"),
    ]


def _of_the_sdk(at: Endpoint) -> list[Asked]:
    return [
        Asked(tool_call(at, "no_such_tool", {}), "There is no tool"),
        Asked(post(at, {"id": 1, "method": "tools/list"}), "execute_query"),
        Asked(post(at, {"id": 1, "method": "no/such"}), "-32601"),
        Asked(initialize(at), "serverInfo"),
    ]


def _query(at: Endpoint, tenant: str, sql: str, expected: str, params: Sequence[int] = ()) -> Asked:
    arguments = {"tenant_id": tenant, "query": sql, **({"params": params} if params else {})}
    return Asked(tool_call(at, "execute_query", arguments), expected)
