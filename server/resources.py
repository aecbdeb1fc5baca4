"""Resources: what tools tell, under addresses, for clients that put context together by themselves.

A resource is read by calling its tool, so that the same is asked of the caller, counted and told. What is listed is
what the caller may read: tenants are named to who may list them alone.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from registry.errors import UnknownResource
from server import resource_uris as uris
from server.cursors import read_cursor, write_cursor
from server.principal import Permission, Principal
from server.sight import Sight, page_of
from server.toolbox import Answer, Call, Toolbox

PAGE: Final = 200
"""Tenants on a page."""
MIME: Final = "application/json"
_LIST: Final = "resources"
_NAMES_TENANTS: Final[Permission] = "tenants:read"


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """One resource that there is, or, with `{names}` in its address, a kind of them."""

    uri: str
    name: str
    title: str
    description: str | None = None
    tool: str


class Page(msgspec.Struct, frozen=True):
    """Some resources of a list, and the cursor of the next ones, if there are any."""

    resources: Sequence[Resource]
    next: str | None


FIXED: Final = (
    Resource(
        uri=uris.TENANTS,
        name="tenants",
        title="Tenants",
        description="The registered tenants, by id. If the answer has a `next`, read registry://tenants?after=NEXT.",
        tool="list_tenants",
    ),
    Resource(
        uri=uris.REPLICAS,
        name="replicas",
        title="Replicas",
        description="How this replica and the others are, and how far each has followed the registry's log. If the "
        "answer has a `next`, more tenants are quarantined: go on with ?after=NEXT.",
        tool="registry_status",
    ),
)
TEMPLATES: Final = (
    Resource(
        uri=uris.SCHEMAS,
        name="schemas",
        title="Schemas of a tenant's database",
        description="With how many tables each has. If the answer has a `next`, go on with ?after=NEXT.",
        tool="list_schemas",
    ),
    Resource(
        uri=uris.TABLE,
        name="table",
        title="One table or view",
        description="Columns, keys, references, indexes. Percent-encode names; a dot inside of one is %2E.",
        tool="describe_table",
    ),
    Resource(
        uri=uris.HISTORY,
        name="history",
        title="History of a tenant",
        description="Who registered, changed or removed it, when and why; removed tenants too. If the answer has a "
        "`next`, go on with ?after=NEXT.",
        tool="tenant_history",
    ),
)


class Resources:
    """What may be read under addresses.

    Args:
        toolbox: Has the tools that tell it.
        sight: The tenants as each caller sees them.
    """

    def __init__(self, toolbox: Toolbox, sight: Sight) -> None:
        self._toolbox = toolbox
        self._sight = sight

    def templates(self, principal: Principal) -> list[Resource]:
        """Return the kinds that the caller may read."""
        return [each for each in TEMPLATES if self._open(each.tool, principal)]

    async def page(self, principal: Principal, cursor: str | None) -> Page:
        """Return a page of what the caller may read: tables alone are left to their template.

        Raises `InvalidInput` for a cursor that is none of theirs, and what `Sight.ids` and the toolbox raise.
        """
        async with self._toolbox.request("resources_list", principal):
            after = None if cursor is None else read_cursor(_LIST, cursor, principal)
            fixed = [each for each in FIXED if after is None and self._open(each.tool, principal)]
            kinds = [kind for tool, kind in _OF_EACH if self._open(tool, principal)]
            if not kinds or not principal.may(_NAMES_TENANTS):
                return Page(fixed, None)
            tenants, more = page_of(self._sight.ids(principal), after, PAGE)
            listed = [kind(tenant) for tenant in tenants for kind in kinds]
            return Page([*fixed, *listed], write_cursor(_LIST, tenants[-1], principal) if more else None)

    async def read(self, uri: str, call: Call) -> Answer:
        """Return what the tool of that address answers.

        Raises `UnknownResource` where no tool answers, and what the toolbox raises. May be cancelled.
        """
        target = uris.target_of(uri)
        if target is None:
            async with self._toolbox.request("resources_read", call.principal):
                raise UnknownResource(f"There is no such resource. {self._there_are(call.principal)}")
        return await self._toolbox.call(target.tool, target.arguments, call)

    def _there_are(self, principal: Principal) -> str:
        known = [each.uri for each in (*FIXED, *TEMPLATES) if self._open(each.tool, principal)]
        told = f"There are {', '.join(known)}" if known else "There are none that you may read"
        return f"{told}; names in an address are percent-encoded."

    def _open(self, tool: str, principal: Principal) -> bool:
        return principal.may(self._toolbox.tools[tool].needs)


def _schemas_of(tenant: str) -> Resource:
    return Resource(
        uri=uris.schemas_uri(tenant), name=f"{tenant} schemas", title=f"Schemas of {tenant}", tool="list_schemas"
    )


def _history_of(tenant: str) -> Resource:
    return Resource(
        uri=uris.history_uri(tenant), name=f"{tenant} history", title=f"History of {tenant}", tool="tenant_history"
    )


_OF_EACH: Final = (("list_schemas", _schemas_of), ("tenant_history", _history_of))
"""What is listed of each tenant, by the tool that tells it."""
