"""How deep a JSON text nests, told without parsing it: parsers recurse, and this one does not.

Rules: pure. Up to its first mistake a text is seen as every JSON parser sees it, so none gets deeper than told here.
"""

from itertools import accumulate
from typing import Final

MOST: Final = 128
"""Deepest nesting of a request. Four levels are JSON-RPC's and MCP's; the SDK's parser gives up at 200 by itself."""
_OUTSIDE: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEP: Final = [(byte in b"[{") - (byte in b"]}") for byte in range(256)]


def is_too_deep(text: bytes) -> bool:
    """Whether the text nests deeper than `MOST`. What has no more brackets than that is not looked at further."""
    return text.count(b"[") + text.count(b"{") > MOST and depth_of(text) > MOST


def depth_of(text: bytes) -> int:
    """Return how deep the brackets outside of strings nest. Linear: some 60 ms for the worst MiB."""
    # An escape is two bytes, so within a string the pairs are taken from the left, and what is left is no escape.
    unescaped = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = b"".join(unescaped.split(b'"')[::2]).translate(None, _OUTSIDE)
    return max(accumulate(map(_STEP.__getitem__, brackets), initial=0))
