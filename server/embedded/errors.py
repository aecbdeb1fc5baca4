"""The one error of the embedded servers."""


class EmbeddedUnavailable(Exception):
    """An embedded server cannot be had; the message is one line that tells the operator what to do."""
