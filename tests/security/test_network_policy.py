"""Where a registrant may point this server: through the tools, on a real Redis.

Every trick that works somewhere must end here before anything is connected to, and tell nothing of what is there.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, Final, TypeAlias

import pytest
import structlog

from registry.secrets import MasterKeys, new_master_key
from server.embedded.binaries import find_valkey
from server.embedded.postgres import EmbeddedPostgres
from server.first_read import first_read
from server.principal import Principal
from server.replica import Replica, open_replica
from server.settings import Settings
from server.toolbox import Call
from tests.certificates import certificate
from tests.servers import Server

MASTER: Final = MasterKeys.parse(new_master_key("one"))
ANN: Final = Call(principal=Principal("ann"))
CANARY: Final = "s3cr3t-canary"

Answer: TypeAlias = dict[str, Any]
Open: TypeAlias = Callable[..., Awaitable[Replica]]

NEVER: Final = (
    *("169.254.169.254", "169.254.170.2", "[fe80::1]", "[fe80::a9fe:a9fe]", "[fd00:ec2::254]", "100.100.100.200"),
    *("168.63.129.16", "192.0.0.192", "[fd20:ce::254]", "0.0.0.0", "0.1.2.3", "[::]", "224.0.0.1", "[ff02::1]"),  # noqa: S104 - nothing is bound
    *("255.255.255.255", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[::169.254.169.254]", "[::ffff:0.0.0.0]"),
    *("[64:ff9b::169.254.169.254]", "[64:ff9b:1::a9fe:a9fe]", "[2002:a9fe:a9fe::1]", "[::ffff:0:a9fe:a9fe]"),
    *("[2001:0:a9fe:a9fe::1]", "[2001:0:808:808::5601:5601]"),
)
"""Addresses, as they stand in a DSN, to which no operator wants a tenant to point, in every way of writing them."""
NO_HOSTS: Final = (
    *("2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "0xa9.0xfe.0xa9.0xfe", "127.1", "0", "0x0"),
    *("169.254.169.254.", "\uff11\uff16\uff19.254.169.254", "169\u3002254.169.254", "[fe80::1%25eth0]", "[::1%lo]"),
    *("good.example,127.0.0.1", "%2Fvar%2Frun%2Fpostgresql", "localhost%00.example", "localhost%0a", "[127.0.0.1]"),
    *("", "%20", "-oProxyCommand"),
)
"""What is no host at all, and an address to some resolver or other."""
PARAMETERS: Final = (
    *(
        "host=127.0.0.1",
        "hostaddr=127.0.0.1",
        "port=6379",
        "service=prod",
        "servicefile=/x",
        "passfile=/x/.pgpass",
    ),
    *("options=-c%20default_transaction_read_only%3Doff", "sslkey=/x", "sslcert=/x", "sslrootcert=/etc/passwd"),
    *("sslcrl=/x", "sslpassword=x", "sslnegotiation=direct", "target_session_attrs=any", "application_name=x%0ay"),
    *("krbsrvname=x", "gsslib=gssapi", "requirepeer=x", "channel_binding=disable", "load_balance_hosts=random"),
    *("sslmode=disable&sslmode=require", "SSLMODE=disable", "user=postgres", "password=x", "dbname=x"),
)
"""What libpq or the driver would take from a DSN's end."""


@pytest.fixture(scope="module")
def redis_by_tcp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Redis that a tenant could point at: the others of these tests listen on a socket alone."""
    server = Server(find_valkey(), tmp_path_factory.mktemp("redis"), "--save", "", "--maxmemory-policy", "noeviction")
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
async def open_with(redis_by_tcp: Server) -> AsyncIterator[Open]:
    """What opens a replica with settings of the test's choice, all on one Redis that is empty when it begins."""
    redis_by_tcp.run("FLUSHALL")
    async with AsyncExitStack() as stack:

        async def begin(**settings: Any) -> Replica:  # noqa: ANN401 - as Settings takes them
            told = Settings(**{"connect_timeout": 5.0, **settings})
            url = f"redis://127.0.0.1:{redis_by_tcp.port}/0"
            replica = await stack.enter_async_context(open_replica(told, url, MASTER))
            assert (await first_read(replica.follower, 15)).ready
            return replica

        yield begin


async def call(replica: Replica, tool: str, **arguments: Any) -> Answer:  # noqa: ANN401 - as the tool takes them
    told: Answer = json.loads((await replica.toolbox.call(tool, arguments, ANN)).payload)
    error: Answer = told.get("error", told)
    return error


