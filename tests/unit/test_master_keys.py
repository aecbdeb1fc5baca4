"""The key file: its owner's alone, never overwritten, and what is wrong with it is told without showing a key."""

import os
import re
import stat
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from registry.errors import InvalidInput
from registry.events import TenantConfig
from registry.secrets import MasterKeys, Secret
from server.master_keys import ensure_key_file, load_master_keys, make_key_file
from tests.waiting import now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "master.key"


def test_a_new_key_file_opens_what_it_sealed_and_is_its_owners_alone(path: Path) -> None:
    make_key_file(path)
    login = TenantConfig(host="db", database="app", user="reader").login
    key, wrapped = now(load_master_keys(path).new_data_key("acme"))
    sealed = key.seal("acme", 1, login, Secret("s3cr3t"))
    assert now(load_master_keys(path).unwrap("acme", wrapped)).open("acme", login, sealed) == Secret("s3cr3t")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_is_there_is_not_overwritten(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(InvalidInput, match="not overwritten"):
        make_key_file(path)
    assert ensure_key_file(path, used=path.parent).read_text() == "precious"


def test_a_link_to_a_file_that_is_gone_is_not_overwritten_either(path: Path) -> None:
    path.symlink_to("gone")
    with pytest.raises(InvalidInput, match="not overwritten"):
        make_key_file(path)


def test_a_key_file_is_made_where_there_is_none_with_its_folder(tmp_path: Path) -> None:
    used = tmp_path / "data" / "valkey"
    path = ensure_key_file(tmp_path / "data" / "master.key", used=used)
    before = path.read_bytes()
    used.mkdir()
    assert ensure_key_file(path, used=used).read_bytes() == before
    load_master_keys(path)
    assert stat.S_IMODE(path.parent.stat().st_mode) == (0o711 if os.geteuid() == 0 else 0o700)


def test_a_lost_key_is_not_replaced_where_it_was_used(path: Path) -> None:
    used = path.parent / "valkey"
    used.mkdir()
    with pytest.raises(InvalidInput, match="put the file back, or remove") as raised:
        ensure_key_file(path, used=used)
    assert str(path) in raised.value.message
    assert not path.exists()


def test_two_keys_made_on_one_day_have_two_names(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one.key", "other.key")]
    for path in paths:
        make_key_file(path)
    names = [path.read_text().splitlines()[1].split(":")[0] for path in paths]
    assert names[0] != names[1]
    assert all(re.fullmatch(r"k\d{8}-[0-9a-f]{6}", name) for name in names)
    MasterKeys.parse("".join(path.read_text() for path in paths))


@pytest.mark.parametrize(
    "where", ["nowhere/master.key", "file/master.key", "file/data/master.key", "", "x" * 300, "file/" + "x" * 300]
)
def test_a_place_where_no_key_file_can_be_is_told(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match=r"file|nowhere|folder"):
        make_key_file(tmp_path / where)
    if where.startswith("file"):
        with pytest.raises(InvalidInput, match="file"):
            ensure_key_file(tmp_path / where, used=tmp_path / "file" / "valkey")


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
