"""Static tokens: how they look, what the file may say, and how one is made."""

import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, strategies as st

from registry.errors import InvalidInput
from server import cli
from server.access import authenticator_of
from server.authentication import Everybody
from server.errors import StartError
from server.principal import PERMISSIONS
from server.settings import Settings
from server.tokens import PREFIX, RANDOM_BYTES, ROLES, digest_of, is_like_a_token, is_whole, line_of, parse, token_of
from tests.tables import table

NOW: Final = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
TOKEN: Final = token_of(bytes(range(RANDOM_BYTES)))
HASH: Final = digest_of(TOKEN).hex()
RANDOM: Final = st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)


def file_of(**fields: str) -> str:
    """Return a file with one token, as TOML's own texts; an empty one leaves the field out."""
    told = {"subject": '"ann"', "role": '"reader"', "tenants": '["acme-*"]', "sha256": f'"{HASH}"', **fields}
    return "[[tokens]]\n" + "".join(f"{name} = {value}\n" for name, value in told.items() if value)


@given(RANDOM)
def test_a_token_is_told_by_its_prefix_and_is_whole(random: bytes) -> None:
    token = token_of(random)

    assert token.startswith(PREFIX)
    assert is_like_a_token(token)
    assert is_whole(token)


@given(RANDOM, RANDOM)
def test_two_tokens_are_the_same_only_if_their_bits_are(one: bytes, other: bytes) -> None:
    assert (token_of(one) == token_of(other)) is (one == other)


@given(st.integers(len(PREFIX), len(TOKEN) - 1), st.sampled_from("0Zz_-."))
def test_a_token_in_which_a_character_was_mistyped_is_not_whole(at: int, typed: str) -> None:
    mistyped = TOKEN[:at] + typed + TOKEN[at + 1 :]

    assert is_whole(mistyped) is (mistyped == TOKEN)


@pytest.mark.parametrize("text", ["", PREFIX, TOKEN[:-1], TOKEN + "0", TOKEN[1:] + "0", f"{PREFIX}{'ä' * 49}"])
def test_what_is_no_token_is_not_whole(text: str) -> None:
    assert not is_whole(text)


@given(st.text(min_size=1).filter(str.isprintable), st.lists(st.text("abc*-?[]!", min_size=1), max_size=3))
def test_the_line_that_is_made_for_a_token_says_what_it_was_told(subject: str, tenants: list[str]) -> None:
    (told,) = tomllib.loads(line_of(TOKEN, subject, "reader", tenants, created=NOW, expires=NOW))["tokens"]

    assert (told["subject"], told["tenants"], told["sha256"]) == (subject, tenants, HASH)
    assert (told["created"], told["expires"]) == (NOW, NOW)
    assert TOKEN not in str(told)


@pytest.mark.parametrize(("role", "permissions"), ROLES.items())
def test_a_role_is_its_permissions(role: str, permissions: tuple[str, ...]) -> None:
    (grant,) = parse(file_of(role=f'"{role}"')).values()

    assert grant.principal.permissions == set(permissions) <= PERMISSIONS


def test_a_file_may_have_roles_of_its_own_and_permissions_without_a_role() -> None:
    other = file_of(role="", permissions='["query:read"]', sha256=f'"{"0" * 64}"')
    own = '[roles]\nsupport = ["audit:read"]\n' + file_of(role='"support"') + other

    assert [set(grant.principal.permissions) for grant in parse(own).values()] == [{"audit:read"}, {"query:read"}]


def test_several_tokens_may_have_one_name_and_one_role() -> None:
    grants = parse(file_of() + file_of(sha256=f'"{"0" * 64}"'))

    assert [grant.principal.subject for grant in grants.values()] == ["ann", "ann"]
    assert grants[digest_of(TOKEN)].principal.touches("acme-1")


@pytest.mark.parametrize("text", ["", "# nobody\n", "tokens = []\n"])
def test_a_file_without_tokens_lets_nobody_in(text: str) -> None:
    assert parse(text) == {}


