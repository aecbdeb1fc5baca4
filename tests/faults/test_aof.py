"""What an append-only file tells of a stream."""

from pathlib import Path

from tests.faults.aof import RawEntry, commands, stream_in


def written(*commands: bytes) -> bytes:
    """The bytes of a file with these commands, each of words without spaces."""
    return b"".join(
        b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
        for words in (command.split() for command in commands)
    )


def file(home: Path, *commands: bytes) -> Path:
    (home / "appendonlydir").mkdir()
    (home / "appendonlydir" / "appendonly.aof.1.incr.aof").write_bytes(written(*commands))
    return home


def test_what_was_emptied_and_deleted_was_once_and_is_no_more(tmp_path: Path) -> None:
    home = file(
        tmp_path,
        b"XADD log 1-0 seq 1",
        b"XADD other 1-0 seq 7",
        b"FLUSHALL",
        b"XADD log 2-0 seq 1",
        b"DEL log",
        b"XADD log 3-0 seq 1",
    )

    stream = stream_in(home, "log")

    assert [entry.id for entry in stream.ever] == [b"1-0", b"2-0", b"3-0"]
    assert stream.now == [RawEntry(b"3-0", {b"seq": b"1"})]


def test_what_was_trimmed_away_and_taken_out_is_still_told(tmp_path: Path) -> None:
    home = file(
        tmp_path, b"XADD log 1-0 seq 1", b"XADD log 2-0 seq 2", b"XDEL log 1-0", b"XTRIM log MAXLEN 0", b"DEL x"
    )

    assert [entry.id for entry in stream_in(home, "log").now] == [b"1-0", b"2-0"]


def test_a_file_that_is_cut_short_is_read_up_to_where_it_is_whole() -> None:
    whole = written(b"XADD log 1-0 seq 1", b"SELECT 0")

    assert list(commands(whole)) == [[b"XADD", b"log", b"1-0", b"seq", b"1"], [b"SELECT", b"0"]]
    for length in range(len(whole)):
        assert len(list(commands(whole[:length]))) == (length >= len(written(b"XADD log 1-0 seq 1")))
