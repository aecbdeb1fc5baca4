"""The socket that clients connect to, and the address by which it is told."""

import errno
import os
import socket
from typing import Final

from server.errors import StartError
from server.redaction import shown
from server.settings import Settings

BACKLOG: Final = 2048
"""Clients that may wait to be taken."""
GRACE: Final = 5
"""Seconds that answers under way get when a process stops, once calls that run too long were stopped."""
_OTHER_HOST: Final = "name an address of this machine with --host"
_ADVICE: Final = {
    errno.EADDRINUSE: "choose another port with --port, or end what is using it",
    errno.EACCES: "choose a port above 1023 with --port",
}


def listen(settings: Settings) -> socket.socket:
    """Return the socket; `StartError` when the port cannot be had."""
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except socket.gaierror as error:
        raise _cannot_listen(settings, error.strerror or "unknown name", _OTHER_HOST) from None
    except OSError as error:
        number = error.errno or 0
        raise _cannot_listen(settings, os.strerror(number), _ADVICE.get(number, _OTHER_HOST)) from None
    except UnicodeError:
        raise _cannot_listen(settings, "no name of a host", _OTHER_HOST) from None


def base_of(settings: Settings, listener: socket.socket) -> str:
    """Return the URL that all paths are below."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{'https' if settings.tls_cert else 'http'}://{host}:{listener.getsockname()[1]}"


def _cannot_listen(settings: Settings, reason: str, advice: str) -> StartError:
    return StartError(f"Cannot listen on {shown(settings.host)}, port {settings.port} ({reason}); {advice}.")
