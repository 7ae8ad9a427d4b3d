"""What a post costs in Postgres: bytes of the write-ahead log, and bytes on disk, under the settings of RDS.

    python -m bench wal                                       under the settings of the deployment's parameter group
    python -m bench.wal --set checkpoint_timeout=300 --set wal_compression=off

The simulator's feed at the rate of the usage data goes through decoder, batcher, store, outbox, momentum tick, labels
and reports as it does in a relay, in the time of the feed instead of the clock's. The database is a small copy of one
that is as old as its archive may be: so many times fewer posts in it, and in the index of the archive, and as many
times fewer posts between two checkpoints, so that as large a share of the pages is changed between them. What is
changed once for each checkpoint and not for each post is counted too often by that; the larger copy errs less.

A day's posts are stored. Then the oldest day goes to the archive, which happens at once, just after midnight; counts
are rolled up, and the tables are vacuumed, since that many rows are dead. Each part is divided by the posts that it was
for, and the sum is what a post costs.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, LiteralString, TypeAlias, cast

from bench.report import publish
from deployment import costs
from deployment.database_parameters import LOG_PARAMETERS, in_postgres
from deployment.knobs import load
from groundswell.adapters.archive_directory import DirectoryArchive
from groundswell.adapters.embedded_postgres import EmbeddedPostgres
from groundswell.adapters.jetstream import JetstreamSource
from groundswell.adapters.migrations import migrate
from groundswell.adapters.postgres_momentum import PostgresMomentum
from groundswell.adapters.postgres_outbox import PostgresOutbox
from groundswell.adapters.postgres_pool import Pool, connection, open_pool
from groundswell.adapters.postgres_rollup import PostgresRollup
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.adapters.postgres_surges import PostgresSurges
from groundswell.adapters.postgres_sweeps import AgeSweep
from groundswell.adapters.simulator import WATCH_NAMES, World, WorldConfig
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.batching import Batcher
from groundswell.core.entities import EntityExtractor
from groundswell.core.posts import MICROS_PER_SECOND, Decoded, Micros
from groundswell.core.retention import FILE_ROWS
from groundswell.metrics import Metrics
from groundswell.ports.storing import Batch
from groundswell.services.momentum import MomentumTicker
from groundswell.services.reporting import REPORT_EVERY_S
from groundswell.services.surges import SurgeTeller
from groundswell.wiring.maintenance import DAY_S, archive_parts

BEGAN = 1_760_000_400 * MICROS_PER_SECOND
"""The beginning of an hour: minutes are rolled up by the hour."""
FILL_BATCH = 500
REPORTED = ("archive", "embeddings", "momentum", "relay", "vectors")
SPACE = "static"
OLD_DAYS = 60
KEPT_S = 1e9
STORED_AT = "ALTER TABLE posts ALTER COLUMN ingested_at SET DEFAULT now() - interval '{} days'"
"""The mover goes by when a post was stored."""


Rows: TypeAlias = Sequence[tuple[Any, ...]]


class _Nobody:
    """Broadcasts to nobody: clients are told from the stored events."""

    async def publish(self, events: object) -> None:
        del events

    async def preview(self, posts: object, deleted: object, ts: object) -> None:
        del posts, deleted, ts


class Life:
    """A deployment's day in the time of its feed."""

    def __init__(self, pool: Pool, rate: float, *, batch_ms: int, tick_s: float, labels_s: float) -> None:
        self._pool = pool
        self._store = PostgresStore(pool)
        self._outbox = PostgresOutbox(pool)
        clock, metrics, nobody = SystemClock(), Metrics(), _Nobody()
        momentum = PostgresMomentum(pool)
        self._ticker = MomentumTicker(momentum, nobody, clock, interval_s=tick_s, metrics=metrics, is_live=lambda: True)
        self._labels = SurgeTeller(PostgresSurges(pool), clock, interval_s=labels_s, metrics=metrics)
        self._source = JetstreamSource(
            name="simulator", hosts=["ws://localhost"], extractor=EntityExtractor(WATCH_NAMES)
        )
        self._frames = World(WorldConfig(posts_per_second=rate, daily_rhythm=False)).frames(BEGAN, BEGAN + 2**55)
        self._batch_ms = batch_ms
        self._every = {"tick": tick_s, "labels": labels_s, "report": REPORT_EVERY_S}
        self._due = dict.fromkeys(self._every, 0)
        self._covered: Micros = BEGAN
        self.posts = 0

    def _decoded(self) -> Iterator[tuple[Micros, Decoded]]:
        for at, frame in self._frames:
            yield at, self._source.decode(frame)

    async def fill(self, posts: int) -> None:
        """Store the feed up to this many posts, in large batches and without what happens between them."""
        batcher = Batcher(FILL_BATCH, 1e9)
        for at, decoded in self._decoded():
            if batcher.add(decoded, 0.0):
                await self._commit(batcher, at)
                await self._index()
                if self.posts >= posts:
                    await self._ticker.tick()
                    return

    async def live(self, posts: int, checkpoint_every: float) -> None:
        """Store that many more as a relay does, with all that goes on beside it."""
        until, checkpointed = self.posts + posts, self.posts
        batcher, since = Batcher(FILL_BATCH, 1e9), None
        for at, decoded in self._decoded():
            if since is not None and at - since >= self._batch_ms * 1_000:
                await self._commit(batcher, since + self._batch_ms * 1_000)
                since = None
                await self._index()
                await self._beside(at)
                if self.posts - checkpointed >= checkpoint_every:
                    checkpointed = self.posts
                    await execute(self._pool, "CHECKPOINT")
            batcher.add(decoded, 0.0)
            since = at if since is None else since
            if self.posts >= until:
                return

    async def _commit(self, batcher: Batcher, until: Micros) -> None:
        taken = batcher.take()
        await self._store.commit(
            Batch("simulator", taken.posts, taken.deletes, taken.cursor, self._covered, until, live=True)
        )
        self._covered = until
        self.posts += len(taken.posts)

    async def _index(self) -> None:
        while items := await self._outbox.claim(512):
            await self._outbox.done(items, space=SPACE)

    async def _beside(self, at: Micros) -> None:
        for name, every_s in self._every.items():
            if at < self._due[name]:
                continue
            self._due[name] = at + int(every_s * MICROS_PER_SECOND)
            if name == "tick":
                await self._ticker.tick()
            elif name == "labels":
                await self._labels.look()
            else:
                for component in REPORTED:
                    await self._store.report(component, "running", {"why": None, "posts": self.posts, "at": at})


