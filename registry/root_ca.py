"""The certificates of authorities that a registrant gives as text, instead of a file that this process would read.

Rules: pure. What is no certificate is refused, a private key above all, and never repeated in a message.
"""

import hashlib
import re
import ssl
from typing import Final

from registry.errors import InvalidInput

MAX_ROOT_CA: Final = 32 << 10
"""Characters: a provider's certificates for one region fit, those for all of them do not; each event carries them."""

_BLOCK: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----[A-Za-z0-9+/=\s]*-----END \1-----")
_BEGIN: Final = "-----BEGIN "
_CERTIFICATE: Final = "CERTIFICATE"


def check_root_ca(text: str) -> str:
    """Return the certificates that the text holds, in one form and without what stands between them.

    `InvalidInput` if there is none, if one cannot be read, or if anything else is there.
    """
    if len(text) > MAX_ROOT_CA:
        raise _invalid(f"is longer than {MAX_ROOT_CA} characters; give the authorities of this server alone")
    if "PRIVATE KEY" in text:
        raise _invalid("holds a private key, which nobody but its owner may have; give certificates alone")
    blocks = list(_BLOCK.finditer(text))
    if not blocks or len(blocks) < text.count(_BEGIN) or {block[1] for block in blocks} != {_CERTIFICATE}:
        raise _invalid("is no list of certificates in PEM (-----BEGIN CERTIFICATE-----)")
    lines = (line.strip() for block in blocks for line in block[0].splitlines())
    told = "".join(f"{line}\n" for line in lines if line)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=told)
    except (ssl.SSLError, ValueError):
        raise _invalid("holds a certificate that cannot be read") from None
    return told


def digest_of(root_ca: str) -> str:
    """Return a short name for the certificates, for those who need not read them."""
    return f"sha256:{hashlib.sha256(root_ca.encode()).hexdigest()}"


def _invalid(why: str) -> InvalidInput:
    return InvalidInput(f"ssl_root_ca {why}.", field="ssl_root_ca")
