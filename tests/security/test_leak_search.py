"""The search for leaks finds what leaks: a canary that is written to a log on purpose, in each form."""

import base64
import io
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import pytest
import structlog

from server.logs import configure
from tests.security.leaks import Planted, forms_of, found

SHAPE: Final = 'ca\n"ñ\\a/r y🔑{}%'
FORMS: Final = sorted(forms_of("any"))

Lines: TypeAlias = Callable[[], bytes]


@pytest.fixture(params=["json", "console"])
def lines(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """Configure logging as the process does; call it for what was written so far."""
    root, written = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "stderr", written)
    configure("debug", request.param)
    yield lambda: written.getvalue().encode()
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("form", FORMS)
def test_a_canary_in_a_log_is_found_in_whichever_form_it_was_written(lines: Lines, form: str) -> None:
    canary = Planted.at("log", SHAPE)
    structlog.get_logger("somebody").info(f"before {forms_of(canary.text)[form].decode()} after")

    assert found(canary, lines())


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_found_under_its_name(form: str) -> None:
    canary = Planted.at("anywhere", SHAPE)

    assert f"{form}, whole" in found(canary, b"\xff" + forms_of(canary.text)[form] + b"\xff")
    assert form in found(canary, b"\xff" + forms_of(canary.core)[form] + b"\xff")


@pytest.mark.parametrize("before", range(6))
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_secret_within_a_longer_text_that_was_encoded_is_found_at_every_offset(
    before: int, encode: Callable[[bytes], bytes]
) -> None:
    canary = Planted.at("anywhere", SHAPE)

    assert [form for form in found(canary, encode(b"x" * before + canary.text.encode() + b"yz")) if "base64" in form]


def test_another_secret_is_not_found() -> None:
    assert found(Planted.at("here", SHAPE), b"".join(forms_of(Planted.at("there", SHAPE).text).values())) == []
