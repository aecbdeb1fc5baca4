"""What a login may cost: a server says how often a password is to be hashed, and the event loop stands still for that.

Rules: pure.
"""

import re
from typing import Final

ITERATIONS_AT_MOST: Final = 1_000_000
"""Of a password's hash; measured: 0.23 s."""

_SASL_CONTINUE: Final = b"\0\0\0\x0b"
_ITERATIONS: Final = re.compile(rb",i=([0-9]+)")
_DIGITS_AT_MOST: Final = len(str(ITERATIONS_AT_MOST))


def is_bearable(authentication: bytes) -> bool:
    """Whether what a server asks for in the body of an authentication message is no more than the loop can stand."""
    asked = _ITERATIONS.search(authentication) if authentication.startswith(_SASL_CONTINUE) else None
    return asked is None or (len(asked[1]) <= _DIGITS_AT_MOST and int(asked[1]) <= ITERATIONS_AT_MOST)
