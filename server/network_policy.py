"""Where a tenant may point: one address and one port, judged.

Rules: pure. What is judged is the address that is connected to, never a name. An IPv6 address that carries an IPv4 one
is judged as both, for a translator on the way, or this machine itself, connects to the other. Neither the operator's
lists nor anything else allows what is in `NEVER`.
"""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final, Literal, TypeAlias

import msgspec

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network
Refusal: TypeAlias = Literal["never allowed", "not an allowed port", "in a denied network", "in no allowed network"]
"""Why an address is not to be connected to. For the operator's log: who registers tenants is not told which it is."""

_MOST_PORTS: Final = 65_535


class Block(msgspec.Struct, frozen=True):
    """Some networks, or all that is outside of them."""

    networks: tuple[Network, ...]
    outside: bool = False

    def holds(self, address: Address) -> bool:
        """Whether the address is one of them."""
        return any(address in network for network in self.networks) is not self.outside


class NetworkPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator allows and denies. Nothing said allows everything but `NEVER`.

    Attributes:
        allowed: Where an address must be; empty: anywhere.
        denied: Where it must not be; goes before `allowed`.
        ports: Which ports it may have; empty: any.
    """

    allowed: tuple[Block, ...] = ()
    denied: tuple[Block, ...] = ()
    ports: tuple[range, ...] = ()

    @property
    def says_something(self) -> bool:
        """Whether an operator has set any of it."""
        return bool(self.allowed or self.denied or self.ports)

    def allows_port(self, port: int) -> bool:
        """Whether a tenant may point at the port of some address."""
        return not self.ports or any(port in ports for ports in self.ports)

    def refusal(self, address: Address, port: int) -> Refusal | None:
        """Return why nobody may connect there on behalf of a tenant; None if a tenant may point there."""
        faces = tuple(faces_of(address))
        if any(NEVER.holds(face) for face in faces):
            return "never allowed"
        if not self.allows_port(port):
            return "not an allowed port"
        if any(_is_in(self.denied, face) for face in faces):
            return "in a denied network"
        if self.allowed and not all(_is_in(self.allowed, face) for face in faces):
            return "in no allowed network"
        return None


def faces_of(address: Address) -> Iterator[Address]:
    """Yield the address as this machine connects to it, then every IPv4 address that it may lead to."""
    bare = unmapped(address)
    yield bare
    if isinstance(bare, IPv6Address):
        yield from _embedded(int(bare))


def unmapped(address: Address) -> Address:
    """Return the IPv4 address that an IPv4-mapped one stands for: the system takes it as that."""
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address


def networks_of(words: Sequence[str]) -> tuple[Block, ...]:
    """Return what an operator's words mean; `ValueError`, fit to be shown, for the first that means nothing."""
    return tuple(WORDS.get(word) or Block((_network_of(word),)) for word in words)


def ports_of(words: Sequence[str]) -> tuple[range, ...]:
    """Return what an operator's words for ports mean. Raises as `networks_of` does."""
    return tuple(map(_ports_of, words))


def _is_in(blocks: Sequence[Block], address: Address) -> bool:
    return any(block.holds(address) for block in blocks)


def _embedded(number: int) -> Iterator[IPv4Address]:
    """Yield what each way of writing an IPv4 address into an IPv6 one finds in this one; nothing where it is none."""
    low = number & 0xFFFFFFFF
    if number >> 32 in _LOW_PREFIXES and number > 1:  # `::` and `::1` are themselves, and no IPv4 addresses
        yield IPv4Address(low)
    if number >> 32 & 0xFDFFFFFF == _ISATAP:
        yield IPv4Address(low)
    if number >> 112 == _6TO4:
        yield IPv4Address(number >> 80 & 0xFFFFFFFF)
    if number >> 96 == _TEREDO:
        yield IPv4Address(number >> 64 & 0xFFFFFFFF)
        yield IPv4Address(low ^ 0xFFFFFFFF)
    if number >> 80 == _LOCAL_NAT64:
        # How long the translator's own prefix is, nobody here knows; all zero is what another length leaves.
        yield from (IPv4Address(found) for found in _of_any_length(number) if found >> 24)


