"""TLS to one server, to Sentinels and to a cluster. The server of the tests has none, so a proxy before it ends TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TypeAlias

import pytest

from registry.errors import RegistryUnavailable
from server.embedded.binaries import find_valkey
from tests.certificates import certificate
from tests.servers import SERVICE, Server, free_port
from tests.topology.conftest import Open, OpenClient, call, register

Proxy: TypeAlias = Callable[..., Awaitable[int]]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, and its key."""
    paths = (tmp_path / "server.crt", tmp_path / "server.key")
    for path, content in zip(paths, certificate(), strict=True):
        path.write_bytes(content)
    return paths


@pytest.fixture
async def proxy(files: tuple[Path, Path]) -> AsyncIterator[Proxy]:
    """What puts a proxy that speaks TLS before a port, and returns its own."""
    async with AsyncExitStack() as stack:

        async def put(before: int, *, port: int | None = None, asks_for_certificate: bool = False) -> int:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*files)
            if asks_for_certificate:
                context.load_verify_locations(files[0])
                context.verify_mode = ssl.CERT_REQUIRED

            async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                with suppress(OSError):
                    server_reader, server_writer = await asyncio.open_connection("127.0.0.1", before)
                    await asyncio.gather(relay(reader, server_writer), relay(server_reader, writer))

            server = await asyncio.start_server(connected, "127.0.0.1", port or free_port(), ssl=context)
            stack.push_async_callback(server.wait_closed)
            stack.callback(server.close)
            listening: int = server.sockets[0].getsockname()[1]
            return listening

        yield put


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    yield from running(Server(find_valkey(), tmp_path))


def running(server: Server) -> Iterator[Server]:
    try:
        server.start()
        yield server
    finally:
        server.kill()


async def test_one_server(server: Server, files: tuple[Path, Path], proxy: Proxy, open_on: Open) -> None:
    port = await proxy(server.port)

    await registers_and_removes(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={files[0]}", open_on)


async def test_one_server_that_wants_a_certificate_of_ours(
    server: Server, files: tuple[Path, Path], proxy: Proxy, open_on: Open, open_client: OpenClient
) -> None:
    port = await proxy(server.port, asks_for_certificate=True)
    url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={files[0]}"

    await registers_and_removes(f"{url}&ssl_certfile={files[0]}&ssl_keyfile={files[1]}", open_on)
    with pytest.raises(RegistryUnavailable):
        await open_client(url).run("PING")


async def test_sentinels(server: Server, files: tuple[Path, Path], proxy: Proxy, open_on: Open, tmp_path: Path) -> None:
    sentinel = Server(find_valkey(), tmp_path, sentinel=True)
    (sentinel.home / "sentinel.conf").write_text(
        f"sentinel monitor {SERVICE} 127.0.0.1 {await proxy(server.port)} 1\n"
        f"sentinel down-after-milliseconds {SERVICE} 600000\n"
    )
    for _ in running(sentinel):
        port = await proxy(sentinel.port)

        await registers_and_removes(
            f"redis+sentinel://127.0.0.1:{port}/{SERVICE}?tls=true&ssl_ca_certs={files[0]}", open_on
        )


async def test_a_cluster(files: tuple[Path, Path], proxy: Proxy, open_on: Open, tmp_path: Path) -> None:
    announced = free_port()
    options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    server = Server(find_valkey(), tmp_path, *options, "--cluster-announce-port", str(announced))
    for _ in running(server):
        server.run("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        await proxy(server.port, port=announced)

        await registers_and_removes(f"redis+cluster://127.0.0.1:{announced}?tls=true&ssl_ca_certs={files[0]}", open_on)


async def test_a_certificate_that_nobody_vouches_for_is_told_and_can_be_taken_as_it_is(
    server: Server, proxy: Proxy, open_client: OpenClient
) -> None:
    url = f"rediss://127.0.0.1:{await proxy(server.port)}/0"

    with pytest.raises(RegistryUnavailable, match="check the ssl_ options"):
        await open_client(url).run("PING")
    assert await open_client(f"{url}?ssl_cert_reqs=none&ssl_check_hostname=false").run("PING")


async def registers_and_removes(url: str, open_on: Open) -> None:
    replica = await open_on(url)
    assert (await register(replica, "acme"))["version"] == 1
    assert (await call(replica, "remove_tenant", tenant_id="acme"))["version"] == 2
