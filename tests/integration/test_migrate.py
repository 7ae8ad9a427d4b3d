"""Bringing a database to the schema of this version, waiting for it, and borrowing its connections."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from groundswell.adapters.migrations import REQUIRED_VERSION, migrate, schema_version, wait_for_schema
from groundswell.adapters.postgres_keys import PostgresKeys
from groundswell.adapters.postgres_pool import Pool, connection, open_pool
from groundswell.adapters.schema_history import checksums
from groundswell.core.api_keys import hash_key
from groundswell.errors import InvalidRequest, NotFound, QueryTimeout, SchemaMismatch, StoreUnavailable

_numbers = itertools.count()


@pytest.fixture
def empty_url(postgres_server: str) -> Iterator[str]:
    """The URL of a database with nothing in it."""
    name = f"empty_{next(_numbers)}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield postgres_server.replace("/postgres?", f"/{name}?")
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def a_pool(url: str, *, size: int = 2, wait_s: float = 5, timeout_s: float = 10) -> AsyncIterator[Pool]:
    pool = await open_pool(
        url, size=size, wait_s=wait_s, statement_timeout_s=timeout_s, application_name="groundswell test"
    )
    try:
        yield pool
    finally:
        await pool.close()


async def value_of(pool: Pool, query: str) -> object:
    async with connection(pool) as borrowed:
        row = await (await borrowed.execute(query)).fetchone()  # type: ignore[arg-type]
        assert row is not None
        return row[0]


# ------------------------------------------------------------------ the schema
def test_an_empty_database_gets_the_newest_schema_and_a_second_run_changes_nothing(empty_url: str) -> None:
    assert asyncio.run(migrate(empty_url)) == (None, REQUIRED_VERSION)
    assert asyncio.run(migrate(empty_url)) == (REQUIRED_VERSION, REQUIRED_VERSION)
    with psycopg.connect(empty_url) as check:
        check.execute("SELECT count(*) FROM posts, cursors, outbox, api_keys")


def test_migrators_that_start_together_take_turns(empty_url: str) -> None:
    async def body() -> list[tuple[str | None, str]]:
        return list(await asyncio.gather(*(migrate(empty_url) for _ in range(3))))

    befores = sorted((before or "none") for before, _ in asyncio.run(body()))
    assert befores == [REQUIRED_VERSION, REQUIRED_VERSION, "none"]


def test_a_newer_schema_is_left_alone(empty_url: str) -> None:
    asyncio.run(migrate(empty_url))
    with psycopg.connect(empty_url) as newer:
        newer.execute("UPDATE alembic_version SET version_num = '9999'")
    assert asyncio.run(migrate(empty_url)) == ("9999", "9999")


def test_a_database_with_tables_but_no_version_is_refused_and_left_as_it_is(empty_url: str) -> None:
    with psycopg.connect(empty_url) as other:
        other.execute("CREATE TABLE posts (mine int)")
    with pytest.raises(SchemaMismatch, match='relation "posts" already exists'):
        asyncio.run(migrate(empty_url))
    with psycopg.connect(empty_url) as check:
        assert check.execute("SELECT to_regclass('cursors')").fetchone() == (None,)
        check.execute("SELECT mine FROM posts")


def test_a_schema_of_another_history_is_refused_and_left_as_it_is(empty_url: str) -> None:
    asyncio.run(migrate(empty_url))
    with psycopg.connect(empty_url) as other:
        other.execute("UPDATE schema_checksums SET checksum = 'of another build' WHERE version = '0008'")
        other.execute("UPDATE alembic_version SET version_num = '0009'")
    with pytest.raises(SchemaMismatch, match=r"another history: migration 0008 .* start with an empty database"):
        asyncio.run(migrate(empty_url))
    with psycopg.connect(empty_url) as check:
        assert check.execute("SELECT version_num FROM alembic_version").fetchone() == ("0009",)


def test_a_newer_schema_of_another_history_is_refused_as_well(empty_url: str) -> None:
    asyncio.run(migrate(empty_url))
    with psycopg.connect(empty_url) as newer:
        newer.execute("UPDATE alembic_version SET version_num = '9999'")
        newer.execute("INSERT INTO schema_checksums VALUES ('9999', 'of a later build')")
    assert asyncio.run(migrate(empty_url)) == ("9999", "9999")
    with psycopg.connect(empty_url) as newer:
        newer.execute("UPDATE schema_checksums SET checksum = 'of another build' WHERE version = '0001'")
    with pytest.raises(SchemaMismatch, match="migration 0001"):
        asyncio.run(migrate(empty_url))


def test_a_database_from_before_the_checksums_gets_them(empty_url: str) -> None:
    asyncio.run(migrate(empty_url))
    with psycopg.connect(empty_url) as older:
        older.execute("DROP TABLE schema_checksums")
    asyncio.run(migrate(empty_url))
    with psycopg.connect(empty_url) as check:
        noted = dict(check.execute("SELECT version, checksum FROM schema_checksums").fetchall())
    assert noted == checksums()


def _go_back(conn: psycopg.Connection[Any], version: str) -> None:
    """Make the schema that of 0011 or 0012, which differ in no table."""
    conn.execute("DROP TABLE schema_checksums")
    conn.execute("ALTER TABLE coverage DROP COLUMN spans, DROP COLUMN late_seconds, DROP COLUMN late_quarter")
    conn.execute("DROP TABLE account_states, hidden_posts, forgotten_authors, author_labels")
    for table in ("posts", "archived_posts"):
        conn.execute(f"ALTER TABLE {table} DROP COLUMN labels, DROP COLUMN restricted")
    conn.execute("DROP INDEX archive_withdrawals_by_author, alerts_by_entity")
    conn.execute("ALTER TABLE ws_connections DROP COLUMN signed_in")
    conn.execute("ALTER TABLE alerts DROP COLUMN withdrawn, DROP COLUMN corrected_at")
    conn.execute("ALTER TABLE cursors DROP COLUMN positions")
    conn.execute("UPDATE alembic_version SET version_num = %s", (version,))


def test_data_of_a_build_with_another_migration_is_brought_up_to_date(empty_url: str) -> None:
    asyncio.run(migrate(empty_url))
    with psycopg.connect(empty_url) as other:
        other.execute("ALTER TABLE watched DROP COLUMN kinds")
        _go_back(other, "0011")
    asyncio.run(migrate(empty_url))
    with psycopg.connect(empty_url) as check:
        check.execute("SELECT kinds FROM watched")


def test_a_url_with_an_unknown_option_is_named_without_its_password() -> None:
    with pytest.raises(StoreUnavailable, match="has an option that cannot be read") as caught:
        asyncio.run(migrate("postgresql://nobody:US3CRET@127.0.0.1:1/none?bogus=1"))
    assert "US3CRET" not in caught.value.detail


def test_migrating_an_unreachable_database_says_what_to_check() -> None:
    with pytest.raises(StoreUnavailable, match="GROUNDSWELL_DATABASE_URL"):
        asyncio.run(migrate("postgresql://nobody@127.0.0.1:1/none"))


def test_the_version_of_an_empty_database_is_none(empty_url: str) -> None:
    async def body() -> str | None:
        async with a_pool(empty_url) as pool:
            return await schema_version(pool)

    assert asyncio.run(body()) is None


def test_a_service_waits_for_its_schema_and_says_so_once(empty_url: str) -> None:
    said: list[str] = []

    async def body() -> str:
        async with a_pool(empty_url) as pool:
            heard = asyncio.Event()

            def say(text: str) -> None:
                said.append(text)
                heard.set()

            waiting = asyncio.create_task(wait_for_schema(pool, 60, say))
            await heard.wait()
            await migrate(empty_url)
            return await waiting

    assert asyncio.run(body()) == REQUIRED_VERSION
    assert said == [f"Waiting for schema version {REQUIRED_VERSION} (now none)"]


def test_the_wait_is_bounded_and_ends_with_what_is_missing(empty_url: str) -> None:
    async def body() -> None:
        async with a_pool(empty_url) as pool:
            await wait_for_schema(pool, 0.5, lambda _: None)

    with pytest.raises(SchemaMismatch, match="groundswell migrate"):
        asyncio.run(body())


def test_a_newer_schema_is_good_enough(empty_url: str) -> None:
    async def body() -> str:
        await migrate(empty_url)
        async with a_pool(empty_url) as pool:
            async with connection(pool) as borrowed:
                await borrowed.execute("UPDATE alembic_version SET version_num = '9999'")
            return await wait_for_schema(pool, 5, lambda _: None)

    assert asyncio.run(body()) == "9999"


# ------------------------------------------------------------------ the pool
def test_sessions_are_in_utc_and_named(empty_url: str) -> None:
    async def body() -> tuple[object, object]:
        async with a_pool(empty_url) as pool:
            return await value_of(pool, "SHOW timezone"), await value_of(pool, "SHOW application_name")

    assert asyncio.run(body()) == ("UTC", "groundswell test")


def test_a_block_that_raises_is_rolled_back(empty_url: str) -> None:
    async def body() -> object:
        async with a_pool(empty_url) as pool:
            async with connection(pool) as borrowed:
                await borrowed.execute("CREATE TABLE t (n int)")
            with pytest.raises(ZeroDivisionError):
                async with connection(pool) as borrowed:
                    await borrowed.execute("INSERT INTO t VALUES (1)")
                    _ = 1 / 0
            return await value_of(pool, "SELECT count(*) FROM t")

    assert asyncio.run(body()) == 0


def test_an_exhausted_pool_is_named_and_recovers(empty_url: str) -> None:
    async def body() -> object:
        async with a_pool(empty_url, size=1, wait_s=0.2) as pool:
            async with connection(pool):
                with pytest.raises(StoreUnavailable, match=r"all 1 are in use.*POOL_SIZE") as caught:
                    await value_of(pool, "SELECT 1")
                assert caught.value.retry_after_s
            return await value_of(pool, "SELECT 1")

    assert asyncio.run(body()) == 1


def test_a_slow_statement_is_cancelled_by_the_server(empty_url: str) -> None:
    async def body() -> object:
        async with a_pool(empty_url, size=1, timeout_s=0.1) as pool:
            with pytest.raises(QueryTimeout):
                await value_of(pool, "SELECT pg_sleep(30)")
            return await value_of(pool, "SELECT 1")

    assert asyncio.run(body()) == 1


def test_a_connection_that_was_cut_is_replaced(empty_url: str) -> None:
    async def body() -> object:
        async with a_pool(empty_url, size=1) as pool:
            pid = await value_of(pool, "SELECT pg_backend_pid()")
            async with await psycopg.AsyncConnection.connect(empty_url, autocommit=True) as other:
                await other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
            return pid, await value_of(pool, "SELECT pg_backend_pid()")

    before, after = asyncio.run(body())  # type: ignore[misc]
    assert before != after


def test_a_connection_cut_in_the_middle_is_named(empty_url: str) -> None:
    async def body() -> None:
        async with a_pool(empty_url, size=2) as pool:
            with pytest.raises(StoreUnavailable, match="Nothing of this transaction was stored"):
                async with connection(pool) as borrowed:
                    await borrowed.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    asyncio.run(body())


def test_an_unreachable_database_is_named_within_the_wait_limit() -> None:
    async def body() -> None:
        async with a_pool("postgresql://nobody@127.0.0.1:1/none", wait_s=0.3) as pool:
            with pytest.raises(StoreUnavailable, match="Check that Postgres runs"):
                await value_of(pool, "SELECT 1")

    asyncio.run(body())


def test_a_url_that_is_none_is_named() -> None:
    with pytest.raises(StoreUnavailable, match="postgresql://user:password"):
        asyncio.run(a_pool("this is not a url").__aenter__())


# ------------------------------------------------------------------ API keys
def test_a_key_opens_until_it_is_revoked_and_only_its_hash_is_stored(database_url: str) -> None:
    async def body() -> None:
        async with a_pool(database_url) as pool:
            keys = PostgresKeys(pool)
            key = await keys.create("mine")
            assert await keys.knows(key)
            assert not await keys.knows(f"{key}x")
            assert [name for name, _ in await keys.names()] == ["mine"]
            assert bytes(await value_of(pool, "SELECT hash FROM api_keys")) == hash_key(key)  # type: ignore[arg-type]
            with pytest.raises(InvalidRequest):
                await keys.create("mine")
            await keys.revoke("mine")
            assert not await keys.knows(key)
            with pytest.raises(NotFound):
                await keys.revoke("mine")

    asyncio.run(body())


def test_a_new_version_of_a_row_of_momentum_leaves_every_index_as_it_is(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO momentum (entity, kind, name, as_of, stage, stage_since, mentions, authors, velocity,"
            " acceleration, surprise, score) SELECT n::text, 'hashtag', 'x', now(), 'rising', now(), 1, 1, 1, 1, 1, n"
            " FROM generate_series(1, 500) n"
        )
        conn.execute("UPDATE momentum SET score = score + 1, mentions = mentions + 1")
        conn.execute("SELECT pg_stat_force_next_flush()")
        counted = conn.execute("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'momentum'")
        assert counted.fetchone() == (500, 500)


def test_entities_of_posts_stored_before_are_kept_under_their_present_keys(empty_url: str) -> None:
    asyncio.run(migrate(empty_url))
    minute = "2026-05-04 10:00:00+00"
    with psycopg.connect(empty_url) as older:
        _go_back(older, "0012")
        posts: list[tuple[str, str, list[str]]] = [
            ("1", "ann", ["hashtag:$nvda", "hashtag:kcon"]),
            ("2", "ben", ["hashtag:$nvda", "ticker:NVDA"]),
            ("3", "ann", ["ticker:NVDA", "hashtag:i\u0307stanbul"]),
            ("4", "cem", ["hashtag:ıstanbul", "hashtag:❤\ufe0f", "hashtag:now!"]),
        ]
        for name, author, keys in posts:
            older.execute(
                "INSERT INTO posts (id, source, author, text, created_at, event_time, rev, entities, search)"
                " VALUES (%s, 'jetstream', %s, 'z Łodzi', %s, %s, '1', %s, '''łodzi'':2 ''z'':1')",
                (name, author, minute, minute, keys),
            )
            for key in keys:
                older.execute(
                    "INSERT INTO minute_authors AS m VALUES (%s, %s, 'jetstream', %s, 1)"
                    " ON CONFLICT (entity, minute, source, author) DO UPDATE SET mentions = m.mentions + 1",
                    (key, minute, author),
                )
        older.execute(
            "INSERT INTO minute_counts SELECT entity, minute, source, sum(mentions), count(*)"
            " FROM minute_authors GROUP BY 1, 2, 3"
        )
        older.execute(
            "INSERT INTO rollups SELECT k, 3600, '2026-05-01', 'jetstream', n, cardinality(a), a, NULL FROM (VALUES"
            " ('hashtag:$nvda', 2, '{1,2}'::bigint[]), ('ticker:NVDA', 2, '{2,3}')) AS v (k, n, a)"
        )
        older.execute("INSERT INTO alert_rules (entity) VALUES ('hashtag:$brk.b')")
    asyncio.run(migrate(empty_url))
    with psycopg.connect(empty_url) as check:
        stored = dict(check.execute("SELECT id, entities FROM posts").fetchall())
        assert stored == {
            "1": ["hashtag:kcon", "ticker:NVDA"],
            "2": ["ticker:NVDA"],
            "3": ["hashtag:istanbul", "ticker:NVDA"],
            "4": ["hashtag:istanbul", "hashtag:now", "hashtag:❤"],
        }
        counts = check.execute('SELECT entity, mentions, authors FROM minute_counts ORDER BY entity COLLATE "C"')
        assert counts.fetchall() == [
            ("hashtag:istanbul", 2, 2),
            ("hashtag:kcon", 1, 1),
            ("hashtag:now", 1, 1),
            ("hashtag:❤", 1, 1),
            ("ticker:NVDA", 3, 2),
        ]
        indexed_again = check.execute("SELECT count(*) FROM outbox WHERE op = 'upsert'")
        assert indexed_again.fetchone() == (4,)
        rolled = check.execute("SELECT entity, mentions, authors, author_keys, author_mentions FROM rollups")
        assert rolled.fetchall() == [("ticker:NVDA", 4, 3, [1, 2, 3], [1, 2, 1])]
        assert ("ticker:BRK.B",) in check.execute("SELECT entity FROM alert_rules").fetchall()
        assert check.execute("SELECT count(*) FROM posts WHERE search @@ 'lodzi'::tsquery").fetchone() == (4,)
