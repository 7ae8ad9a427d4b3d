"""Asks the API all the time, a mix of everything, and sorts its answers: data, an honest problem, or bad."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import httpx
import msgspec

from groundswell.drills.harness.verdict import Answers

EVERY_S = 0.06
UNDER_WAY = 8
"""Requests at once, so that one that hangs does not hide the rest."""
KEPT_S = 2.0
"""How long an idle connection is used again. A server may hang up on one after five seconds, just as it is asked."""
HANG_S = 12.0
"""An answer that takes longer than the pool's wait and a statement's limit together is none."""
PROBLEM = "application/problem+json"
DATA, UNAVAILABLE = 200, 503

ROUTES: Mapping[str, tuple[int, frozenset[str]]] = {
    "/healthz": (200, frozenset({"status", "version"})),
    "/readyz": (200, frozenset({"status", "checks"})),
    "/v1/status": (200, frozenset({"sources", "components"})),
    "/v1/posts?limit=5": (200, frozenset({"data", "as_of", "degraded"})),
    "/v1/search?q=coffee&limit=5": (200, frozenset({"data", "as_of", "degraded"})),
    "/v1/momentum?limit=5": (200, frozenset({"data", "as_of", "degraded"})),
    "/v1/momentum/hashtag/football?window=15m": (200, frozenset({"data", "config", "degraded"})),
    "/v1/stats": (200, frozenset({"totals", "minutes", "degraded"})),
    "/v1/gaps?limit=5": (200, frozenset({"data", "as_of", "degraded"})),
    "/v1/events?cursor=0&limit=20": (200, frozenset({"data"})),
    "/v1/posts?limit=many": (400, frozenset()),
    "/v1/nothing-here": (404, frozenset()),
}
"""What is asked, the status that a healthy platform answers with, and the keys of that answer."""


class Prober:
    """Probes while it runs as a task; `answers` may be read at any time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._away = False
        self._data = self._problems = self._refused = 0
        self._bad: list[str] = []
        self._bad_total = 0
        self._statuses: Counter[str] = Counter()
        self._latencies: list[float] = []
        self._degraded: set[str] = set()

    async def run(self) -> None:
        """Ask until cancelled."""
        places = asyncio.Semaphore(UNDER_WAY)
        limits = httpx.Limits(
            max_connections=UNDER_WAY * 2, max_keepalive_connections=UNDER_WAY, keepalive_expiry=KEPT_S
        )
        async with (
            httpx.AsyncClient(base_url=self._url, timeout=HANG_S, limits=limits, trust_env=False) as client,
            asyncio.TaskGroup() as group,
        ):
            for path in itertools.cycle(ROUTES):
                await places.acquire()
                asking = group.create_task(self.ask(client, path))
                asking.add_done_callback(lambda _: places.release())
                await asyncio.sleep(EVERY_S)

    @contextmanager
    def api_away(self) -> Generator[None]:
        """Inside, the drill itself has taken the API away: connections that fail are no news."""
        self._away = True
        try:
            yield
        finally:
            self._away = False

    @property
    def answers(self) -> Answers:
        ordered = sorted(self._latencies)
        return Answers(
            data=self._data,
            problems=self._problems,
            away=self._refused,
            bad=tuple(self._bad),
            bad_total=self._bad_total,
            by_status=dict(sorted(self._statuses.items())),
            slowest_s=round(ordered[-1], 3) if ordered else 0.0,
            p99_s=round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 3) if ordered else 0.0,
            degraded=tuple(sorted(self._degraded)),
        )

    async def ask(self, client: httpx.AsyncClient, path: str) -> None:
        """Ask once, and note how it was answered."""
        was_away = self._away
        started = asyncio.get_running_loop().time()
        try:
            response = await client.get(path)
        except httpx.TransportError as error:
            if (was_away or self._away) and not isinstance(error, httpx.ReadTimeout):
                self._refused += 1
            else:
                spent = asyncio.get_running_loop().time() - started
                self._note_bad(f"{path}: {type(error).__name__} after {spent:.1f} s")
            return
        self._latencies.append(asyncio.get_running_loop().time() - started)
        self._statuses[str(response.status_code)] += 1
        fault = self._judge(path, response)
        if fault is not None:
            self._note_bad(f"{path}: {fault}")

    def _judge(self, path: str, response: httpx.Response) -> str | None:
        """What is wrong with an answer; None where it is data or an honest problem."""
        usual, keys = ROUTES[path]
        try:
            decoded = msgspec.json.decode(response.content)
        except msgspec.DecodeError:
            return f"{response.status_code} with a body that is no JSON"
        if not isinstance(decoded, dict):
            return f"{response.status_code} with a body that is no object"
        body = cast("dict[str, Any]", decoded)
        if response.status_code == usual == DATA:
            if not keys <= body.keys():
                return f"200 without {', '.join(sorted(keys - body.keys()))}"
            self._degraded.update(body.get("degraded") or ())
            self._data += 1
            return None
        self._problems += 1
        return _fault_of_problem(response, body, usual)

    def _note_bad(self, what: str) -> None:
        self._bad_total += 1
        if len(self._bad) < 10:
            self._bad.append(what)


def _fault_of_problem(response: httpx.Response, body: Mapping[str, Any], usual: int) -> str | None:
    status = response.status_code
    if response.headers.get("content-type") != PROBLEM or body.get("status") != status or not body.get("detail"):
        return f"{status} without a problem body"
    if status == UNAVAILABLE and "retry-after" not in response.headers:
        return "503 without Retry-After"
    if status not in (usual, UNAVAILABLE):
        return f"{status}: {body['detail']}"
    return None
