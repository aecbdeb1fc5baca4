"""A login in one DSN: it means what its parts mean, and nothing that has to be guessed at."""

import traceback
from urllib.parse import quote

import pytest
from hypothesis import given

from registry.errors import InvalidInput
from registry.inputs import Limits, from_dsn
from registry.secrets import Secret
from tests.registrations import CANARY, password_of, passwords, printable, register
from tests.tables import table


@table(
    "dsn",
    [
        pytest.param("/app?options=-c%20default_transaction_read_only%3Doff", id="switches read-only off"),
        pytest.param("/app?options=-c%20statement_timeout%3D0", id="switches the time limit off"),
        pytest.param("/app?options=-csession_preload_libraries%3Dx", id="loads code in the backend"),
        pytest.param("/app?sslkey=/home/mcp/.ssh/id_rsa&sslcert=/x", id="logs in with the server's own keys"),
        pytest.param("/app?sslrootcert=/etc/passwd", id="reads a file of the server"),
        pytest.param("/app?passfile=/home/mcp/.pgpass", id="borrows the operator's passwords"),
        pytest.param("/app?service=prod", id="borrows the operator's settings"),
        pytest.param("/app?host=/var/run/postgresql", id="a second host as a parameter"),
        pytest.param("/app?hostaddr=127.0.0.1", id="an address beside the name"),
        pytest.param("/app?application_name=x%0aINFO%20forged", id="a log line"),
        pytest.param("/app?sslmode=require&target_session_attrs=any", id="one good parameter and one other"),
        pytest.param("/app?sslmode=disable&sslmode=verify-full", id="one parameter twice: which one counts?"),
        pytest.param("/app?sslmode=sure", id="no word of libpq's"),
        pytest.param("/app?sslmode", id="no word at all"),
        pytest.param("/app#fragment", id="a fragment"),
        pytest.param(",127.0.0.1:6379/app", id="a second host"),
        pytest.param(":5432,other:5432/app", id="a second host with a port"),
        pytest.param(":postgres/app", id="a port by name"),
        pytest.param(":65536/app", id="a port too high"),
        pytest.param(":0/app", id="port zero"),
        pytest.param("/app\n", id="a line break"),
        pytest.param("/a b", id="a space in clear"),
        pytest.param("/a%00b", id="a NUL"),
        pytest.param("/a%ffb", id="bytes that are no UTF-8"),
        pytest.param("/", id="no database: libpq would take the user's name or PGDATABASE"),
        pytest.param("", id="no path"),
        pytest.param(f"/{'d' * 64}", id="a database name that Postgres would cut off"),
    ],
)
def test_a_dsn_that_reaches_beyond_one_database_is_refused_without_its_password(dsn: str) -> None:
    refused_unshown(f"postgresql://u:{CANARY}@db{dsn}")


