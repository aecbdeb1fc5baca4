"""Where a tenant may point, address by address: what no operator allows, what one may say, and no way around it."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from typing import Final, TypeAlias

import pytest
from hypothesis import assume, given, strategies as st

from server.network_policy import NEVER, Address, NetworkPolicy, faces_of, networks_of, ports_of
from tests.tables import table

Embed: TypeAlias = Callable[[int], int]

EMBEDDINGS: Final[dict[str, Embed]] = {
    "IPv4-mapped": lambda four: 0xFFFF << 32 | four,
    "IPv4-compatible": lambda four: four,
    "SIIT": lambda four: 0xFFFF << 48 | four,
    "NAT64": lambda four: 0x64FF9B << 96 | four,
    "local NAT64, 48 bits": lambda four: 0x64FF9B0001 << 80 | four >> 16 << 64 | (four & 0xFFFF) << 40,
    "local NAT64, 56 bits": lambda four: 0x64FF9B0001AB << 72 | four >> 24 << 64 | (four & 0xFFFFFF) << 32,
    "local NAT64, 64 bits": lambda four: 0x64FF9B0001ABCD << 64 | four << 24,
    "local NAT64, 96 bits": lambda four: 0x64FF9B0001ABCD << 64 | 0xEF << 32 | four,
    "6to4": lambda four: 0x2002 << 112 | four << 80 | 0xABCD,
    "Teredo's server": lambda four: 0x20010000 << 96 | four << 64 | 0xABCD,
    "Teredo's client": lambda four: 0x20010000 << 96 | 0x08080808 << 64 | (four ^ 0xFFFFFFFF),
    "ISATAP": lambda four: 0x20010DB8 << 96 | 0x5EFE << 32 | four,
    "ISATAP, unique": lambda four: 0x20010DB8 << 96 | 0x02005EFE << 32 | four,
}
"""Each way of writing an IPv4 address into an IPv6 one, by arithmetic of its own."""
NEVER_ALLOWED: Final = (
    *("0.0.0.0", "0.1.2.3", "::", "169.254.169.254", "169.254.170.2", "fe80::1", "fe80::a9fe:a9fe"),  # noqa: S104 - nothing is bound
    *("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254"),
    *("fd00:c1::a9fe:a9fe", "fd00:42::42", "fd00:a9fe:a9fe::1", "fd00:100::100:200"),
    *("224.0.0.1", "239.255.255.250", "ff02::1", "255.255.255.255"),
)
_NETWORKS: Final = st.builds(
    lambda address, bits: IPv4Network((address, bits), strict=False), st.ip_addresses(v=4), st.integers(1, 32)
)
SET_BY_NOBODY: Final = NetworkPolicy()


def of(*, allowed: tuple[str, ...] = (), denied: tuple[str, ...] = (), ports: tuple[str, ...] = ()) -> NetworkPolicy:
    return NetworkPolicy(allowed=networks_of(allowed), denied=networks_of(denied), ports=ports_of(ports))


def _written(four: IPv4Address | IPv6Address) -> list[tuple[str, IPv6Address]]:
    """Return the address as each way writes it."""
    return [(way, IPv6Address(embed(int(four)))) for way, embed in EMBEDDINGS.items()]


def refusal(policy: NetworkPolicy, address: str, port: int = 5432) -> str | None:
    return policy.refusal(ip_address(address), port)


@table("address", NEVER_ALLOWED)
@pytest.mark.parametrize(
    "policy", [SET_BY_NOBODY, of(allowed=("0.0.0.0/0", "::/0")), of(allowed=("private", "public", "loopback"))]
)
def test_metadata_link_local_this_host_and_many_are_never_allowed(policy: NetworkPolicy, address: str) -> None:
    assert refusal(policy, address) == "never allowed"


@table("address", ["127.0.0.1", "::1", "10.1.2.3", "192.168.1.5", "100.64.0.9", "fd12::5", "8.8.8.8", "2600::1"])
def test_an_operator_who_says_nothing_lets_tenants_point_at_loopback_private_and_public_networks(address: str) -> None:
    assert refusal(SET_BY_NOBODY, address) is None
    assert not SET_BY_NOBODY.says_something


@pytest.mark.parametrize(
    ("word", "inside", "outside"),
    [
        ("loopback", ["127.0.0.1", "127.255.0.1", "::1", "::ffff:127.0.0.1"], ["10.0.0.1", "8.8.8.8", "::1:0:2"]),
        ("private", ["10.0.0.1", "172.31.255.1", "192.168.0.1", "100.64.0.1", "fd12::1"], ["172.32.0.1", "127.0.0.1"]),
        (
            "public",
            ["8.8.8.8", "2600::1", "64:ff9b::808:808", "172.32.0.1"],
            ["10.0.0.1", "::1", "198.18.0.1", "240.0.0.1"],
        ),
        ("10.9.0.0/16", ["10.9.255.255", "::ffff:10.9.0.1"], ["10.10.0.1", "::ffff:10.10.0.1", "2600::1"]),
        ("2001:db8::/32", ["2001:db8::1"], ["2001:db9::1", "8.8.8.8"]),
        ("192.0.2.7", ["192.0.2.7"], ["192.0.2.8"]),
    ],
)
def test_a_word_or_a_network_is_what_it_says_allowed_or_denied(
    word: str, inside: list[str], outside: list[str]
) -> None:
    allowed, denied = of(allowed=(word,)), of(denied=(word,))

    assert {refusal(allowed, each) for each in inside} == {None}
    assert {refusal(allowed, each) for each in outside} == {"in no allowed network"}
    assert {refusal(denied, each) for each in inside} == {"in a denied network"}
    assert {refusal(denied, each) for each in outside} == {None}


def test_what_is_denied_stays_so_within_what_is_allowed() -> None:
    policy = of(allowed=("10.0.0.0/8",), denied=("10.1.0.0/16",))

    assert refusal(policy, "10.1.0.5") == "in a denied network"
    assert refusal(policy, "10.2.0.5") is None


def test_ports_are_those_that_are_allowed() -> None:
    policy, allowed = of(ports=("5432", "6000-6002")), [5432, 6000, 6001, 6002]

    assert [port for port in range(1, 65_536) if policy.allows_port(port)] == allowed
    around = sorted({near for port in (1, 80, *allowed, 65_535) for near in (port - 1, port, port + 1)} - {0, 65_536})
    assert [port for port in around if refusal(policy, "10.0.0.1", port) is None] == allowed


@given(four=st.ip_addresses(v=4))
def test_every_way_to_write_an_ipv4_address_into_an_ipv6_one_is_seen_through(four: IPv4Address) -> None:
    assume(int(four) >> 24)  # below, it is this host, and never an address to connect to
    assert [way for way, written in _written(four) if four not in set(faces_of(written))] == []


@given(data=st.data())
def test_no_way_of_writing_gets_around_a_denied_network(data: st.DataObject) -> None:
    denied = data.draw(_NETWORKS)
    four = data.draw(st.ip_addresses(network=str(denied)).filter(lambda address: int(address) >> 24))
    policy = of(denied=(str(denied),))

    assert [way for way, written in _written(four) if policy.refusal(written, 5432) is None] == []


@given(allowed=_NETWORKS, four=st.ip_addresses(v=4))
def test_no_way_of_writing_gets_into_an_allowed_network(allowed: IPv4Network, four: IPv4Address) -> None:
    assume(int(four) >> 24 and four not in allowed)
    policy = of(allowed=(str(allowed), "::/0"))

    assert [way for way, written in _written(four) if policy.refusal(written, 5432) is None] == []


@given(st.ip_addresses())
def test_who_allows_everything_says_no_more_than_who_says_nothing(address: Address) -> None:
    assert of(allowed=("0.0.0.0/0", "::/0")).refusal(address, 5432) == SET_BY_NOBODY.refusal(address, 5432)


@given(st.ip_addresses())
def test_nothing_that_is_never_allowed_is_public(address: Address) -> None:
    if of(allowed=("public",)).refusal(address, 5432) is None:
        assert not NEVER.holds(address)
        assert SET_BY_NOBODY.refusal(address, 5432) is None


@table("word", ["", "db.example", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0-10.0.0.9", "Private", "fe80::1%eth0", "1"])
def test_a_word_that_is_no_network_is_told_with_what_to_write(word: str) -> None:
    with pytest.raises(ValueError, match=r"is no network: write loopback, private, public, an address"):
        networks_of((word,))


@pytest.mark.parametrize("word", ["::ffff:10.0.0.0/104", "::ffff:10.0.0.1"])
def test_a_network_of_ipv4_in_disguise_is_refused_for_it_would_match_nothing(word: str) -> None:
    with pytest.raises(ValueError, match="write it as one"):
        networks_of((word,))


@table("word", ["", "0", "65536", "-1", "1-", "9-1", "0-9", "1-65536", "\uff15\uff14", "postgres", "1-2-3", "1e3"])
def test_a_word_that_is_no_port_is_told_with_what_to_write(word: str) -> None:
    with pytest.raises(ValueError, match="is no port: write one from 1 to 65535"):
        ports_of((word,))
