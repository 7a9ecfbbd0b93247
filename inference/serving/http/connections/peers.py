"""Peers: the address that limits apply to."""

import ipaddress
from functools import lru_cache
from typing import Any

_IPV6_PREFIX = 64  # a host has at least this network, and may use any address of it


@lru_cache(4096)
def peer_of(host: str) -> str:
    """The peer of an address: an IPv4 address, or the /64 network of an IPv6 address."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    if address.is_loopback:
        return str(address)
    return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))


def peer_of_socket(address: Any) -> str:  # noqa: ANN401 - what `accept` returns
    """The peer of a socket's address."""
    return peer_of(str(address[0])) if isinstance(address, tuple) and address else "local"


@lru_cache(4096)
def is_loopback(host: str) -> bool:
    """Whether an address is one of this machine's loopback addresses."""
    if host in ("localhost", "local"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
