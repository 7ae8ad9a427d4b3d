"""Mover and cleanup as AWS runs them: by the real runtime client, with the time that a function has."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psycopg
import pytest

from groundswell.adapters.postgres_pool import open_pool
from groundswell.adapters.postgres_reads import PostgresReads
from groundswell.crash_points import CrashPoint
from rehearsal.local_lambda import FunctionFailed, LocalFunction
from tests.archive_world import age, batch, in_world, post, rows
from tests.roles import as_role

NOWHERE = "postgresql://nobody:nothing@127.0.0.1:9/none"
POSTS = tuple(post(number, day=day) for day in range(3) for number in range(1, 41))


def run_once(
    name: str,
    environment: dict[str, str],
    *,
    timeout_s: float = 60.0,
    event: Mapping[str, object] = MappingProxyType({}),
) -> Any:
    async def run() -> Any:
        handler = f"functions.{name}.handler.handler"
        url = environment["GROUNDSWELL_DATABASE_URL"]
        given = {**environment, "GROUNDSWELL_DATABASE_URL": as_role(url, "jobs")}
        async with LocalFunction(name, handler, given, timeout_s=timeout_s) as function:
            return await function.invoke(dict(event))

    return asyncio.run(run())


@pytest.fixture
def given(database_url: str, tmp_path: Path) -> dict[str, str]:
    return {
        "GROUNDSWELL_DATABASE_URL": database_url,
        "GROUNDSWELL_DATABASE_POOL_SIZE": "2",
        "GROUNDSWELL_DATA_DIR": str(tmp_path / "data"),
    }


@pytest.fixture
def moving(given: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """What the mover is given, over a database with three days of posts that are old enough."""

    async def fill(world: Any) -> None:
        await world.store.commit(batch(*POSTS))

    url = given["GROUNDSWELL_DATABASE_URL"]
    in_world(url, tmp_path, fill)
    age(url)
    return {**given, "GROUNDSWELL_ARCHIVE": str(tmp_path / "archive")}


def degraded_after(url: str, seconds: int) -> Sequence[str]:
    """What `/v1/status` names as degraded when the last report is so old."""

    async def ask() -> Sequence[str]:
        pool = await open_pool(
            as_role(url, "api"), size=1, wait_s=5, statement_timeout_s=5, application_name="test status"
        )
        try:
            return (await PostgresReads(pool).status()).degraded
        finally:
            await pool.close()

    with psycopg.connect(url) as conn:
        conn.execute("UPDATE components SET updated_at = now() - make_interval(secs => %s)", (seconds,))
    return asyncio.run(ask())


def places(url: str) -> tuple[int, int]:
    """How many posts Postgres has, and how many the archive."""
    return rows(url, "SELECT (SELECT count(*) FROM posts), (SELECT count(*) FROM archived_posts)")[0]


def test_the_mover_moves_what_is_due_and_says_so(moving: dict[str, str]) -> None:
    url = moving["GROUNDSWELL_DATABASE_URL"]
    moved = run_once("mover", moving, event={"every_s": 900})
    assert (moved["posts"], moved["files"], moved["ended"]) == (120, 3, "done")
    assert places(url) == (0, 120)
    (status,) = rows(
        url, "SELECT state, detail->>'moved', detail->>'every_s' FROM components WHERE component = 'archive'"
    )
    assert status == ("idle", "120", "900.0")
    assert "archive" not in degraded_after(url, 2600), "its next run is not due"
    assert "archive" in degraded_after(url, 2800), "three runs were missed"
    assert run_once("mover", moving)["posts"] == 0


def test_a_mover_without_time_moves_nothing_and_ends_cleanly(moving: dict[str, str]) -> None:
    moved = run_once("mover", moving, timeout_s=15)
    assert (moved["posts"], moved["ended"]) == (0, "deadline")
    assert places(moving["GROUNDSWELL_DATABASE_URL"]) == (120, 0)


@pytest.mark.parametrize(
    "point", [CrashPoint.MOVER_AFTER_CLAIM, CrashPoint.MOVER_AFTER_MANIFEST, CrashPoint.MOVER_AFTER_RELEASE]
)
def test_a_run_that_was_killed_half_way_is_finished_by_the_next(moving: dict[str, str], point: CrashPoint) -> None:
    url = moving["GROUNDSWELL_DATABASE_URL"]
    with pytest.raises(FunctionFailed, match="ended with 137"):
        run_once("mover", {**moving, "GROUNDSWELL_CRASH_POINT": f"{point.value}@2"})
    hot, archived = places(url)
    assert hot + archived == 120
    assert 0 < hot < 120
    # The lease of the run that died is as long as the longest function runs.
    rows(url, "UPDATE archive_files SET lease_until = now() - interval '1 s' RETURNING 1")
    assert run_once("mover", moving)["ended"] == "done"
    assert places(url) == (0, 120)


def test_a_mover_without_an_archive_says_what_to_set(given: dict[str, str]) -> None:
    with pytest.raises(FunctionFailed, match="GROUNDSWELL_ARCHIVE: is off or not set"):
        run_once("mover", given)


def test_cleanup_forgets_clients_that_were_left_behind_and_what_is_too_old(given: dict[str, str]) -> None:
    url = given["GROUNDSWELL_DATABASE_URL"]
    insert = "INSERT INTO ws_connections (connection_id, connected_at) VALUES (%s, now() - %s * interval '1 hour')"
    for name, hours in (("here", 1), ("left-behind", 3)):
        rows(url, f"{insert} RETURNING 1", (name, hours))
    rows(
        url,
        "INSERT INTO events (ts, type, live, data)"
        " SELECT now() - n * interval '30 days', 'x', true, '{}' FROM generate_series(0, 3) n RETURNING 1",
    )
    swept = run_once("cleanup", given)
    assert (swept["connections"], swept["events"]) == (1, 3)
    assert rows(url, "SELECT connection_id FROM ws_connections") == [("here",)]
    assert rows(url, "SELECT count(*) FROM events") == [(1,)]


@pytest.mark.parametrize("name", ["mover", "cleanup"])
def test_a_job_without_its_database_fails_so_that_the_alarm_hears_of_it(name: str, tmp_path: Path) -> None:
    environment = {
        "GROUNDSWELL_DATABASE_URL": NOWHERE,
        "GROUNDSWELL_DATABASE_POOL_WAIT_S": "1",
        "GROUNDSWELL_DATA_DIR": str(tmp_path),
        **({"GROUNDSWELL_ARCHIVE": str(tmp_path / "archive")} if name == "mover" else {}),
    }
    with pytest.raises(FunctionFailed, match="StoreUnavailable"):
        run_once(name, environment)
