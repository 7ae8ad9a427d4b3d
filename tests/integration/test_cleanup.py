"""What is only kept for a while goes by the database's clock, in bounded bites, and what has come apart is mended."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
import psycopg
import pytest

from groundswell.adapters.postgres_pool import Pool, open_pool
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.adapters.postgres_sweeps import AgeSweep, PostgresVectorLedger
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.learning import too_late_for
from groundswell.errors import StoreUnavailable
from groundswell.metrics import Metrics
from groundswell.ports.vectors import Space, Vector, VectorPoint
from groundswell.services.cleanup import MAX_BITES, Cleanup
from groundswell.services.orphan_vectors import OrphanVectors
from tests.archive_world import DAY_S, account_deleted, batch, deleted, post, rows
from tests.vector_engine import index_in_process

SPACE = Space("toy-4", 4)


def with_pool(url: str, scenario: Callable[[Pool], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        pool = await open_pool(url, size=2, wait_s=5, statement_timeout_s=10, application_name="test")
        try:
            return await scenario(pool)
        finally:
            await pool.close()

    return asyncio.run(run())


def run_sql(url: str, *statements: str) -> None:
    with psycopg.connect(url) as conn:
        for statement in statements:
            conn.execute(statement)


OLD_AND_NEW = {
    "events": (
        "INSERT INTO events (ts, type, live, data) SELECT now() - n * interval '1 day', 'x', true, '{}'"
        " FROM generate_series(0, 9) n",
        "SELECT count(*) FROM events",
    ),
    "alerts": (
        "INSERT INTO alerts (entity, stage, score, at, evidence, recorded_at)"
        " SELECT 'e', 'rising', 1, '2001-01-01', '{}', now() - n * interval '1 day' FROM generate_series(0, 9) n",
        "SELECT count(*) FROM alerts",
    ),
    "tombstones": (
        "INSERT INTO tombstones (id, rev, deleted_at) SELECT n::text, '', now() - n * interval '1 day'"
        " FROM generate_series(0, 9) n",
        "SELECT count(*) FROM tombstones",
    ),
    "author_tombstones": (
        "INSERT INTO author_tombstones (source, author, cause, until, deleted_at)"
        " SELECT 's', n::text, 'x', '2001-01-01', now() - n * interval '1 day' FROM generate_series(0, 9) n",
        "SELECT count(*) FROM author_tombstones",
    ),
    "hidden_posts": (
        "INSERT INTO account_states VALUES ('s', 'a', 'takendown', true, '2001-01-01', '2001-01-01');"
        " INSERT INTO hidden_posts (id, source, author, text, event_time, rev, entities, hidden_at)"
        " SELECT n::text, 's', 'a', '', '2001-01-01', '', '{}', now() - n * interval '1 day'"
        " FROM generate_series(0, 9) n",
        "SELECT count(*) FROM hidden_posts",
    ),
    "active_accounts": (
        "INSERT INTO account_states SELECT 's', n::text, 'active', false, '2001-01-01', now() - n * interval '1 day'"
        " FROM generate_series(0, 9) n;"
        " INSERT INTO account_states VALUES ('s', 'hidden', 'takendown', true, '2001-01-01', '2001-01-01')",
        "SELECT count(*) FROM account_states WHERE NOT hidden",
    ),
    "author_labels": (
        "INSERT INTO author_labels SELECT 's', n::text, '{}', false, '', now() - n * interval '1 day'"
        " FROM generate_series(0, 9) n;"
        " INSERT INTO author_labels VALUES ('s', 'said', '{porn}', false, '', '2001-01-01')",
        "SELECT count(*) FROM author_labels WHERE labels = '{}'",
    ),
    "hidden_accounts": (
        "INSERT INTO account_states SELECT 's', n::text, 'takendown', true, '2001-01-01', now() - n * interval '1 day'"
        " FROM generate_series(0, 9) n;"
        " INSERT INTO account_states VALUES ('s', 'waits', 'takendown', true, '2001-01-01', '2001-01-01');"
        " INSERT INTO hidden_posts (id, source, author, text, event_time, rev, entities)"
        " VALUES ('p', 's', 'waits', '', '2001-01-01', '', '{}')",
        "SELECT count(*) FROM account_states WHERE author <> 'waits'",
    ),
    "components": (
        "INSERT INTO components (component, state, updated_at) SELECT n::text, 'ok', now() - n * interval '1 day'"
        " FROM generate_series(0, 9) n",
        "SELECT count(*) FROM components",
    ),
    "late_counts": (
        "INSERT INTO late_counts (entity, minute, source, noted_at)"
        " SELECT n::text, '2001-01-01', 's', now() - n * interval '1 day' FROM generate_series(0, 9) n",
        "SELECT count(*) FROM late_counts",
    ),
    "momentum": (
        # A recording of long ago: its newest is what counts as now.
        "INSERT INTO momentum (entity, kind, name, as_of, stage, stage_since, mentions, authors, velocity,"
        " acceleration, surprise, score)"
        " SELECT n::text, 'ticker', 'x', timestamptz '2001-02-01' - n * interval '1 day',"
        " 'rising', '2001-01-01', 1, 1, 1, 1, 1, 1 FROM generate_series(0, 9) n",
        "SELECT count(*) FROM momentum",
    ),
    "archived_posts": (
        "INSERT INTO archive_files (name, source, day, state, since, lease_until, manifest)"
        " SELECT n::text, 's', '2001-01-01', 'archived', now() - n * interval '1 day', now(), '{}'"
        " FROM generate_series(0, 9) n;"
        " INSERT INTO archived_posts (key, file_id, author_key) SELECT name::bytea, id, 1 FROM archive_files",
        "SELECT count(*) FROM archived_posts",
    ),
    "archive_files": (
        "INSERT INTO archive_files (name, source, day, state, since, lease_until, manifest)"
        " SELECT n::text, 's', '2001-01-01', 'archived', now() - n * interval '1 day', now(), '{}'"
        " FROM generate_series(0, 9) n",
        "SELECT count(*) FROM archive_files",
    ),
}


@pytest.mark.parametrize("name", OLD_AND_NEW)
def test_what_is_older_than_it_is_kept_goes_and_nothing_else(name: str, database_url: str) -> None:
    fill, count = OLD_AND_NEW[name]
    run_sql(database_url, fill)

    async def scenario(pool: Pool) -> list[int]:
        sweep = AgeSweep(pool, name, keep_s=3.5 * DAY_S, limit=4)
        return [await sweep.sweep() for _ in range(3)]

    assert with_pool(database_url, scenario) == [4, 2, 0]
    assert rows(database_url, count) == [(4,)]


def test_a_file_of_the_archive_that_is_gone_is_forgotten_after_its_posts_with_what_was_withdrawn(
    database_url: str,
) -> None:
    run_sql(
        database_url,
        "INSERT INTO archive_files (name, source, day, state, since, lease_until, manifest)"
        " VALUES ('old', 's', '2001-01-01', 'archived', '2001-01-05', '2001-01-05', '{}'),"
        " ('claimed', 's', '2001-01-01', 'claimed', '2001-01-05', '2001-01-05', NULL)",
        "INSERT INTO archived_posts (key, file_id, author_key) SELECT 'a', id, 1 FROM archive_files WHERE name = 'old'",
        "INSERT INTO archive_withdrawals (key, file_id, rev, author_key)"
        " SELECT 'b', id, '', 1 FROM archive_files WHERE name = 'old'",
        "INSERT INTO archive_takedowns (file_id, source, author)"
        " SELECT id, 's', 'x' FROM archive_files WHERE name = 'old'",
    )

    async def scenario(pool: Pool) -> list[int]:
        posts, files = (AgeSweep(pool, name, keep_s=DAY_S) for name in ("archived_posts", "archive_files"))
        return [await files.sweep(), await posts.sweep(), await files.sweep()]

    assert with_pool(database_url, scenario) == [0, 1, 1]
    assert rows(database_url, "SELECT name FROM archive_files") == [("claimed",)]
    assert rows(database_url, "SELECT FROM archive_withdrawals UNION ALL SELECT FROM archive_takedowns") == []


def test_a_note_stays_until_the_hour_that_it_came_too_late_for_is_learnt_and_a_day_at_most(database_url: str) -> None:
    hour = 100
    run_sql(
        database_url,
        "INSERT INTO late_counts (entity, minute, source, noted_at, quarter)"
        f" SELECT n::text, '2001-01-01', 's', now() - interval '2 hours', {too_late_for(hour)} + n"
        " FROM generate_series(-1, 0) n",
        "INSERT INTO late_counts (entity, minute, source, noted_at, quarter)"
        f" VALUES ('old', '2001-01-01', 's', now() - interval '2 days', {too_late_for(hour)})",
        f"INSERT INTO watched (hour, numbers) VALUES ({hour}, '')",
    )

    def sweep() -> Any:
        return with_pool(database_url, lambda pool: AgeSweep(pool, "late_counts", keep_s=3600).sweep())

    assert sweep() == 2
    assert rows(database_url, "SELECT entity FROM late_counts") == [("0",)]
    run_sql(database_url, "UPDATE watched SET hour = hour + 1")
    assert sweep() == 1


def test_an_account_is_remembered_while_archived_posts_of_it_wait_to_be_withdrawn(database_url: str) -> None:
    run_sql(
        database_url,
        "INSERT INTO author_tombstones VALUES ('s', 'waiting', 'x', '2001-01-01', '2001-01-01'),"
        " ('s', 'done', 'x', '2001-01-01', '2001-01-01')",
        "INSERT INTO archive_takedowns VALUES (1, 's', 'waiting')",
    )
    assert with_pool(database_url, lambda pool: AgeSweep(pool, "author_tombstones", keep_s=DAY_S).sweep()) == 1
    assert rows(database_url, "SELECT author FROM author_tombstones") == [("waiting",)]


def test_a_deletion_that_is_repeated_is_remembered_from_then_on(database_url: str) -> None:
    gone = post(1)

    async def scenario(pool: Pool) -> None:
        store = PostgresStore(pool)
        withdrawn = batch(deletes=[deleted(gone)], accounts=[account_deleted("did:plc:x", 5)])
        await store.commit(withdrawn)
        for table in ("tombstones", "author_tombstones"):
            await asyncio.to_thread(run_sql, database_url, f"UPDATE {table} SET deleted_at = '2001-01-01'")
        await store.commit(withdrawn)
        assert await AgeSweep(pool, "tombstones", keep_s=DAY_S).sweep() == 0
        assert await AgeSweep(pool, "author_tombstones", keep_s=DAY_S).sweep() == 0

    with_pool(database_url, scenario)


def test_the_outbox_loses_only_entries_of_posts_that_are_gone_and_have_a_later_one(database_url: str) -> None:
    kept, gone = post(1), post(2)

    async def scenario(pool: Pool) -> int:
        store = PostgresStore(pool)
        await store.commit(batch(kept, gone))
        await store.commit(batch(deletes=[deleted(gone)]))
        return await AgeSweep(pool, "outbox").sweep()

    assert with_pool(database_url, scenario) == 1
    assert rows(database_url, "SELECT op FROM outbox ORDER BY id") == [("upsert",), ("delete",)]


# ------------------------------------------------------------------ the round
class Backlog:
    def __init__(self, name: str, size: int, failure: Exception | None = None) -> None:
        self.name = name
        self.left = size
        self._failure = failure

    async def sweep(self) -> int:
        if self._failure is not None:
            raise self._failure
        bite = min(10, self.left)
        self.left -= bite
        return bite


class Clock(SystemClock):
    """Every look takes a second."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 0.0

    def monotonic(self) -> float:
        self.at += 1
        return self.at


