"""One relay reads a source at a time: the lease in a real Postgres, and a deploy that starts the new relay early."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import msgspec
import psycopg
import pytest

from groundswell.adapters.postgres_lease import PostgresLease
from groundswell.adapters.postgres_momentum import PostgresMomentum
from groundswell.adapters.postgres_pool import open_pool
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.errors import EX_UNAVAILABLE, LeaseLost, StoreUnavailable
from groundswell.ports.momentum import StageDraft
from groundswell.ports.storing import EventDraft
from rehearsal.connections_endpoint import ConnectionsEndpoint
from tests.integration.test_store import T0, batch, post

PATIENCE_S = 150


def test_one_has_the_lease_and_the_next_gets_it_when_the_first_lets_go_or_dies(database_url: str) -> None:
    async def scenario() -> None:
        first, second, other = (PostgresLease(database_url, name) for name in ("s", "s", "t"))
        assert await first.take()
        assert await first.take(), "it is confirmed"
        assert not await second.take()
        assert await other.take(), "of another source"
        await first.release()
        assert await second.take()
        assert not await first.take()
        with psycopg.connect(database_url, autocommit=True) as conn:
            # As when the process was killed, or its machine cut off.
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
                " AND objid = hashtext('s')::bigint & 4294967295"
            )
        with pytest.raises(StoreUnavailable, match="cannot be confirmed"):
            await second.take()
        assert await first.take()
        assert not await second.take()
        for lease in (first, second, other):
            await lease.release()

    asyncio.run(scenario())


def end_session_of_lease(database_url: str) -> None:
    """As the server does when a machine has vanished, or when the network cut it off."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        ended = conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'groundswell relay lease'"
        ).fetchall()
    assert ended == [(True,)]


def test_a_relay_whose_lease_went_to_another_stores_and_publishes_nothing(database_url: str) -> None:
    async def scenario() -> None:
        pool = await open_pool(
            database_url, size=2, wait_s=5, statement_timeout_s=5, application_name="relay", answer_limit_s=10
        )
        old, new = PostgresLease(database_url, "jetstream"), PostgresLease(database_url, "jetstream")
        try:
            store, momentum = PostgresStore(pool, old.require), PostgresMomentum(pool, old.require)
            update = EventDraft("status.update", msgspec.Raw(b"{}"))

            async def write(n: int) -> None:
                await store.commit(batch(post(f"k{n}", at=n), start=n - 1, end=n + 1))
                await store.open_gap("jetstream", "disconnect", T0, "gone")
                await store.close_gap("jetstream", T0 + 1, backfilled=True)
                await store.append_events([update])

            await write(1)  # takes the lease, which nobody has
            assert not await new.take()
            end_session_of_lease(database_url)
            await write(2)  # a server that was started again: the same relay has the lease anew
            assert not await new.take()
            end_session_of_lease(database_url)
            async with asyncio.timeout(PATIENCE_S):
                while not await new.take():  # noqa: ASYNC110 -- a lock of a database is no event
                    await asyncio.sleep(0.01)
            written = await stored(database_url)
            stage = StageDraft("hashtag:a", "hashtag", T0, "dormant", "rising", 0.5, {})
            for attempt in (
                store.commit(batch(post("k3", at=3), start=2, end=4)),
                store.open_gap("jetstream", "shutdown", T0, "the relay was stopped"),
                store.append_events([update]),
                momentum.publish([], [], [stage], live=True),
            ):
                with pytest.raises(LeaseLost, match="Another relay reads jetstream now"):
                    await attempt
            assert await stored(database_url) == written
            await new.release()
            await write(3)
        finally:
            await old.release()
            await new.release()
            await pool.close()

    asyncio.run(scenario())


async def stored(database_url: str) -> list[tuple[object, ...]]:
    async with await psycopg.AsyncConnection.connect(database_url) as conn:
        cursor = await conn.execute(
            "SELECT (SELECT count(*) FROM posts), (SELECT count(*) FROM events), (SELECT count(*) FROM gaps),"
            " (SELECT max(updated_at) FROM cursors)"
        )
        return await cursor.fetchall()


def test_a_lease_without_a_database_is_unavailable() -> None:
    async def scenario() -> None:
        with pytest.raises(StoreUnavailable):
            await PostgresLease("postgresql://nobody@127.0.0.1:9/none", "s").take()

    asyncio.run(scenario())


