"""A program in which everything breaks that can, each time with a secret in the text: `crashing.py STYLE SECRET`.

The exceptions are of classes of their own, so that a test sees that each was told.
"""

import argparse
import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

import msgspec
import structlog

from server import cli, commands
from server.logs import configure, watch_crashes, watch_loop
from server.principal import Principal
from server.toolbox import Call, Hints, Toolbox, tool


def throw(error: Exception) -> NoReturn:
    raise error


class Arguments(msgspec.Struct):
    """What the tool takes."""

    password: str


class BrokenTool(Exception):
    """A bug in a tool."""


class BrokenCause(Exception):
    """What led to it."""


class BrokenTask(Exception):
    """In a task that nobody awaits."""


class BrokenCallback(Exception):
    """In a callback of the event loop."""


class BrokenThread(Exception):
    """In a thread."""


class BrokenEnd(Exception):
    """While an object goes away."""


class BrokenPart(Exception):
    """One of several at once."""


class BrokenLibrary(Exception):
    """In a library that logs it."""


class BrokenRepr(Exception):
    """While a line is written."""


class BrokenProgram(Exception):
    """What nobody catches."""


class Tools:
    """One tool."""

    @tool(Hints(read_only=True), "tenants:read")
    async def breaks(self, args: Arguments, call: Call) -> Arguments:
        """Break."""
        try:
            throw(BrokenCause(f"{args.password}, by {call.actor}"))
        except BrokenCause as cause:
            error = BrokenTool(f"no such thing: {args.password}")
            error.add_note(f"while {args.password} was looked for")
            raise error from cause


def in_a_tool(secret: str) -> None:
    call = Call(principal=Principal("somebody"))
    answer = asyncio.run(Toolbox.of(Tools()).call("breaks", {"password": secret}, call))
    sys.stdout.write(answer.payload.decode())


def in_the_loop(secret: str) -> None:
    def callback(text: str) -> None:
        raise BrokenCallback(text)

    async def task(text: str) -> None:
        raise BrokenTask(text)

    async def work() -> None:
        watch_loop()
        asyncio.get_running_loop().call_soon(callback, secret)
        forgotten = asyncio.create_task(task(secret), name="forgotten")
        await asyncio.sleep(0)
        del forgotten
        await asyncio.sleep(0)

    asyncio.run(work(), debug=True)


def in_a_thread(secret: str) -> None:
    def breaks(text: str) -> None:
        raise BrokenThread(text)

    thread = threading.Thread(target=breaks, args=(secret,))
    thread.start()
    thread.join()


def at_an_end(secret: str) -> None:
    class Ending:
        def __del__(self) -> None:
            raise BrokenEnd(secret)

    Ending()


def in_a_group(secret: str) -> None:
    try:
        throw(ExceptionGroup(f"several: {secret}", [BrokenPart(secret), ExceptionGroup(secret, [OSError(2, secret)])]))
    except ExceptionGroup:
        structlog.get_logger("somebody").exception("broke")


def in_a_library(secret: str) -> None:
    try:
        throw(BrokenLibrary(secret))
    except BrokenLibrary:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
        logging.getLogger("redis").warning("Error in authentication", exc_info=True)


def in_a_line(secret: str) -> None:
    class Odd:
        def __str__(self) -> str:
            raise BrokenRepr(secret)

    logging.getLogger("somebody").warning("odd: %s", Odd())
    logging.getLogger("somebody").warning("a number: %d", secret)


def in_the_program(secret: str) -> None:
    def breaks(options: argparse.Namespace) -> None:
        raise BrokenProgram(secret, options)

    commands.new_key = breaks
    cli.main(["keys", "new", "--out", "/nowhere"])


WAYS: Final[tuple[Callable[[str], None], ...]] = (
    *(in_a_tool, in_the_loop, in_a_thread, at_an_end, in_a_group, in_a_library, in_a_line),
)


def main(style: str, secret: str) -> None:
    """Break in every way; with the style `none` as the command line does before anything is set up."""
    if style == "none":
        in_the_program(secret)
    configure("debug", style)
    watch_crashes()
    for way in WAYS:
        with suppress(SystemExit):
            way(secret)
    raise BrokenProgram(secret)


if __name__ == "__main__":
    main(*sys.argv[1:])
