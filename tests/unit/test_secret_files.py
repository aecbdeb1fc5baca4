"""What a reference names: found where the operator allows it, and nowhere else."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from registry.errors import InvalidInput, SecretUnreadable
from registry.secrets import Secret
from server.secret_files import SecretFiles

CANARY = "hunter2-canary"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The allowed folder, beside one that is not."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "key").write_text(CANARY)
    inside = tmp_path / "secrets"
    inside.mkdir()
    return inside


async def test_a_file_is_read_anew_each_time_without_the_line_break_at_its_end(folder: Path) -> None:
    files = SecretFiles(folder, None)
    for written, meant in (("red\n", "red"), ("red \r\n", "red "), ("blue\n\n", "blue\n"), ("p@:/?#'\\", "p@:/?#'\\")):
        (folder / "acme").write_bytes(written.encode())
        assert await files.password("acme", "file:acme") == Secret(meant)


async def test_a_mounted_secret_is_a_link_within_the_folder_and_is_followed(folder: Path) -> None:
    (folder / "..2026").mkdir()
    (folder / "..2026" / "acme").write_text("red")
    (folder / "..data").symlink_to("..2026")
    (folder / "acme").symlink_to("..data/acme")

    assert await SecretFiles(folder, None).password("acme", "file:acme") == Secret("red")


def _link(folder: Path) -> None:
    (folder / "bad").symlink_to("../outside/key")


def _link_to_a_folder(folder: Path) -> None:
    (folder / "bad").symlink_to("/etc")


def _loop(folder: Path) -> None:
    (folder / "bad").symlink_to("bad")


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "bad")


def _folder(folder: Path) -> None:
    (folder / "bad").mkdir()


def _huge(folder: Path) -> None:
    (folder / "bad").write_text(CANARY * 1000)


def _binary(folder: Path) -> None:
    (folder / "bad").write_bytes(CANARY.encode() + b"\xff\xfe")


def _nul(folder: Path) -> None:
    (folder / "bad").write_text(f"{CANARY}\0")


def _empty(folder: Path) -> None:
    (folder / "bad").write_text("\n")


def _absent(_folder: Path) -> None: ...


@pytest.mark.parametrize(
    "put",
    [_link, _link_to_a_folder, _loop, _pipe, _folder, _huge, _binary, _nul, _empty, _absent],
    ids=lambda put: put.__name__,
)
async def test_what_is_no_password_below_the_folder_is_told_by_the_reference_and_not_shown(
    folder: Path, put: Callable[[Path], None]
) -> None:
    put(folder)

    with pytest.raises(SecretUnreadable, match="password_ref=file:bad of tenant 'acme'") as refused:
        await SecretFiles(folder, None).password("acme", "file:bad")
    assert CANARY not in str(refused.value)


async def test_a_folder_that_links_out_of_the_allowed_one_is_not_entered(folder: Path) -> None:
    (folder / "way").symlink_to("../outside")

    with pytest.raises(SecretUnreadable):
        await SecretFiles(folder, None).password("acme", "file:way/key")


async def test_variables_are_taken_with_the_allowed_prefix_alone() -> None:
    environment = {"TENANT_ACME": "red", "HOME": "/root"}
    files = SecretFiles(None, "TENANT_", environment)

    assert await files.password("acme", "env:TENANT_ACME") == Secret("red")
    with pytest.raises(InvalidInput, match="begin with 'TENANT_'"):
        files.check("acme", "env:HOME")
    with pytest.raises(SecretUnreadable, match="begin with 'TENANT_'"):
        await files.password("acme", "env:HOME")
    with pytest.raises(SecretUnreadable, match="password_ref=env:TENANT_B of tenant 'acme'"):
        await files.password("acme", "env:TENANT_B")


@pytest.mark.parametrize("name", ["MCP_POSTGRES_KEYS", "REDIS_PASSWORD", "PGPASSWORD"])
def test_what_the_server_is_set_up_with_is_never_a_tenants_password(name: str) -> None:
    with pytest.raises(InvalidInput):
        SecretFiles(None, name[:1], {name: CANARY}).check("acme", f"env:{name}")


def test_without_the_setting_a_reference_is_refused_with_what_to_set() -> None:
    with pytest.raises(InvalidInput, match="set MCP_POSTGRES_SECRETS_DIR"):
        SecretFiles(None, "A").check("acme", "file:acme")
    with pytest.raises(InvalidInput, match="set MCP_POSTGRES_SECRETS_ENV_PREFIX"):
        SecretFiles(Path(), None).check("acme", "env:A")


async def test_with_the_tenant_in_the_settings_nobody_can_name_another_tenants_secret(folder: Path) -> None:
    for tenant in ("acme", "beta"):
        (folder / tenant).mkdir()
        (folder / tenant / "pw").write_text(tenant)
    files = SecretFiles(folder / "{tenant}", "PW_{tenant}", {"PW_acme": "a", "PW_acme_eu": "b"})

    assert await files.password("acme", "file:pw") == Secret("acme")
    assert await files.password("beta", "file:pw") == Secret("beta")
    assert await files.password("acme", "env:PW_acme") == Secret("a")
    with pytest.raises(InvalidInput, match="must be 'PW_acme'"):
        files.check("acme", "env:PW_acme_eu")