def round_of(*sweeps: Any, within_s: float | None = None) -> tuple[Any, Metrics]:
    metrics = Metrics()
    return asyncio.run(Cleanup(sweeps, Clock(), metrics=metrics).round(within_s=within_s)), metrics


def test_a_round_takes_everything_in_turn_and_counts_it() -> None:
    done, metrics = round_of(Backlog("alerts", 25), Backlog("events", 0), Backlog("outbox", 7))
    assert done == {"alerts": 25, "events": 0, "outbox": 7}
    assert metrics.value("cleanup_swept_total", label="alerts") == 25


def test_a_sweep_that_fails_or_has_a_backlog_holds_up_no_other() -> None:
    huge = Backlog("events", 10 * MAX_BITES + 50)
    done, _ = round_of(Backlog("alerts", 5, StoreUnavailable("away")), huge, Backlog("outbox", 7))
    assert done == {"events": 10 * MAX_BITES, "outbox": 7}
    assert huge.left == 50


def test_a_round_ends_at_its_deadline() -> None:
    first, second = Backlog("events", 10_000), Backlog("outbox", 10)
    done, _ = round_of(first, second, within_s=5)
    assert 0 < done["events"] < 100 and second.left == 10


# ------------------------------------------------------------------ vectors
@pytest.mark.parametrize("page", [2, 3, 100])
def test_points_without_a_post_go_and_posts_without_a_point_are_indexed_again(page: int, database_url: str) -> None:
    posts = [post(number) for number in range(12)]

    async def scenario(pool: Pool) -> Any:
        store, index = PostgresStore(pool), index_in_process()
        await index.ensure(SPACE)
        created = (await store.commit(batch(*posts))).created
        pks = [stored.pk for stored in created]
        await asyncio.to_thread(
            run_sql,
            database_url,
            "INSERT INTO post_vectors SELECT pk, 'toy-4' FROM posts",
            "DELETE FROM outbox",
            # One that is being removed already: the indexer sees to it.
            f"DELETE FROM posts WHERE pk = {pks[0]}",
            f"DELETE FROM post_vectors WHERE post_pk = {pks[0]}",
            f"INSERT INTO outbox (post_pk, op) VALUES ({pks[0]}, 'delete')",
        )
        lost, strangers = pks[4:7], [900, 901, 902]
        await index.upsert([_point(pk) for pk in (*pks, *strangers) if pk not in lost])
        sweep = OrphanVectors(index, PostgresVectorLedger(pool), page=page, rest_bites=1)
        mended = sum([await sweep.sweep() for _ in range(60)])
        left = await index.pks(-1, 100)
        await index.close()
        return pks, lost, mended, left

    pks, lost, mended, left = with_pool(database_url, scenario)
    assert mended == 6
    assert left == [pk for pk in pks if pk not in lost]
    queued = rows(database_url, "SELECT op, post_pk FROM outbox ORDER BY id")
    assert queued == [("delete", pks[0]), *(("upsert", pk) for pk in lost)]


def test_who_lives_for_one_bite_begins_anywhere_and_sees_what_lies_before_it_too(database_url: str) -> None:
    async def scenario(pool: Pool) -> Any:
        index = index_in_process()
        await index.ensure(SPACE)
        ledger = PostgresVectorLedger(pool)
        empty = await ledger.anywhere()
        strangers = list(range(1, 30))
        await index.upsert([_point(pk) for pk in strangers])
        sweep = OrphanVectors(index, ledger, page=4, pages=100, rest_bites=0, after=14)
        mended = [await sweep.sweep() for _ in range(len(strangers))]
        left = await index.pks(-1, 100)
        await index.close()
        return empty, mended, left

    empty, mended, left = with_pool(database_url, scenario)
    assert empty == -1
    assert sum(mended) == 29 and left == []
    assert mended[-1] == 0


def _point(pk: int) -> VectorPoint:
    payload: dict[str, object] = {"entities": [], "author": "a", "source": "s", "event_time": 1}
    values: Sequence[float] = (1, 0, 0, 0)
    return VectorPoint(pk, Vector(SPACE, np.array(values, np.float32)), payload)