def _of_any_length(number: int) -> Iterator[int]:
    """Yield what a prefix of 48, 56, 64 and 96 bits leaves to the IPv4 address (RFC 6052, 2.2)."""
    yield (number >> 64 & 0xFFFF) << 16 | number >> 40 & 0xFFFF
    yield (number >> 64 & 0xFF) << 24 | number >> 32 & 0xFFFFFF
    yield number >> 24 & 0xFFFFFFFF
    yield number & 0xFFFFFFFF


def _network_of(word: str) -> Network:
    try:
        network = ip_network(word.replace("%", "?"))  # an interface of this machine would match nothing
    except ValueError:
        raise ValueError(
            f"{word!r} is no network: write {', '.join(WORDS)}, an address, or a network without further bits set, as "
            "10.0.0.0/8 or 2001:db8::/32"
        ) from None
    if isinstance(network, IPv6Network) and network.overlaps(_MAPPED) and network.prefixlen >= _MAPPED.prefixlen:
        raise ValueError(f"{word!r} is a network of IPv4: write it as one")
    return network


def _ports_of(word: str) -> range:
    first, dash, last = word.partition("-")
    ends = [first, last] if dash else [first]
    if all(end.isascii() and end.isdecimal() and len(end) <= len(str(_MOST_PORTS)) for end in ends):
        ports = range(int(ends[0]), int(ends[-1]) + 1)
        if ports and ports[0] >= 1 and ports[-1] <= _MOST_PORTS:
            return ports
    raise ValueError(f"{word!r} is no port: write one from 1 to {_MOST_PORTS}, or two as 6000-6010")


def _block(*words: str) -> Block:
    return Block(tuple(map(ip_network, words)))


_6TO4: Final = 0x2002
"""RFC 3056, 2."""
_TEREDO: Final = 0x20010000
"""RFC 4380, 4: the server's address, and the client's with all bits flipped."""
_ISATAP: Final = 0x00005EFE
"""RFC 5214, 6.1, and the same with the bit that says whether it is unique."""
_LOCAL_NAT64: Final = 0x0064_FF9B_0001
"""RFC 8215."""
_LOW_PREFIXES: Final = frozenset({0, 0xFFFF_0000, 0x0064_FF9B << 64})
"""What stands before the last 32 bits: nothing (RFC 4291, 2.5.5.1), SIIT (RFC 2765, 2.1), NAT64 (RFC 6052, 2.1)."""
_MAPPED: Final = IPv6Network("::ffff:0:0/96")

_LOOPBACK: Final = ("127.0.0.0/8", "::1/128")
_PRIVATE: Final = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10")
"""RFC 1918, RFC 6598 (carriers, and many a cloud's and overlay's inside), RFC 4193, RFC 3879."""
_METADATA: Final = (
    "100.100.100.200/32",  # Alibaba Cloud
    "168.63.129.16/32",  # Azure's wire server and resolver
    "192.0.0.192/32",  # Oracle Cloud Classic
    "fd00:ec2::/32",  # AWS: metadata, resolver, clock, pods' credentials
    "fd20:ce::254/128",  # Google Cloud
    "fd00:c1::a9fe:a9fe/128",  # Oracle Cloud
    "fd00:42::42/128",  # Scaleway
    "fd00:a9fe:a9fe::1/128",  # Akamai
    "fd00:100::100:200/128",  # Alibaba Cloud
)
"""Where clouds tell a machine its credentials, as their documents say, beside those that are link-local (most)."""

NEVER: Final = _block(
    *("0.0.0.0/8", "::/128"),  # this host: Linux connects to loopback
    *("169.254.0.0/16", "fe80::/10"),  # link-local: the metadata of most clouds, containers' credentials
    *("224.0.0.0/4", "ff00::/8", "255.255.255.255/32"),  # to many
    *_METADATA,
)
"""Where no tenant's database is and much else may be."""

WORDS: Final = {
    "loopback": _block(*_LOOPBACK),
    "private": _block(*_PRIVATE),
    "public": Block(
        tuple(
            map(
                ip_network,
                (
                    *_LOOPBACK,
                    *_PRIVATE,
                    *("0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15"),
                    *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3"),
                    *("::/128", "64:ff9b:1::/48", "100::/64", "2001:db8::/32", "3fff::/20", "5f00::/16"),
                    *("fe80::/10", "ff00::/8"),
                ),
            )
        ),
        outside=True,
    ),
}
"""Words for networks. `public` is all that IANA's registries of special addresses do not keep from the Internet."""
