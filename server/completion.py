"""What a person is about to type, completed: ids of tenants, names of schemas and tables, as far as they may see them.

What begins with what was typed comes first, then what has it anywhere, whatever the case. Tenants come from the fold;
schemas and tables are asked of the tenant's database, by the tools that list them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

import msgspec

from projections.roster import LAST
from registry.errors import InvalidInput, RemovedTenant, UnknownTenant
from server import resource_uris as uris
from server.catalogue import Table
from server.principal import Principal
from server.prompts import PROMPTS, Completes
from server.sight import Sight
from server.toolbox import Call, Toolbox

MOST: Final = 100
"""Values in one answer: the protocol's bound."""
_BEFORE_SURROGATES: Final = 0xD7FF
_LAST_SURROGATE: Final = 0xDFFF
_COUNTED: Final = 1000
"""Values beyond which it is told that there are more, and not how many."""
_OF_TEMPLATES: Final[Mapping[str, Mapping[str, Completes]]] = {
    uris.SCHEMAS: {"tenant": "tenant"},
    uris.TABLE: {"tenant": "tenant", "schema": "schema", "table": "table"},
    uris.HISTORY: {"id": "tenant"},
}
_OF_PROMPTS: Final[Mapping[str, Mapping[str, Completes | None]]] = {
    each.name: {argument.name: argument.completes for argument in each.arguments} for each in PROMPTS.values()
}
_LISTED_BY: Final[Mapping[Completes, str]] = {
    "tenant": "list_tenants",
    "schema": "list_schemas",
    "table": "list_tables",
}
_NOTHING_THERE: Final = frozenset({UnknownTenant.code, RemovedTenant.code, InvalidInput.code})


class Completed(msgspec.Struct, frozen=True):
    """Values that fit, how many there are if that is known, and whether there are more."""

    values: Sequence[str]
    total: int | None = None
    more: bool = False


class NotListed(Exception):
    """The tool that lists the values told an error: its payload."""

    def __init__(self, payload: bytes) -> None:
        super().__init__("not listed")
        self.payload = payload


class _Named(msgspec.Struct):
    name: str


class _Listed(msgspec.Struct):
    schemas: list[_Named] = []
    tables: list[Table] = []
    next: str | None = None

    @property
    def names(self) -> list[str]:
        return [*(each.name for each in self.schemas), *(each.name for each in self.tables)]


class _Error(msgspec.Struct):
    code: str


class _Failed(msgspec.Struct):
    error: _Error


class Completion:
    """Completes arguments of templates and prompts.

    Args:
        toolbox: Has the tools that list schemas and tables.
        sight: The tenants as each caller sees them.
    """

    def __init__(self, toolbox: Toolbox, sight: Sight) -> None:
        self._toolbox = toolbox
        self._sight = sight

    async def of_template(
        self, uri: str, argument: str, typed: str, chosen: Mapping[str, str], call: Call
    ) -> Completed:
        """Complete a variable of the template `uri`; `chosen` is what the others were given.

        Raises `InvalidInput` where there is no such variable, `NotListed`, and what the toolbox raises. Cancellable.
        """
        return await self._complete(_OF_TEMPLATES.get(uri), argument, typed, chosen, call)

    async def of_prompt(self, name: str, argument: str, typed: str, chosen: Mapping[str, str], call: Call) -> Completed:
        """Complete an argument of the prompt `name`, as `of_template` does."""
        return await self._complete(_OF_PROMPTS.get(name), argument, typed, chosen, call)

    async def _complete(
        self,
        arguments: Mapping[str, Completes | None] | None,
        argument: str,
        typed: str,
        chosen: Mapping[str, str],
        call: Call,
    ) -> Completed:
        if arguments is None or argument not in arguments:
            async with self._toolbox.request("completion_complete", call.principal):
                raise InvalidInput(f"Nothing has an argument {argument[:80]!r} to complete there.", field="argument")
        kind = arguments[argument] if all(map(_may_be_a_name, (typed, *chosen.values()))) else None
        tenant = next((chosen[name] for name, what in arguments.items() if what == "tenant" and name in chosen), None)
        if kind in (None, "tenant") or not tenant or not self._may_list(kind, call.principal):
            async with self._toolbox.request("completion_complete", call.principal):
                return self._tenants(typed, call.principal) if kind == "tenant" else Completed(())
        schema = {"schema": chosen["schema"]} if kind == "table" and chosen.get("schema") else {}
        return await self._listed(_LISTED_BY[kind], {"tenant_id": tenant, **schema}, typed, call)

    def _may_list(self, kind: Completes | None, principal: Principal) -> bool:
        return kind is not None and principal.may(self._toolbox.tools[_LISTED_BY[kind]].needs)

    def _tenants(self, typed: str, principal: Principal) -> Completed:
        if not self._may_list("tenant", principal):
            return Completed(())
        beginning = self._sight.ids(principal, typed)
        if len(beginning) > MOST or not typed:
            return Completed(beginning[:MOST], len(beginning), len(beginning) > MOST)
        return _completed(_first(typed, beginning, self._sight.containing(principal, typed)))

    async def _listed(self, tool: str, arguments: Mapping[str, str], typed: str, call: Call) -> Completed:
        listed = await self._ask(tool, arguments, call)
        names = listed.names
        if listed.next is not None and typed and (tool == "list_schemas" or "schema" in arguments):
            # The list goes on, perhaps with what begins with what was typed: have it begin there.
            before = _just_before(typed)
            after = before if tool == "list_schemas" else uris.table_name(arguments["schema"], before)
            ahead = await self._ask(tool, {**arguments, "after": after}, call)
            names = [*ahead.names, *names]
        names = list(dict.fromkeys(names))
        found = _completed(_ranked(typed, names))
        return found if listed.next is None else Completed(found.values, None, more=True)

    async def _ask(self, tool: str, arguments: Mapping[str, str], call: Call) -> _Listed:
        answer = await self._toolbox.call(tool, arguments, call)
        if not answer.is_error:
            return msgspec.json.decode(answer.payload, type=_Listed)
        if msgspec.json.decode(answer.payload, type=_Failed).error.code in _NOTHING_THERE:
            return _Listed()
        raise NotListed(answer.payload)


def _may_be_a_name(text: str) -> bool:
    """Whether a name may have it in it: JSON may hold halves of characters and zeros, which none has."""
    return "\0" not in text and not any(_BEFORE_SURROGATES < ord(each) <= _LAST_SURROGATE for each in text)


def _just_before(typed: str) -> str:
    """Return a name behind which, in the order of bytes, there is first what begins with `typed`."""
    last = ord(typed[-1]) - 1
    return typed[:-1] + chr(_BEFORE_SURROGATES if last == _LAST_SURROGATE else last) + LAST


def _ranked(typed: str, names: Sequence[str]) -> Iterator[str]:
    sought = typed.casefold()
    beginning = [each for each in names if each.startswith(typed)]
    return _first(typed, beginning, (each for each in names if sought in each.casefold()))


def _first(typed: str, beginning: Iterable[str], containing: Iterable[str]) -> Iterator[str]:
    """Yield what begins with what was typed, then what has it anywhere else."""
    yield from beginning
    yield from (each for each in containing if not each.startswith(typed))


def _completed(names: Iterator[str]) -> Completed:
    found = list(islice(names, _COUNTED + 1))
    return Completed(found[:MOST], len(found) if len(found) <= _COUNTED else None, len(found) > MOST)
