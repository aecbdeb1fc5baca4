"""Secrets that are looked for in all that leaves a process, and the forms in which each is recognised.

A secret has a core of random digits that stands nowhere else, within whatever shape it was given in: what cuts, quotes
or escapes the shape leaves the core.
"""

import base64
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus

_CORE = 12
"""Random bytes of a core: no two are alike, and none comes about by chance."""


@dataclass(frozen=True)
class Planted:
    """One secret.

    Attributes:
        place: Where it was given.
        text: As it was given.
        core: The part of it by which it is recognised also when the rest was changed.
    """

    place: str
    text: str = field(repr=False)
    core: str = field(repr=False)

    @classmethod
    def at(cls, place: str, shape: str = "{}") -> "Planted":
        """Make one for a place; `shape` is what stands around its core."""
        core = secrets.token_hex(_CORE)
        return cls(place, shape.replace("{}", core), core)


def found(planted: Planted, data: bytes) -> list[str]:
    """Return the forms in which the secret stands in `data`."""
    forms = {**forms_of(planted.core), **{f"{form}, whole": raw for form, raw in forms_of(planted.text).items()}}
    return [form for form, raw in forms.items() if raw in data]


def forms_of(secret: str) -> Mapping[str, bytes]:
    """Return the forms in which a secret may leave a process."""
    raw = secret.encode()
    in_json = json.dumps(secret)[1:-1]
    texts = {
        "plain": secret,
        "percent-encoded": quote(secret, safe=""),
        "percent-encoded, slashes left": quote(secret),
        "percent-encoded, plus for space": quote_plus(secret),
        "percent-encoded to the last byte": "".join(f"%{byte:02x}" for byte in raw),
        "percent-encoded to the last byte, upper case": "".join(f"%{byte:02X}" for byte in raw),
        "hex": raw.hex(),
        "hex, upper case": raw.hex().upper(),
        "hex with colons": raw.hex(":"),
        "repr": repr(secret)[1:-1],
        "ascii": ascii(secret)[1:-1],
        "repr of bytes": repr(raw)[2:-1],
        "JSON": in_json,
        "JSON, not escaped": json.dumps(secret, ensure_ascii=False)[1:-1],
        "JSON in JSON": json.dumps(in_json)[1:-1],
    }
    forms = {form: text.encode() for form, text in texts.items()}
    for name, encode in (("base64", base64.b64encode), ("urlsafe base64", base64.urlsafe_b64encode)):
        forms.update({f"{name}, {shift} bytes into it": _within(raw, shift, encode) for shift in range(3)})
    return forms


def _within(raw: bytes, shift: int, encode: Callable[[bytes], bytes]) -> bytes:
    """Return what base64 of a longer text has in it wherever `raw` stands `shift` bytes behind a multiple of three."""
    first = -(-shift * 8 // 6)
    whole = (shift + len(raw)) * 8 // 6
    return encode(bytes(shift) + raw)[first:whole]
