"""Where a login really goes: to an address that was judged, whatever a name says later, in time or not."""

import asyncio
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from ipaddress import ip_address
from typing import Any, Final, TypeAlias

import asyncpg
import pytest

from registry.errors import PolicyRefused, TenantUnreachable
from registry.events import SslMode, TenantConfig
from registry.secrets import Secret
from server.connect import Dialler
from server.embedded.postgres import EmbeddedPostgres
from server.network_policy import Address, NetworkPolicy, networks_of, ports_of
from server.reach import Reach, is_local
from server.resolver import Resolver
from server.tenant_policy import TenantPolicy
from server.wire import Elsewhere, Wire

WITHIN: Final = 10.0
LET_IN: Final = b"R\0\0\0\x08\0\0\0\0"
LONG: Final = "SELECT pg_sleep(50)"

Serve: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


class Names:
    """Somebody who answers for every name, each time with the next answer, and with the last one from then on."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.asked = 0
        self._answers = answers

    def __call__(self, host: str) -> Sequence[Address]:
        del host
        self.asked += 1
        told = self._answers[min(self.asked, len(self._answers)) - 1]
        if not told:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [ip_address(each) for each in told]


def dialler(names: Names | None = None, *, within: float = WITHIN, denied: Sequence[str] = ()) -> Dialler:
    network = NetworkPolicy(denied=networks_of(denied))
    resolver = Resolver(names) if names else Resolver()
    return Dialler(within, TenantPolicy(network=network), Reach(network, resolver=resolver))


def at(port: int, host: str = "rebind.example", ssl: SslMode = "disable") -> TenantConfig:
    return TenantConfig(host=host, port=port, database="postgres", user="postgres", ssl=ssl)


async def log_in(postgres: EmbeddedPostgres, through: Dialler, host: str = "rebind.example") -> asyncpg.Connection:
    return await through.connect("acme", at(postgres.port, host), Secret(postgres.password))


@asynccontextmanager
async def door(serve: Serve, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """A port where each caller is served until all of this is over."""
    ended = asyncio.Event()
    visits: set[asyncio.Task[object] | None] = set()

    async def visit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.add(asyncio.current_task())
        with suppress(ConnectionError):
            await serve(reader, writer)
        await ended.wait()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(visit, host, port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        ended.set()
        server.close()
        await asyncio.gather(*filter(None, visits))


class Driver(asyncio.Protocol):
    """As much of the driver as a connection that is not used needs."""

    password = ""


@contextmanager
def full_backlog(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port whose queue is full, so that Linux drops whatever asks for a connection."""
    with closing(socket.create_server((host, port), backlog=0)) as listener:
        port = listener.getsockname()[1]
        waiting = []
        try:
            while True:
                waiting.append(socket.create_connection((host, port), timeout=0.3))
        except TimeoutError:
            yield port
        finally:
            for each in waiting:
                each.close()


async def test_a_name_is_looked_up_once_for_a_login_and_what_it_says_later_counts_for_later_ones(
    postgres: EmbeddedPostgres,
) -> None:
    names = Names(["127.0.0.1"], ["169.254.169.254"])
    through = dialler(names)

    connection = await log_in(postgres, through)

    assert names.asked == 1
    assert connection.get_settings().server_version
    with pytest.raises(PolicyRefused):
        await log_in(postgres, through)
    await connection.close()


async def test_a_query_is_cancelled_at_the_address_that_was_judged_though_the_name_leads_elsewhere_by_then(
    postgres: EmbeddedPostgres,
) -> None:
    names = Names(["127.0.0.1"], ["127.0.0.66"])
    visits: list[bytes] = []
    async with door(_count(visits), "127.0.0.66", postgres.port):
        connection = await log_in(postgres, dialler(names))
        backend = connection.get_server_pid()
        running = asyncio.create_task(connection.execute(LONG))
        await _active(postgres, backend, expected=True)

        running.cancel()
        await asyncio.wait([running])
        await _active(postgres, backend, expected=False)

    assert (names.asked, visits) == (1, [])
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


async def test_of_several_addresses_only_those_that_are_allowed_are_connected_to(postgres: EmbeddedPostgres) -> None:
    visits: list[bytes] = []
    async with door(_count(visits), "127.0.0.66", postgres.port):
        names = Names(["169.254.169.254", "127.0.0.66", "127.0.0.1"])
        connection = await log_in(postgres, dialler(names, denied=["127.0.0.66"]))
        await connection.close()

    assert visits == []


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("host", ["127.0.0.1", "::ffff:127.0.0.1", "::ffff:7f00:1"])
async def test_a_denied_address_is_refused_before_anybody_is_asked_there(host: str, *, verify: bool) -> None:
    visits: list[bytes] = []
    async with door(_count(visits)) as port:
        with pytest.raises(PolicyRefused, match="MCP_POSTGRES_ALLOWED_NETWORKS"):
            await dialler(denied=["loopback"]).check("acme", at(port, host), verify=verify)
        with pytest.raises(PolicyRefused):
            await dialler(denied=["loopback"]).try_login("acme", at(port, host), None)

    assert visits == []