WRONG: Final = {
    "no TOML": "[[tokens]",
    "Cannot overwrite a value": file_of() + 'subject = "bob"\n',
    "sha256 of one before": file_of() + file_of(),
    "unknown field `tenant`": file_of(tenant='["acme"]'),
    "unknown field `token`": f'token = "{TOKEN}"\n' + file_of(),
    "missing required field `tenants`": file_of(tenants=""),
    "missing required field `sha256`": file_of(sha256=""),
    "matching regex": file_of(sha256=f'"{HASH.upper()}"'),
    "either a role or permissions": file_of(role=""),
    "either a role or": file_of(permissions='["query:read"]'),
    "the role 'emperor'; there are reader": file_of(role='"emperor"'),
    "Invalid enum value 'query:all'": file_of(role="", permissions='["query:all"]'),
    "Expected `array`": file_of(tenants='"acme"'),
    "length >= 1": file_of(tenants='[""]'),
    "timezone": file_of(expires="2026-01-31T00:00:00"),
    "got `date`": file_of(expires="2026-01-31"),
    "printable characters": file_of(subject='""'),
    "1 to 200 printable": file_of(subject=f'"{"a" * 201}"'),
    "which is for who is on this machine": file_of(subject='"cli:root"'),
    "under which the server itself makes changes": file_of(subject='"adoption"'),
    "built in and cannot be defined anew": '[roles]\nadmin = ["query:read"]\n' + file_of(),
    "Invalid enum value 'all'": '[roles]\nboss = ["all"]\n',
}


@table("problem", WRONG)
def test_a_file_that_says_something_else_than_it_may_is_refused_with_the_reason(problem: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        parse(WRONG[problem])
    assert problem.lower() in raised.value.message.lower()


def test_a_server_does_not_start_with_a_file_it_cannot_use(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(WRONG["no TOML"])

    with pytest.raises(StartError, match=f"{path}: no TOML"):
        authenticator_of(Settings(tokens_file=path))


def test_nobody_is_asked_where_no_file_and_no_issuer_is_set() -> None:
    assert isinstance(authenticator_of(Settings()), Everybody)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--role", "emperor", "--tenants", "*", "--subject", "ann"), "role 'emperor'"),
        (("--role", "reader", "--tenants", "*", "--subject", "cli:root"), "'cli:'"),
        (("--role", "reader", "--tenants", "*", "--subject", ""), "printable"),
        (("--role", "reader", "--tenants", "a" * 64, "--subject", "ann"), "length <= 63"),
        (("--role", "reader", "--tenants", "*", "--subject", "ann", "--days", "0"), "--days"),
    ],
)
@pytest.mark.parametrize("into_file", [True, False])
def test_a_token_that_no_server_would_take_is_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], problem: str, *, into_file: bool
) -> None:
    path = tmp_path / "tokens.toml"

    assert cli.main(["tokens", "new", *words, *(("--file", str(path)) if into_file else ())]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert problem in told.err
    assert not path.exists()


def test_a_token_for_a_role_of_the_files_own_is_added_to_what_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text('# ours\n[roles]\nsupport = ["audit:read"]  # they look, and ask')
    words = ["tokens", "new", "--subject", "ann", "--role", "support", "--tenants", "acme-*, demo", "--file", str(path)]

    assert cli.main([*words, "--days", "90"]) == 0

    grant = parse(path.read_text())[digest_of(capsys.readouterr().out.strip())]
    assert (set(grant.principal.permissions), grant.principal.tenants) == ({"audit:read"}, ("acme-*", "demo"))
    assert grant.expires is not None
    assert path.read_text().startswith("# ours\n")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_broken_is_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text("[[tokens]")
    words = ["--subject", "ann", "--role", "reader", "--tenants", "*", "--file", str(path)]

    assert cli.main(["tokens", "new", *words]) == 1
    assert capsys.readouterr().out == ""
    assert path.read_text() == "[[tokens]"
