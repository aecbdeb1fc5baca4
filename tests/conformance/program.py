"""`mcp-postgres serve` with the conformance suite's fixtures behind its endpoint: python -m tests.conformance.program.

Settings are the environment's, as for `serve`.
"""

import os

import structlog
import uvloop

from server.backing import backing_of
from server.given import load
from server.logs import configure
from server.replica import open_replica
from server.serving import serve_mcp
from tests.conformance.everything import build_everything


async def _announce(base: str) -> None:
    structlog.get_logger("server").info("listening", url=base)


async def main() -> None:
    """Serve until a signal."""
    settings = load({}, os.environ, "serve")
    configure(settings.log_level, settings.log_format)
    async with (
        backing_of(settings) as backing,
        open_replica(settings, backing.redis_url, backing.master) as replica,
    ):
        await serve_mcp(lambda _again: build_everything(), replica, settings, _announce)


if __name__ == "__main__":
    uvloop.run(main())
