"""The index kept in step with Postgres, and made anew from it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import psycopg
import pytest

from groundswell.adapters.embedded_postgres import EmbeddedPostgres
from groundswell.adapters.migrations import migrate
from groundswell.adapters.postgres_indexed import PostgresIndexed
from groundswell.adapters.postgres_outbox import PostgresOutbox
from groundswell.adapters.postgres_pool import connection, open_pool
from groundswell.adapters.qdrant import QdrantIndex
from groundswell.core.near_duplicates import fingerprint
from groundswell.core.terms import search_vector
from groundswell.ports.vectors import SearchFilters, Space, Vector, VectorPoint
from groundswell.services.index_upkeep import IndexRetention, TermUpkeep
from tests.vector_engine import in_process, index_in_process

SPACE = Space("toy", 2)
T = TypeVar("T")


def with_posts(url: str, count: int, scenario: Callable[[PostgresIndexed, PostgresOutbox], Awaitable[T]]) -> T:
    """Post n of `count` is n seconds after the epoch. The terms are those of a release that cut none."""

    async def main() -> T:
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute(
                "INSERT INTO posts (id, source, author, text, event_time, rev)"
                " SELECT 'at://' || n, 's', 'a', '“Post ' || n || '”', to_timestamp(n), 'r'"
                " FROM generate_series(1, %s) n",
                (count,),
            )
        pool = await open_pool(url, size=2, wait_s=5, statement_timeout_s=10, application_name="test")
        try:
            return await scenario(PostgresIndexed(pool), PostgresOutbox(pool))
        finally:
            await pool.close()

    return asyncio.run(main())


def test_what_is_older_than_the_oldest_post_leaves_the_index(database_url: str) -> None:
    async def scenario(posts: PostgresIndexed, outbox: PostgresOutbox) -> None:
        index = index_in_process()
        await index.ensure(SPACE)
        toward = Vector(SPACE, np.array([1, 0], np.float32))
        await index.upsert([VectorPoint(n, toward, {"event_time": n * 1_000_000}) for n in range(1, 7)])
        retention = IndexRetention(posts, index)
        await retention.sweep()
        assert await index.count() == 6
        with psycopg.connect(database_url) as conn:
            conn.execute("DELETE FROM posts WHERE event_time < to_timestamp(4)")
        await retention.sweep()
        assert {hit.pk for hit in await index.search(toward, SearchFilters(), 10)} == {4, 5, 6}
        assert await outbox.depth() == 0

    with_posts(database_url, 6, scenario)


def test_a_post_that_comes_with_an_old_time_while_the_index_forgets_is_indexed_again(database_url: str) -> None:
    async def scenario(posts: PostgresIndexed, outbox: PostgresOutbox) -> None:
        class Late(QdrantIndex):
            async def delete_before(self, instant: int) -> None:
                with psycopg.connect(database_url) as conn:
                    conn.execute(
                        "INSERT INTO posts (id, source, author, text, event_time, rev)"
                        " VALUES ('at://late', 's', 'a', 'late', to_timestamp(0.5), 'r')"
                    )
                await super().delete_before(instant)

        index = Late(**in_process())
        await index.ensure(SPACE)
        await IndexRetention(posts, index).sweep()
        assert [item.pk for item in await outbox.claim(10)] == [4]

    with_posts(database_url, 3, scenario)


def test_an_index_that_is_away_is_swept_the_next_time(database_url: str) -> None:
    async def scenario(posts: PostgresIndexed, outbox: PostgresOutbox) -> None:
        away = QdrantIndex("http://127.0.0.1:9", timeout_s=1)
        assert await IndexRetention(posts, away).sweep() == 0
        await away.close()

    with_posts(database_url, 1, scenario)


def test_terms_of_an_earlier_release_are_cut_anew(database_url: str) -> None:
    async def scenario(posts: PostgresIndexed, outbox: PostgresOutbox) -> None:
        assert (await posts.state()).not_cut == 3
        upkeep = TermUpkeep(posts)
        assert [await upkeep.sweep(), await upkeep.sweep()] == [3, 0]

    with_posts(database_url, 3, scenario)
    with psycopg.connect(database_url) as conn:
        stored = conn.execute(
            "SELECT text, search = %s::tsvector, fingerprint FROM posts WHERE pk = 1", (search_vector("“Post 1”"),)
        )
        assert stored.fetchone() == ("“Post 1”", True, fingerprint("Post 1"))


def test_a_rebuild_that_was_interrupted_goes_on_and_queues_nothing_twice(database_url: str) -> None:
    async def scenario(posts: PostgresIndexed, outbox: PostgresOutbox) -> None:
        first = await posts.begin_rebuild()
        assert (first.posts, first.queued, first.all_queued) == (25, 0, False)
        assert await posts.queue_rebuild(first, 10) == 10
        again = await posts.begin_rebuild()
        assert (again.id, again.queued) == (first.id, 10)
        assert [await posts.queue_rebuild(again, 10) for _ in range(3)] == [10, 5, 0]
        assert [item.pk for item in await outbox.claim(100)] == list(range(1, 26))
        assert (await posts.begin_rebuild()).all_queued
        await posts.finish_rebuild(again)
        assert await posts.rebuild() is None
        assert (await posts.state()).rebuilt_at is not None

    with_posts(database_url, 25, scenario)


@pytest.mark.slow
def test_the_index_is_made_anew_from_the_command_line_while_nothing_runs(tmp_path: Path) -> None:
    async def fill() -> None:
        server = EmbeddedPostgres(tmp_path, tuning={"fsync": "off"})
        url = await server.start()
        await migrate(url)
        pool = await open_pool(url, size=1, wait_s=5, statement_timeout_s=10, application_name="test")
        async with connection(pool) as conn:
            await conn.execute(
                "INSERT INTO posts (id, source, author, text, event_time, rev)"
                " SELECT 'at://' || n, 's', 'a', 'bitcoin number ' || n, to_timestamp(n), 'r'"
                " FROM generate_series(1, 1200) n"
            )
        await pool.close()
        await server.stop()

    asyncio.run(fill())

    def groundswell(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "groundswell", *words, "--data-dir", str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, timeout=110, check=True, env={**os.environ})

    before = groundswell("index", "status").stdout
    assert "posts stored" in before
    assert "1,200" in before
    assert "1,200 posts are indexed anew" in groundswell("index", "rebuild").stderr
    after = groundswell("index", "status").stdout
    assert "points in the index                    " not in after  # no earlier terms are left to speak of
    assert [line.split()[-1] for line in after.splitlines() if line.startswith("points in the index")] == ["1,200"]
    assert "1,200 posts are indexed anew" in groundswell("index", "rebuild", "--from-scratch").stderr
