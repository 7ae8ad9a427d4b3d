"""How fast the API answers, and how long an event takes to a subscribed screen.

    python -m bench.api [--posts 100000] [--seconds 10]

REST goes through a real uvicorn over a real Postgres. Live frames are stored and published as the relay does, at 500
posts a second, in the same process as the hub: the shape of `groundswell up`. The load generator shares the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import uvicorn
from rich.console import Console
from rich.table import Table
from websockets.asyncio.client import connect

from bench.report import RESULTS, machine, quantile
from functions.api.app import ApiServices, create_app
from groundswell.adapters.embedded_postgres import EmbeddedPostgres
from groundswell.adapters.local_hub import LocalHub
from groundswell.adapters.migrations import migrate
from groundswell.adapters.postgres_keys import PostgresKeys
from groundswell.adapters.postgres_momentum import PostgresMomentum
from groundswell.adapters.postgres_pool import Pool, open_pool
from groundswell.adapters.postgres_reads import PostgresReads
from groundswell.adapters.postgres_rules import PostgresRules
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.posts import Post
from groundswell.core.subscriptions import CLIENT_FRAME_LIMIT_BYTES
from groundswell.ports.search import SearchAnswer
from groundswell.ports.storing import Batch, Event
from groundswell.ports.vectors import SearchFilters
from groundswell.services.time_travel import TimeTravel

RATE = 500
BATCH_S = 0.1

FILL = """
INSERT INTO posts (id, source, author, text, lang, created_at, event_time, rev, entities)
SELECT 'at://did:plc:' || (n %% 5000) || '/app.bsky.feed.post/' || n, 'jetstream', 'did:plc:' || (n %% 5000),
       'post number ' || n || ' about the weather and $T' || (n %% 200), (ARRAY['en', 'ja', 'pt', NULL])[1 + n %% 4],
       now(), now() - make_interval(secs => (%(posts)s - n) * 0.02), 'a',
       ARRAY['ticker:T' || (n %% 200), 'hashtag:h' || (n %% 997)]
FROM generate_series(1, %(posts)s) AS n;
"""
COUNT = """
INSERT INTO minute_authors SELECT e, date_trunc('minute', event_time), source, author, count(*)
FROM posts, unnest(entities) AS e GROUP BY 1, 2, 3, 4;
INSERT INTO minute_counts SELECT entity, minute, source, sum(mentions), count(*) FROM minute_authors GROUP BY 1, 2, 3;
INSERT INTO minute_totals SELECT source, date_trunc('minute', event_time), count(*) FROM posts GROUP BY 1, 2;
INSERT INTO coverage SELECT DISTINCT source, minute, 60.0 FROM minute_totals;
INSERT INTO cursors VALUES ('jetstream', 1, now(), now());
INSERT INTO momentum SELECT 'ticker:T' || n, 'ticker', 'T' || n, now(), 'rising', now(), n, n, n, 0, n, n / 1000.0,
    array_fill(1.5::real, ARRAY[30]) FROM generate_series(1, 900) AS n;
