"""The spool: how fast it is written and drained, and how fast a relay catches up after an outage of its database.

The first part appends and reads batches as a busy relay makes them, on this disk, with every append synced. The second
part is a real `groundswell relay` on the simulator's live feed. Its database is taken away for a while and given back;
catching up is measured against the rate at which posts kept coming meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import psycopg

from bench.processes import cpu_s, program, rss_mb
from bench.report import publish
from groundswell.adapters.disk_spool import DiskSpool
from groundswell.adapters.embedded_postgres import EmbeddedPostgres
from groundswell.adapters.migrations import migrate
from groundswell.adapters.simulator import WATCH_NAMES, World, WorldConfig
from groundswell.core.batching import Batcher
from groundswell.core.entities import EntityExtractor
from groundswell.core.jetstream import decode
from groundswell.ports.spool import Spooled
from groundswell.ports.storing import Batch, ResumePoint

GOAL_CATCH_UP = 2.0
LONGEST_OUTAGES = 4
"""A relay that catches up at twice the live rate is back after one more outage."""
BEGAN = 1_783_175_880_000_000
BATCH_POSTS = 300
"""What a tenth of a second brings at 3,000 posts a second."""


def batches(seconds: int) -> list[Spooled]:
    """Batches of simulated posts, as the relay would hand them to its writer."""
    extractor = EntityExtractor(WATCH_NAMES)
    world = World(WorldConfig(posts_per_second=1000))
    batcher, made = Batcher(BATCH_POSTS, 1e9), []
    for at, frame in world.frames(BEGAN, BEGAN + seconds * 1_000_000):
        if batcher.add(decode(frame, source="bench", extractor=extractor), 0):
            taken = batcher.take()
            batch = Batch(
                source="bench", posts=taken.posts, deletes=taken.deletes, cursor=taken.cursor,
                covered_from=BEGAN, covered_until=at,
            )  # fmt: skip
            made.append(Spooled(batch, before=ResumePoint(at, at), spooled_at=at))
    return made


async def measure_disk(seconds: int) -> dict[str, float]:
    made = batches(seconds)
    items = sum(len(one.work.posts) + len(one.work.deletes) for one in made if isinstance(one.work, Batch))
    with tempfile.TemporaryDirectory(prefix="groundswell-bench-") as folder:
        spool = DiskSpool(Path(folder), max_bytes=10**10)
        started, cpu = time.monotonic(), time.process_time()
        for one in made:
            await spool.append(one)
        wrote_s, wrote_cpu_s = time.monotonic() - started, time.process_time() - cpu
        size = spool.size
        spool.close()
        started = time.monotonic()
        spool = DiskSpool(Path(folder), max_bytes=10**10)
        opened_s = time.monotonic() - started
        started, cpu = time.monotonic(), time.process_time()
        while found := await spool.read():
            for item in found:
                assert item.spooled is not None
                spool.done(item)
        drained_s, drained_cpu_s = time.monotonic() - started, time.process_time() - cpu
        spool.close()
    return {
        "items": items,
        "bytes_per_item": size / items,
        "write_items_per_s": items / wrote_s,
        "write_items_per_cpu_s": items / wrote_cpu_s,
        "write_appends_per_s": len(made) / wrote_s,
        "read_items_per_s": items / drained_s,
        "read_items_per_cpu_s": items / drained_cpu_s,
        "open_mb_per_s": size / 1e6 / opened_s,
    }


async def measure_outage(outage_s: float, rate: float, warm_up_s: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="groundswell-bench-") as folder:
        postgres = EmbeddedPostgres(Path(folder))
        url = await postgres.start()
        try:
            await migrate(url)
            feed = ("groundswell.adapters.simulator", "--port", "0", "--rate", f"{rate}")
            async with program(*feed, reads_line=True) as (_, address):
                environment = {
                    "GROUNDSWELL_DATA_DIR": f"{folder}/data",
                    "GROUNDSWELL_DATABASE_URL": url,
                    "GROUNDSWELL_SOURCE": "jetstream",
                    "GROUNDSWELL_JETSTREAM_HOSTS": address,
                    "GROUNDSWELL_EMBEDDING_CHAIN": "none",
                    "GROUNDSWELL_LOG_LEVEL": "error",
                }
                async with program("groundswell", "relay", environment=environment) as (relay, _):
                    return await _watch_outage(url, relay, outage_s, warm_up_s)
        finally:
            await postgres.stop()


async def _watch_outage(url: str, relay, outage_s: float, warm_up_s: float) -> dict[str, float]:
    name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    admin = psycopg.conninfo.make_conninfo(url, dbname="postgres")

    async def order(*statements: str) -> None:
        async with await psycopg.AsyncConnection.connect(admin, autocommit=True) as conn:
            for statement in statements:
                await conn.execute(statement)

    async def look() -> tuple[int, bool]:
        """Posts stored, and whether the relay says that the spool is empty."""
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
            row = await (
                await conn.execute(
                    "SELECT (SELECT last_value FROM posts_pk_seq), (SELECT state <> 'storing-delayed'"
                    " AND updated_at > now() - interval '4 s' FROM components WHERE component = 'relay')"
                )
            ).fetchone()
        assert row is not None
        return row[0], bool(row[1])

    await asyncio.sleep(warm_up_s)
    before, _ = await look()
    started = time.monotonic()
    await asyncio.sleep(warm_up_s)
    live_rate = ((await look())[0] - before) / (time.monotonic() - started)

    await order(
        f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false',
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
    )
    went = time.monotonic()
    cpu = cpu_s(relay)
    await asyncio.sleep(outage_s)
    spooling_cores = (cpu_s(relay) - cpu) / (time.monotonic() - went)
    await order(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    back = time.monotonic()
    outage_s = back - went
    at_return, _ = await look()
    resumed, peak_rss, polled = back, rss_mb(relay), at_return
    while True:
        await asyncio.sleep(0.1)
        stored, drained = await look()
        if polled == at_return and stored > at_return:
            resumed = time.monotonic()
        polled = stored
        peak_rss = max(peak_rss, rss_mb(relay))
        if stored > at_return and stored - at_return >= live_rate * (outage_s + time.monotonic() - back) * 0.97:
            break
        if drained and time.monotonic() - resumed > 6 and stored > at_return:
            break
        if time.monotonic() - back > LONGEST_OUTAGES * outage_s:  # then the ratio says how far it fell short
            break
    caught_up = time.monotonic()
    return {
        "live_posts_per_s": live_rate,
        "outage_s": outage_s,
        "noticed_s": resumed - back,
        "catch_up_s": caught_up - resumed,
        "catch_up_posts_per_s": (stored - at_return) / (caught_up - resumed),
        "catch_up_ratio": (stored - at_return) / (caught_up - resumed) / live_rate,
        "spooling_cores": spooling_cores,
        "peak_rss_mb": peak_rss,
    }


async def measure(outage_s: float, rate: float, warm_up_s: float) -> None:
    disk = await measure_disk(20)
    print(f"the disk is measured: {disk['write_items_per_s']:,.0f} posts/s appended", flush=True)
    outage = await measure_outage(outage_s, rate, warm_up_s)
    rows = [
        ("appended, posts/s", f"{disk['write_items_per_s']:,.0f}", ""),
        ("appended and synced, batches/s", f"{disk['write_appends_per_s']:,.0f}", ""),
        ("appended, posts per second of processor", f"{disk['write_items_per_cpu_s']:,.0f}", ""),
        ("read back, posts/s", f"{disk['read_items_per_s']:,.0f}", ""),
        ("checked at a start, MB/s", f"{disk['open_mb_per_s']:,.0f}", ""),
        ("bytes on disk for a post", f"{disk['bytes_per_item']:.0f}", ""),
        ("live, posts/s", f"{outage['live_posts_per_s']:,.0f}", ""),
        ("outage, s", f"{outage['outage_s']:.0f}", ""),
        ("cores used by the relay meanwhile", f"{outage['spooling_cores']:.2f}", ""),
        ("until the return was noticed, s", f"{outage['noticed_s']:.1f}", ""),
        ("catching up, posts/s", f"{outage['catch_up_posts_per_s']:,.0f}", ""),
        ("catching up, times the live rate", f"{outage['catch_up_ratio']:.1f}", f"{GOAL_CATCH_UP:g}"),
        ("caught up after, s", f"{outage['catch_up_s']:.1f}", ""),
        ("memory of the relay at most, MB", f"{outage['peak_rss_mb']:.0f}", ""),
    ]
    publish("spool", "The spool, and catching up after an outage", rows, disk | outage)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outage", type=float, default=30, help="seconds without the database")
    parser.add_argument("--rate", type=float, default=2000, help="posts a second that the simulator sends")
    parser.add_argument("--warm-up", type=float, default=10, help="seconds before, and again to measure the live rate")
    options = parser.parse_args()
    asyncio.run(measure(options.outage, options.rate, options.warm_up))


if __name__ == "__main__":
    main()
