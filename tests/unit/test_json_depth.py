"""Depth of JSON told without parsing: the same as a parser finds, for every text that one can read."""

import json

from hypothesis import given, strategies as st

from server.json_depth import MOST, depth_of, is_too_deep

VALUES = st.recursive(
    st.none() | st.integers() | st.text(st.sampled_from('[]{}"\\/u005b\n'), max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.sampled_from('[]{}"\\'), max_size=4), inner),
    max_leaves=20,
)


def nesting(value: object) -> int:
    match value:
        case list():
            return 1 + max(map(nesting, value), default=0)
        case dict():
            return 1 + max(map(nesting, value.values()), default=0)
        case _:
            return 0


@given(VALUES, st.booleans())
def test_it_is_what_a_parser_finds_whatever_the_strings_hold(value: object, ascii_only: bool) -> None:  # noqa: FBT001 - drawn
    assert depth_of(json.dumps(value, ensure_ascii=ascii_only).encode()) == nesting(value)


def test_a_request_may_nest_as_deep_as_said_and_no_deeper() -> None:
    assert not is_too_deep(b"[" * MOST + b"]" * MOST)
    assert is_too_deep(b"[" * (MOST + 1) + b"]" * (MOST + 1))
    assert not is_too_deep(b"[" + b"[]," * 10_000 + b"[]]")
    assert not is_too_deep(b'"' + b"[" * 10_000 + b'"')


@given(st.text(st.sampled_from('[{"\\]} a'), max_size=300))
def test_no_parser_gets_deeper_than_told_before_it_finds_a_mistake(text: str) -> None:
    deepest = depth = 0
    in_string = escaped = False
    for character in text:
        if in_string:
            escaped, in_string = character == "\\" and not escaped, escaped or character != '"'
        elif character == "\\":
            break  # no parser goes on from here
        elif character == '"':
            in_string = True
        else:
            depth += (character in "[{") - (character in "]}")
            deepest = max(deepest, depth)
    assert depth_of(text.encode()) >= deepest