INSERT INTO events (type, live, data, pks)
SELECT 'posts.new', true, '{}', array_agg(pk) FROM posts GROUP BY pk / 40 ORDER BY pk / 40;
ANALYZE;
"""


class NoSearch:
    async def search(self, query: str, filters: SearchFilters, limit: int, **more: object) -> SearchAnswer:
        del query, filters, limit, more
        return SearchAnswer([], [], [])


def quantiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "p50_ms": round(statistics.median(ordered) * 1000, 2),
        "p95_ms": round(quantile(ordered, 0.95) * 1000, 2),
        "p99_ms": round(quantile(ordered, 0.99) * 1000, 2),
    }


async def rest(base: str, posts: int) -> dict[str, dict[str, float]]:
    """Latency of one client at a time, then requests a second of eight."""
    paths = {
        "posts, newest 50": "/v1/posts",
        "posts of a frequent entity": "/v1/posts?entity=$T7",
        "posts of an author": "/v1/posts?author=did:plc:77",
        "one post": "/v1/posts/at://did:plc:77/app.bsky.feed.post/77",
        "momentum, top 50": "/v1/momentum",
        "an entity's hour": "/v1/momentum/ticker/T7",
        "events, 100 frames of 40 posts": f"/v1/events?cursor={posts // 80}",
        "stats": "/v1/stats",
        "status": "/v1/status",
        "healthz": "/healthz",
    }
    found: dict[str, dict[str, float]] = {}
    async with httpx.AsyncClient(base_url=base, timeout=60) as client:
        for name, path in paths.items():
            for _ in range(5):
                (await client.get(path)).raise_for_status()
            times: list[float] = []
            for _ in range(100):
                started = time.perf_counter()
                (await client.get(path)).raise_for_status()
                times.append(time.perf_counter() - started)
            started = time.perf_counter()
            await asyncio.gather(*(_many(client, path, 40) for _ in range(8)))
            found[name] = {**quantiles(times), "per_second": round(320 / (time.perf_counter() - started))}
        started = time.perf_counter()
        size = len((await client.get(f"/v1/export?limit={min(posts, 50_000)}")).content)
        seconds = time.perf_counter() - started
        found["export"] = {
            "posts_per_second": round(min(posts, 50_000) / seconds),
            "mb_per_second": round(size / seconds / 1e6, 1),
        }
    return found


async def _many(client: httpx.AsyncClient, path: str, count: int) -> None:
    for _ in range(count):
        (await client.get(path)).raise_for_status()


async def live(ws: str, store: PostgresStore, hub: LocalHub, clients: int, seconds: float) -> dict[str, float]:
    """From the moment that a batch begins to be stored to its frame in a client's hands, at 500 posts a second."""
    begun: dict[str, float] = {}
    delays: list[float] = []
    received = 0

    async def listen(topic: str, *, timed: bool) -> None:
        nonlocal received
        async with connect(ws, compression=None) as socket:
            await socket.send(json.dumps({"action": "subscribe", "topics": [topic]}))
            async for text in socket:
                frame = msgspec.json.decode(text)
                if frame["type"] == "posts.new":
                    received += len(frame["data"]["posts"])
                    if timed:
                        now = time.perf_counter()
                        delays.extend(now - begun[post["id"]] for post in frame["data"]["posts"])

    tasks = [asyncio.create_task(listen("posts", timed=n < 3)) for n in range(min(clients, 20))]
    tasks += [asyncio.create_task(listen(f"posts?entity=$T{n % 200}", timed=False)) for n in range(20, clients)]
    while hub.clients < clients:  # noqa: ASYNC110 - the hub has no reason to announce its clients
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)
    size = round(RATE * BATCH_S)
    number, busy, ends = 0, time.process_time(), time.perf_counter() + seconds
    due = time.perf_counter()
    while time.perf_counter() < ends:
        now = await store.now()
        posts = [_post(number + n, now) for n in range(size)]
        number += size
        started = time.perf_counter()
        begun.update((post.id, started) for post in posts)
        done = await store.commit(Batch("jetstream", posts, [], now, now - 100_000, now))
        await hub.publish(done.events)
        due += BATCH_S
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
    busy = (time.process_time() - busy) / seconds
    await asyncio.sleep(0.5)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return {
        "clients": clients,
        **quantiles(delays),
        "posts_per_second": round(number / seconds),
        "deliveries_per_second": round(received / seconds),
        "cpu_share": round(busy, 2),
    }


def _post(number: int, now: int) -> Post:
    return Post(
        id=f"at://did:plc:live/app.bsky.feed.post/{time.time_ns()}-{number}",
        source="jetstream",
        author=f"did:plc:{number % 5000}",
        text="a post of ordinary length that says something about $T7 and a few other things besides",
        event_time=now,
        rev="a",
        cursor=now,
        lang="en",
        entities=(f"ticker:T{number % 200}",),
    )