@pytest.mark.parametrize("end", ["stopped", "frozen"])
def test_a_deploy_that_starts_the_new_relay_before_the_old_one_has_ended_broadcasts_no_frame_twice(
    database_url: str, tmp_path: Path, end: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("INSERT INTO ws_connections (connection_id, topics, greeted_at) VALUES ('c', '{posts}', 0)")

        def one(query: str) -> object:
            row = conn.execute(query).fetchone()
            return None if row is None else row[0]

        async def until(query: str) -> None:
            async with asyncio.timeout(PATIENCE_S):
                while not await asyncio.to_thread(one, query):  # noqa: ASYNC110 -- rows of a database are no events
                    await asyncio.sleep(0.1)

        async def relay(name: str, endpoint: ConnectionsEndpoint) -> asyncio.subprocess.Process:
            given = {
                **os.environ,
                "GROUNDSWELL_DATABASE_URL": database_url,
                "GROUNDSWELL_WS_ENDPOINT": endpoint.url,
                "GROUNDSWELL_DATA_DIR": str(tmp_path / name),
                "GROUNDSWELL_SIMULATOR_RATE": "20",
                "GROUNDSWELL_SIMULATOR_HISTORY_MINUTES": "5",
                "GROUNDSWELL_MOMENTUM_INTERVAL_S": "60",
                "AWS_ACCESS_KEY_ID": "testing",
                "AWS_SECRET_ACCESS_KEY": "testing",
                "AWS_DEFAULT_REGION": "us-east-1",
            }
            with (tmp_path / f"{name}.log").open("wb") as log:
                return await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "relay_container", env=given, stdout=log, stderr=log
                )

        async def scenario() -> ConnectionsEndpoint:
            async with ConnectionsEndpoint() as endpoint:
                old = await relay("old", endpoint)
                new = None
                try:
                    await until("SELECT count(*) > 200 FROM posts")
                    await endpoint.until(lambda: endpoint.heard["c"], PATIENCE_S)
                    new = await relay("new", endpoint)
                    async with asyncio.timeout(PATIENCE_S):
                        while b"another relay reads" not in (tmp_path / "new.log").read_bytes():  # noqa: ASYNC110
                            await asyncio.sleep(0.1)
                    assert one("SELECT detail ->> 'lease' FROM components WHERE component = 'relay'") == "held"
                    stored = one("SELECT max(pk) FROM posts")
                    await until(f"SELECT max(pk) > {stored} + 20 FROM posts")
                    assert one("SELECT count(*) FROM gaps WHERE closed_at IS NULL") == 0, "one reads, undisturbed"
                    if end == "stopped":
                        old.send_signal(signal.SIGTERM)
                        assert await asyncio.wait_for(old.wait(), PATIENCE_S) == 0
                    else:
                        old.send_signal(signal.SIGSTOP)
                        await asyncio.to_thread(end_session_of_lease, database_url)
                    drained = one("SELECT max(pk) FROM posts")
                    await until(f"SELECT max(pk) > {drained} + 50 FROM posts")
                    if end == "frozen":
                        old.send_signal(signal.SIGCONT)
                        assert await asyncio.wait_for(old.wait(), PATIENCE_S) == EX_UNAVAILABLE
                        assert b"Another relay reads" in (tmp_path / "old.log").read_bytes()
                    await until("SELECT count(*) > 0 AND bool_and(closed_at IS NOT NULL) FROM gaps")
                    new.send_signal(signal.SIGTERM)
                    assert await asyncio.wait_for(new.wait(), PATIENCE_S) == 0
                finally:
                    for process in (old, new):
                        if process is not None and process.returncode is None:
                            process.kill()
                            await process.wait()
                return endpoint

        endpoint = asyncio.run(scenario())
        frames = [frame for frame in endpoint.heard["c"] if frame["type"] == "posts.new"]
        heard = Counter(post["id"] for frame in frames for post in frame["data"]["posts"])
        assert max(heard.values()) == 1, "no frame was broadcast twice"
        numbers = Counter(frame["seq"] for frame in frames if frame["seq"] is not None)
        assert max(numbers.values()) == 1
        stored = {
            row[0]
            for row in conn.execute("SELECT id FROM posts WHERE pk >= (SELECT pk FROM posts WHERE id = ANY(%s)"
                                    " ORDER BY pk LIMIT 1)", (list(heard),))
        }  # fmt: skip
        if end == "stopped":
            assert stored <= heard.keys(), "nothing was lost between the two"
        causes = conn.execute("SELECT cause, backfilled FROM gaps WHERE closed_at IS NOT NULL").fetchall()
        assert causes == [("shutdown" if end == "stopped" else "start", True)], (
            "the one real gap, and it was made up for"
        )
