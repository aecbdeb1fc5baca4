"""The key file: its owner's alone, never overwritten, and what is wrong with it is told without showing a key."""

import stat
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from registry.errors import InvalidInput
from registry.secrets import Secret
from server.master_keys import ensure_key_file, load_master_keys, make_key_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "master.key"


def test_a_new_key_file_opens_what_it_sealed_and_is_its_owners_alone(path: Path) -> None:
    make_key_file(path)
    key, wrapped = load_master_keys(path).new_data_key("acme")
    sealed = key.seal("acme", 1, Secret("s3cr3t"))
    assert load_master_keys(path).unwrap("acme", wrapped).open("acme", sealed) == Secret("s3cr3t")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_is_there_is_not_overwritten(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(InvalidInput, match="not overwritten"):
        make_key_file(path)
    assert ensure_key_file(path).read_text() == "precious"


def test_a_key_file_is_made_where_there_is_none_with_its_folder(tmp_path: Path) -> None:
    path = ensure_key_file(tmp_path / "data" / "master.key")
    before = path.read_bytes()
    assert ensure_key_file(path).read_bytes() == before
    load_master_keys(path)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("where", ["nowhere/master.key", "file/master.key", "file/data/master.key"])
def test_a_place_where_no_key_file_can_be_is_told(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match=r"file|nowhere"):
        make_key_file(tmp_path / where)
    if where.startswith("file"):
        with pytest.raises(InvalidInput, match="file"):
            ensure_key_file(tmp_path / where)


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"", b"# nothing\n", b"k1:c2hvcnQ=\n"])
def test_a_key_file_that_cannot_be_used_is_told_without_its_content(path: Path, content: bytes | None) -> None:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInput, match="key file") as raised:
        load_master_keys(path)
    assert "c2hvcnQ" not in raised.value.message


def test_a_key_file_that_others_may_read_is_warned_about(path: Path) -> None:
    make_key_file(path)
    with capture_logs() as quiet:
        load_master_keys(path)
    path.chmod(0o640)
    with capture_logs() as lines:
        load_master_keys(path)
    assert not quiet
    assert [line["path"] for line in lines if "chmod 600" in line["event"]] == [str(path)]
