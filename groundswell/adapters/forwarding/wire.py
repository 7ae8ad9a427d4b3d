"""What travels between the two sides: a request as an event, and what became of it as the function's result."""

from __future__ import annotations

import msgspec

MAX_PAYLOAD_BYTES = 6_291_456
"""What Lambda takes as the event of a synchronous call, and as its result."""


class Forwarded(msgspec.Struct, frozen=True, kw_only=True):
    """A request. `target` is its path with its query; the function knows the host."""

    method: str
    target: str
    body: str | None = None


class Answered(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the vector index answered, or why it did not."""

    status: int = 0
    headers: dict[str, str] = {}
    body: str = ""
    unreachable: str | None = None
    """Why there is no answer: the cluster could not be reached, or the request is none that is forwarded."""
