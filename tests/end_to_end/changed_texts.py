"""What may be wrong with the text of a message: changes, each in one place, that no writer of JSON would make."""

import random
from collections.abc import Callable, Sequence
from typing import Any, Final

_KEYS: Final = (b"jsonrpc", b"id", b"method", b"params", b"name", b"arguments", b"_meta", b"tenant_id", b"query")


def a_key_twice(draw: random.Random, text: bytes) -> bytes:
    key = draw.choice(_KEYS)
    values = (b"null", b"1", b'"x"', b"{}", b'"tools/call"', b'"acme"', b'"2.0"', b'{"name":"list_tenants"}', b"1e999")
    place = draw.choice([index for index, byte in enumerate(text) if byte == 0x7B] or [0])
    return text[: place + 1] + b'"' + key + b'":' + draw.choice(values) + b"," + text[place + 1 :]


def a_last_key_again(draw: random.Random, text: bytes) -> bytes:
    key = draw.choice(_KEYS)
    values = (b"null", b"1", b'"x"', b"{}", b'"tools/call"', b'"acme"', b'"2.0"', b'{"name":"list_tenants"}', b"NaN")
    place = draw.choice([index for index, byte in enumerate(text) if byte == 0x7D] or [len(text)])
    return text[:place] + b',"' + key + b'":' + draw.choice(values) + text[place:]


def a_number(draw: random.Random, text: bytes) -> bytes:
    numbers = (
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e999",
        b"-1e999",
        b"01",
        b"1.",
        b".5",
        b"+1",
        b"-0",
        b"1E2",
        b"0x1",
    )
    more = (b"9" * 400, b"9" * 5000, b"1e-999", b"123456789012345678901234567890", b"0.1234567890123456789", b"- 1")
    return _instead_of_a_value(draw, text, draw.choice((*numbers, *more)))


def a_string(draw: random.Random, text: bytes) -> bytes:
    strings = (
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'"\\u0000"',
        b'"\x01"',
        b'"\xff"',
        b'"\\x"',
        b"'x'",
        b'"\\/"',
        b'"\n"',
    )
    return _instead_of_a_value(draw, text, draw.choice((*strings, b'"\\ud83d\\ude00"', '"é"'.encode(), b'"\xc0\x80"')))


def _instead_of_a_value(draw: random.Random, text: bytes, value: bytes) -> bytes:
    places = [index for index, byte in enumerate(text) if byte == 0x3A]
    if not places:
        return value
    place = draw.choice(places) + 1
    end = min((found for found in (text.find(b",", place), text.find(b"}", place)) if found >= 0), default=len(text))
    return text[:place] + value + text[end:]


def cut_off(draw: random.Random, text: bytes) -> bytes:
    return text[: draw.randrange(len(text) + 1)]


def more_behind(draw: random.Random, text: bytes) -> bytes:
    return text + draw.choice((b" ", b"\n\t ", b"x", b"{}", b",", b"\x00", text))


def something_before(draw: random.Random, text: bytes) -> bytes:
    return draw.choice((b" \r\n", b"\xef\xbb\xbf", b"\x00", b"//\n", b"\xfe\xff")) + text


def another_encoding(draw: random.Random, text: bytes) -> bytes:
    return text.decode("utf-8", "replace").encode(draw.choice(("utf-16", "utf-32", "utf-8-sig")))


def a_batch(draw: random.Random, text: bytes) -> bytes:
    return b"[" + b",".join([text] * draw.choice((0, 1, 2))) + b"]"


def a_byte(draw: random.Random, text: bytes) -> bytes:
    if not text:
        return b"x"
    place = draw.randrange(len(text))
    return text[:place] + bytes([draw.randrange(256)]) + text[place + 1 :]


def escaped_letters(draw: random.Random, text: bytes) -> bytes:
    letter = draw.choice(b"aetn")
    # Only a letter that follows no backslash may be written otherwise.
    return text.replace(bytes([letter]), b"\\u%04x" % letter) if b"\\" not in text else text


TEXTS: Final[Sequence[Callable[..., Any]]] = (
    *(a_key_twice, a_key_twice, a_last_key_again, a_number, a_number, a_string, cut_off, more_behind),
    *(something_before, another_encoding, a_batch, a_byte, a_byte, escaped_letters),
)
