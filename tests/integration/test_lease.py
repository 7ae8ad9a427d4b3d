"""One relay reads a source at a time: the lease in a real Postgres, and a deploy that starts the new relay early."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import psycopg
import pytest

from groundswell.adapters.postgres_lease import PostgresLease
from groundswell.errors import StoreUnavailable
from rehearsal.connections_endpoint import ConnectionsEndpoint

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


def test_a_lease_without_a_database_is_unavailable() -> None:
    async def scenario() -> None:
        with pytest.raises(StoreUnavailable):
            await PostgresLease("postgresql://nobody@127.0.0.1:9/none", "s").take()

    asyncio.run(scenario())


def test_a_deploy_that_starts_the_new_relay_before_the_old_one_has_ended_broadcasts_no_frame_twice(
    database_url: str, tmp_path: Path
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
                    old.send_signal(signal.SIGTERM)
                    assert await asyncio.wait_for(old.wait(), PATIENCE_S) == 0
                    drained = one("SELECT max(pk) FROM posts")
                    await until(f"SELECT max(pk) > {drained} + 50 FROM posts")
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
        assert stored <= heard.keys(), "nothing was lost between the two"
        causes = conn.execute("SELECT cause, backfilled FROM gaps WHERE closed_at IS NOT NULL").fetchall()
        assert causes == [("shutdown", True)], "the one real gap, and it was made up for"
