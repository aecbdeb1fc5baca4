"""Where tenants' hosts are, as far as tenants may point there: names become addresses here, and are judged.

Whoever connects, connects to an address that was judged here a moment ago, never to the name: who answers for it may
answer otherwise the second time. Our own Redis and our own listening port are refused as the policy's worst are; which
addresses those have is looked at when somebody asks for their port, so that it costs nobody else anything.
"""

import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv6Address, ip_address
from typing import Final, TypeAlias

import structlog

from registry.errors import PolicyRefused
from server.network_policy import Address, NetworkPolicy, faces_of, unmapped
from server.resolver import Resolver

Places: TypeAlias = Callable[[], Iterable[tuple[str, int]]]

_AT_MOST: Final = 8
"""Addresses of one host that are tried: a name may have as many as its owner likes."""


class Reach:
    """Where tenants may be reached from here.

    Args:
        policy: What the operator allows.
        resolver: Looks names up.
        redis: Hosts and ports of the servers that are this server's Redis, as far as it is known now.
    """

    def __init__(
        self, policy: NetworkPolicy | None = None, *, resolver: Resolver | None = None, redis: Places = tuple
    ) -> None:
        self._policy = policy or NetworkPolicy()
        self._resolver = resolver or Resolver()
        self._redis = redis
        self._redis_seen: set[tuple[Address, int]] = set()
        self._listening: set[int] = set()
        self._logger = structlog.get_logger("reach")

    def refuse_port(self, port: int) -> None:
        """Let nobody point at this port of this machine: we listen on it ourselves."""
        self._listening.add(port)

    async def check(self, tenant_id: str, host: str, port: int) -> None:
        """Raise `PolicyRefused` where it is known, without looking a name up, that no tenant may point there."""
        try:
            addresses: Sequence[Address] = [ip_address(host)]
        except ValueError:
            if not self._policy.allows_port(port):
                raise self._refused(tenant_id, host, port, {}) from None
            return
        await self._judged(tenant_id, host, port, addresses)

    async def addresses(self, tenant_id: str, host: str, port: int) -> Sequence[Address]:
        """Return where to connect to, the best first: at least one address.

        Raises `PolicyRefused` if the host has none that the tenant may point at, and `OSError` if it has none at all.
        May be cancelled.
        """
        return await self._judged(tenant_id, host, port, await self._resolver.addresses(host))

    async def _judged(self, tenant_id: str, host: str, port: int, addresses: Sequence[Address]) -> Sequence[Address]:
        verdicts = {unmapped(address): await self._refusal(address, port) for address in addresses[:_AT_MOST]}
        good = [address for address, refusal in verdicts.items() if refusal is None]
        if not good:
            raise self._refused(tenant_id, host, port, verdicts)
        return good

    async def _refusal(self, address: Address, port: int) -> str | None:
        refusal: str | None = self._policy.refusal(address, port)
        if refusal is None and port in self._listening and any(map(is_local, faces_of(address))):
            refusal = "this server's own port"
        return refusal or await self._redis_refusal(address, port)

    async def _redis_refusal(self, address: Address, port: int) -> str | None:
        hosts = [host for host, theirs in self._redis() if theirs == port]
        try:
            for host in hosts:
                found = await self._resolver.addresses(host)
                self._redis_seen |= {(unmapped(each), port) for each in found}
        except OSError:
            return "perhaps this server's Redis, which cannot be looked up"
        theirs = {each for each, known in self._redis_seen if known == port}
        faces = set(faces_of(address))
        # A server of this machine may listen on all of its addresses.
        if faces & theirs or (any(map(is_local, faces)) and any(map(is_local, theirs))):
            return "this server's Redis"
        return None

    def _refused(self, tenant_id: str, host: str, port: int, verdicts: Mapping[Address, str | None]) -> PolicyRefused:
        """Tell the operator which address it is and why; tell who registers neither, who may be looking around."""
        why = {str(address): verdict for address, verdict in verdicts.items()} or "not an allowed port"
        self._logger.warning("tenant may not point there", tenant=tenant_id, host=host, port=port, why=why)
        return PolicyRefused(
            f"{host}:{port} of tenant {tenant_id!r} is not where this server lets tenants point. Ask its operator, "
            "who says where they may with MCP_POSTGRES_ALLOWED_NETWORKS, MCP_POSTGRES_DENIED_NETWORKS and "
            "MCP_POSTGRES_ALLOWED_PORTS; its log says what is wrong with this one."
        )


def is_local(address: Address) -> bool:
    """Whether this machine has the address: what is not its own, it cannot bind."""
    family = socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