@table(
    "dsn",
    [
        pytest.param(f"postgresql://u:{CANARY}@2130706433/app", id="127.0.0.1 as one number"),
        pytest.param(f"postgresql://u:{CANARY}@0x7f000001/app", id="127.0.0.1 in hex"),
        pytest.param(f"postgresql://u:{CANARY}@0x7f.1/app", id="127.0.0.1 in two parts"),
        pytest.param(f"postgresql://u:{CANARY}@0177.0.0.1/app", id="127.0.0.1 in octal"),
        pytest.param(f"postgresql://u:{CANARY}@127.1/app", id="127.0.0.1 in short"),
        pytest.param(f"postgresql://u:{CANARY}@%2Fvar%2Frun%2Fpostgresql/app", id="a unix socket"),
        pytest.param(f"postgresql://u:{CANARY}@/app", id="no host: libpq would take PGHOST or a socket"),
        pytest.param(f"postgresql://:{CANARY}@db/app", id="no user: libpq would take PGUSER"),
        pytest.param(f"postgresql://%ff:{CANARY}@db/app", id="a user that is no UTF-8"),
        pytest.param(f"postgresql://u:{CANARY}%ff@db/app", id="a password that is no UTF-8"),
        pytest.param(f"postgresql://u:{CANARY}%4@db/app", id="a percent sign in clear"),
        pytest.param(f"postgresql://u:{CANARY}%@db/app", id="a percent sign in clear at the end"),
        pytest.param(f"postgresql://u:{CANARY}%00@db/app", id="a NUL in the password"),
        pytest.param(f"postgresql://u:{CANARY}@ss:w/o#rd?@db/app", id="every special character in clear"),
        pytest.param(f"postgresql://u:{CANARY}@x@db/app", id="@ in clear"),
        pytest.param(f"postgresql://u:{CANARY}/x@db/app", id="/ in clear"),
        pytest.param(f"postgresql://u:1/{CANARY}@db/app", id="/ in clear after what looks like a port"),
        pytest.param(f"postgresql://u:{CANARY}#x@db/app", id="# in clear"),
        pytest.param(f"postgresql://u:{CANARY}?x@db/app", id="? in clear"),
        pytest.param(f"postgresql://u:1?{CANARY}@db/app", id="? in clear after what looks like a port"),
        pytest.param(f"postgresql://u:{CANARY}[x@db/app", id="[ in clear"),
        pytest.param(f"postgresql://u:{CANARY}]x@db/app", id="] in clear"),
        pytest.param(f"postgresql://u:{CANARY} x@db/app", id="a space in clear"),
        pytest.param(f"postgresql://u:{CANARY}\n@db/app", id="a line break in clear"),
        pytest.param(f"postgresql://u:{CANARY}\ud800@db/app", id="half a surrogate pair"),
        pytest.param(f"host=db user=u password={CANARY} dbname=app", id="key=value, which is not a URL"),
        pytest.param(f"mysql://u:{CANARY}@db/app", id="another system's URL"),
        pytest.param(f"POSTGRESQL://u:{CANARY}@db/app", id="a scheme that libpq does not know"),
        pytest.param(f"file:///{CANARY}", id="a file"),
        pytest.param("", id="nothing"),
    ],
)
def test_a_dsn_that_would_have_to_be_guessed_at_is_refused_without_its_password(dsn: str) -> None:
    refused_unshown(dsn)


def test_ssl_in_two_places_is_refused() -> None:
    with pytest.raises(InvalidInput, match="Both ssl and the dsn's sslmode"):
        from_dsn(Secret("postgresql://u@db/app?sslmode=require"), ssl=True)


def test_ssl_beside_a_dsn_without_sslmode_counts() -> None:
    assert from_dsn(Secret("postgresql://u@db/app"), ssl="verify-full").config.ssl == "verify-full"


def test_a_dsn_means_what_its_parts_mean() -> None:
    dsn = Secret("postgres://u:p%40ss%3Aw%2Fo%23rd%3F@[2001:DB8::1]:6432/a%20b?sslmode=verify-ca")

    registration = from_dsn(dsn, limits=Limits(max_pool_size=3))

    assert registration == register(
        host="2001:db8::1",
        port=6432,
        database="a b",
        password="p@ss:w/o#rd?",
        ssl="verify-ca",
        limits=Limits(max_pool_size=3),
    )


def test_nothing_that_is_missing_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGPASSWORD", "PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGSSLMODE", "PGOPTIONS"):
        monkeypatch.setenv(name, "1")

    registration = from_dsn(Secret("postgresql://u@db/app"))

    assert (registration.password, registration.config.port, registration.config.ssl) == (None, 5432, "prefer")
    with pytest.raises(InvalidInput, match="host, database, user missing"):
        register(host=None, database=None, user=None)


@given(user=printable, password=passwords, database=printable)
def test_any_encoded_login_comes_out_of_a_dsn_as_it_went_in(user: str, password: str, database: str) -> None:
    dsn = f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@db:5433/{quote(database, safe='')}"

    registration = from_dsn(Secret(dsn))

    assert (registration.config.user, registration.config.database) == (user, database)
    assert password_of(registration) == password


def refused_unshown(dsn: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        from_dsn(Secret(dsn))
    assert CANARY not in "".join(traceback.format_exception(refusal.value))
    assert "\n" not in refusal.value.message
