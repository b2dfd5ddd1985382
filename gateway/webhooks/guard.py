"""Which addresses a webhook may go to: the public internet, and what the operator allows besides.

URLs are read with yarl, the parser of the client that connects: two parsers that disagree on a host are a way around
the check (a full-width digit is part of a name for one and of an address for the other).

A tenant chooses the URL, so without this it could have the gateway call what only the gateway can reach. Names are
resolved here and nowhere else, at each connection: a name that pointed elsewhere when it was registered is no way in.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last four bytes
# Not global, though Python 3.11's ``is_global`` says so of them.
_BLOCKED = tuple(
    ipaddress.ip_network(each)
    for each in (
        "::/96",  # RFC 4291 section 2.5.5.1: IPv4-compatible addresses, deprecated
        "64:ff9b:1::/48",  # RFC 8215: local-use translation
        "3fff::/20",  # RFC 9637: documentation
        "5f00::/16",  # RFC 9602: segment routing within a domain
        "fec0::/10",  # RFC 3879: site-local addresses, deprecated
        "192.88.99.0/24",  # RFC 7526: 6to4 relays, deprecated
    )
)
# What the WHATWG URL standard takes for an IPv4 address: a host whose last label is a number ("127.1", "0x7f000001").
_NUMERIC_HOST = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9a-fA-F]*)\.?", re.DOTALL)


class Forbidden(OSError):
    """The address is one that we may not call."""


class Guard:
    """The networks that may be called though they are not public."""

    def __init__(self, allowed: Iterable[str]) -> None:
        """Raises ValueError for what is no network in CIDR notation."""
        self._allowed = [ipaddress.ip_network(each) for each in allowed]

    def wrong_url(self, url: str) -> str:
        """What is wrong with a URL as an endpoint, with the remedy; "" for nothing."""
        try:
            parts = URL(url)
            host = parts.raw_host or ""
        except ValueError:
            return "is not a URL"
        if parts.scheme not in ("https", "http") or not host or parts.explicit_port == 0:
            return "is not a URL; write it like https://cases.example.com/hooks"
        if parts.user is not None or parts.fragment:
            return "must have neither a user nor a fragment: messages are signed instead"
        literal = _literal(host)
        if _is_ambiguous(host, literal):
            return "is an address in a form that programs read differently; write it like 203.0.113.7, or use a name"
        if literal is not None and not self.permits(literal):
            return "is an address that is not public; GATEWAY_WEBHOOK_NETWORKS allows further ones"
        if parts.scheme == "http" and not self._allowed:
            return "must begin with https: what is told goes over a network that others can read"
        return ""

    def permits(self, address: Address) -> bool:
        """Whether an address may be called."""
        if any(address in network for network in self._allowed if network.version == address.version):
            return True
        inner = _inner(address)
        if inner is not None:
            return self.permits(inner)
        if any(address in network for network in _BLOCKED if network.version == address.version):
            return False
        return address.is_global and not address.is_multicast

    def check_literal(self, url: str) -> None:
        """Check a host that is an IP address: the client does not resolve it. Raises Forbidden."""
        host = URL(url).raw_host or ""
        literal = _literal(host)
        if _is_ambiguous(host, literal):
            raise Forbidden("not a canonical address")
        if literal is not None and not self.permits(literal):
            raise Forbidden("not a public address")


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_ambiguous(host: str, literal: Address | None) -> bool:
    """Whether programs may read different addresses in this host, or an address where this one reads a name."""
    if literal is None:
        return _NUMERIC_HOST.fullmatch(host) is not None or "%" in host
    return str(literal) != host


def _inner(address: Address) -> Address | None:
    """The IPv4 address that an IPv6 one stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


class GuardedResolver(AbstractResolver):
    """Resolves names to those of their addresses that may be called."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raises Forbidden where none is left."""
        found: Sequence[ResolveResult] = await self._resolver.resolve(host, port, family)
        permitted = [
            each for each in found if self._guard.permits(ipaddress.ip_address(each["host"].partition("%")[0]))
        ]
        if not permitted:
            raise Forbidden("no public address")
        return permitted

    async def close(self) -> None:
        await self._resolver.close()
