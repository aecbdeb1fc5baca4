"""The ways on which a secret could leave a running replica, each with the places where it is given."""

import asyncio
import json
from collections.abc import Callable
from functools import partial
from typing import Final
from urllib.parse import quote

import asyncpg

from tests.processes import Process
from tests.security.hostile import Talk, listening, postgres_that_echoes, postgres_that_echoes_sasl
from tests.security.scene import Scene
from tests.servers import eventually

SHAPES: Final = {
    "plain": "{}",
    "quotes": 'it\'s "{}" \\ `x` $1',
    "lines": "one {}\ntwo\tthree\r",
    "unicode": "pä§§ {} wörd 🔑",
    "URL": "postgresql://admin:{}@db.example:5432/x?y=z",
    "JSON": '{"password": "{}"}',
    "reserved": "a/b?c#d@e:f%41{}%+ &=",
    "conninfo": "host=x password={} user=y",
}
"""What a password may look like; each opens a role of its own."""

REFERRED: Final = {"in a file": "f/{}", "in a variable": "v#{} $1"}
"""Those that stay with the replicas, which are told where."""
VARIABLE: Final = "TENANT_PASSWORD"

_ECHOES: Final[dict[str, Talk]] = {"clear": postgres_that_echoes, "SASL": postgres_that_echoes_sasl}


def make_roles(scene: Scene) -> None:
    """Have a role for each shape of a password."""

    async def make() -> None:
        admin = await asyncpg.connect(scene.postgres.dsn("postgres"))
        try:
            for shape, text in {**SHAPES, **REFERRED}.items():
                password = scene.plant(_of_shape(shape), text).replace("'", "''")
                await admin.execute(f"CREATE ROLE {_role(shape)} LOGIN PASSWORD '{password}'")
        finally:
            await admin.close()

    asyncio.run(make())


def passwords_that_work(scene: Scene, replica: Process) -> None:
    """Registered as a field, again in a DSN, replaced, and used for a query."""
    for shape in SHAPES:
        place, role = _of_shape(shape), _role(shape)
        password = scene.planted[place].text
        fields = scene.at_sample(role, user=role, password=password)
        told = scene.call(replica, "register_tenant", fields)
        assert told.get("login"), (shape, told)
        dsn = f"postgresql://{role}:{quote(password, safe='')}@127.0.0.1:{scene.postgres.port}/postgres?sslmode=disable"
        assert scene.call(replica, "register_tenant", {"tenant_id": role, "dsn": dsn})["status"] == "unchanged"
        assert scene.call(replica, "register_tenant", {**fields, "max_pool_size": 3})["status"] == "replaced"
        rows = scene.call(replica, "execute_query", {"tenant_id": role, "query": "SELECT current_user"})
        scene.use(place, rows["rows"] == [[role]])
    tenant = _role("plain")
    for tool in ("get_tenant", "tenant_history", "list_schemas", "list_tables"):
        scene.call(replica, tool, {"tenant_id": tenant})
    scene.call(replica, "list_tenants", {})
    assert scene.call(replica, "remove_tenant", {"tenant_id": _role("unicode")})["status"] == "removed"
    scene.call(replica, "tenant_history", {"tenant_id": _role("unicode")})


def passwords_that_stay(scene: Scene, replica: Process) -> None:
    """Named by a file or a variable of the replica, used, and moved from Redis to there."""
    (scene.home / "secrets" / "password").write_text(scene.planted[_of_shape("in a file")].text)
    for shape, ref in {"in a file": "file:password", "in a variable": f"env:{VARIABLE}"}.items():
        place, role = _of_shape(shape), _role(shape)
        fields = scene.at_sample(role, user=role, password_ref=ref)
        assert scene.call(replica, "register_tenant", fields)["status"] == "registered"
        rows = scene.call(replica, "execute_query", {"tenant_id": role, "query": "SELECT current_user"})
        scene.use(place, rows["rows"] == [[role]])
        for tool in ("get_tenant", "tenant_history"):
            scene.call(replica, tool, {"tenant_id": role})


def logins_that_fail(scene: Scene, replica: Process, nobody: Callable[[], int]) -> None:
    """Refused, unreachable, without the TLS that was asked for; tested first and registered unseen."""
    ways: dict[str, dict[str, object]] = {
        "login_refused": {"user": _role("plain")},
        "tenant_unreachable": {"user": "u", "port": nobody()},
        "login_refused, TLS": {"user": _role("plain"), "ssl": "verify-full"},
    }
    for number, (way, fields) in enumerate(ways.items()):
        for verify in (True, False):
            place = f"password, {way}, {'tested first' if verify else 'registered unseen'}"
            tenant = f"failing-{number}"
            asked = scene.at_sample(tenant, password=scene.plant(place), verify=verify, **fields)
            told = scene.call(replica, "register_tenant", asked)
            if not verify:
                assert told["status"] == "registered", told
                told = scene.call(replica, "execute_query", {"tenant_id": tenant, "query": "SELECT 1"})
                scene.call(replica, "get_tenant", {"tenant_id": tenant})
            scene.use(place, told["code"] == way.partition(",")[0])
    scene.call(replica, "list_tenants", {})


