"""HTTP answers as the bench's client puts them together: one taken for whole too early would be a call too fast."""

import pytest
from hypothesis import given, strategies as st

from tests.benchmarks.load.answers import Answer, AnswerReader, MalformedAnswer, header

_PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\ncontent-length: 11\r\n\r\n0\r\n\r\nhello!"
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{0\r\n\r\n}\r\na;x=1\r\n0123456789\r\n0\r\n\r\n"


def _fed(pieces: list[bytes]) -> list[Answer | None]:
    reader = AnswerReader()
    return [reader.feed(piece) for piece in pieces]


@pytest.mark.parametrize(("sent", "body"), [(_PLAIN, b"0\r\n\r\nhello!"), (_CHUNKED, b"{0\r\n\r\n}0123456789")])
@given(data=st.data())
def test_an_answer_is_whole_with_its_last_byte_wherever_it_was_cut(
    sent: bytes, body: bytes, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(sent) - 1))))
    pieces = [sent[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    *early, last = _fed(pieces)
    assert early == [None] * len(early)
    assert last is not None
    assert (last.status, last.body) == (200, body)


def test_a_reader_takes_one_answer_after_the_other() -> None:
    answers = _fed([_PLAIN, _CHUNKED[:30], _CHUNKED[30:], _PLAIN])
    assert [answer.status if answer else None for answer in answers] == [200, None, 200, 200]


def test_an_answer_without_a_body_has_none() -> None:
    (answer,) = _fed([b"HTTP/1.1 202 Accepted\r\nDate: today\r\n\r\n"])
    assert answer is not None
    assert (answer.status, answer.body) == (202, b"")


def test_an_answer_whose_end_nobody_can_tell_is_refused() -> None:
    with pytest.raises(MalformedAnswer, match="neither a length nor chunks"):
        AnswerReader().feed(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nsome")


def test_a_session_is_read_from_the_header_whatever_its_case() -> None:
    (answer,) = _fed([b"HTTP/1.1 200 OK\r\nMCP-Session-ID: abc\r\nContent-Length: 0\r\n\r\n"])
    assert answer is not None
    assert header(answer, "mcp-session-id") == "abc"
    assert header(answer, "mcp-session") is None
