"""What a body must be before the SDK sees it."""

import json

import pytest

from server.json_rpc import MOST_IN_BATCH, Problem, judged, judged_of_batch
from tests.tables import table

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
GOOD = [
    PING,
    b'{"jsonrpc":"2.0","id":"a \\" b","method":"ping"}',
    b'{"jsonrpc":"2.0","id": -7 ,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":1000000000000000000000000000000,"method":"ping"}',
    b'{"jsonrpc":"2.0","method":"notifications/initialized"}',
    b'{"jsonrpc":"2.0","id":1,"result":{}}',
    b'{"jsonrpc":"2.0","id":1,"method":"ping","params":null}',
    b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"to what nobody could read"}}',
    b'{"jsonrpc":"2.0","id": null ,"method":"notifications/initialized"}',  # some clients write it so
    b' {"params":{"x":1e999999,"y":[[[]]]},"method":"ping","id":"","jsonrpc":"2.0"}\n',
]
BAD = [
    (b"", -32700),
    (b"{", -32700),
    (b"\xef\xbb\xbf{}", -32700),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":NaN}}', -32700),
    (b"5", -32600),
    (b"null", -32600),
    (b"{}", -32600),
    (b'{"id":1,"method":"ping"}', -32600),
    (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600),
    (b'{"jsonrpc":2.0,"id":1,"method":"ping"}', -32600),
    (b'{"jsonrpc":"2.0","id":1}', -32600),
    (b'{"jsonrpc":"2.0","id":1,"method":5}', -32600),
    (b'{"jsonrpc":"2.0","id":1,"method":["ping"],"result":{}}', -32600),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}', -32602),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":"x"}', -32602),
]
NO_IDS = [b"null", b"1.5", b"1.0", b"1e3", b"true", b"[]", b"{}", b'{"a":"b"}', b'"\xff"']
"""What is no id. The SDK takes each for that of a notification, whose sender waits for no answer."""


def problem_of(body: bytes, revision: bytes | None = None) -> Problem:
    told = judged(body, revision)
    assert isinstance(told, Problem), told
    return told


@table("body", GOOD)
def test_a_message_goes_on_to_the_sdk(body: bytes) -> None:
    assert judged(body, None) is None


@table(("body", "code"), BAD)
def test_what_is_no_message_is_told_so(body: bytes, code: int) -> None:
    assert problem_of(body).code == code


@table("told", NO_IDS)
def test_whoever_sends_what_is_no_id_is_told_so_instead_of_waiting_for_ever(told: bytes) -> None:
    problem = problem_of(b'{"jsonrpc":"2.0","id":%b,"method":"ping"}' % told)
    assert (problem.code, json.loads(problem.body())["id"]) == (-32600, None)


def test_a_refusal_of_what_is_no_params_carries_the_id() -> None:
    problem = problem_of(b'{"jsonrpc":"2.0","id":7,"method":"ping","params":5}')
    assert json.loads(problem.body())["id"] == 7


def test_what_is_no_id_is_not_said_again() -> None:
    for body in (b'{"id":1.5}', b'{"id":"\xff"}', b'{"id":{}}'):
        assert json.loads(problem_of(body).body())["id"] is None


def test_a_refusal_carries_the_id_that_came_however_large() -> None:
    for told in (b'"a \\u0041"', b"1000000000000000000000000000000"):
        problem = problem_of(b'{"jsonrpc":"1.0","id":%b,"method":"ping"}' % told)
        assert json.loads(problem.body())["id"] == json.loads(told)


@pytest.mark.parametrize("revision", [b"1999-01-01", b"2026-07-29", b"", b"2025-06-18, 2025-11-25", b"\xff"])
def test_a_revision_that_nobody_speaks_is_answered_with_what_is_spoken(revision: bytes) -> None:
    error = json.loads(problem_of(PING, revision).body())["error"]
    assert (error["code"], error["data"]["supported"]) == (-32022, ["2026-07-28"])
    assert error["data"]["requested"].encode("latin-1") == revision


@pytest.mark.parametrize("revision", [None, b"2024-11-05", b"2025-03-26", b"2025-06-18", b"2025-11-25", b"2026-07-28"])
def test_every_revision_that_is_spoken_goes_on_to_the_sdk(revision: bytes | None) -> None:
    assert judged(PING, revision) is None


@pytest.mark.parametrize("revision", [None, b"2024-11-05", b"2025-03-26"])
def test_revisions_that_have_batches_get_their_messages_apart(revision: bytes | None) -> None:
    told = judged(b"[%b, 5]" % PING, revision)
    assert isinstance(told, list)
    assert [bytes(each) for each in told] == [PING, b"5"]


@pytest.mark.parametrize("revision", [b"2025-06-18", b"2025-11-25", b"2026-07-28", b"1999-01-01"])
def test_later_revisions_have_no_batches(revision: bytes) -> None:
    assert problem_of(b"[%b]" % PING, revision).code == -32600


@pytest.mark.parametrize("count", [0, MOST_IN_BATCH + 1])
def test_a_batch_has_some_messages_and_not_too_many(count: int) -> None:
    assert problem_of(b"[%b]" % b",".join([PING] * count)).code == -32600
    assert isinstance(judged(b"[%b]" % b",".join([PING] * MOST_IN_BATCH), None), list)


def test_a_message_of_a_batch_is_judged_like_one_alone_and_is_no_handshake() -> None:
    assert judged_of_batch(PING) is None
    for message in (b"5", b"[]", PING.replace(b"1", b"null"), PING.replace(b"ping", b"initialize")):
        problem = judged_of_batch(message)
        assert problem is not None
        assert problem.code == -32600


@pytest.mark.parametrize("field", [b"jsonrpc", b"method"])
def test_text_that_is_none_in_a_message_of_a_batch_is_told_so_and_breaks_nothing(field: bytes) -> None:
    told = judged(b'[{"%b":"\xff","id":1}]' % field, None)
    assert isinstance(told, list)
    problem = judged_of_batch(bytes(told[0]))
    assert problem is not None
    assert problem.code == -32700
