"""`mcp-postgres tokens …`: making static bearer tokens. No server and no Redis is needed for that."""

import argparse
import secrets
import sys
from datetime import UTC, datetime, timedelta
from typing import Final

from registry.errors import InvalidInput
from server.token_file import append_token
from server.tokens import RANDOM_BYTES, line_of, parse, token_of

_DAYS_AT_MOST: Final = 3650


def run_tokens(options: argparse.Namespace) -> None:
    """Make a token, print it once, and print or write what the file is to say of it.

    The token alone is on standard output, so that it can be piped into a vault. Raises `InvalidInput` and `StartError`.
    """
    token = token_of(secrets.token_bytes(RANDOM_BYTES))
    block = _block(token, options)
    if options.file is None:
        told = f"Put this into the file that MCP_POSTGRES_TOKENS_FILE names:\n\n{block}"
    else:
        append_token(options.file, block)
        told = f"Added to {options.file}; running replicas take it within two seconds.\n"
    print(token, flush=True)  # noqa: T201 - what the command is for
    sys.stderr.write(f"This is the token; it is told this once and written nowhere. {told}")


def _block(token: str, options: argparse.Namespace) -> str:
    now = datetime.now(UTC)
    if options.days is not None and not 0 < options.days <= _DAYS_AT_MOST:
        raise InvalidInput(f"--days must be 1 to {_DAYS_AT_MOST}, not {options.days}.")
    expires = None if options.days is None else now + timedelta(days=options.days)
    tenants = [glob.strip() for glob in options.tenants.split(",") if glob.strip()]
    block = line_of(token, options.subject, options.role, tenants, created=now, expires=expires)
    if options.file is None:
        _require_readable(block)
    return block


def _require_readable(block: str) -> None:
    try:
        parse(block)
    except InvalidInput as error:
        raise InvalidInput(
            f"A server would not take this token: {error.message}. (A role of the file's own is known with --file.)"
        ) from None
