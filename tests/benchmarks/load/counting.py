"""`make profile ARGS=--count`: how many functions the server calls to answer one tool call. Exact, whatever runs."""

import asyncio
import os
import pstats
import signal
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from tests.benchmarks.load.client import ask_again
from tests.benchmarks.load.messages import post
from tests.benchmarks.load.targets import Target

Called: TypeAlias = tuple[str, int, str]
"""A function as Python's profiler names it: file, line, name; `~` is the file of what is in C."""
_FUNCTIONS: Final = 40
_CALLS: Final = 200
_WRITTEN_WITHIN: Final = 5.0


class Counted(NamedTuple):
    """How often functions were called while so many tool calls were answered."""

    answers: int
    calls: dict[Called, int]


async def count(target: Target, case: str, out: Path) -> Counted:
    """Make tool calls one after the other on one connection, and count what they call."""
    (request,) = target.requests(case)
    check = target.check(case)
    (process,) = target.program.processes
    # The SDK is imported in a thread soon after the start, and would be counted: what needs it waits for it.
    await ask_again(target.endpoint.port, post(target.endpoint, {"id": 0, "method": "tools/list"}), 1)
    await ask_again(target.endpoint.port, request, _CALLS)
    os.kill(process, signal.SIGUSR1)
    answers = await ask_again(target.endpoint.port, request, _CALLS)
    os.kill(process, signal.SIGUSR2)
    assert [problem for answer in answers if (problem := check(answer.body))] == []
    async with asyncio.timeout(_WRITTEN_WITHIN):
        while not out.exists():  # noqa: ASYNC110, ASYNC240 - another process writes it, and tells nobody
            await asyncio.sleep(0.01)
    return Counted(_CALLS, counted_in(out))


def counted_in(out: Path) -> dict[Called, int]:
    """Return the number of calls of each function in a file of Python's profiler."""
    return {called: figures[1] for called, figures in pstats.Stats(str(out)).stats.items()}  # type: ignore[attr-defined]  # documented by its users alone


def table(counted: Counted, what: str) -> str:
    """Return the functions that are called most, and how many calls there are of all."""
    each = {called: number / counted.answers for called, number in counted.calls.items()}
    in_python = sum(number for called, number in each.items() if called[0] != "~")
    head = f"{what}: {sum(each.values()):,.0f} function calls to answer one, {in_python:,.0f} of them Python's"
    most = sorted(each.items(), key=lambda item: (-item[1], item[0]))[:_FUNCTIONS]
    return "\n".join([head, "", *(f"{number:9.2f}  {shown(called)}" for called, number in most)])


def shown(called: Called) -> str:
    """Return a function's name as people look for it."""
    file, line, name = called
    return name if file == "~" else f"{name} ({'/'.join(Path(file).parts[-2:])}:{line})"
