"""Where master keys may be: a file that changes, and the environment."""

import os
from pathlib import Path
from typing import Final

import pytest
from structlog.testing import capture_logs

from registry.errors import InvalidInput, SecretUnreadable
from registry.secrets import MasterKeys, Secret, new_master_key
from server.master_keys import keys_of_environment, load_master_keys

ONE: Final = new_master_key("one")
TWO: Final = new_master_key("two")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A key file with one key."""
    path = tmp_path / "master.key"
    path.write_text(ONE)
    path.chmod(0o600)
    return path


def replace(path: Path, text: str) -> None:
    """Put another file in its place, as a mounted secret changes."""
    other = path.with_suffix(".new")
    other.write_text(text)
    other.chmod(0o600)
    other.rename(path)


async def test_a_key_that_the_file_has_since_opens_and_wraps_without_a_restart(path: Path) -> None:
    master = load_master_keys(path)
    _, wrapped = await MasterKeys.parse(TWO).new_data_key("acme")
    with pytest.raises(SecretUnreadable, match=f"{path.name}\\) does not have \\(it has one\\); add it there"):
        await master.unwrap("acme", wrapped)

    replace(path, f"{TWO}\n{ONE}")

    assert (await master.unwrap("acme", wrapped)).id
    assert list(await master.names()) == ["two", "one"]
    assert "|two|" in (await master.new_data_key("acme"))[1]


@pytest.mark.parametrize("text", ["", "half a li", f"{ONE}\n{ONE}"], ids=["empty", "cut", "twice"])
async def test_a_file_that_became_unusable_leaves_the_keys_of_before_and_is_told_once(path: Path, text: str) -> None:
    master = load_master_keys(path)
    _, wrapped = await master.new_data_key("acme")
    replace(path, text)

    with capture_logs() as logs:
        for _ in range(3):
            assert list(await master.names()) == ["one"]
            assert (await master.unwrap("acme", wrapped)).id

    assert [entry["log_level"] for entry in logs] == ["warning"]
    assert ONE[6:20] not in str(logs)


async def test_a_file_that_is_gone_leaves_the_keys_of_before(path: Path) -> None:
    master = load_master_keys(path)
    os.unlink(path)  # noqa: PTH108 - in a test nobody waits for it

    assert "|one|" in (await master.new_data_key("acme"))[1]


async def test_keys_of_the_environment_may_stand_on_lines_or_between_commas() -> None:
    for text in (f"{TWO},{ONE}", f"{TWO}\n{ONE}\n", f" {TWO} ,\n {ONE},", f"# As made: first, second.\n{TWO}\n{ONE}\n"):
        assert list(await keys_of_environment(Secret(text)).names()) == ["two", "one"]
    with pytest.raises(InvalidInput, match="Line 2 of MCP_POSTGRES_KEYS"):
        keys_of_environment(Secret(f"{ONE},nonsense"))


async def test_a_missing_key_is_looked_for_where_the_keys_are() -> None:
    _, wrapped = await MasterKeys.parse(TWO).new_data_key("acme")

    with pytest.raises(SecretUnreadable, match="which MCP_POSTGRES_KEYS does not have"):
        await keys_of_environment(Secret(ONE)).unwrap("acme", wrapped)
