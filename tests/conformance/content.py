"""Content of every kind, as the conformance suite asks for it."""

from typing import Final

import mcp_types as wire

RED_PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
"""A PNG of one red pixel."""
SILENCE: Final = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQIAAACAgA=="
"""A WAV of two samples."""
EMBEDDED_TEXT: Final = "Embedded resource content for testing."


def text(told: str) -> wire.TextContent:
    """Return text."""
    return wire.TextContent(text=told)


def image() -> wire.ImageContent:
    """Return an image."""
    return wire.ImageContent(data=RED_PIXEL, mime_type="image/png")


def audio() -> wire.AudioContent:
    """Return a sound."""
    return wire.AudioContent(data=SILENCE, mime_type="audio/wav")


def embedded(uri: str, mime_type: str, told: str) -> wire.EmbeddedResource:
    """Return a resource as part of an answer."""
    return wire.EmbeddedResource(resource=wire.TextResourceContents(uri=uri, mime_type=mime_type, text=told))


def answered(*content: wire.ContentBlock, is_error: bool = False) -> wire.CallToolResult:
    """Return a tool's result."""
    return wire.CallToolResult(content=list(content), is_error=is_error)
