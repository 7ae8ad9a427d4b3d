"""`database-full`: the disk of the database is full, and later it is not."""

from __future__ import annotations

import asyncio

from groundswell.drills.harness.rig import Rig, Setup
from groundswell.drills.harness.running import Drill
from groundswell.drills.harness.small_disk import fill

DISK_MB = 220
FULL_S = 8.0


async def course(rig: Rig) -> None:
    for _ in range(3 if rig.full else 1):
        rig.say("a file takes all the room that the database's disk has left")
        ballast = await asyncio.to_thread(fill, rig.postgres.data_dir)

        async def refused() -> bool:
            log = await asyncio.to_thread(rig.postgres.log.read_text, "utf-8", "replace")
            return "No space left on device" in log

        await rig.until(refused, "the database finds its disk full", limit_s=90)
        rig.say(f"the database has no room: {FULL_S:g} s of it")
        await rig.pause(FULL_S)
        alive = await rig.get("/healthz")
        rig.check("the API is alive", alive is not None and alive.get("status") == "alive", alive, promised="alive")
        rig.check("the relay waits", rig.relay.alive, "it runs", promised="it runs")
        await asyncio.to_thread(ballast.unlink)
        if rig.postgres.running_pid() is None:
            rig.say("there is room again, and the server, which had given up, is started")
            await rig.postgres.stop()
            await rig.start_postgres()
        else:
            rig.say("there is room again")
        await rig.recover("a full disk")
    await rig.more_posts(60)


DRILL = Drill(
    name="database-full",
    breaks="the disk of the database fills up to the last byte",
    promises="the relay waits and loses nothing, the API says what is missing; with room again all goes on",
    setup=Setup(
        posts_per_second=80,
        data_dir_mb=DISK_MB,
        postgres={"min_wal_size": "32MB", "max_wal_size": "64MB", "shared_buffers": "16MB"},
    ),
    course=course,
)
