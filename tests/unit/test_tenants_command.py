"""What the command line prints of tenants, whose registrants chose the words."""

import json

import pytest

from server.tenants_command import _print, _print_list

OBEYED = "d\x9b2J\u202ebd\u2028"
"""Clears a terminal, writes backwards, and breaks a line."""


def test_a_list_of_tenants_has_nothing_that_the_operators_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    _print_list([{"tenant_id": "acme", "version": 1, "host": "h", "port": 1, "database": OBEYED}], as_json=False)
    told = capsys.readouterr().out

    assert told.splitlines()[1:] == [r"acme          1  h:1/d\u009b2J\u202ebd\u2028"]


def test_an_answer_has_nothing_that_a_terminal_obeys_and_is_the_same_json(capsys: pytest.CaptureFixture[str]) -> None:
    answer = {"reason": f"Größe {OBEYED}\U000e0001", "by": "ann"}
    _print(answer)
    told = capsys.readouterr().out

    assert "Größe" in told
    assert told.replace("\n", "").isprintable()
    assert json.loads(told) == answer
