"""How to reach a source again: when to wait, how long, and when to give up. Pure policy; `services.session` acts."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import TypeAlias

import msgspec

from groundswell.errors import ConfigError, GroundswellError, SourceFailed

BACKOFF_BASE_S = 0.5
BACKOFF_CAP_S = 60.0
STABLE_AFTER_S = 60.0
"""A connection that stood this long ends the streak of failures: the next wait is short again."""
PING_EVERY_S = 15.0
PING_TIMEOUT_S = 10.0

_REFUSALS = {
    400: "it does not understand the request (HTTP 400): check the address and its parameters",
    401: "it wants credentials that it did not get (HTTP 401): check the key, then restart",
    403: "it does not let this client in (HTTP 403): check the key and what it may read, then restart",
    404: "it has nothing at this address (HTTP 404): check the path of the address",
    410: "this address has been retired (HTTP 410): look up the new one",
}
_PASSING_STATUS = frozenset({408, 409, 421, 425, 429})
"""4xx answers that time alone can change."""


class Refused(Exception):
    """The far end answered the handshake, and not with a connection.

    Adapters raise it for their library's own exception, so that `verdict` needs to know no library.
    `status` is the HTTP status, or None where the address itself is wrong.
    """

    def __init__(self, status: int | None, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class ConnectionLost(Exception):
    """An open connection ended, or one could not be opened, for a reason that time can change."""


class Retry(msgspec.Struct, frozen=True):
    """Try again after a while."""

    detail: str


class Fatal(msgspec.Struct, frozen=True):
    """Trying again changes nothing until a person does."""

    message: str


Verdict: TypeAlias = Retry | Fatal


def verdict(exc: BaseException) -> Verdict:
    """Split network trouble from what only a person can mend, and name it.

    Network trouble: any OSError (name resolution, TLS and time-outs are among them), the end of a connection, HTTP
    5xx and the 4xx that pass, and stores that are away for a while. All else is fatal: an error that nobody
    foresaw must stop loudly rather than be retried for ever.
    """
    if isinstance(exc, Refused):
        return _refusal(exc)
    if isinstance(exc, (SourceFailed, ConfigError)):
        return Fatal(exc.detail)
    if isinstance(exc, GroundswellError) and exc.status == 503:
        return Retry(exc.detail)
    if isinstance(exc, ConnectionLost) and str(exc):
        return Retry(str(exc))
    if isinstance(exc, (OSError, EOFError, ConnectionLost)):
        return Retry(_describe(exc))
    return Fatal(f"an unforeseen {_describe(exc)}: this is a fault of the program, please report it")


def full_jitter_backoff(
    random: Random, base_s: float = BACKOFF_BASE_S, cap_s: float = BACKOFF_CAP_S
) -> Iterator[float]:
    """Waits in seconds, without end: uniform between 0 and a bound that doubles from `base_s` to `cap_s`.

    Full jitter, as in Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): it spreads the
    clients of a host that has just come back better than a jittered fixed delay does.
    """
    if not 0 < base_s <= cap_s:
        raise ValueError(f"backoff needs 0 < base_s <= cap_s, not {base_s} and {cap_s}")
    bound = base_s
    while True:
        yield random.uniform(0, bound)
        bound = min(cap_s, bound * 2)


def _refusal(exc: Refused) -> Verdict:
    status = exc.status
    if status is None:
        return Fatal(exc.detail)
    if 400 <= status < 500 and status not in _PASSING_STATUS:
        reason = _REFUSALS.get(status, f"it refuses the connection (HTTP {status})")
        return Fatal(f"{exc.detail}: {reason}")
    if 300 <= status < 400:
        return Fatal(f"{exc.detail}: it points elsewhere (HTTP {status}): use the address that it points to")
    return Retry(f"{exc.detail}: HTTP {status}")


def _describe(exc: BaseException) -> str:
    text = str(exc).strip()
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__
