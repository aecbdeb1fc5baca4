"""Long texts that could not be parsed: none of them keeps the server to itself."""

from typing import Final

import pytest

from server.sql_scan import scan

_MEBIBYTE: Final = 1 << 20


@pytest.mark.parametrize("unit", ["x", "1", "_", "a1", "a ", 'a"', "$", "a(", "a/**/", "é", "u&"])
def test_a_text_of_a_mebibyte_is_looked_through_in_one_pass_whatever_it_is(unit: str) -> None:
    """A search that went back would take hours for some of these, and everybody would wait."""
    assert scan("SELECT " + unit * (_MEBIBYTE // len(unit))).refusal is None
