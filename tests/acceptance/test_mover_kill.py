"""SIGKILL of the mover, wherever it is: every post stays in exactly one place, and counts as before."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest

from groundswell.crash_points import EXIT_CODE, CrashPoint
from tests.archive_world import World, age, batch, counts, deleted, in_world, places, post, rows

POSTS = tuple(post(number, day=day) for day in range(4) for number in range(40))
GONE = POSTS[50:60]

MOVE = """
import asyncio, sys
from groundswell import crash_points
from groundswell.settings import MoverSettings, load
from groundswell.wiring.archive_chores import archive_desk

async def main():
    settings = load(MoverSettings)
    crash_points.arm(settings.crash_point)
    async with archive_desk(settings) as desk:
        await desk.move(asyncio.Event(), None, file_rows=15)

asyncio.run(main())
"""
"""What `groundswell archive move` runs, with files small enough that there are many."""


def environment_of(url: str, folder: Path) -> dict[str, str]:
    """Who is killed leaves its work folder behind: it is in `folder` too."""
    archive = str(folder / "archive")
    return {**os.environ, "GROUNDSWELL_DATABASE_URL": url, "GROUNDSWELL_ARCHIVE": archive, "TMPDIR": str(folder)}


async def mover_process(url: str, folder: Path, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        MOVE,
        env={**environment_of(url, folder), **environment},
        stderr=asyncio.subprocess.DEVNULL,
    )


def let_leases_end(url: str) -> None:
    with psycopg.connect(url) as conn:
        conn.execute("UPDATE archive_files SET lease_until = now() - interval '1 s' WHERE state = 'claimed'")


async def filled(world: World) -> None:
    await world.store.commit(batch(*POSTS))
    age(world.url)


async def held(world: World, expected: Mapping[str, int]) -> None:
    """Every post is in exactly one place, and everything counts as it should."""
    assert await places(world) == expected


def once(posts: Any) -> dict[str, int]:
    return {p.id: 1 for p in posts}


@pytest.mark.slow
@pytest.mark.parametrize(
    "point", [point for point in CrashPoint if point.service in ("mover", "restore")], ids=lambda point: point.value
)
def test_dying_at_any_crash_point_leaves_every_post_in_one_place(
    point: CrashPoint, database_url: str, tmp_path: Path
) -> None:
    async def scenario(world: World) -> None:
        await filled(world)
        before = counts(world.url)
        if "settle" in point.value or point.service == "restore":
            # Withdrawals of archived posts, and posts to bring back: what these places are between.
            await world.mover(file_rows=15).move()
            if "settle" in point.value:
                await world.store.commit(batch(deletes=[deleted(p) for p in GONE]))
        if point is CrashPoint.MOVER_AFTER_DISCARD:
            claim = await world.claims.claim(hot_s=0.0, limit=15, lease_s=0.0)
            assert claim is not None
        expected = once(p for p in POSTS if "settle" not in point.value or p not in GONE)
        process = await _run_to_its_death(world, point, tmp_path)
        assert await process.wait() == EXIT_CODE
        await held(world, expected)
        let_leases_end(world.url)
        if point.service == "restore":
            again = await _restore_process(world.url, tmp_path)
            assert await again.wait() == 0
            assert rows(world.url, "SELECT count(*) FROM posts") == [(40,)]
        else:
            again = await mover_process(world.url, tmp_path)
            assert await again.wait() == 0
            assert rows(world.url, "SELECT count(*) FROM posts") == [(0,)]
        await held(world, expected)
        if "settle" in point.value:
            for gone in GONE:
                assert await world.reader.post(gone.id) is None
            assert sum(n for _, _, n in counts(world.url)[2]) == len(POSTS) - len(GONE)
        else:
            assert counts(world.url) == before

    in_world(database_url, tmp_path, scenario)


async def _run_to_its_death(world: World, point: CrashPoint, folder: Path) -> asyncio.subprocess.Process:
    if point.service == "restore":
        return await _restore_process(world.url, folder, GROUNDSWELL_CRASH_POINT=point.value)
    again = "" if "discard" in point.value or "settle" in point.value else "@2"
    return await mover_process(world.url, folder, GROUNDSWELL_CRASH_POINT=point.value + again)


async def _restore_process(url: str, folder: Path, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "groundswell", "archive", "restore", "2026-05-02"),
        env={**environment_of(url, folder), **environment},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )


async def reach(conn: psycopg.AsyncConnection[Any], at_least: int, stopped: Callable[[], bool]) -> None:
    """Return once that many files were begun, or the movers ended by themselves."""
    async with asyncio.timeout(90):
        while not stopped():
            row = await (await conn.execute("SELECT count(*) FROM archive_files")).fetchone()
            if row is not None and row[0] >= at_least:
                return
            await asyncio.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killing_movers_at_random_while_two_of_them_run(seed: int, database_url: str, tmp_path: Path) -> None:
    """Two real processes at once, killed again and again at moments that only chance chooses."""
    rng = Random(seed)

    async def scenario(world: World) -> None:
        await filled(world)
        before = counts(world.url)
        async with await psycopg.AsyncConnection.connect(world.url, autocommit=True) as conn:
            for _ in range(4):
                known = (await (await conn.execute("SELECT count(*) FROM archive_files")).fetchone() or (0,))[0]
                movers = [await mover_process(world.url, tmp_path) for _ in range(2)]
                await reach(conn, known + rng.randint(1, 3), lambda: any(m.returncode is not None for m in movers))  # noqa: B023
                await asyncio.sleep(rng.uniform(0, 0.05))
                for mover in movers:
                    with suppress(ProcessLookupError):
                        mover.kill()
                for mover in movers:
                    await mover.wait()
                await held(world, once(POSTS))
                if rng.random() < 0.7:
                    let_leases_end(world.url)
        let_leases_end(world.url)
        for ended in [await mover_process(world.url, tmp_path) for _ in range(2)]:
            assert await ended.wait() == 0
        assert rows(world.url, "SELECT count(*) FROM posts") == [(0,)]
        await held(world, once(POSTS))
        assert counts(world.url) == before

    in_world(database_url, tmp_path, scenario)
