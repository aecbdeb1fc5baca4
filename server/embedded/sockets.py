"""Where a server's Unix socket lives, and free TCP ports.

A socket's path may have about 100 bytes, which a data directory deep in a home easily exceeds, so sockets live in the
temporary directory. The name follows from the data directory: a killed process leaves nothing that its successor does
not find and reuse.
"""

import os
import shutil
import socket
import stat
import tempfile
from hashlib import sha256
from pathlib import Path

from server.embedded.errors import EmbeddedUnavailable
from server.embedded.private import make_private_directory

LOOPBACK = "127.0.0.1"

_LONGEST_PARENT = 60  # bytes: leaves 44 of macOS's 104 for our own names


def socket_directory(home: Path) -> Path:
    """Return the one directory that belongs to this home; it may not exist yet."""
    parent = tempfile.gettempdir()
    if len(os.fsencode(parent)) > _LONGEST_PARENT:
        parent = "/tmp"  # noqa: S108 - the directory below is 0700 and its owner is checked
    return Path(parent, f"mcp-postgres-{os.geteuid()}-{sha256(os.fsencode(home)).hexdigest()[:12]}")


def make_socket_directory(home: Path, owner: int) -> Path:
    """Make the home's socket directory, empty. The caller holds the home's lock, so what lies in it is left over."""
    directory = socket_directory(home)
    make_private_directory(directory)
    info = directory.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid not in {os.geteuid(), owner} or info.st_mode & 0o077:
        raise EmbeddedUnavailable(f"{directory} is not a private directory of this user: remove it, or set TMPDIR")
    for leftover in directory.iterdir():
        leftover.unlink()
    return directory


def remove_socket_directory(home: Path) -> None:
    """Remove the home's socket directory, if it is there."""
    shutil.rmtree(socket_directory(home), ignore_errors=True)


def free_port() -> int:
    """Return a TCP port of the loopback address that nobody listens on at the moment."""
    with socket.create_server((LOOPBACK, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    """Tell whether a server could listen on this port of the loopback address."""
    try:
        socket.create_server((LOOPBACK, port)).close()
    except OSError:
        return False
    return True
