"""What is asked of TLS with a tenant's server, and of whom it must be.

A connection is made to an address that was judged; whose certificate it must show is the tenant's host name all the
same. The driver would ask for the name of what it connects to, so each context asks for its own, also where the driver
makes a connection of its own accord, to cancel a query.
"""

import asyncio
import ssl
from collections import OrderedDict
from typing import Any, Final

from registry.events import VERIFYING, TenantConfig

_KEPT: Final = 256
"""Contexts of tenants' own authorities that are kept, those used last."""


class TlsContexts:
    """Contexts for tenants' connections. What is costly to make is kept: reading the system's certificates takes 30 ms.

    A context is of the certificates as they were read first; what the system trusts later is trusted after a restart.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[bool, bool, str | None], ssl.SSLContext] = OrderedDict()

    async def of(self, config: TenantConfig) -> ssl.SSLContext:
        """Return what the tenant's mode asks for: `verify-ca` and `verify-full` verify, the others only encrypt."""
        context = _For(ssl.PROTOCOL_TLS_CLIENT)
        context.inner = await self._inner(config)
        context.name = config.host.removesuffix(".")
        return context

    async def _inner(self, config: TenantConfig) -> ssl.SSLContext:
        verifies = config.ssl in VERIFYING
        key = (verifies, config.ssl == "verify-full", config.root_ca if verifies else None)
        context = self._kept.get(key)
        if context is None:
            # Apart: it would hold up every other tenant's calls.
            context = await asyncio.to_thread(_context, *key)
            self._kept[key] = context
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return context


class _For(ssl.SSLContext):
    """Another context, for connections to the one host it was made for, whatever the driver calls that."""

    inner: ssl.SSLContext
    name: str

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002 - the signature is the standard library's
        server_hostname: str | bytes | None = None,  # noqa: ARG002 - what is replaced
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Begin TLS as the other context does."""
        arguments: dict[str, Any] = {"server_side": server_side, "server_hostname": self.name, "session": session}
        return self.inner.wrap_bio(incoming, outgoing, **arguments)


def _context(verifies: bool, named: bool, root_ca: str | None) -> ssl.SSLContext:  # noqa: FBT001 - a key, taken apart
    if verifies and root_ca is None:
        context = ssl.create_default_context()
        context.check_hostname = named
        return context
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = named
    if verifies:
        context.load_verify_locations(cadata=root_ca)
    else:
        context.verify_mode = ssl.CERT_NONE
    return context
