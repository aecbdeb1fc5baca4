"""What a registrant may say: the corpus, put to the tool over a real Redis and a real Postgres, and whatever else."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings as bounded, strategies as st

from registry.errors import InvalidInput
from registry.events import TenantConfig
from registry.inputs import from_dsn
from registry.names import Names, are_twins, check_tenant_id
from registry.secrets import Secret
from server.embedded.postgres import EmbeddedPostgres
from server.principal import Principal
from server.replica import Replica
from server.settings import Settings
from server.toolbox import Call
from tests.security.register_corpus import Case, cases, of_input, of_words
from tests.security.replicas import call, key_file, one, replica, role

CLEAR: Final = {"user": "u", "password": "canary-hunter2", "database": "app"}
T = TypeVar("T")

EXAMPLES: Final = 1000
BOUNDED: Final = bounded(
    deadline=None, max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), derandomize=True
)
"""The same inputs each time, and as many on any machine."""


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    """Of a replica over an empty Redis."""
    return Settings(redis_url=redis_url, key_file=key_file(tmp_path / "k", "one"))


@pytest.fixture
async def running(settings: Settings) -> AsyncIterator[Replica]:
    """One replica."""
    async with replica(settings) as running:
        yield running


def named(case: Case) -> str:
    return f"{case.field} {case.value}"[:70]


def texts(field: str, expected: str) -> list[Case]:
    return [case for case in of_input() if (case.field, case.expected) == (field, expected)]


def test_no_case_of_the_corpus_is_left_to_nobody() -> None:
    elsewhere = [*of_words("169.254", "rebind", "2130706433", "good.example,", "blackhole", "super:p@")]
    here = [*of_input(), *(case for case in cases() if case.field in {"register", "remove"})]

    assert sorted(map(named, [*here, *elsewhere])) == sorted(map(named, cases()))


@pytest.mark.parametrize("case", texts("tenant_id", "blocked"), ids=named)
async def test_an_id_that_means_something_else_than_one_tenant_is_refused(running: Replica, case: Case) -> None:
    said = re.split(r" vs | / ", case.said)
    if "vs" in case.said:
        first = await call(running, "register_tenant", tenant_id=said.pop(0), host="db", verify=False, **CLEAR)
        assert first["status"] == "registered"

    for tenant_id in said:
        told = await call(running, "register_tenant", tenant_id=tenant_id, host="db", verify=False, **CLEAR)

        assert told["error"]["code"] == "invalid_input", (tenant_id, told)
    assert (await call(running, "list_tenants"))["total"] == ("vs" in case.said)


@pytest.mark.parametrize("case", [c for c in texts("dsn", "blocked") if "PGPASSWORD" not in c.value], ids=named)
async def test_a_dsn_that_reaches_into_the_server_is_refused_and_not_repeated(running: Replica, case: Case) -> None:
    dsn = case.said.replace(":p@db", ":canary-hunter2@db")

    told = await call(running, "register_tenant", tenant_id="acme", dsn=dsn, verify=False)

    assert told["error"]["code"] == "invalid_input", told
    for secret in ("canary", "hunter2", "ss:w/o", "w/o#rd", "forged", "id_rsa", "pgpass"):
        assert secret not in told["error"]["message"]
    assert (await call(running, "list_tenants"))["total"] == 0


@pytest.mark.parametrize("case", texts("fields", "blocked"), ids=named)
async def test_fields_that_would_be_more_than_one_value_elsewhere_are_refused(running: Replica, case: Case) -> None:
    fields = {**CLEAR, **case.said}
    fields["database"] = fields.pop("dbname")

    told = await call(running, "register_tenant", tenant_id="acme", verify=False, **fields)

    assert told["error"]["code"] == "invalid_input"
    assert (await call(running, "list_tenants"))["total"] == 0


@pytest.mark.parametrize("case", [*texts("dsn", "allowed"), *texts("fields", "allowed")], ids=named)
async def test_a_login_with_any_characters_logs_in_also_from_a_replica_that_starts_later(
    settings: Settings, postgres: EmbeddedPostgres, case: Case
) -> None:
    password = case.said["password"] if case.field == "fields" else "p@ss:w/o#rd?"
    database = case.said["dbname"] if case.field == "fields" else "postgres"
    async with role(postgres) as login:
        await login.take_password(password)
        fields = {**login.fields, "database": database}
        if case.field == "dsn":
            assert f":{quote(password, safe='')}@" in case.said
            place = f"{fields['host']}:{fields['port']}/{database}?sslmode=disable"
            arguments = {"dsn": case.said.replace("u:", f"{login.name}:", 1).replace("db/app", place)}
        else:
            await login.have_database(database)
            arguments = {**fields, "password": password}
        async with replica(settings) as running:
            told = await call(running, "register_tenant", tenant_id="acme", **arguments)
            assert told["login"]["user"] == login.name, told
        async with replica(settings) as later:
            assert (await one(later, "acme"))["rows"] == [[1]]


async def test_a_login_without_a_password_does_not_get_the_operators(
    running: Replica, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    (case,) = of_words("PGPASSWORD")
    async with role(postgres) as login:
        turned = await login.change_password()
        for name, value in {**login.fields, "password": turned[::-1], "options": "-c work_mem=1MB"}.items():
            monkeypatch.setenv(f"PG{name.upper()}", str(value))
        dsn = f"postgresql://{login.name}@{postgres.host}:{postgres.port}/postgres?sslmode=disable"
        assert case.expected == "blocked"

        told = await call(running, "register_tenant", tenant_id="acme", dsn=dsn)

        assert told["error"]["code"] == "login_refused"


async def test_of_two_replicas_that_register_one_id_at_the_same_moment_one_is_told_of_the_other(
    settings: Settings,
) -> None:
    (case,) = (case for case in cases() if case.field == "register")
    assert case.expected == "blocked"
    async with replica(settings) as one_replica, replica(settings) as other:
        arguments = {"tenant_id": "acme", "verify": False, "expected_version": 0, **CLEAR}

        told = await asyncio.gather(
            call(one_replica, "register_tenant", host="a.example", **arguments),
            call(other, "register_tenant", host="b.example", **arguments),
        )

        (won,) = (answer for answer in told if answer.get("status") == "registered")
        (lost,) = (answer["error"] for answer in told if "error" in answer)
        assert won["version"] == 1
        assert (lost["code"], lost["current_version"]) == ("version_conflict", 1)


async def test_an_id_in_another_case_is_told_with_the_one_that_was_meant(running: Replica) -> None:
    await call(running, "register_tenant", tenant_id="acme", host="db", verify=False, **CLEAR)

    for tool in ("get_tenant", "list_tables", "tenant_history", "remove_tenant"):
        error = (await call(running, tool, tenant_id="ACME"))["error"]
        assert error["code"] == "unknown_tenant"
        assert "did you mean 'acme'" in error["message"]


async def test_a_caller_does_not_learn_the_name_of_a_tenant_that_is_not_theirs_from_its_twin(running: Replica) -> None:
    await call(running, "register_tenant", tenant_id="acme", host="db", verify=False, **CLEAR)
    other = Call(principal=Principal("eve", tenants=("ACME*", "nobody")))

    read = await running.toolbox.call("get_tenant", {"tenant_id": "ACME"}, other)
    unknown = await running.toolbox.call("get_tenant", {"tenant_id": "nobody"}, other)
    arguments = {"tenant_id": "ACME", "host": "db", "verify": False, **CLEAR}
    written = await running.toolbox.call("register_tenant", arguments, other)

    assert read.payload.replace(b"ACME", b"nobody") == unknown.payload
    assert b"acme" not in written.payload
    assert b"choose another" in written.payload


_ID_PIECES: Final = st.sampled_from(
    [*"aZ09._-:{}[]*?/\\ \n\t\r\0%$'\"|~@", "..", "__proto__", "acme", "ACME", "\u0430", "\u212a", "\u200b", "\uff41"]
)
_ID: Final = st.one_of(st.lists(_ID_PIECES, max_size=12).map("".join), st.text(max_size=70))


def test_whatever_is_said_as_an_id_is_refused_or_is_one_key_of_one_tenant(capsys: pytest.CaptureFixture[str]) -> None:
    tried: Counter[str] = Counter()

    @BOUNDED
    @given(_ID)
    def put(text: str) -> None:
        refusal = _refusal(check_tenant_id, text)
        tried["taken" if refusal is None else "refused"] += 1
        if refusal is not None:
            assert refusal.isprintable()
            return
        key = Names().tenant(text)
        assert re.fullmatch(r"mcp:postgres:tenant:[A-Za-z0-9][A-Za-z0-9._-]{0,62}", key)
        assert Names().fence(text) == f"{{{key}}}:fence"
        assert not are_twins(text, text)

    put()
    _tell(capsys, "ids", tried)


_ODD_HOSTS: Final = (
    *("127.0.0.1", "[::1]", "::1", "a,b", "[a,b]", "/run", "%2Frun", "db%00", "db%0a", "0x7f.1", "[::ffff:127.0.0.1]"),
    *("2130706433", "127.1", "db'", 'db"', "db ", "", "-db", "db.", "\uff44\uff42", "db\u3002example", "[::1%25eth0]"),
    *("a@b", "db:5432:1", "db\\", "127.0.0.1.", "1.2.3", "[v1.x]", "xn--", "*"),
)
_ODD_WORDS: Final = ("p%40", "p@", ":", "/", "#", "?", "%", "%zz", "%00", "%0a", "%ff", "'", "\\", " ", "", "\u0430")
_ODD_OPTIONS: Final = (
    *("", "?", "?sslmode=off", "?sslmode=require&sslmode=disable", "?SSLMODE=disable", "?host=/run", "?service=x"),
    *("?hostaddr=127.0.0.1", "?options=-c%20x", "?passfile=/etc/passwd", "?sslkey=/k", "?krbsrvname=x", "?a=b&a=c"),
    *("?target_session_attrs=any", "?user=postgres", "?dbname=x", "#f", "?%73slmode=x"),
)
_ODD_PORTS: Final = ("", ":0", ":65536", ":-1", ":x", ":\u0665", ":5432,5433", ":")
_ODD_SCHEMES: Final = ("postgres://", "POSTGRES://", "postgresql:", "http://", "postgresql+x://", "")


def _mostly(usual: str, odd: Sequence[str]) -> st.SearchStrategy[str]:
    return st.one_of(st.just(usual), st.just(usual), st.sampled_from(odd))


_DSN: Final = st.one_of(
    st.tuples(
        *(_mostly("postgresql://", _ODD_SCHEMES), _mostly("u", _ODD_WORDS), st.just(":")),
        *(_mostly("canary-hunter2", _ODD_WORDS), st.just("@"), _mostly("db.example", _ODD_HOSTS)),
        *(_mostly(":5432", _ODD_PORTS), st.just("/"), _mostly("app", _ODD_WORDS)),
        _mostly("?sslmode=require", _ODD_OPTIONS),
    ).map("".join),
    st.text(max_size=60).map("postgresql://u:canary-hunter2@{}".format),
)


def test_whatever_is_said_as_a_dsn_is_refused_without_its_password_or_means_one_database(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tried: Counter[str] = Counter()

    @BOUNDED
    @given(_DSN)
    def put(dsn: str) -> None:
        refusal = _refusal(from_dsn, Secret(dsn))
        tried["taken" if refusal is None else "refused"] += 1
        if refusal is not None:
            assert "canary" not in refusal
            assert refusal.isprintable()
            return
        config = from_dsn(Secret(dsn)).config
        assert _is_one_database(config), (dsn, config)
        assert "canary" not in f"{config.host}{config.user}{config.database}"
        assert from_dsn(Secret(_written(config))).config == config

    put()
    _tell(capsys, "DSNs", tried)


def _refusal(check: Callable[[T], object], said: T) -> str | None:
    """Return why it is refused; None if it is not."""
    try:
        check(said)
    except InvalidInput as refused:
        return refused.message
    return None


def _is_one_database(config: TenantConfig) -> bool:
    is_host = re.fullmatch(r"[A-Za-z0-9._:-]+", config.host) and not re.fullmatch(r"[0-9]+", config.host)
    plain = not re.search(r"[\x00-\x1f\x7f]", f"{config.user}{config.database}")
    return bool(is_host) and plain and 1 <= config.port <= 65535 and bool(config.user and config.database)


def _written(config: TenantConfig) -> str:
    host = f"[{config.host}]" if ":" in config.host else config.host
    user, database = quote(config.user, safe=""), quote(config.database, safe="")
    return f"postgresql://{user}@{host}:{config.port}/{database}?sslmode={config.ssl}"


def _tell(capsys: pytest.CaptureFixture[str], what: str, tried: Counter[str]) -> None:
    assert min(tried["refused"], tried["taken"]) >= EXAMPLES / 50, tried
    with capsys.disabled():
        print(f"\n{what} tried: {tried['refused']} bad and refused, {tried['taken']} good and taken")  # noqa: T201 - asked for
