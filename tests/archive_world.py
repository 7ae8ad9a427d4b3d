"""Old posts in a real Postgres, a mover over a real directory, and what there is of them afterwards."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from groundswell.adapters.archive_directory import DirectoryArchive
from groundswell.adapters.parquet_files import ParquetFiles
from groundswell.adapters.postgres_archive_index import PostgresArchiveIndex
from groundswell.adapters.postgres_claims import PostgresClaims
from groundswell.adapters.postgres_pool import Pool, open_pool
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.posts import MICROS_PER_SECOND, AccountChange, Deleted, Post
from groundswell.core.retention import is_withdrawn
from groundswell.ports.archive import Archive, PostFiles
from groundswell.ports.storing import Batch
from groundswell.services.archive_reader import ArchivedPosts
from groundswell.services.archived_files import ArchivedFiles
from groundswell.services.mover import Mover
from groundswell.services.withdrawals import Withdrawals

DAY_S = 86_400
HOT_S = 14.0 * DAY_S
DAY_ONE = 1_777_593_600 * MICROS_PER_SECOND
"""2026-05-01T00:00:00Z, far in the past of every clock that runs this."""


def post(
    number: int, *, day: int = 0, author: str | None = None, rev: str = "a", source: str = "jetstream", text: str = ""
) -> Post:
    """Post `number` of a day: ten minutes apart, each with a ticker of ten and a hashtag of three."""
    who = author or f"did:plc:{number % 7}"
    when = DAY_ONE + (day * DAY_S + number % 144 * 600) * MICROS_PER_SECOND + number
    return Post(
        id=f"at://{who}/app.bsky.feed.post/{day}-{number}",
        source=source,
        author=who,
        text=text or f"Post {number} of day {day}: größer, 大きい, 🌊 “quoted” \\ and\nnew lines",
        event_time=when,
        rev=rev,
        cursor=when,
        created_at=when - 5 if number % 3 else None,
        lang=("en", "ja", None)[number % 3],
        entities=(f"hashtag:h{number % 3}", f"ticker:T{number % 10}") if number % 5 else (),
        reply_to="at://somebody/else" if number % 4 == 0 else None,
    )


def deleted(of: Post, rev: str = "z") -> Deleted:
    return Deleted(source=of.source, author=of.author, event_time=of.event_time, cursor=of.cursor, id=of.id, rev=rev)


def account_deleted(author: str, until: int, source: str = "jetstream") -> AccountChange:
    return AccountChange(source=source, author=author, event_time=until, cursor=until, status="deleted")


def account_active(author: str, since: int, source: str = "jetstream") -> AccountChange:
    return AccountChange(source=source, author=author, event_time=since, cursor=since, status="active")


def batch(
    *posts: Post,
    deletes: Sequence[Deleted] = (),
    accounts: Sequence[AccountChange] = (),
    source: str = "jetstream",
) -> Batch:
    return Batch(
        source=source,
        posts=posts,
        deletes=deletes,
        accounts=accounts,
        cursor=1,
        covered_from=DAY_ONE,
        covered_until=DAY_ONE + 1,
        live=True,
    )


def age(url: str, days: int = 30) -> None:
    """Let everything in Postgres have been ingested that long ago."""
    with psycopg.connect(url) as conn:
        conn.execute("UPDATE posts SET ingested_at = now() - %s * interval '1 day'", (days,))


@dataclass
class World:
    """The parts around one database and one archive."""

    url: str
    pool: Pool
    store: PostgresStore
    index: PostgresArchiveIndex
    claims: PostgresClaims
    archive: Archive
    files: PostFiles
    cache: ArchivedFiles
    withdrawals: Withdrawals
    reader: ArchivedPosts
    scratch: Path

    def mover(self, **changes: Any) -> Mover:
        parts = {
            "claims": self.claims,
            "archive": self.archive,
            "files": self.files,
            "withdrawals": self.withdrawals,
            "clock": SystemClock(),
            "scratch": self.scratch,
            "hot_s": HOT_S,
        }
        return Mover(**{**parts, **changes})


@asynccontextmanager
async def open_world(url: str, folder: Path, archive: Archive | None = None) -> AsyncGenerator[World]:
    pool = await open_pool(url, size=4, wait_s=10, statement_timeout_s=60, application_name="test")
    try:
        files, index = ParquetFiles(), PostgresArchiveIndex(pool)
        where = archive or DirectoryArchive(folder / "archive")
        cache = ArchivedFiles(where, folder / "cache")
        yield World(
            url=url,
            pool=pool,
            store=PostgresStore(pool),
            index=index,
            claims=PostgresClaims(pool),
            archive=where,
            files=files,
            cache=cache,
            withdrawals=Withdrawals(index, cache, files),
            reader=ArchivedPosts(index, cache, files),
            scratch=folder / "scratch",
        )
    finally:
        await pool.close()


def in_world(
    url: str, folder: Path, scenario: Callable[[World], Awaitable[Any]], archive: Archive | None = None
) -> Any:
    async def run() -> Any:
        async with open_world(url, folder, archive) as world:
            return await scenario(world)

    return asyncio.run(run())


def rows(url: str, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as conn:
        return conn.execute(query, values).fetchall()


def counts(url: str) -> list[list[tuple[Any, ...]]]:
    """Everything that counts."""
    return [
        rows(url, "SELECT entity, minute::text, source, mentions, authors FROM minute_counts ORDER BY 1, 2, 3"),
        rows(url, "SELECT entity, minute::text, source, author, mentions FROM minute_authors ORDER BY 1, 2, 3, 4"),
        rows(url, "SELECT source, minute::text, posts FROM minute_totals WHERE posts <> 0 ORDER BY 1, 2"),
    ]


async def archived(world: World) -> list[Post]:
    """Every post that may be shown of every file that counts as archived."""
    found: list[Post] = []
    for file in await world.index.files():
        keys, authors = await world.index.withdrawn([file.id])
        gone = keys.get(file.id, frozenset())
        async with world.cache.held(file.manifest) as path:
            async for page in world.files.read(path):
                found += [row.post for row in page if not is_withdrawn(row, gone, authors)]
    return found


async def places(world: World) -> Counter[str]:
    """How often each post is somewhere: in Postgres, or in a file that counts and shows it."""
    hot = [row[0] for row in await asyncio.to_thread(rows, world.url, "SELECT id FROM posts")]
    return Counter([*hot, *(found.id for found in await archived(world))])


POSTS = tuple(post(number, day=day) for day in range(3) for number in range(30))


async def moved(world: World) -> None:
    await world.store.commit(batch(*POSTS))
    age(world.url)
    await world.mover(file_rows=20).move()
