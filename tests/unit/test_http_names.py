"""Which hosts and origins are ours, as an operator names them."""

import pytest

from server.http_names import LOOPBACK, Names, problem_of_host, problem_of_origin
from tests.tables import table


@pytest.mark.parametrize(
    ("named", "ours", "foreign"),
    [
        ("a.example", ["a.example", "A.Example.", "a.example:443", "a.example:80"], ["a.example:8001", "b.a.example"]),
        ("a.example:8001", ["a.example:8001", "A.EXAMPLE:08001"], ["a.example", "a.example:8002", "xa.example:8001"]),
        ("a.example:*", ["a.example", "a.example:1", "a.example:65535"], ["a.example.evil:1"]),
        ("[::1]:8001", ["[::1]:8001", "[0:0:0:0:0:0:0:1]:8001"], []),
        ("*", ["anything", "10.0.0.1:5", "[fe80::1]"], []),
    ],
)
def test_a_host_is_ours_as_it_was_named_however_it_is_written(named: str, ours: list[str], foreign: list[str]) -> None:
    names = Names([named], [])
    assert [names.host(each) for each in ours] == ["ours"] * len(ours)
    assert [names.host(each) for each in foreign] == ["foreign"] * len(foreign)


def test_an_address_that_was_not_named_is_told_from_a_name() -> None:
    names = Names(LOOPBACK, [])
    assert [names.host(each) for each in ("10.0.0.1", "[fd00::1]:80")] == ["number", "number"]
    assert [names.host(each) for each in ("010.0.0.1", "10.0.1", "1", "10.0.0.1.")] == [
        "foreign",
        "foreign",
        "foreign",
        "number",
    ]


def test_an_origin_is_ours_on_our_hosts_and_where_it_was_named_and_null_never() -> None:
    names = Names(["a.example"], ["https://b.example:8443", "vscode-webview://abc"])
    ours = ["https://a.example", "http://a.example", "https://b.example:8443", "vscode-webview://abc"]
    foreign = ["https://a.example:1", "https://b.example", "http://b.example:8443", "ftp://a.example", "null", ""]
    assert all(map(names.origin, ours))
    assert not any(map(names.origin, foreign))
    assert Names(["*"], ["*"]).origin("https://any.example")
    assert not Names(["*"], ["*"]).origin("null")
    assert not Names(["*"], []).origin("https://any.example")


@table("wrong", ["http://a", "a/b", "a:b", "*.a.example", "::1", "a b", "a:*:*", ":*", "", "a:99999"])
def test_a_host_that_cannot_be_one_is_told_to_the_operator(wrong: str) -> None:
    assert "is no host" in str(problem_of_host(wrong))


@table("wrong", ["a.example", "https://", "https://a/", "https://a/b", "null", "https://u@a", "*.a", ""])
def test_an_origin_that_cannot_be_one_is_told_to_the_operator(wrong: str) -> None:
    assert "is no origin" in str(problem_of_origin(wrong))


def test_what_can_be_one_is_no_problem() -> None:
    for host in ("*", "a", "a:1", "a:*", "[::1]:*", "10.0.0.1:8001", "a_b.svc.cluster.local"):
        assert problem_of_host(host) is None
    for origin in ("*", "https://a", "http://[::1]:3000", "chrome-extension://abc"):
        assert problem_of_origin(origin) is None