async def register(replica: Replica, dsn: str | None = None, tenant: str = "acme", **fields: Any) -> Answer:  # noqa: ANN401 - as above
    given = {"dsn": dsn} if dsn else {"database": "app", "user": "u", "password": CANARY}
    return await call(replica, "register_tenant", tenant_id=tenant, **{**given, **fields})


def of(postgres: EmbeddedPostgres, host: str = "127.0.0.1") -> dict[str, Any]:
    """Return the fields of a login that works."""
    return {"host": host, "port": postgres.port, "database": "postgres", "user": "postgres"} | {
        "password": postgres.password,
        "ssl": "disable",
    }


@contextmanager
def listener() -> Iterator[int]:
    """A port that must not be connected to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)  # noqa: FBT003 - the standard library's
        yield server.getsockname()[1]
        with pytest.raises(BlockingIOError):
            server.accept()


async def test_addresses_that_no_tenant_may_point_at_are_refused_however_they_are_written(open_with: Open) -> None:
    replica = await open_with()

    for host in NEVER:
        for verify in (True, False):
            told = await register(replica, f"postgresql://u:{CANARY}@{host}:80/app", verify=verify)
            assert told["code"] == "refused_by_policy", (host, told)
            assert CANARY not in told["message"]
    assert (await call(replica, "list_tenants"))["total"] == 0


async def test_what_is_no_host_is_refused_before_anybody_looks_it_up(open_with: Open) -> None:
    replica = await open_with()

    for host in NO_HOSTS:
        told = await register(replica, f"postgresql://u:{CANARY}@{host}/app", verify=False)
        assert told["code"] == "invalid_input", (host, told)
        assert CANARY not in told["message"]
    assert (await call(replica, "list_tenants"))["total"] == 0


async def test_a_dsn_takes_no_parameter_that_reaches_beyond_its_own_database(open_with: Open) -> None:
    replica = await open_with()

    for parameter in PARAMETERS:
        told = await register(replica, f"postgresql://u:{CANARY}@db.example/app?{parameter}", verify=False)
        assert told["code"] == "invalid_input", (parameter, told)
        assert CANARY not in told["message"]
    assert (await call(replica, "list_tenants"))["total"] == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2", "::ffff:127.0.0.1"])
async def test_the_servers_own_redis_cannot_be_registered(open_with: Open, redis_by_tcp: Server, host: str) -> None:
    replica = await open_with()

    told = await register(replica, host=host, port=redis_by_tcp.port)

    assert told["code"] == "refused_by_policy"
    assert "Redis" not in told["message"]


async def test_the_servers_own_redis_cannot_be_queried_under_a_name_that_was_registered_unseen(
    open_with: Open, redis_by_tcp: Server
) -> None:
    replica = await open_with()
    assert (await register(replica, host="localhost", port=redis_by_tcp.port, verify=False))["status"] == "registered"
    before = redis_by_tcp.info("stats")["total_connections_received"]

    told = await call(replica, "execute_query", tenant_id="acme", query="SELECT 1")

    assert told["code"] == "refused_by_policy"
    # Our own question is the one connection more.
    assert redis_by_tcp.info("stats")["total_connections_received"] <= before + 2


async def test_the_port_that_the_server_listens_on_cannot_be_registered(open_with: Open) -> None:
    replica = await open_with()
    with listener() as port:
        replica.reach.refuse_port(port)
        assert (await register(replica, host="127.0.0.1", port=port))["code"] == "refused_by_policy"


async def test_a_policy_refuses_what_it_denies_at_registration_and_at_each_call_of_those_registered_before(
    open_with: Open, postgres: EmbeddedPostgres
) -> None:
    lenient = await open_with()
    assert (await register(lenient, **of(postgres)))["status"] == "registered"
    assert (await call(lenient, "execute_query", tenant_id="acme", query="SELECT 1"))["rows"] == [[1]]
    strict = await open_with(allowed_networks=("private", "public"))

    assert (await register(strict, tenant="other", **of(postgres)))["code"] == "refused_by_policy"
    assert (await register(strict, tenant="other", **of(postgres, "localhost")))["code"] == "refused_by_policy"
    told = await call(strict, "execute_query", tenant_id="acme", query="SELECT 1")
    assert told["code"] == "refused_by_policy"
    assert told["retryable"] is False
    (line,) = (await call(strict, "list_tenants"))["tenants"]
    assert "MCP_POSTGRES_ALLOWED_NETWORKS" in line["error"]


async def test_nothing_is_connected_to_that_policy_denies(open_with: Open) -> None:
    replica = await open_with(denied_networks=("loopback",))
    with listener() as port:
        for host in ("127.0.0.1", "localhost", "::ffff:127.0.0.1"):
            told = await register(replica, host=host, port=port)
            assert told["code"] == "refused_by_policy"
            assert "loopback" not in told["message"]


async def test_the_operators_log_says_which_address_was_refused_and_why(open_with: Open) -> None:
    replica = await open_with(allowed_ports=("5432",))

    with structlog.testing.capture_logs() as logs:
        await register(replica, host="169.254.169.254", port=5432)
        await register(replica, host="db.example", port=22, verify=False)

    told = [(each["host"], each["why"]) for each in logs if each["event"] == "tenant may not point there"]
    assert told == [("169.254.169.254", {"169.254.169.254": "never allowed"}), ("db.example", "not an allowed port")]


async def test_a_mode_of_tls_that_is_too_weak_is_refused_at_registration_and_at_each_call(
    open_with: Open, postgres: EmbeddedPostgres
) -> None:
    lenient = await open_with()
    assert (await register(lenient, **of(postgres)))["status"] == "registered"
    strict = await open_with(min_sslmode="require")

    told = await register(strict, tenant="other", **of(postgres), verify=False)
    assert told["code"] == "refused_by_policy"
    assert "MCP_POSTGRES_MIN_SSLMODE=require" in told["message"]
    told = await call(strict, "execute_query", tenant_id="acme", query="SELECT 1")
    assert told["code"] == "refused_by_policy"


async def test_a_superuser_is_told_at_registration_recorded_for_audit_and_refused_where_policy_says_so(
    open_with: Open, postgres: EmbeddedPostgres
) -> None:
    lenient = await open_with()
    told = await register(lenient, **of(postgres))
    assert told["login"]["powers"] == ["superuser"]
    await register(lenient, tenant="unseen", **of(postgres), verify=False)
    seen, unseen = [(await call(lenient, "tenant_history", tenant_id=each))["changes"] for each in ("acme", "unseen")]
    assert seen[0]["powers"] == ["superuser"]
    assert "powers" not in unseen[0]

    strict = await open_with(refused_powers=("superuser",))
    for fields in (of(postgres), {**of(postgres), "verify": False}):
        told = await register(strict, tenant="other", **fields)
        assert told["code"] == "refused_by_policy"
        assert "MCP_POSTGRES_REFUSED_POWERS" in told["message"]
    told = await call(strict, "execute_query", tenant_id="acme", query="SELECT 1")
    assert told["code"] == "refused_by_policy"
    assert "superuser" in told["message"]


async def test_a_tenants_own_authorities_are_shown_by_their_digest_and_change_with_the_registration(
    open_with: Open,
) -> None:
    replica = await open_with()
    pems = [certificate()[0].decode() for _ in range(2)]
    digests = []
    for pem in (*pems, None):
        told = await register(replica, host="db.example", ssl="verify-full", ssl_root_ca=pem, verify=False)
        assert told["status"] in {"registered", "replaced"}
        digests.append((await call(replica, "get_tenant", tenant_id="acme")).get("ssl_root_ca"))

    assert digests[2] is None
    assert len(set(digests)) == 3
    changes = (await call(replica, "tenant_history", tenant_id="acme"))["changes"]
    assert [change["fields"].get("ssl_root_ca") for change in changes] == [None, digests[1], digests[0]]
    assert "ssl_root_ca" in changes[0]["fields"]


async def test_a_private_key_in_place_of_authorities_is_refused_and_not_repeated(open_with: Open) -> None:
    replica = await open_with()
    pem, key = (each.decode() for each in certificate())

    told = await register(replica, host="db.example", ssl="verify-full", ssl_root_ca=pem + key, verify=False)

    assert told["code"] == "invalid_input"
    assert not any(line in json.dumps(told) for line in key.splitlines()[1:-1])


async def test_many_refusals_at_once_hold_up_nobody_who_may(open_with: Open, postgres: EmbeddedPostgres) -> None:
    replica = await open_with()
    refused = [register(replica, tenant=f"t{n}", host="169.254.169.254", port=80) for n in range(50)]

    told = await asyncio.gather(register(replica, **of(postgres)), *refused)

    assert told[0]["status"] == "registered"
    assert {each["code"] for each in told[1:]} == {"refused_by_policy"}
