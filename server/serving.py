"""Running a replica in the foreground: over HTTP until a signal, or over stdio until the client leaves."""

import asyncio
import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp, Scope

from server.access import Entrance
from server.addresses import is_loopback
from server.admission import Admission, Doorman, caller_of
from server.authentication import Authenticator
from server.beyond import Again
from server.collector import keep_out_of_the_way
from server.confirmation import Policy
from server.crowd import Crowd
from server.fast_path import FastPath
from server.first_read import first_read
from server.http import Door, build_app
from server.http_bounds import Bounds
from server.http_forwarded import Forwarded
from server.http_front import Outside
from server.http_intake import Intake, Limits
from server.http_names import LOOPBACK, Names
from server.http_protocol import impatient
from server.http_server import HttpServer, Stopping
from server.listening import BACKLOG, GRACE, base_of, listen
from server.loops import running
from server.mcp_roads import roads_of
from server.port import Port
from server.principal import Principal
from server.reading_clients import PACE
from server.refusals import HttpTally
from server.replica import Replica
from server.sdk_road import SdkRoad
from server.settings import Settings
from server.tenant_policy import policy_of
from server.tenants_command import user
from server.tls_entrance import behind_tls
from server.tool_permission import ToolPermission
from server.toolbox import Answer, Arguments, Call, Toolbox

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

    from server.certificates import Certificates

_KEPT_ALIVE: Final = 5
"""Seconds that a connection may be idle after an answer."""
_PATIENCE: Final = 5.0
"""Seconds that a call over stdio waits for a Redis from which nothing comes."""
_AGAIN: Final = 1.0

Announce = Callable[[str], Awaitable[None]]
Build: TypeAlias = "Callable[[Again], Server[Any]]"
"""Makes the SDK's server; told what tells once more who sent a request."""


async def serve_http(replica: Replica, settings: Settings, announce: Announce, port: Port | None = None) -> None:
    """Answer MCP over HTTP until SIGINT or SIGTERM: `serve_mcp` with the replica's own tools."""

    def build(again: Again) -> "Server[Any]":
        from server import mcp_server  # noqa: PLC0415 - half a second of imports, beside which calls are answered already

        return mcp_server.build_server(replica.toolbox, caller_of, replica.beyond, again)

    await serve_mcp(build, replica, settings, announce, port)


async def serve_mcp(
    build: Build, replica: Replica, settings: Settings, announce: Announce, port: Port | None = None
) -> None:
    """Answer over HTTP until SIGINT or SIGTERM, whatever a server of the SDK answers.

    Args:
        build: Makes what is behind the endpoint.
        replica: An open replica.
        settings: Where to listen, and what to answer.
        announce: Told the base URL once the port accepts connections.
        port: What other processes answer on, too; this function's to close. Without one, it listens by itself.

    Raises `StartError` when the port cannot be had, or the certificate cannot be used.
    """
    entrance, certificates = Entrance.of(settings), _certificates_of(settings)
    port = port or Port(listen(settings))
    _prepare(port.listener, replica)
    _advise(settings)
    endpoint, sdk = _roads_of(build, replica, settings, entrance)
    tally = replica.instruments.http

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        followed = [certificates.follow()] if certificates else []
        ready = port.open(lambda: replica.follower.status.ready, server.leave)
        collector = keep_out_of_the_way(replica.follower)
        async with ready, running(_keep_up(entrance.authenticator), sdk.run(), collector, *followed):
            await announce(base_of(settings, port.listener))
            yield

    app = build_app(
        _intake_of(endpoint, settings, tally, entrance.authenticator),
        settings.path,
        lambda: (replica.follower.status, port.told),
        lifespan,
        port.metrics(_exposition(replica, entrance.doorman)),
        _door_of(entrance),
        _outside_of(settings, tally, secure=certificates is not None),
    )
    bounds = Bounds(settings.body_timeout, Crowd(settings.max_clients, tally, port.count), tally)
    stopping = Stopping(
        replica.beyond.announcements.end, replica.instruments.pools.stop_calls, patience=settings.drain_seconds
    )
    server = HttpServer(_config_of(app, bounds, certificates, settings), port, stopping)
    with server.stopped_by_signals():
        await server.serve(sockets=port.sockets)


async def serve_stdio(replica: Replica) -> None:
    """Answer MCP on standard input and output until the client closes them.

    The handshake and the list of tools are answered at once, also while Redis is away: a desktop client gives a server
    little time to start, and shows its user nothing but that it failed. A call waits until the registry is read.
    """
    from server import mcp_server, mcp_stdio  # noqa: PLC0415 - as above

    caller = Principal(f"stdio:{user()}")
    toolbox = _PatientToolbox(replica)
    server = mcp_server.build_server(toolbox, lambda _scope: caller, replica.beyond.over(toolbox))
    await mcp_stdio.serve_stdio(server)