async def test_who_is_refused_is_not_told_where_the_name_leads_nor_whether_anybody_listens(
    postgres: EmbeddedPostgres,
) -> None:
    async def refused(address: str) -> str:
        with pytest.raises(PolicyRefused) as caught:
            await log_in(postgres, dialler(Names([address]), denied=["loopback"]))
        return caught.value.message

    told = {await refused(address) for address in ("127.0.0.1", "127.0.0.77", "169.254.169.254", "::1")}

    (message,) = told
    assert "127.0.0" not in message


async def test_a_name_is_not_looked_up_for_a_registration_that_logs_in_nowhere() -> None:
    names = Names(["169.254.169.254"])
    through = dialler(names)

    await through.check("acme", at(5432), verify=False)

    assert names.asked == 0


async def test_a_port_that_is_not_allowed_is_refused_whatever_the_name_leads_to() -> None:
    names = Names(["127.0.0.1"])
    reach = Reach(NetworkPolicy(ports=ports_of(["5432"])), resolver=Resolver(names))

    with pytest.raises(PolicyRefused):
        await reach.check("acme", "db.example", 22)
    with pytest.raises(PolicyRefused):
        await reach.addresses("acme", "db.example", 22)
    await reach.check("acme", "db.example", 5432)


async def test_a_dead_first_address_leaves_time_for_the_second(postgres: EmbeddedPostgres) -> None:
    with full_backlog("127.0.0.66", postgres.port):
        connection = await log_in(postgres, dialler(Names(["127.0.0.66", "127.0.0.1"]), within=4))
        await connection.close()


async def test_an_address_where_nobody_listens_or_speaks_postgres_is_passed_over_for_the_next(
    postgres: EmbeddedPostgres,
) -> None:
    async with door(_saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "127.0.0.67", postgres.port):
        connection = await log_in(postgres, dialler(Names(["127.0.0.66", "127.0.0.67", "127.0.0.1"])))
        await connection.close()


async def test_a_refused_login_is_not_tried_at_the_next_address(postgres: EmbeddedPostgres) -> None:
    visits: list[bytes] = []
    async with door(_count(visits), "127.0.0.66", postgres.port):
        through = dialler(Names(["127.0.0.1", "127.0.0.66"]))
        with pytest.raises(Exception, match="password authentication failed"):
            await through.connect("acme", at(postgres.port), Secret("wrong"))

    assert visits == []


@pytest.mark.parametrize("ssl", ["disable", "require"])
async def test_a_server_that_drops_every_packet_is_told_as_late(ssl: SslMode) -> None:
    with full_backlog() as port:
        await _late(at(port, "127.0.0.1", ssl))


@pytest.mark.parametrize(
    ("said", "ssl"),
    [
        pytest.param(b"", "disable", id="says nothing"),
        pytest.param(b"", "require", id="says nothing when asked for TLS"),
        pytest.param(b"S", "require", id="stalls in TLS"),
        pytest.param(LET_IN, "disable", id="stalls after the login"),
        pytest.param(LET_IN[:3], "disable", id="stalls in the middle of a message"),
        pytest.param(b"R\0\0\0\x08\0\0\0\x03", "disable", id="asks for a password and says no more"),
    ],
)
async def test_a_server_that_stops_half_way_is_told_as_late(said: bytes, ssl: SslMode) -> None:
    async with door(_saying(said)) as port:
        await _late(at(port, "127.0.0.1", ssl))


async def test_a_server_that_stops_in_the_middle_of_tls_is_told_as_late() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"S")
        await reader.read(64)
        writer.write(b"\x16\x03\x03")

    async with door(serve) as port:
        await _late(at(port, "127.0.0.1", "require"))


async def test_a_server_that_goes_on_saying_little_is_late_all_the_same() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        while not writer.is_closing():
            writer.write(b"N" + struct.pack(">i", 4 + 7) + b"Mtext\0\0")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with door(drip) as port:
        await _late(at(port, "127.0.0.1"))


async def test_a_name_server_that_never_answers_is_told_as_late_and_holds_one_thread_however_many_ask() -> None:
    answers, asked = threading.Event(), []

    def never(host: str) -> Sequence[Address]:
        asked.append(host)
        answers.wait()
        return [ip_address("192.0.2.1")]

    through = Dialler(0.3, reach=Reach(resolver=Resolver(never)))
    try:
        told = await asyncio.gather(
            *(through.connect("acme", at(5432), None) for _ in range(20)), return_exceptions=True
        )
    finally:
        answers.set()

    assert {type(each) for each in told} == {TenantUnreachable}
    assert all("did not answer in time" in str(each) for each in told)
    assert asked == ["rebind.example"]


async def test_made_up_names_whose_name_server_never_answers_keep_nobody_from_looking_up_theirs() -> None:
    answers, asked = threading.Event(), []

    def never_for_some(host: str) -> Sequence[Address]:
        asked.append(host)
        if host.startswith("made-up"):
            answers.wait()
        return [ip_address("192.0.2.1")]

    async def gives_up(host: str) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await resolver.addresses(host)

    resolver = Resolver(never_for_some)
    await resolver.addresses("db.example")
    try:
        await asyncio.gather(*(gives_up(f"made-up-{number}.example") for number in range(200)))
        async with asyncio.timeout(WITHIN):
            await resolver.addresses("db.example")
    finally:
        answers.set()
    begun = len(asked)
    async with asyncio.timeout(WITHIN):
        await resolver.addresses("new.example")

    assert asked[begun:] == ["new.example"]  # none of those that were given up is asked for now


