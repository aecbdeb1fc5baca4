"""By which algorithms a published key may verify: those of its own kind, none of which has a shared secret.

Without `none` and HS256, a token cannot choose to be verified by what everybody may read (RFC 8725, 2.1).
"""

from collections.abc import Mapping
from typing import Final

OF_KIND: Final[Mapping[tuple[str, str | None], tuple[str, ...]]] = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
"""By a key's type and curve."""
ALGORITHMS: Final = tuple(each for algorithms in OF_KIND.values() for each in algorithms)
DEFAULT_ALGORITHMS: Final = ("RS256", "PS256", "ES256", "ES384", "EdDSA")
