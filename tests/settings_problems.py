"""What is told of settings that are refused."""

import pytest

from server.given import load
from server.settings import SettingsError


def problems_of(arguments: dict[str, object] | None = None, **environment: str) -> list[str]:
    """Return what is wrong with flags and variables that are refused."""
    with pytest.raises(SettingsError) as raised:
        load(arguments or {}, environment)
    return raised.value.problems
