"""The revisions of MCP that are spoken here, as their header names them."""

from typing import Final

HANDSHAKE: Final = frozenset({b"2024-11-05", b"2025-03-26", b"2025-06-18", b"2025-11-25"})
"""Those that begin with a handshake, which this stateless server does not wait for."""
UNSAID: Final = b"2025-03-26"
"""What a request without the header is taken to speak."""
STATELESS: Final = b"2026-07-28"
"""The one whose requests tell everything themselves."""