def _prepare(listener: socket.socket, replica: Replica) -> None:
    # Of what a client has not taken, the kernel keeps little: else megabytes go and nobody sees whether it reads.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, PACE)
    replica.reach.refuse_port(listener.getsockname()[1])


def _roads_of(build: Build, replica: Replica, settings: Settings, entrance: Entrance) -> tuple[FastPath, SdkRoad]:
    return roads_of(
        lambda: build(entrance.again),
        replica,
        ToolPermission(replica.toolbox.tools, entrance.doorman),
        settings.max_body_bytes,
        replica.instruments.http,
        must_ask=settings.confirm_writes == Policy.REQUIRE,
    )


def _intake_of(endpoint: ASGIApp, settings: Settings, tally: HttpTally, authenticator: Authenticator) -> ASGIApp:
    limits = Limits(max_body=settings.max_body_bytes, seconds=settings.body_timeout, max_requests=settings.max_requests)
    return Intake(endpoint, limits, tally, _subject_of if authenticator.required else lambda _scope: None)


def _door_of(entrance: Entrance) -> Door:
    return Door(
        before=lambda app: Admission(app, entrance.authenticator, entrance.doorman),
        documents=entrance.challenge.documents,
        discreet=entrance.authenticator.required,
    )


def _outside_of(settings: Settings, tally: HttpTally, *, secure: bool) -> Outside:
    return Outside(Names(settings.allowed_hosts or LOOPBACK, settings.allowed_origins), tally, secure=secure)


def _config_of(app: ASGIApp, bounds: Bounds, certificates: "Certificates | None", settings: Settings) -> uvicorn.Config:
    made = impatient(bounds)
    protocol: Any = behind_tls(made, certificates, bounds) if certificates else made
    config = uvicorn.Config(
        app,
        interface="asgi3",
        loop="uvloop",
        http=protocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        # Beyond the time after which calls are stopped: those are answered, and say so.
        timeout_graceful_shutdown=math.ceil(settings.drain_seconds) + GRACE,
        proxy_headers=False,
        timeout_keep_alive=math.ceil(min(_KEPT_ALIVE, settings.body_timeout)),
    )
    config.app = Forwarded(app, config.forwarded_allow_ips)
    return config


def _certificates_of(settings: Settings) -> "Certificates | None":
    if settings.tls_cert is None:
        return None
    from server.certificates import Certificates, TlsFiles  # noqa: PLC0415 - what reads them takes time to import

    files = TlsFiles.of(settings)
    return Certificates(files) if files else None


def _exposition(replica: Replica, doorman: Doorman) -> Callable[[], bytes]:
    """Return what writes the metrics; what it needs is imported when they are asked for."""

    @cache
    def writer() -> Callable[[], bytes]:
        from server.metrics import exposition  # noqa: PLC0415 - as above

        return exposition(replica.instruments, doorman.counted)

    def write() -> bytes:
        return writer()()

    return write


def _subject_of(scope: Scope) -> str:
    return caller_of(scope).subject


async def _keep_up(authenticator: Authenticator) -> None:
    while True:
        try:
            await authenticator.run()
        except Exception:  # noqa: BLE001 - the supervising loop: what is taken back must be refused also after a bug
            structlog.get_logger("auth").exception("cannot keep up with who may get in")
        await asyncio.sleep(_AGAIN)


class _PatientToolbox(Toolbox):
    """Calls the tools once the registry is read. One that then still cannot be answered says why by itself."""

    def __init__(self, replica: Replica) -> None:
        super().__init__(replica.toolbox.tools.values())
        self._toolbox = replica.toolbox
        self._follower = replica.follower

    async def call(self, name: str, arguments: Arguments, call: Call) -> Answer:
        """Wait, and have the replica's own toolbox do it: that counts calls, and bounds how many a caller makes."""
        await first_read(self._follower, _PATIENCE)
        return await self._toolbox.call(name, arguments, call)

    @asynccontextmanager
    async def request(self, name: str, principal: Principal) -> AsyncIterator[None]:
        """Wait, and have the replica's own toolbox hold it."""
        await first_read(self._follower, _PATIENCE)
        async with self._toolbox.request(name, principal):
            yield


def _advise(settings: Settings) -> None:
    """Recommend a policy where others than this machine's own may register tenants."""
    if not is_loopback(settings.host) and not policy_of(settings).network.says_something:
        structlog.get_logger("server").warning(
            "tenants may point at any host that this machine reaches, in loopback and private networks too; say where "
            "they may with MCP_POSTGRES_ALLOWED_NETWORKS, MCP_POSTGRES_DENIED_NETWORKS or MCP_POSTGRES_ALLOWED_PORTS"
        )
