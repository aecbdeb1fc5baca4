"""What a server offers beside its tools (resources, completion, announcements), put together over one toolbox."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec

from server.announcements import Announcements
from server.completion import Completion
from server.principal import Principal
from server.resources import Resources
from server.sight import Sight
from server.toolbox import Toolbox

Again: TypeAlias = Callable[[object], Awaitable[Principal]]
"""Tells who sent the request of that scope, as of now; raises `Refused` when they are let in no more."""


class Beyond(msgspec.Struct, frozen=True):
    """Resources, completion, and announcements of what changed, for the tenants as each caller sees them."""

    sight: Sight
    resources: Resources
    completion: Completion
    announcements: Announcements

    @classmethod
    def of(cls, toolbox: Toolbox, sight: Sight, announcements: Announcements) -> "Beyond":
        """Return them over a toolbox, which asks who calls, counts, and tells."""
        return cls(sight, Resources(toolbox, sight), Completion(toolbox, sight), announcements)

    def over(self, toolbox: Toolbox) -> "Beyond":
        """Return the same over another toolbox."""
        return Beyond.of(toolbox, self.sight, self.announcements)
