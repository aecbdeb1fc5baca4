"""The revisions of MCP that made-up requests are of."""

from typing import Final

HANDSHAKE: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
STATELESS: Final = "2026-07-28"
META: Final = "io.modelcontextprotocol/"
"""What the names in the `_meta` of a stateless request begin with."""
