"""How far a rebuild has come, as whoever waits for a start sees it."""

import io

import pytest
import structlog

from projections.progress import Progress


class Terminal(io.StringIO):
    """A terminal that keeps what is drawn."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_progress_is_a_bar_that_ends_full_and_in_a_line_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("projections.progress._REDRAW", 0)
    terminal = Terminal()
    progress = Progress(structlog.get_logger("test"), "replaying", terminal)
    progress.begin()

    progress.report(30, 60)
    progress.report(60, 60)

    half, full = (line for line in terminal.getvalue().split("\r") if line)
    assert half.startswith("replaying [" + "#" * 15 + "." * 15 + "] 30/60 ")
    assert full.startswith("replaying [" + "#" * 30 + "] 60/60 ")
    assert full.endswith("\n")
    assert not half.endswith("\n")


def test_what_is_done_at_once_is_worth_no_line() -> None:
    with structlog.testing.capture_logs() as told:
        progress = Progress(structlog.get_logger("test"), terminal=io.StringIO())
        progress.begin()
        progress.report(10, 10)

    assert told == []
    assert progress.done == 10


def test_without_a_terminal_progress_is_a_line_that_says_how_much_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("projections.progress._EVERY", 0)
    with structlog.testing.capture_logs() as told:
        progress = Progress(structlog.get_logger("test"), terminal=io.StringIO())
        progress.begin()
        progress.report(5, 10)
        progress.report(10, 10)

    assert [(line["done"], line["total"]) for line in told] == [(5, 10), (10, 10)]
    assert told[-1]["seconds_left"] == 0
    progress.begin()
    assert progress.done == 0
