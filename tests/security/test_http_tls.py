"""TLS served by the process itself: what clients see, files that change, and handshakes that do not come to an end."""

import asyncio
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import httpx2
import pytest
import redis
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from server.embedded.sample import SampleLogin
from server.embedded.valkey import EmbeddedValkey
from tests.certificates import certificate
from tests.processes import Process, eventually, fields_of, run_command
from tests.security.raw_http import GET, Wire, call_of, head, post, refused, running

MAX_CLIENTS = 20
UNFINISHED = post()[:-1]


class Files:
    """The certificate of a server, which changes while it runs."""

    def __init__(self, folder: Path) -> None:
        self.certificate, self.key, self.client_ca = (folder / name for name in ("tls.crt", "tls.key", "ca.crt"))
        self.renew()

    def renew(self) -> None:
        self.certificate_pem, self.key_pem = certificate()
        self.write(self.certificate_pem, self.key_pem)

    def write(self, certificate_pem: bytes, key_pem: bytes) -> None:
        self.certificate.write_bytes(certificate_pem)
        self.key.write_bytes(key_pem)

    @property
    def trusting(self) -> ssl.SSLContext:
        """What a client needs that believes the newest certificate, and no other."""
        return ssl.create_default_context(cadata=self.certificate_pem.decode())


@pytest.fixture(scope="module")
def files() -> Iterator[Files]:
    with tempfile.TemporaryDirectory() as folder:
        yield Files(Path(folder))


@pytest.fixture(scope="module")
def server(valkey: EmbeddedValkey, files: Files, sample: SampleLogin) -> Iterator[Process]:
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    settings = {
        "tls_cert": str(files.certificate),
        "tls_key": str(files.key),
        "body_timeout": "1",
        "max_clients": str(MAX_CLIENTS),
        "max_result_bytes": str(32 << 20),
    }
    with running(valkey.url, settings, ready=False) as process:
        eventually(lambda: serves(process, files), "it never served")
        with Wire(process.port, tls=files.trusting) as wire:
            assert wire.send(post(call_of("register_tenant", **fields_of("acme", sample)))).answer().status == 200
        yield process
        assert process.popen.poll() is None
        assert "Traceback" not in process.log.read_text()


def serves(server: Process, files: Files) -> bool:
    try:
        with Wire(server.port, tls=files.trusting) as wire:
            return wire.send(head("/readyz", method="GET")).answer().status == 200
    except (ConnectionError, ssl.SSLError, AssertionError):
        return False


def test_an_mcp_client_calls_over_https(server: Process, files: Files) -> None:
    async def names() -> set[str]:
        url = server.url.replace("http://", "https://")
        async with (
            httpx2.AsyncClient(verify=files.trusting) as http,
            Client(streamable_http_client(url, http_client=http)) as client,
        ):
            return {tool.name for tool in (await client.list_tools()).tools}

    assert "list_tables" in asyncio.run(names())


def test_answers_over_tls_ask_browsers_to_come_back_over_tls(server: Process, files: Files) -> None:
    with Wire(server.port, tls=files.trusting) as wire:
        told = wire.send(post()).answer()
    assert told.status == 200
    assert told.headers["strict-transport-security"] == "max-age=31536000"


def test_only_tls_from_1_2_on_is_spoken(server: Process, files: Files) -> None:
    with Wire(server.port, tls=files.trusting) as wire:
        assert isinstance(wire.socket, ssl.SSLSocket)
        assert wire.socket.version() == "TLSv1.3"
    old = files.trusting
    old.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        Wire(server.port, tls=old)
    with Wire(server.port) as plain:
        assert not plain.send(GET).rest().startswith(b"HTTP")
    assert serves(server, files)


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00\x01"])
def test_a_handshake_that_stalls_is_ended(server: Process, files: Files, said: bytes) -> None:
    with Wire(server.port) as wire:
        assert wire.send(said).rest() == b""
    assert refused(server, "no_handshake", Wire(server.port, tls=files.trusting)) >= 1


