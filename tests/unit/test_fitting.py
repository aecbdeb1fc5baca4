"""What was found as it should be, told again by a number."""

from typing import Final

import msgspec
import pytest

from projections.fitting import Fitted
from registry.entries import Position
from registry.state import Removed
from tests.restorable import gone

GONE: Final = gone("event", version=2, minute=0)
OTHER: Final = msgspec.structs.replace(GONE, tenant="beta")


def noted() -> Fitted:
    fitted = Fitted()
    fitted.note(0, [GONE, OTHER], [b"head", None], [None, b"text"])
    return fitted


def test_what_fitted_still_does_also_as_another_object_that_says_the_same() -> None:
    assert noted().still(0, [msgspec.structs.replace(GONE), OTHER], [b"head", None], [None, b"text"])


@pytest.mark.parametrize(
    ("heads", "texts"),
    [
        ([b"edited", None], [None, b"text"]),
        ([None, None], [None, b"text"]),
        ([b"head", None], [None, b"edited"]),
        ([b"head", None], [b"", b"text"]),
        ([None, b"head"], [None, b"text"]),
        ([b"head", None], [b"text", None]),
    ],
)
def test_what_was_edited_deleted_or_put_under_a_neighbour_is_seen(
    heads: list[bytes | None], texts: list[bytes | None]
) -> None:
    assert not noted().still(0, [GONE, OTHER], heads, texts)


@pytest.mark.parametrize(
    "group",
    [
        [msgspec.structs.replace(GONE, version=3), OTHER],
        [msgspec.structs.replace(GONE, position=Position(10, "10-0")), OTHER],
        [OTHER, GONE],
    ],
)
def test_a_tenant_that_changed_while_its_key_did_not_is_compared_anew(group: list[Removed]) -> None:
    assert not noted().still(0, group, [b"head", None], [None, b"text"])


def test_nothing_is_known_of_tenants_elsewhere() -> None:
    assert not noted().still(20, [GONE, OTHER], [b"head", None], [None, b"text"])