def fan_out(clients: int) -> dict[str, float]:
    """The cost of turning one batch into the frames of many clients, without sockets."""
    from groundswell.core.fanout import Outgoing, Prepared
    from groundswell.core.subscriptions import parse_topic

    posts = tuple(_post(n, 1_783_175_886_000_000) for n in range(50))
    topics = [frozenset({parse_topic(f"posts?entity=$T{n % 200}"), parse_topic("momentum")}) for n in range(clients)]
    times: list[float] = []
    for _ in range(50):
        event = Event(1, 1_783_175_886_000_000, "posts.new", True, msgspec.Raw(b"{}"), posts)
        started = time.perf_counter()
        batch = Outgoing([Prepared(event.type, seq=1, ts=event.ts, live=True, data=event.data, posts=event.posts)])
        for wanted in topics:
            batch.frames(wanted)
        times.append(time.perf_counter() - started)
    return {"clients": clients, **quantiles(times)}


async def measure(url: str, posts: int, seconds: float) -> dict[str, Any]:
    pool: Pool = await open_pool(url, size=8, wait_s=5, statement_timeout_s=10, application_name="bench")
    clock = SystemClock()
    reads = PostgresReads(pool)
    hub = LocalHub(clock, version="bench")
    services = ApiServices(
        reads=reads,
        search=NoSearch(),
        past=TimeTravel(PostgresMomentum(pool), reads, clock),
        rules=PostgresRules(pool),
        keys=PostgresKeys(pool),
        clock=clock,
        schema_version="0001",
        hub=hub,
    )
    stop = asyncio.Event()
    flushing = asyncio.create_task(hub.run(stop))
    app = create_app(services, version="bench", rate_limit_per_minute=0)
    try:
        return await _served(app, lambda port: _measure(port, pool, hub, posts, seconds))
    finally:
        stop.set()
        await flushing
        await pool.close()


async def _measure(port: int, pool: Pool, hub: LocalHub, posts: int, seconds: float) -> dict[str, Any]:
    store = PostgresStore(pool)
    ws = f"ws://127.0.0.1:{port}/v1/ws"
    return {
        "rest": await rest(f"http://127.0.0.1:{port}", posts),
        "live": [await live(ws, store, hub, clients, seconds) for clients in (5, 100)],
        "fan_out": [fan_out(clients) for clients in (1, 1000)],
    }


async def _served(app: Any, work: Callable[[int], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_keep_alive=120,
        ws="websockets-sansio",
        ws_max_size=CLIENT_FRAME_LIMIT_BYTES,
        ws_per_message_deflate=False,
    )
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    running = asyncio.create_task(server.main_loop())
    try:
        return await work(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        await running
        await server.shutdown()


def show(result: dict[str, Any]) -> None:
    console = Console()
    table = Table("REST", "p50 ms", "p95 ms", "p99 ms", "requests/s, 8 clients", title=f"{result['posts']:,} posts")
    for name, row in result["rest"].items():
        if "p50_ms" in row:
            table.add_row(name, *(str(row[key]) for key in ("p50_ms", "p95_ms", "p99_ms", "per_second")))
    console.print(table)
    export = result["rest"]["export"]
    console.print(f"export: {export['posts_per_second']:,} posts/s, {export['mb_per_second']} MB/s")
    table = Table("live, clients", "p50 ms", "p95 ms", "p99 ms", "posts/s", "deliveries/s", "CPU of the process")
    for row in result["live"]:
        table.add_row(*(str(value) for value in row.values()))
    console.print(table)
    table = Table("50 posts to frames for clients", "p50 ms", "p95 ms", "p99 ms")
    for row in result["fan_out"]:
        table.add_row(*(str(value) for value in row.values()))
    console.print(table)


async def measure_over_postgres(folder: Path, posts: int, seconds: float) -> dict[str, Any]:
    server = EmbeddedPostgres(folder)
    url = await server.start()
    try:
        await migrate(url)
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute(FILL, {"posts": posts})
            conn.execute(COUNT)
        return await measure(url, posts, seconds)
    finally:
        await server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=10)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = asyncio.run(measure_over_postgres(Path(folder), asked.posts, asked.seconds))
    result = {"machine": machine(), "posts": asked.posts, **measured}
    show(result)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "api.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