def databases_that_echo(scene: Scene, replica: Process) -> None:
    """A server that asks for the password in clear and puts it into its error, or what was said in SCRAM."""
    for kind, talk in _ECHOES.items():
        with listening(talk) as server:
            for verify in (True, False):
                place = f"password, echoed after {kind}, {'tested first' if verify else 'registered unseen'}"
                password, tenant = scene.plant(place), f"echo-{kind}"
                fields = scene.at_sample(tenant, user="u", password=password, port=server.port, verify=verify)
                told = scene.call(replica, "register_tenant", fields)
                if not verify:
                    told = scene.call(replica, "execute_query", {"tenant_id": tenant, "query": "SELECT 1"})
                    scene.call(replica, "get_tenant", {"tenant_id": tenant})
                assert told["code"] == "login_refused", told
                wanted = password.encode() if kind == "clear" else b""
                # It notes what it heard after its answer, which may be here before.
                eventually(partial(_is_heard, wanted, server.heard), f"{place}: it was not told")
                scene.use(place, server.heard)
    scene.call(replica, "list_tenants", {})


def _is_heard(wanted: bytes, heard: list[bytes]) -> bool:
    return any(wanted in said for said in heard)


def wrong_arguments(scene: Scene, replica: Process) -> None:
    """A password where none belongs: what is refused does not repeat it, unless it stands where a name should be."""

    def refused(place: str, arguments: Callable[[str], dict[str, object]], *, told: bool = False) -> None:
        secret = scene.plant(place, told=told)
        answer = scene.call(replica, "register_tenant", {"tenant_id": "wrong", **arguments(secret)})
        scene.use(place, answer["code"] == "invalid_input")

    refused("password as an unknown field", lambda secret: {"passwort": secret})
    refused("password in a list", lambda secret: {"password": [secret]})
    refused("password in an object", lambda secret: {"password": {"value": secret}})
    refused("password as a port", lambda secret: {"port": secret})
    refused(
        "password that is too long", lambda secret: {"host": "h", "database": "d", "user": "u", "password": secret * 99}
    )
    refused(
        "password with a NUL", lambda secret: {"host": "h", "database": "d", "user": "u", "password": f"{secret}\0"}
    )
    refused("dsn beside a password", lambda secret: {"dsn": f"postgresql://u:{secret}@h/d", "password": secret})
    refused("dsn as host", lambda secret: {"host": f"postgresql://u:{secret}@h/d", "database": "d", "user": "u"})
    for form in (
        "postgresql://u:my {}@h/d",
        "mysql://u:{}@h/d",
        "postgresql://u:{}#x@h/d",
        "postgresql://u:{}%@h/d",
        "postgresql://u:{}/@h/d",
        "postgresql://u:p@h:{}/d",
        "postgresql://u:p@h/d?password={}",
        "host=h password={} user=u",
    ):
        refused(f"dsn {form}", lambda secret, form=form: {"dsn": form.replace("{}", secret)})  # type: ignore[misc]
    refused("password as tenant_id", lambda secret: {"tenant_id": f"!{secret}"}, told=True)
    refused("password as a field's name", lambda secret: {secret: "x"}, told=True)
    refused("password as ssl", lambda secret: {"ssl": secret}, told=True)


def names_that_are_none(scene: Scene, replica: Process) -> None:
    """A secret as the name of a tenant, a tool, a table, a user."""
    place = "password as an unknown tenant"
    answer = scene.call(replica, "list_tables", {"tenant_id": scene.plant(place, told=True, looked_up=True)})
    scene.use(place, answer["code"] == "unknown_tenant")
    place = "password as a tool's name"
    scene.use(place, scene.call(replica, scene.plant(place, told=True), {})["code"] == -32602)
    place = "password as a user"
    fields = scene.at_sample("swapped", user=scene.plant(place, told=True), password="app")
    scene.use(place, scene.call(replica, "register_tenant", fields)["code"] == "login_refused")
    place = "password as a table"
    fields = {"tenant_id": _role("plain"), "table": scene.plant(place, told=True)}
    scene.use(place, scene.call(replica, "describe_table", fields).get("code"))


