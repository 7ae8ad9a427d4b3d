"""How many requests one client may make: a token bucket each, in this process.

The headers follow the IETF draft "RateLimit header fields for HTTP" (draft-ietf-httpapi-ratelimit-headers).
"""

from __future__ import annotations

import ipaddress
import math
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

WINDOW_S = 60
MAX_CLIENTS = 10_000
"""Buckets kept; the least recently seen is forgotten first, and a forgotten client starts full."""
IPV6_CLIENT_PREFIX = 64
"""What one household or machine is given, so that it does not count as countless clients."""


@dataclass(frozen=True)
class Allowance:
    """What is left for a client after a request."""

    allowed: bool
    remaining: int
    reset_s: int
    """Seconds until the bucket is full again."""
    retry_after_s: int


class RateLimiter:
    """`per_minute` requests a client, refilled continuously."""

    def __init__(self, per_minute: int) -> None:
        self._capacity = float(per_minute)
        self._refill = per_minute / WINDOW_S
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self.policy = f'"default";q={per_minute};w={WINDOW_S}'

    def take(self, client: str, now: float) -> Allowance:
        """Spend one request of `client` at `now` (monotonic seconds)."""
        tokens, at = self._buckets.pop(client, (self._capacity, now))
        tokens = min(self._capacity, tokens + max(0.0, now - at) * self._refill)
        allowed = tokens >= 1
        tokens -= allowed
        self._buckets[client] = (tokens, now)
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return Allowance(
            allowed=allowed,
            remaining=int(tokens),
            reset_s=math.ceil((self._capacity - tokens) / self._refill),
            retry_after_s=max(1, math.ceil((1 - tokens) / self._refill)),
        )


class Places:
    """How many live connections each client has open, `of_each` at most. Holds one number for each that has any."""

    def __init__(self, of_each: int) -> None:
        self.of_each = of_each
        self._taken: Counter[str] = Counter()

    def take(self, client: str) -> bool:
        """Take a place for `client`. Return False where it has as many as it may have."""
        if self._taken[client] >= self.of_each:
            return False
        self._taken[client] += 1
        return True

    def give_back(self, client: str) -> None:
        """Give back a place that `take` gave."""
        self._taken[client] -= 1
        if self._taken[client] <= 0:
            del self._taken[client]


class TrustedProxies:
    """Whose word about the client's address is taken.

    `networks` are addresses or CIDR networks of reverse proxies, `header` the one that they write: X-Forwarded-For or
    Forwarded (RFC 7239). The other one is whatever the client sent. Raises `ValueError` on what is no network.
    """

    def __init__(self, networks: Sequence[str], header: str = "x-forwarded-for") -> None:
        self.header = header
        self._networks = [ipaddress.ip_network(network, strict=False) for network in networks]

    def client_of(self, peer: str | None, forwarded_for: Sequence[str]) -> str:
        """Return who the request is from: the nearest address in the header that is not a trusted proxy itself.

        `peer` is the address of the connection; `forwarded_for` the values of the headers, in their order.
        """
        client = peer or "unknown"
        hops = [hop.strip() for value in forwarded_for for hop in value.split(",")]
        if self.header == "forwarded":
            hops = [hop for element in hops if (hop := _for_of(element)) is not None]
        while hops and self._trusts(client):
            client = hops.pop()
        return _household(client)

    def _trusts(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)


def _for_of(element: str) -> str | None:
    """Return the address in one element of a Forwarded header, without its port; None where it has none."""
    for pair in element.split(";"):
        name, _, value = pair.strip().partition("=")
        if name.lower() != "for":
            continue
        node = value.strip().strip('"')
        if node.startswith("["):
            return node[1:].partition("]")[0]
        return node.partition(":")[0] if node.count(":") == 1 else node
    return None


def _household(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, IPV6_CLIENT_PREFIX), strict=False))
    return str(parsed)
