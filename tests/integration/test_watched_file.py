"""A file that changes under a running process: what is in force then."""

import asyncio
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from registry.errors import InvalidInput
from server.watched_file import WatchedFile


def parse(text: str) -> str:
    if "wrong" in text:
        raise InvalidInput(f"it says {text}")
    return text


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("one")
    return path


def test_a_change_that_leaves_size_and_time_as_they_were_is_seen(path: Path) -> None:
    file, before = WatchedFile(path, parse), path.stat()
    path.write_text("two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    asyncio.run(file._look())

    assert file.current == "two"


def test_a_link_that_leads_elsewhere_is_followed(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    file = WatchedFile(link, parse)
    (tmp_path / "other").write_text("two")
    (tmp_path / "fresh").symlink_to(tmp_path / "other")
    (tmp_path / "fresh").replace(link)

    asyncio.run(file._look())

    assert file.current == "two"


@pytest.mark.parametrize("broken", [b"wrong", b"\xff", b"x" * (17 << 20), None])
def test_what_cannot_be_used_leaves_in_force_what_was_and_is_told_once(path: Path, broken: bytes | None) -> None:
    file = WatchedFile(path, parse)
    path.unlink() if broken is None else path.write_bytes(broken)

    with capture_logs() as lines:
        for _ in range(3):
            asyncio.run(file._look())

    assert file.current == "one"
    assert [(line["log_level"], line["event"]) for line in lines] == [
        ("error", "file not used; what it said before holds")
    ]
    assert str(path) in lines[0]["problem"]

    path.write_text("two")
    asyncio.run(file._look())
    assert file.current == "two"


def test_the_same_fault_is_told_again_after_it_was_mended(path: Path) -> None:
    file = WatchedFile(path, parse)
    with capture_logs() as lines:
        for text in ("wrong", "fine", "wrong"):
            path.write_text(text)
            asyncio.run(file._look())

    assert [line["log_level"] for line in lines] == ["error", "info", "error"]


@pytest.mark.parametrize("broken", ["wrong", None])
def test_what_cannot_be_used_from_the_start_is_refused_with_its_name(path: Path, broken: str | None) -> None:
    path.unlink() if broken is None else path.write_text(broken)

    with pytest.raises(InvalidInput, match=str(path)):
        WatchedFile(path, parse)
