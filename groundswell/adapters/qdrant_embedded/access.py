"""Who may ask the engine: its own platform, and neither a page in a browser nor another user of the machine."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

PROBES = frozenset({"/healthz", "/readyz", "/livez"})
"""Open without a key, as a Qdrant server has them. Their answer is the same whatever the engine holds."""
_OF_BROWSERS = (b"origin", b"sec-fetch-site", b"sec-fetch-mode")
"""Headers that every browser sets, and that no page can take away."""


class Access:
    """Decides about a request by its head, before a byte of its body is read.

    Args:
        api_key: None asks for none.
        host: what the Host header has to be; a name that was made to point here is another. None takes any.
    """

    def __init__(self, *, api_key: str | None = None, host: str | None = None) -> None:
        self._api_key = None if api_key is None else api_key.encode()
        self._host = None if host is None else host.encode()

    def refusal(self, path: str, headers: Mapping[bytes, bytes]) -> tuple[int, str] | None:
        """Return the status and the text that refuse a request; None where it is allowed."""
        if self._host is not None and headers.get(b"host") != self._host:
            return 421, "This engine answers to its own address alone, and the Host header names another"
        if any(name in headers for name in _OF_BROWSERS):
            return 403, "This engine serves no page in a browser"
        if self._api_key is None or path in PROBES:
            return None
        if hmac.compare_digest(_key(headers), self._api_key):
            return None
        return 401, "Must provide a valid API key"


def _key(headers: Mapping[bytes, bytes]) -> bytes:
    """Return the key of a request, in either of the headers that a Qdrant server reads."""
    key = headers.get(b"api-key")
    if key is not None:
        return key
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""