def test_handshakes_that_stall_keep_nobody_out(server: Process, files: Files) -> None:
    with ExitStack() as stack:
        for _ in range(3 * MAX_CLIENTS):
            stack.enter_context(Wire(server.port)).send(b"\x16")
        assert all(serves(server, files) for _ in range(5))
    assert refused(server, "too_many_clients", Wire(server.port, tls=files.trusting)) >= 2 * MAX_CLIENTS


@pytest.mark.parametrize("said", [b"", b"POST /mcp HTTP/1.1\r\nHo", UNFINISHED, GET])
def test_slow_clients_are_not_waited_for_under_tls_either(server: Process, files: Files, said: bytes) -> None:
    with Wire(server.port, tls=files.trusting) as wire:
        told = wire.send(said).rest()
    assert (b"HTTP/1.1 408" in told) == (said == UNFINISHED)


def test_an_answer_that_nobody_reads_is_not_kept_for_ever_under_tls(server: Process, files: Files) -> None:
    large = call_of("execute_query", tenant_id="acme", query="SELECT repeat('x', 1000000) FROM generate_series(1, 24)")
    with Wire(server.port, tls=files.trusting, receive_buffer=4096) as wire:
        wire.send(post(large))
        eventually(
            lambda: refused(server, "answer_not_taken", Wire(server.port, tls=files.trusting)) >= 1,
            "the answer is still held",
        )


def test_new_files_are_taken_for_new_connections_and_old_ones_go_on(server: Process, files: Files) -> None:
    old = files.trusting
    with Wire(server.port, tls=old) as before:
        files.renew()
        eventually(lambda: before.send(GET).answer().status == 200 and serves(server, files), "it was not taken")
        with pytest.raises(ssl.SSLCertVerificationError):
            Wire(server.port, tls=old)
        assert before.send(post()).answer().status == 200


def complaints(server: Process) -> int:
    return server.log.read_text().count("new certificate not taken")


def _more_than(already: int, server: Process) -> bool:
    return complaints(server) > already


def test_files_that_cannot_be_used_are_told_in_the_log_and_the_old_ones_stay(server: Process, files: Files) -> None:
    other, _ = certificate()
    for broken in (b"", b"-----BEGIN CERTIFICATE-----\nnonsense\n", other):
        already = complaints(server)
        files.write(broken, files.key_pem)
        eventually(partial(_more_than, already, server), "nothing was said of it")
        assert serves(server, files)
    files.renew()
    eventually(lambda: serves(server, files), "the new certificate was not taken")


def test_clients_without_a_certificate_are_kept_out_where_one_is_asked_for(
    valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    files = Files(tmp_path)
    mine, key = certificate()
    files.client_ca.write_bytes(mine)
    (tmp_path / "mine.key").write_bytes(key)
    known, stranger = files.trusting, files.trusting
    known.load_cert_chain(files.client_ca, tmp_path / "mine.key")
    stranger.load_cert_chain(files.certificate, files.key)
    settings = {"tls_cert": str(files.certificate), "tls_key": str(files.key), "tls_client_ca": str(files.client_ca)}
    with running(valkey.url, settings, ready=False) as process:

        def answered(context: ssl.SSLContext) -> bool:
            try:
                with Wire(process.port, tls=context) as wire:
                    return wire.send(GET).answer().status == 200
            except (OSError, AssertionError):  # the handshake's refusal comes with the first read
                return False

        eventually(lambda: answered(known), "the client with a certificate was not served")
        assert not answered(files.trusting)
        assert not answered(stranger)


def test_a_certificate_that_cannot_be_used_stops_the_start_in_one_line(tmp_path: Path, valkey: EmbeddedValkey) -> None:
    files = Files(tmp_path)
    files.key.write_bytes(b"nonsense")
    key = tmp_path / "master.key"
    assert run_command("keys", "new", "--out", str(key)).returncode == 0
    env = {"REDIS_URL": valkey.url, "MCP_POSTGRES_KEY_FILE": str(key), "MCP_POSTGRES_PORT": "0"}
    ended = run_command("serve", "--tls-cert", str(files.certificate), "--tls-key", str(files.key), env=env)
    assert ended.returncode == 1
    assert "holds no key in PEM form" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_address_that_is_printed_is_https(server: Process) -> None:
    assert f'"https://127.0.0.1:{server.port}"' in server.log.read_text()