async def execute(pool: Pool, statement: str) -> Rows:
    """Run one statement outside any transaction; answers its rows."""
    async with connection(pool) as conn:
        await conn.set_autocommit(True)
        try:
            cursor = await conn.execute(cast("LiteralString", statement))
            return await cursor.fetchall() if cursor.description else []
        finally:
            await conn.set_autocommit(False)


class Log:
    """What was written to the log, by what wrote it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._at = 0
        self.parts: dict[str, int] = {}
        self.spans: list[tuple[int, int]] = []

    async def _position(self) -> int:
        return int((await execute(self._pool, "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))[0][0])

    @asynccontextmanager
    async def of(self, part: str) -> AsyncGenerator[None]:
        """Count what is written in the block as `part`."""
        before = await self._position()
        yield
        after = await self._position()
        self.parts[part] = self.parts.get(part, 0) + after - before
        self.spans.append((before, after))

    async def relations(self) -> Rows:
        """Tables and indexes by the bytes that they have in the log: changes, and whole pages."""
        await execute(self._pool, "CREATE EXTENSION IF NOT EXISTS pg_walinspect")
        spans = " UNION ALL ".join(
            f"SELECT * FROM pg_get_wal_block_info('0/0'::pg_lsn + {a}, '0/0'::pg_lsn + {b}, false)"
            for a, b in self.spans
        )
        return await execute(
            self._pool,
            f"""
            SELECT COALESCE(c.relname, '(other)'), sum(COALESCE(b.block_data_length, 0)),
                   sum(COALESCE(b.block_fpi_length, 0))
            FROM ({spans}) b LEFT JOIN pg_class c ON pg_relation_filenode(c.oid) = b.relfilenode
            GROUP BY 1 ORDER BY sum(COALESCE(b.block_fpi_length, 0)) DESC LIMIT 30""",
        )


async def size(pool: Pool) -> int:
    """Bytes of the database on disk, with nothing pending in its indexes and nothing dead in its tables."""
    await execute(pool, "VACUUM ANALYZE")
    return int((await execute(pool, "SELECT pg_database_size(current_database())"))[0][0])


async def move(pool: Pool, folder: Path) -> int:
    """Move to the archive what counts as old; answers how many posts."""
    clock = SystemClock()
    mover = archive_parts(DirectoryArchive(folder / "archive"), pool, folder / "withdrawals").mover(
        pool,
        hot_days=OLD_DAYS / 2,
        every_s=0.0,
        scratch=folder / "mover",
        metrics=Metrics(),
        clock=clock,
    )
    return (await mover.move(within_s=3_600, settle=True)).posts


async def roll_up(pool: Pool) -> int:
    """Roll up every whole hour; answers how many posts are in them."""
    left = "SELECT COALESCE(sum(posts), 0) FROM minute_totals"
    before = (await execute(pool, left))[0][0]
    store = PostgresRollup(pool)
    while await store.bite({60: 0.0, 300: KEPT_S, 3_600: KEPT_S, 86_400: KEPT_S}, 10_000):
        pass
    return before - (await execute(pool, left))[0][0]


async def remember(pool: Pool, posts: int) -> float:
    """Fill the index of the archive as if that many posts were in it; answers its bytes for each of them."""
    before = await size(pool)
    await execute(
        pool,
        f"""
        INSERT INTO archived_posts (key, file_id, author_key)
        SELECT substring(sha256(n::text::bytea) FROM 1 FOR 16), -(n / {FILE_ROWS}), hashint8extended(n / 3, 0)
        FROM generate_series(1, {posts}) AS n ORDER BY n""",
    )
    return (await size(pool) - before) / posts


async def measure(posts: int, changed: Mapping[str, str], batch_ms: int, *, verbose: bool) -> None:
    chosen, usage = load({}), costs.default_usage()
    scale = usage["posts_per_day"] * chosen.hot_days / posts
    rate = usage["posts_per_day"] / DAY_S
    parameters = {**LOG_PARAMETERS, **changed}
    day = posts // chosen.hot_days
    every = rate * float(parameters["checkpoint_timeout"]) / scale
    tuning = {
        **in_postgres({**parameters, "checkpoint_timeout": "86400", "max_wal_size": "65536"}),
        "wal_level": "replica",
        "max_wal_senders": "5",
        "wal_keep_size": "64GB",
        "fsync": "off",  # changes no byte of the log
        "autovacuum": "off",
    }
    with tempfile.TemporaryDirectory(prefix="groundswell-bench-") as scratch:
        folder = Path(scratch)
        server = EmbeddedPostgres(folder, tuning=tuning)
        url = await server.start()
        try:
            await migrate(url)
            pool = await open_pool(url, size=4, wait_s=30, statement_timeout_s=600, application_name="bench wal")
            log = Log(pool)
            archived = await remember(pool, int(posts * (chosen.archive_keep_days or 365) / chosen.hot_days))
            empty = await size(pool)
            life = Life(pool, rate, batch_ms=batch_ms, tick_s=5.0, labels_s=60.0)
            await execute(pool, STORED_AT.format(OLD_DAYS))
            await life.fill(day)
            oldest = time.time()
            await execute(pool, STORED_AT.format(0))
            await life.fill(posts)
            disk = (await size(pool) - empty) / life.posts
            stored = life.posts
            await execute(pool, "CHECKPOINT")
            if verbose:
                await execute(pool, "SELECT pg_stat_reset_shared('wal')")
            async with log.of("storing, indexing, momentum"):
                await life.live(day, every)
            stored = life.posts - stored
            await execute(pool, "CHECKPOINT")
            async with log.of("the mover"):
                moved = await move(pool, folder)
            await execute(pool, "CHECKPOINT")
            async with log.of("counts rolled up"):
                rolled = await roll_up(pool)
            async with log.of("frames forgotten"):
                sweep = AgeSweep(pool, "events", keep_s=time.time() - oldest)
                while await sweep.sweep():
                    pass
            await execute(pool, "CHECKPOINT")
            async with log.of("vacuum"):
                await execute(pool, "VACUUM ANALYZE")
            if verbose:
                rows = await execute(pool, "SELECT wal_records, wal_fpi, wal_bytes FROM pg_stat_wal")
                print(*rows[0])
                for row in await log.relations():
                    print(*row)
            await pool.close()
        finally:
            await server.stop()
    of = {"the mover": moved, "counts rolled up": rolled}
    by_post = {part: size / of.get(part, stored) for part, size in log.parts.items()}
    found = {
        "wal_bytes_per_post": round(sum(by_post.values())),
        "database_bytes_per_post": round(disk),
        "archive_index_bytes_per_post": round(archived),
    }
    rows = [(name, str(value), f"{usage.get(name, 0):.0f} in deployment/usage.json") for name, value in found.items()]
    rows += [(f"  log: {part}", f"{size:.0f}", "") for part, size in by_post.items()]
    title = f"Bytes a post: {posts:,} posts, 1:{scale:.0f}, {', '.join(f'{n}={v}' for n, v in parameters.items())}"
    publish("wal", title, rows, {"posts": posts, "parameters": parameters, **found, "log": by_post})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posts", type=int, default=150_000, help="in the database when measuring begins")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="another database parameter")
    parser.add_argument("--batch-ms", type=int, default=100, help="how long the relay gathers")
    parser.add_argument("--verbose", action="store_true")
    asked = parser.parse_args()
    changed = dict(text.split("=", 1) for text in asked.set)
    asyncio.run(measure(asked.posts, changed, asked.batch_ms, verbose=asked.verbose))


if __name__ == "__main__":
    main()