async def test_a_name_that_nobody_knows_is_told_as_that() -> None:
    with pytest.raises(TenantUnreachable, match=r"'rebind\.example' of tenant 'acme' is not known"):
        await dialler(Names([])).connect("acme", at(5432), None)


@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_socket_that_is_connected_elsewhere_than_it_should_be_is_not_used(*, encrypted: bool) -> None:
    import ssl  # noqa: PLC0415 - the name is a parameter's elsewhere

    class Diverted:
        """The running loop, but for one who is on the way and sends everybody to himself."""

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the loop has
            return getattr(asyncio.get_running_loop(), name)

        async def create_connection(self, factory: Any, host: str, port: int) -> Any:  # noqa: ANN401 - as the loop's
            del host
            return await asyncio.get_running_loop().create_connection(factory, "127.0.0.1", port)

    loop: Any = Diverted()
    visits: list[bytes] = []
    async with door(_count(visits)) as port:
        context = ssl.create_default_context() if encrypted else None
        with pytest.raises(Elsewhere):
            await Wire(loop).create_connection(Driver, "127.0.0.2", port, ssl=context)
        await asyncio.sleep(0)

    assert all(said == b"" for said in visits)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"])
async def test_nobody_points_at_the_port_that_this_server_listens_on(host: str) -> None:
    reach = Reach()
    reach.refuse_port(8001)

    with pytest.raises(PolicyRefused):
        await reach.check("acme", host, 8001)
    await reach.check("acme", host, 5432)
    await reach.check("acme", "192.0.2.1", 8001)


async def test_nobody_points_at_a_server_of_our_redis_under_whatever_name_or_address() -> None:
    reach = Reach(resolver=Resolver(Names(["192.0.2.5"])), redis=lambda: [("redis.example", 6379), ("", 0)])

    for host in ("192.0.2.5", "::ffff:192.0.2.5", "64:ff9b::192.0.2.5", "also-redis.example"):
        with pytest.raises(PolicyRefused):
            await reach.addresses("acme", host, 6379)
    await reach.check("acme", "192.0.2.5", 5432)
    await reach.check("acme", "192.0.2.6", 6379)


async def test_a_redis_of_this_machine_is_refused_on_all_of_its_addresses() -> None:
    reach = Reach(redis=lambda: [("127.0.0.1", 6379)])

    for host in ("127.0.0.1", "127.0.0.2", "::1"):
        with pytest.raises(PolicyRefused):
            await reach.check("acme", host, 6379)


async def test_a_redis_that_has_moved_stays_refused_where_it_was_and_one_that_cannot_be_found_anywhere() -> None:
    names = Names(["192.0.2.5"], ["192.0.2.6"], [])
    reach = Reach(resolver=Resolver(names), redis=lambda: [("redis.example", 6379)])

    for host in ("192.0.2.5", "192.0.2.5", "192.0.2.6", "192.0.2.7"):
        with pytest.raises(PolicyRefused):
            await reach.check("acme", host, 6379)
        if names.asked == 1:
            await reach.check("acme", "192.0.2.9", 5432)


def test_this_machine_knows_its_own_addresses() -> None:
    assert is_local(ip_address("127.0.0.1"))
    assert is_local(ip_address("127.200.3.4"))
    assert not is_local(ip_address("192.0.2.1"))
    assert not is_local(ip_address("2001:db8::1"))


async def test_the_systems_resolver_is_asked_by_name_and_an_address_is_its_own() -> None:
    resolver = Resolver()

    assert set(await resolver.addresses("localhost")) <= {ip_address("127.0.0.1"), ip_address("::1")}
    assert await resolver.addresses("192.0.2.1") == [ip_address("192.0.2.1")]
    for host in ("no-such-host.invalid", "bücher.example"):
        with pytest.raises(socket.gaierror):
            await resolver.addresses(host)


async def _late(config: TenantConfig) -> None:
    with pytest.raises(TenantUnreachable, match="did not answer in time"):
        async with asyncio.timeout(WITHIN):
            await dialler(within=0.5).try_login("acme", config, Secret("secret"))


async def _active(postgres: EmbeddedPostgres, backend: int, *, expected: bool) -> None:
    """Wait until the backend runs a statement, or no longer does."""
    admin = await asyncpg.connect(postgres.dsn("postgres"))
    query = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND state = 'active' AND query = $2)"
    async with asyncio.timeout(WITHIN):
        while await admin.fetchval(query, backend, LONG) is not expected:  # noqa: ASYNC110 - it is another process that changes
            await asyncio.sleep(0.02)
    await admin.close()


def _count(visits: list[bytes]) -> Serve:
    async def serve(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        visits.append(await reader.read(64))

    return serve


def _saying(said: bytes) -> Serve:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()

    return serve
