"""Which names this API answers under, and which pages may open its WebSocket.

A browser sends the name that a page asked for as `Host`, and the page's own site as `Origin`. A foreign name that
resolves to this machine (DNS rebinding) and a socket opened by another site are refused by these two headers alone:
https://fetch.spec.whatwg.org/#origin-header and RFC 6455, section 10.2.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from groundswell.errors import Forbidden, GroundswellError, MisdirectedRequest

ANY = "*"
MAX_ECHO_CHARS = 80


class HostRules:
    """Decides by `Host` and `Origin`.

    Args:
        allowed_hosts: names beside those of this machine, without ports; `*` allows every name.
        public_urls: where browsers reach the API, its WebSocket or the page. Their names are allowed.
        cors_origins: origins of other sites whose pages may read, or `*`.
    """

    def __init__(
        self, *, allowed_hosts: Iterable[str] = (), public_urls: Iterable[str] = (), cors_origins: Iterable[str] = ()
    ) -> None:
        names = {name.lower() for name in allowed_hosts}
        self._any_host = ANY in names
        public = [urlsplit(url) for url in public_urls if url]
        self._names = names | {(url.hostname or "").lower() for url in public}
        origins = {origin.lower() for origin in cors_origins}
        self._any_origin = ANY in origins
        self._origins = origins | {
            f"{_WEB_SCHEMES.get(url.scheme, url.scheme)}://{url.netloc.lower()}" for url in public
        }

    def refuse_host(self, host: str | None) -> GroundswellError | None:
        """Return why a request for this `Host` is not answered, or None. A request without one is from no browser."""
        if self._any_host or host is None or _is_of_this_machine(name := host_name(host)) or name in self._names:
            return None
        return MisdirectedRequest(
            f"This platform does not answer under the name {name[:MAX_ECHO_CHARS]!r}. Use localhost or its address, "
            "or add the name to GROUNDSWELL_ALLOWED_HOSTS."
        )

    def refuse_origin(self, host: str | None, origin: str | None) -> GroundswellError | None:
        """Return why a page of `origin` may not open a WebSocket at `host`, or None. No origin: no browser."""
        if self._any_origin or origin is None or origin.lower() in self._origins:
            return None
        if host is not None and urlsplit(origin.lower()).netloc == host.lower():
            return None
        return Forbidden(
            f"Pages of {origin[:MAX_ECHO_CHARS]!r} may not open this WebSocket. Add the origin to "
            "GROUNDSWELL_CORS_ORIGINS to allow them."
        )


_WEB_SCHEMES = {"ws": "http", "wss": "https"}


def host_name(host: str) -> str:
    """Return the name or address in a `Host` header, without its port, in lower case."""
    name = host.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.rpartition(":")[0] if name.count(":") == 1 else name


def _is_of_this_machine(name: str) -> bool:
    """Whether no foreign page can have this as its own name: an address, or a name of the loopback (RFC 6761)."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
