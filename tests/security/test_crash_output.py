"""What is told when something breaks that nobody expected: what and where, and nothing of what it said."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.security.leaks import Planted, found

PROGRAM: Final = Path(__file__).with_name("crashing.py")
ROOT: Final = PROGRAM.parents[2]
CLASSES: Final = sorted(set(re.findall(r"class (Broken\w+)", PROGRAM.read_text("utf-8"))))


def crashed(style: str, planted: Planted) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-m", "tests.security.crashing", style, planted.text],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("style", ["json", "console"])
def test_whatever_breaks_is_told_by_its_class_and_line_and_without_its_text(style: str) -> None:
    planted = Planted.at("an exception's text", "'{}' in \"x\"")

    done = crashed(style, planted)

    told = done.stderr.decode()
    assert done.returncode == 1, told
    assert [name for name in CLASSES if name not in told] == []
    assert "throw(BrokenCause(" in told
    assert "This led to:" in told
    assert "FileNotFoundError (ENOENT)" in told
    assert "a log line of somebody could not be written" in told
    assert "password" not in done.stdout.decode()
    assert found(planted, done.stderr + done.stdout) == []


def test_a_command_that_breaks_before_there_is_a_log_tells_as_little() -> None:
    planted = Planted.at("an exception's text")

    done = crashed("none", planted)

    assert (done.returncode, done.stdout) == (1, b"")
    assert b"mcp-postgres: crashed; please report this" in done.stderr
    assert b"BrokenProgram" in done.stderr
    assert found(planted, done.stderr) == []
