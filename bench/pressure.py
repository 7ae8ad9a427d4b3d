"""The API at ten times what its pool can serve: nothing hangs, refusals say when to come back, and it recovers.

    python -m bench.pressure [--posts 100000] [--seconds 20]

A real `groundswell api` over a real Postgres that is full of posts. It has eight connections, and eighty clients ask
again the moment that they are answered; those that are refused come back after 50 ms, far too early. Then the same with
a lock that holds up every answer about momentum. Latencies are the clients', who share the machine: they are made and
connected before it begins, and are those of aiohttp, which takes least of the processor.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import tempfile
import time
from collections import Counter
from pathlib import Path

import aiohttp
import psycopg

from bench.api import COUNT, FILL
from bench.processes import program
from bench.report import publish, quantile
from groundswell.adapters.embedded_postgres import EmbeddedPostgres
from groundswell.adapters.migrations import migrate

POOL = 8
CLIENTS = 10 * POOL
GOAL_P99_S, GOAL_RECOVERY_S, HANG_S = 2.0, 5.0, 15.0
BACK_TOO_EARLY_S = 0.05
PATHS = (
    "/v1/posts?limit=200",
    "/v1/search?q=weather&limit=50",
    "/v1/momentum?limit=200",
    "/v1/momentum/ticker/T7?window=24h",
    "/v1/posts?author=did:plc:77",
    "/v1/gaps",
    "/v1/stats",
)


class Tally:
    """How requests were answered."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.times: dict[int, list[float]] = {200: [], 503: []}
        self.by_path: dict[str, list[float]] = {}
        self.hung = 0
        self.silent = 0
        """Refusals without `Retry-After`."""

    async def ask(self, client: aiohttp.ClientSession, path: str) -> int:
        """The status; 0 where there was no answer."""
        started = time.perf_counter()
        try:
            async with client.get(path) as answer:
                await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            self.hung += 1
            return 0
        self.statuses[answer.status] += 1
        took_s = time.perf_counter() - started
        self.times.setdefault(answer.status, []).append(took_s)
        self.by_path.setdefault(path, []).append(took_s)
        self.silent += answer.status == 503 and "retry-after" not in answer.headers
        return answer.status

    def quantile_s(self, q: float, *statuses: int) -> float:
        return quantile([one for status in statuses or self.times for one in self.times[status]] or [0.0], q)


def clients(base: str) -> aiohttp.ClientSession:
    """As many connections as are asked for, all kept."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    return aiohttp.ClientSession(base, connector=connector, timeout=aiohttp.ClientTimeout(HANG_S))


async def press(base: str, seconds: float) -> Tally:
    """`CLIENTS` at once, for that long."""
    tally = Tally()
    async with clients(base) as client:
        await asyncio.gather(*(Tally().ask(client, "/healthz") for _ in range(CLIENTS)))  # all connected
        over = time.monotonic() + seconds

        async def insist(number: int) -> None:
            turn = number
            while time.monotonic() < over:
                turn += 1
                if await tally.ask(client, PATHS[turn % len(PATHS)]) != 200:
                    await asyncio.sleep(BACK_TOO_EARLY_S)

        await asyncio.gather(*(insist(number) for number in range(CLIENTS)))
    return tally


async def calm(base: str, rounds: int) -> Tally:
    """One client, one request after the other."""
    tally = Tally()
    async with clients(base) as client:
        for _ in range(rounds):
            for path in PATHS:
                await tally.ask(client, path)
    return tally


async def recover(base: str) -> float:
    """Seconds until every path was answered with data twice in a row."""
    started = time.monotonic()
    async with clients(base) as client:
        in_a_row, tally = 0, Tally()
        while in_a_row < 2 * len(PATHS):
            in_a_row = in_a_row + 1 if await tally.ask(client, PATHS[in_a_row % len(PATHS)]) == 200 else 0
    return time.monotonic() - started


async def lock_and_press(base: str, url: str, seconds: float) -> Tally:
    """The same while a lock holds up every answer about momentum, so that connections are taken for long."""
    async with await psycopg.AsyncConnection.connect(url) as holder:
        await holder.execute("LOCK TABLE momentum IN ACCESS EXCLUSIVE MODE")
        tally = await press(base, seconds)
        await holder.rollback()
    return tally


async def measure(posts: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="groundswell-bench-") as folder:
        postgres = EmbeddedPostgres(Path(folder))
        url = await postgres.start()
        try:
            await migrate(url)
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
                await conn.execute(FILL.encode(), {"posts": posts})
                await conn.execute(COUNT.encode())
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            environment = {
                "GROUNDSWELL_DATA_DIR": f"{folder}/services",
                "GROUNDSWELL_DATABASE_URL": url,
                "GROUNDSWELL_DATABASE_POOL_SIZE": f"{POOL}",
                "GROUNDSWELL_DATABASE_STATEMENT_TIMEOUT_S": "1",
                "GROUNDSWELL_API_PORT": f"{port}",
                "GROUNDSWELL_RATE_LIMIT_PER_MINUTE": "0",
                "GROUNDSWELL_EMBEDDING_CHAIN": "none",
                "GROUNDSWELL_LOG_LEVEL": "error",
            }
            async with program("groundswell", "api", environment=environment):
                base = f"http://127.0.0.1:{port}"
                await recover(base)
                before = await calm(base, 10)
                busy = await press(base, seconds)
                busy_recovered = await recover(base)
                held = await lock_and_press(base, url, seconds)
                held_recovered = await recover(base)
                show(posts, before, (busy, busy_recovered), (held, held_recovered))
        finally:
            await postgres.stop()


def show(posts: int, before: Tally, busy: tuple[Tally, float], held: tuple[Tally, float]) -> None:
    rows = [("one client: p50, p99", f"{before.quantile_s(0.5) * 1e3:.0f}, {before.quantile_s(0.99) * 1e3:.0f} ms", "")]
    values: dict[str, object] = {"posts": posts, "clients": CLIENTS, "pool": POOL}
    for name, (tally, recovered_s) in {"asking": busy, "and a lock": held}.items():
        asked = f"{CLIENTS} clients {name}"
        rows += [
            (f"{asked}: p50, p99", f"{tally.quantile_s(0.5):.2f}, {tally.quantile_s(0.99):.2f} s",
             f"p99 < {GOAL_P99_S:g} s"),
            ("  answers by status", ", ".join(f"{n} times {s}" for s, n in sorted(tally.statuses.items())), ""),
            ("  without an answer", f"{tally.hung}", "0"),
            ("  503 without Retry-After", f"{tally.silent}", "0"),
            ("  every path answers again after", f"{recovered_s:.1f} s", f"< {GOAL_RECOVERY_S:g} s"),
        ]  # fmt: skip
        values[name] = {
            "p50_s": tally.quantile_s(0.5), "p99_s": tally.quantile_s(0.99),
            "p99_of_data_s": tally.quantile_s(0.99, 200),
            "p99_by_path_s": {path: quantile(times, 0.99) for path, times in sorted(tally.by_path.items())},
            "statuses": {f"{status}": n for status, n in tally.statuses.items()}, "hung": tally.hung,
            "silent": tally.silent, "recovered_s": recovered_s,
        }  # fmt: skip
    publish("pressure", f"Ten times the pool's capacity, {posts:,} posts", rows, values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=20, help="of each of the two loads")
    options = parser.parse_args()
    asyncio.run(measure(options.posts, options.seconds))


if __name__ == "__main__":
    main()
