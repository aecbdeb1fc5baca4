"""The JSON Schemas of what tools take, as small as they can be: every client has a model read them, call after call.

Rules: pure. What is left out is what the server checks and explains anyway, and what says nothing: bounds, formats,
that what may be left out may be null, and that it is null, false or empty then.
"""

from typing import Any, Final, TypeAlias

import msgspec

from registry.secrets import Secret

Schema: TypeAlias = dict[str, Any]

_NEEDLESS: Final = frozenset(
    {"title", "format", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"}
)
_REFERENCE: Final = "#/$defs/"


def schema_of(kind: type[msgspec.Struct]) -> Schema:
    """Return the schema of a tool's arguments: an object, with nothing to be looked up elsewhere."""
    _, definitions = msgspec.json.schema_components(
        (kind,), schema_hook=_of_secret, ref_template=f"{_REFERENCE}{{name}}"
    )
    for definition in definitions.values():
        # A docstring is for who reads the code; what a model needs to know stands at the fields.
        definition.pop("description", None)
    schema: Schema = _small(definitions[kind.__name__], definitions)
    return schema


def _small(node: Any, definitions: dict[str, Schema]) -> Any:  # noqa: ANN401 - any part of a schema
    if isinstance(node, list):
        return [_small(each, definitions) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _small(definitions[node["$ref"].removeprefix(_REFERENCE)], definitions)
    kept = {name: _small(value, definitions) for name, value in node.items() if name not in _NEEDLESS}
    if "properties" in node:
        kept["properties"] = {name: _small(field, definitions) for name, field in node["properties"].items()}
    for empty in ("default", "required"):
        if not kept.get(empty, True):
            del kept[empty]
    if kept.get("type") == "array":
        kept.setdefault("items", {})  # some clients refuse an array without
    return _without_null(kept)


def _without_null(schema: Schema) -> Schema:
    """Return what remains of `X or null`: who has no value for a field leaves it out."""
    kinds = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    return {**kinds[0], **{name: value for name, value in schema.items() if name != "anyOf"}}


def _of_secret(kind: type) -> Schema:
    if kind is Secret:
        return {"type": "string"}
    raise NotImplementedError
