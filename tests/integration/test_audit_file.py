"""The audit file: whole lines, on the disk before anybody goes on, and an error where they are not."""

import asyncio
import os
import stat
import threading
from pathlib import Path

import pytest

from server import audit_file
from server.audit_file import AuditFile
from server.errors import StartError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def text_of(path: Path) -> bytes:
    return path.read_bytes()


def test_a_new_file_is_its_owners_alone_and_one_that_is_there_is_added_to(path: Path) -> None:
    AuditFile(path).require_writable()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"before\n")

    asyncio.run(AuditFile(path).put(b"one\n"))

    assert path.read_bytes() == b"before\none\n"


def test_a_start_fails_where_nothing_can_be_appended(tmp_path: Path, path: Path) -> None:
    os.mkfifo(path)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for bad in (tmp_path, path, tmp_path / "link", tmp_path / "no folder" / "audit"):
        with pytest.raises(StartError, match="MCP_POSTGRES_AUDIT_FILE"):
            AuditFile(bad).require_writable()
    assert not (tmp_path / "elsewhere").exists(), "a link is not followed"


async def test_lines_that_come_together_are_all_there_and_whole(path: Path) -> None:
    file = AuditFile(path)
    lines = [f"{number}\n".encode() for number in range(500)]

    await asyncio.gather(*(file.put(line) for line in lines))

    assert text_of(path) == b"".join(lines)


async def test_processes_that_share_the_file_leave_each_others_lines_whole(path: Path) -> None:
    first, second = AuditFile(path), AuditFile(path)
    lines = [f"{number}-{'x' * 500}\n".encode() for number in range(200)]

    await asyncio.gather(*(file.put(line) for line in lines for file in (first, second)))

    assert sorted(text_of(path).splitlines(keepends=True)) == sorted([*lines, *lines])


async def test_half_a_line_that_another_process_left_is_not_glued_to_the_next(path: Path) -> None:
    file = AuditFile(path)
    await file.put(b"one\n")
    with path.open("ab") as another:
        another.write(b"half a li")

    await file.put(b"two\n")

    assert text_of(path).splitlines() == [b"one", b"half a li", b"two"]


async def test_who_waits_is_answered_after_the_flush_and_others_run_meanwhile(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that takes its time holds up its own lines, and no other call."""
    may_flush, flushed = threading.Event(), os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (may_flush.wait(5), flushed(file)))
    putting = asyncio.create_task(AuditFile(path).put(b"one\n"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not putting.done()

    may_flush.set()
    await putting
    assert text_of(path) == b"one\n"


async def test_a_line_of_which_a_part_was_written_is_an_error_and_no_part_of_the_next(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full takes what fits."""
    file, whole = AuditFile(path), os.write
    monkeypatch.setattr(os, "write", lambda handle, data: whole(handle, data[:3]))
    with pytest.raises(OSError, match="part"):
        await file.put(b"one line\n")
    monkeypatch.undo()
    await file.put(b"another\n")

    assert text_of(path) == b"one\nanother\n"


async def test_a_disk_that_never_answers_is_an_error_in_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda _file: release.wait(5))
    monkeypatch.setattr(audit_file, "PATIENCE", 0.05)
    try:
        with pytest.raises(OSError):  # noqa: PT011 - a timeout is one
            await AuditFile(path).put(b"one\n")
    finally:
        release.set()
