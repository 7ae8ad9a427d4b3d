"""The function's side: sends what is allowed on to the one cluster, with its key."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import urllib3

from groundswell.adapters.forwarding.wire import MAX_PAYLOAD_BYTES, Answered, Forwarded
from groundswell.adapters.qdrant_rest import REFUSED, RENEW_EVERY_S, base_url
from groundswell.ports.time import Clock

log = logging.getLogger(__name__)

COLLECTION = (
    ("GET", ""),
    ("PUT", ""),
    ("DELETE", ""),
    ("PUT", "/index"),
    ("PUT", "/points"),
    ("POST", "/points/query"),
    ("POST", "/points/scroll"),
    ("POST", "/points/count"),
    ("POST", "/points/delete"),
)
"""What the adapter asks of a collection of its own. Whoever rebuilds the index makes, fills and removes collections."""
SERVER = (("GET", "/"), ("GET", "/collections"))
"""What they ask of the server: its version, and which collections there are."""
PASSED_ON = ("content-type", "retry-after")
_QUERY = re.compile(r"[A-Za-z0-9_=&.,-]*")


class VectorForwarder:
    """Forwards requests to the collections of one index.

    Args:
        url: of the cluster; port 6333 where none is given.
        collection: how the names of its collections begin.
        key: None where the cluster needs none.
        renew: answers the key as it is now; called after a refusal. It raises ValueError where it cannot be read.
        timeout_s: for each request.
    """

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        collection: str,
        key: str | None = None,
        renew: Callable[[], str] | None = None,
        timeout_s: float = 8.0,
    ) -> None:
        self._base = base_url(url)
        # A collection for each space, and that of an earlier release: a name that users choose has no dot.
        self._path = re.compile(
            rf"/collections/{re.escape(collection)}(?:\.[A-Za-z0-9_%-]+)*(/index|/points(?:/[a-z]+)?)?"
        )
        self._clock = clock
        self._key = key
        self._renew = renew
        self._renewed_at = float("-inf")
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(total=timeout_s), retries=urllib3.Retry(0, redirect=False), maxsize=2
        )

    def forward(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to the request that `event` is, as the function's result. Raises for no request that fails."""
        try:
            request = msgspec.convert(event, Forwarded)
        except msgspec.ValidationError as error:
            return _result(Answered(unreachable=f"the event is no request: {error}"))
        path, _, query = request.target.partition("?")
        if not self._is_forwarded(request.method, path) or not _QUERY.fullmatch(query):
            log.warning("refused to forward %s %s", request.method, path)
            return _result(Answered(unreachable=f"{request.method} {path} is not forwarded from functions"))
        return _result(self._send(request))

    def _is_forwarded(self, method: str, path: str) -> bool:
        if (method, path) in SERVER:
            return True
        found = self._path.fullmatch(path)
        return found is not None and (method, found[1] or "") in COLLECTION

    def _send(self, request: Forwarded) -> Answered:
        headers = {"Content-Type": "application/json"} if request.body is not None else {}
        if self._key is not None:
            headers["api-key"] = self._key
        try:
            answer = self._pool.request(
                request.method,
                f"{self._base}{request.target}",
                body=request.body.encode() if request.body is not None else None,
                headers=headers,
            )
        except urllib3.exceptions.HTTPError as error:
            return Answered(unreachable=f"{type(error).__name__}: {error}")
        if answer.status in REFUSED:
            self._learn_key()
        passed = {name: answer.headers[name] for name in PASSED_ON if name in answer.headers}
        return Answered(status=answer.status, headers=passed, body=answer.data.decode(errors="replace"))

    def _learn_key(self) -> None:
        """After a refusal: where the key is another by now, the next request has that."""
        now = self._clock.monotonic()
        if self._renew is None or now - self._renewed_at < RENEW_EVERY_S:
            return
        self._renewed_at = now
        try:
            self._key = self._renew()
        except ValueError as error:
            log.warning("the vector index's key cannot be read anew: %s", error)


def _result(answered: Answered) -> dict[str, Any]:
    """As Lambda takes it: the runtime fails the whole call over a result that is too large."""
    size = len(msgspec.json.encode(answered))
    if size > MAX_PAYLOAD_BYTES:
        why = f"the answer has {size} bytes, and Lambda takes {MAX_PAYLOAD_BYTES}: ask for less at once"
        answered = Answered(status=413, body=why)
    return msgspec.to_builtins(answered)
