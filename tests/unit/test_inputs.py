"""What a registrant may say, and everything that would let one reach into this process."""

import traceback
from ipaddress import ip_address
from string import ascii_lowercase, digits

import msgspec
import pytest
from hypothesis import given, strategies as st

from registry.errors import InvalidInput
from registry.inputs import MAX_CONCURRENT_REQUESTS, MAX_POOL_SIZE, Allowed, Limits, check_host, check_ssl, from_dsn
from registry.root_ca import MAX_ROOT_CA
from registry.secrets import Secret
from tests.certificates import certificate
from tests.registrations import CANARY, password_of, passwords, register
from tests.tables import table

labels = st.text(ascii_lowercase + digits + "_-", min_size=1, max_size=12).filter(
    lambda text: text[0].isalnum() and text[-1].isalnum()
)
host_names = st.lists(labels, min_size=1, max_size=4).map(lambda parts: ".".join([*parts, "example"]))


@given(passwords)
def test_as_a_field_a_password_may_hold_any_character(password: str) -> None:
    assert password_of(register(password=password)) == password


@pytest.mark.parametrize("password", [None, ""])
def test_no_password_is_not_an_empty_one(password: str | None) -> None:
    assert register(password=password).password is None


@pytest.mark.parametrize("password", [f"{CANARY}\x00", f"{CANARY}\ud800", CANARY * 100])
def test_a_password_that_cannot_be_sent_is_refused_without_being_shown(password: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        register(password=password)
    assert refusal.value.facts == {"field": "password"}
    assert CANARY not in "".join(traceback.format_exception(refusal.value))


def test_names_may_hold_whatever_postgres_lets_them_hold() -> None:
    config = register(database="a b'\"\\;--", user="ü" * 31).config

    assert (config.database, config.user) == ("a b'\"\\;--", "ü" * 31)


@pytest.mark.parametrize("field", ["database", "user"])
@pytest.mark.parametrize("name", ["a\nb", "a\x00", "a\x7f", "ü" * 32, "a\ud800"])
def test_a_name_that_postgres_cannot_have_is_refused(field: str, name: str) -> None:
    with pytest.raises(InvalidInput, match=field) as refusal:
        register(**{field: name})  # type: ignore[arg-type]  # both fields are texts
    assert refusal.value.facts == {"field": field}


@pytest.mark.parametrize("field", ["host", "database", "user"])
@pytest.mark.parametrize("value", [None, ""])
def test_what_is_missing_is_named(field: str, value: str | None) -> None:
    with pytest.raises(InvalidInput, match=f"^{field} missing"):
        register(**{field: value})  # type: ignore[arg-type]  # all three fields are texts


@given(host_names)
def test_a_dns_name_is_kept_as_it_is(host: str) -> None:
    assert check_host(host) == host


@given(st.ip_addresses())
def test_an_ip_address_is_kept_in_its_usual_form(address: object) -> None:
    assert ip_address(check_host(str(address))) == address


@pytest.mark.parametrize(
    ("host", "usual"),
    [("[::1]", "::1"), ("2001:DB8:0::1", "2001:db8::1"), ("db.example.", "db.example."), ("my_db", "my_db")],
)
def test_a_host_is_written_in_one_way(host: str, usual: str) -> None:
    assert check_host(host) == usual


@table(
    "host",
    [
        pytest.param("/var/run/postgresql", id="a unix socket"),
        pytest.param("@abstract", id="an abstract socket"),
        pytest.param("C:\\pipe", id="a path of Windows"),
        pytest.param("a,b", id="two hosts"),
        pytest.param("db' options='-c x", id="a quote that ends a key=value"),
        pytest.param("db options=x", id="a space that ends a key=value"),
        pytest.param("db:5432", id="a port"),
        pytest.param("db\n", id="a line break"),
        pytest.param("db\x00.evil", id="a NUL that cuts the name for C"),
        pytest.param("d\u0131b", id="a letter that is not ASCII"),
        pytest.param("-db", id="an option of some command"),
        pytest.param("a..b", id="an empty label"),
        pytest.param(".", id="the root"),
        pytest.param("a" * 64, id="a label too long"),
        pytest.param(".".join(["a" * 50] * 6), id="a name too long"),
        pytest.param("[db]", id="brackets around a name"),
        pytest.param("[::1", id="half a pair of brackets"),
        pytest.param("127.0.0.1]", id="the other half"),
        pytest.param("127.0.0.1.", id="an address with the root's dot"),
        pytest.param("0x7F", id="a hexadecimal address"),
        pytest.param("1", id="an address as one number"),
        pytest.param("\uff11\uff12\uff17.0.0.1", id="an address in full-width digits"),
        pytest.param("127\u30020.0.1", id="a full stop of another alphabet, which IDNA takes for one"),
        pytest.param("\u24d1ad.example", id="a letter that IDNA takes for another"),
        pytest.param("xn--\u00e9", id="half of IDNA"),
        pytest.param("127.0.0.0x1", id="an address with one part in hexadecimal"),
        pytest.param("127.0.0.08", id="an address with one part in octal that is none"),
        pytest.param("256.256.256.256", id="an address out of bounds"),
        pytest.param("0x.", id="no digits"),
        pytest.param("[::ffff:127.0.0.1%lo]", id="an IPv4 address with an interface"),
        pytest.param("::ffff:127.1", id="a short IPv4 address in an IPv6 one"),
        pytest.param("fe80::1%eth0", id="an interface of this machine"),
        pytest.param("fe80::1%\nINFO forged", id="a log line in place of an interface"),
        pytest.param("[fe80::1%' options='-c x]", id="a quote in place of an interface"),
    ],
)
def test_a_host_that_is_not_one_name_or_address_is_refused(host: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        check_host(host)
    assert refusal.value.facts == {"field": "host"}


@table(
    ("said", "meant"),
    [
        (True, "require"),
        (False, "disable"),
        *((word, word) for word in ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")),
    ],
)
def test_ssl_is_a_word_of_libpq_or_the_earlier_systems_boolean(said: str | bool, meant: str) -> None:  # noqa: FBT001 - the earlier system's field is a boolean
    assert register(ssl=said).config.ssl == meant


@pytest.mark.parametrize("word", ["", "REQUIRE", "true", "yes", "on"])
def test_an_unknown_word_for_ssl_is_refused_with_the_words_there_are(word: str) -> None:
    with pytest.raises(InvalidInput, match="disable, allow, prefer, require, verify-ca, verify-full"):
        check_ssl(word)


def test_authorities_are_kept_as_certificates_alone_whatever_stands_around_them() -> None:
    one, other = (certificate()[0].decode() for _ in range(2))
    text = f"# ours\r\nsubject=test\r\n{one.replace(chr(10), chr(13) + chr(10))}\nthe next:\n{other}trailing"

    config = register(ssl="verify-full", ssl_root_ca=text).config

    assert config.ssl_root_ca == one + other
    assert register(ssl="verify-full").config.root_ca is None
    dsn = Secret("postgresql://u@db/app?sslmode=verify-ca")
    assert from_dsn(dsn, ssl_root_ca=one).config.ssl_root_ca == one


@table(
    ("text", "why"),
    [
        pytest.param("", "no list of certificates", id="nothing"),
        pytest.param("/etc/ssl/certs/ca.pem", "no list of certificates", id="the name of a file"),
        pytest.param("-----BEGIN CERTIFICATE-----", "no list of certificates", id="the beginning alone"),
        pytest.param("{pem}-----BEGIN CERTIFICATE-----", "no list of certificates", id="a second one cut off"),
        pytest.param("{pem}{key}", "private key", id="a private key beside it"),
        pytest.param("-----BEGIN ENCRYPTED PRIVATE KEY-----\n" + CANARY, "private key", id="a sealed key"),
        pytest.param("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----", "no list", id="a list of revocations"),
        pytest.param("{pem}-----BEGIN X509 CRL-----\nAA==\n-----END X509 CRL-----", "no list", id="one beside it"),
        pytest.param(
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "cannot be read", id="no certificate"
        ),
        pytest.param("{pem}" + " " * MAX_ROOT_CA, "longer than", id="too long"),
    ],
)
def test_what_is_no_list_of_certificates_is_refused_without_being_shown(text: str, why: str) -> None:
    pem, key = (each.decode() for each in certificate())
    with pytest.raises(InvalidInput, match=why) as refusal:
        register(ssl="verify-full", ssl_root_ca=text.format(pem=pem, key=key))
    assert refusal.value.facts == {"field": "ssl_root_ca"}
    assert not any(line in refusal.value.message for line in (*key.splitlines()[1:-1], CANARY))


@table("ssl", [None, False, True, "disable", "allow", "prefer", "require"])
def test_authorities_are_refused_where_nobody_would_look_at_them(ssl: str | bool | None) -> None:  # noqa: FBT001 - the earlier system's field is a boolean
    with pytest.raises(InvalidInput, match="give ssl=verify-full or verify-ca"):
        register(ssl=ssl, ssl_root_ca=certificate()[0].decode())


@pytest.mark.parametrize("port", [1, 65535])
def test_the_first_and_the_last_port_are_taken(port: int) -> None:
    assert register(port=port).config.port == port


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_that_tcp_does_not_have_is_refused(port: int) -> None:
    with pytest.raises(InvalidInput, match="port must be between 1 and 65535"):
        register(port=port)


@pytest.mark.parametrize(
    "limits",
    [
        Limits(min_pool_size=0, max_pool_size=1, max_concurrent_requests=1),
        Limits(
            min_pool_size=MAX_POOL_SIZE, max_pool_size=MAX_POOL_SIZE, max_concurrent_requests=MAX_CONCURRENT_REQUESTS
        ),
    ],
)
def test_the_smallest_and_the_greatest_limits_are_taken(limits: Limits) -> None:
    config = register(limits=limits).config

    assert (
        Limits(
            min_pool_size=config.min_pool_size,
            max_pool_size=config.max_pool_size,
            max_concurrent_requests=config.max_concurrent_requests,
        )
        == limits
    )


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        (Limits(max_pool_size=0), "max_pool_size"),
        (Limits(max_pool_size=MAX_POOL_SIZE + 1), "max_pool_size"),
        (Limits(min_pool_size=-1), "min_pool_size"),
        (Limits(min_pool_size=6, max_pool_size=5), "min_pool_size"),
        (Limits(max_concurrent_requests=0), "max_concurrent_requests"),
        (Limits(max_concurrent_requests=MAX_CONCURRENT_REQUESTS + 1), "max_concurrent_requests"),
    ],
)
def test_a_limit_out_of_bounds_is_named(limits: Limits, field: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        register(limits=limits)
    assert refusal.value.facts == {"field": field}


def test_a_tenant_is_read_only_and_lends_no_role_unless_its_registration_says_so() -> None:
    plain = register().config
    allowed = from_dsn(Secret("postgresql://u@db/app"), allowed=Allowed(access="read_write", roles=("a", "B c"))).config

    assert (plain.writable, plain.access, plain.roles) == (False, msgspec.UNSET, msgspec.UNSET)
    assert (allowed.writable, allowed.roles) == (True, ("a", "B c"))


def test_a_registration_that_says_read_only_is_the_one_that_says_nothing() -> None:
    told = from_dsn(Secret("postgresql://u:p@db/app"), allowed=Allowed(access="read_only", roles=())).config

    assert told == from_dsn(Secret("postgresql://u:p@db/app")).config


@pytest.mark.parametrize("roles", [("",), ("none",), ("a", "a"), ("a\0b",), ("x" * 64,), tuple(map(str, range(33)))])
def test_roles_that_name_no_role_are_refused(roles: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput) as refusal:
        from_dsn(Secret("postgresql://u@db/app"), allowed=Allowed(roles=roles))
    assert refusal.value.facts == {"field": "roles"}
