"""What is kept of a tenant's statements between calls."""

import sys

from server.sql_catalogue import Known


def test_a_statement_whose_result_is_large_is_known_by_its_text_which_is_not_kept() -> None:
    """A caller may send hundreds of texts of a megabyte each: kept, they would take the process's memory."""
    known, text = Known(), "SELECT 1 -- " + "x" * (1 << 20)
    held = sys.getrefcount(text)
    known.note_large(text)
    assert known.is_large(text)
    assert not known.is_large(text + " ")
    assert sys.getrefcount(text) == held