def statements(scene: Scene, replica: Process) -> None:
    """A secret in a statement, in its parameters and in what it reads: the caller's, and nobody else's."""
    ways: dict[str, tuple[str, bool]] = {
        "secret in a statement": ("SELECT '{}'", False),
        "secret in a statement that fails": ("SELECT '{}'::int", True),
        "secret in a statement that does not parse": ("SELECT {} FROM WHERE", True),
        "secret in a statement that writes": ("CREATE TABLE t AS SELECT '{}'::text", True),
        "secret in several statements": ("SELECT 1; SELECT '{}'", True),
    }
    for place, (statement, fails) in ways.items():
        query = statement.replace("{}", scene.plant(place, told=True))
        answer = scene.call(replica, "execute_query", {"tenant_id": _role("plain"), "query": query})
        scene.use(place, fails == ("code" in answer))
    for place, query, fails in (
        ("secret in a parameter", "SELECT $1::text", False),
        ("secret in a parameter that fails", "SELECT $1::text::int", True),
        ("secret in a parameter of another type", "SELECT $1::int", True),
    ):
        arguments = {"tenant_id": _role("plain"), "query": query, "params": [scene.plant(place, told=True)]}
        scene.use(place, fails == ("code" in scene.call(replica, "execute_query", arguments)))


def writes(scene: Scene, replica: Process) -> None:
    """A secret in what is written, in its parameters, as a role: the caller's, and in no line of the audit log."""
    login = {"user": _role("plain"), "password": scene.planted[_of_shape("plain")].text}
    fields = scene.at_sample("written", access="read_write", **login)
    assert scene.call(replica, "register_tenant", fields)["status"] == "registered"
    for place, statement, code in (
        ("secret in a write", "SELECT '{}' FOR UPDATE", None),
        ("secret in a write that fails", "SELECT '{}'::int", "query_failed"),
        ("secret in a write that is refused", "CREATE TABLE t AS SELECT '{}'::text", "query_refused"),
        ("secret in a write that does not parse", "INSERT {} INTO", "query_refused"),
    ):
        sql = statement.replace("{}", scene.plant(place, told=True))
        answer = scene.call(replica, "execute_write", {"tenant_id": "written", "statements": [{"sql": sql}]})
        scene.use(place, answer.get("code") == code)
    place = "secret in a write's parameter"
    step = {"sql": "SELECT $1::text", "params": [scene.plant(place, told=True)]}
    answer = scene.call(replica, "execute_write", {"tenant_id": "written", "statements": [step]})
    scene.use(place, answer["committed"])
    place = "secret as a role"
    arguments = {"tenant_id": "written", "statements": [{"sql": "SELECT 1"}], "role": scene.plant(place)}
    scene.use(place, scene.call(replica, "execute_write", arguments)["code"] == "invalid_input")


def requests(scene: Scene, replica: Process) -> None:
    """What is no call: JSON cut short, of the wrong shape, too large; a secret in headers and in the path."""

    def posted(place: str, body: str, status: int, *, told: bool = False) -> None:
        given = body.replace("{}", scene.plant(place, told=told))
        scene.use(place, scene.post(replica, given.encode())[0] == status)

    whole = '{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": '
    posted("password in JSON cut short", whole + '{"arguments": {"password": "{}"', 400)
    posted("password beside JSON", "{}" + whole, 400)
    posted("password in arguments that are none", whole + '{"name": "register_tenant", "arguments": "{}"}}', 200)
    posted("password in parameters that are none", whole + '"{}"}', 400)
    posted("password in a batch", '[{"password": "{}"}]', 200)
    posted("password as a method", '{"jsonrpc": "2.0", "id": 1, "method": "{}"}', 200, told=True)
    posted("password in a body that is too large", '{"password": "{}", "x": "' + "x" * (2 << 20) + '"}', 413)
    listing = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode()
    for header, value in (
        ("Authorization", "Bearer {}"),
        ("Authorization", "Basic {}"),
        ("Cookie", "session={}"),
        ("X-Api-Key", "{}"),
        ("Mcp-Session-Id", "{}"),
        ("X-Request-Id", "redis://:{}@h"),
    ):
        place = f"secret in the header {header}: {value}"
        scene.use(place, scene.post(replica, listing, {header: value.replace("{}", scene.plant(place))})[0])
    for place, path in (("path", "/register/{}"), ("query string", "/readyz?dsn={}")):
        place = f"secret in the {place}"  # noqa: PLW2901 - it is the same place, said in full
        scene.use(place, scene.get(replica, path.replace("{}", scene.plant(place))))


def pages(scene: Scene, replica: Process) -> None:
    """Whatever is shown without being asked for anything in particular."""
    for path in ("/livez", "/readyz", "/metrics"):
        assert scene.get(replica, path) == 200


def _of_shape(shape: str) -> str:
    return f"password, {shape}"


def _role(shape: str) -> str:
    return f"role_{shape.lower().replace(' ', '_')}"
