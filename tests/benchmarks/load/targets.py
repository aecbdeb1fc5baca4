"""What is measured: a server that runs, and how each question is put to it."""

import asyncio
import itertools
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Final

import msgspec

from tests.benchmarks.load.answers import MalformedAnswer, header
from tests.benchmarks.load.cases import CASES, Call
from tests.benchmarks.load.client import ask, load
from tests.benchmarks.load.messages import Endpoint, initialize, initialized, tool_call
from tests.benchmarks.load.programs import Program
from tests.benchmarks.load.timing import Check, Measured, Pace, Watched, expecting

_TENANT: Final = "tenant_id"


class WrongAnswer(Exception):
    """A server does not answer a question as it must, so there is nothing to measure."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One server.

    Args:
        name: What it is called on the command line and in the results.
        program: Its processes.
        endpoint: Where it listens.
        calls: How each case is put to it; a case that it lacks is not measured.
        tenants: Whose databases calls are spread over, for a server that has tenants.
        capped: Whether it cuts long results.
        sessions: Of a server that has them, those that were opened up to now: each client has its own.
    """

    name: str
    program: Program
    endpoint: Endpoint
    calls: Mapping[str, Call]
    tenants: Sequence[str] = ()
    capped: bool = False
    sessions: list[Endpoint] = msgspec.field(default_factory=list)

    def requests(self, case: str, spread: int = 1, endpoint: Endpoint | None = None) -> list[bytes]:
        """Return the requests that ask it, one for each of `spread` tenants."""
        call, at = self.calls[case], endpoint or self.endpoint
        if not self.tenants:
            return [tool_call(at, call.tool, call.arguments)]
        return [tool_call(at, call.tool, {_TENANT: tenant, **call.arguments}) for tenant in self.tenants[:spread]]

    async def turns(self, case: str, spread: int, clients: int) -> list[Iterator[bytes]]:
        """Return the requests that each client takes: all from one row, or each its own session's."""
        if self.endpoint.session is None:
            return [itertools.cycle(self.requests(case, spread))] * clients
        while len(self.sessions) < clients:
            self.sessions.append(await shake_hands(self.endpoint))
        return [itertools.cycle(self.requests(case, spread, each)) for each in self.sessions[:clients]]

    def check(self, case: str) -> Check:
        """Return what looks whether an answer is right."""
        return expecting([text.encode() for text in self.calls[case].expected])

    def takes(self, case: str, clients: int) -> bool:
        """Tell whether it is asked that by so many clients."""
        most = None if self.capped else CASES[case].uncapped_clients
        return case in self.calls and (most is None or clients <= most)

    async def prove(self, case: str, spread: int = 1) -> None:
        """Put the question once to each tenant. Raises `WrongAnswer` with what came instead."""
        check = self.check(case)
        waiting = asyncio.Semaphore(8)

        async def put(request: bytes) -> None:
            async with waiting:
                answer = await ask(self.endpoint.port, request)
            problem = check(answer.body) if answer.status == 200 else f"{answer.status} {answer.body[:300]!r}"
            if problem:
                raise WrongAnswer(f"{self.name}, {case}: {problem}")

        await asyncio.gather(*map(put, self.requests(case, spread)))

    async def measure(
        self, case: str, *, clients: int, pace: Pace, spread: int = 1, postgres: Sequence[int]
    ) -> Measured:
        """Load it and return what that came to."""
        return await load(
            self.endpoint.port,
            await self.turns(case, spread, clients),
            self.check(case),
            pace=pace,
            watched=Watched(server=self.program.processes, postgres=tuple(postgres)),
        )


async def connected(program: Program, endpoint: Endpoint) -> Endpoint:
    """Wait until a server shakes hands, and return the endpoint with the session that it gave, if it gives any."""
    found: list[Endpoint] = []

    async def answers() -> bool:
        try:
            found[:] = [await shake_hands(endpoint)]
        except (OSError, MalformedAnswer):
            return False
        return True

    await program.until(answers)
    return found[0]


async def shake_hands(endpoint: Endpoint) -> Endpoint:
    """Return the endpoint with a session of its own, if the server gives any. Raises `OSError` or `MalformedAnswer`."""
    stranger = endpoint._replace(session=None)
    answer = await ask(endpoint.port, initialize(stranger))
    if answer.status != HTTPStatus.OK:
        raise MalformedAnswer(f"the handshake was answered {answer.status}")
    met = stranger._replace(session=header(answer, "mcp-session-id"))
    await ask(endpoint.port, initialized(met))
    return met
