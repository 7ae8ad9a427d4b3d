"""`disk-full`: the database is away, and the disk that keeps its work meanwhile is full; then the archive's is."""

from __future__ import annotations

import asyncio

from groundswell.drills.harness.rig import Rig, Setup
from groundswell.drills.harness.running import Drill
from groundswell.drills.harness.small_disk import fill

DISK_MB = 40
LEFT_BYTES = 64 * 1024
"""Room for a second or two of the stream."""
FULL_S = 4.0


async def course(rig: Rig) -> None:
    for n in range(3 if rig.full else 1):
        rig.say(f"the relay's disk has {LEFT_BYTES // 1024} KiB left, and then the database goes away")
        ballast = await asyncio.to_thread(fill, rig.services_dir, leave_bytes=LEFT_BYTES)
        await rig.kill_postgres()
        await rig.until(lambda n=n: _left_unread(rig, n + 1), "the relay finds its disk full", limit_s=60)
        rig.check("the relay reads no further, and runs on", rig.relay.alive, "it runs", promised="it runs")
        await rig.pause(FULL_S * (n + 1))
        spooled = sum(path.stat().st_size for path in rig.services_dir.glob("spool/*/*.seg"))
        rig.check("what it had is kept", spooled > 0, f"{spooled / 1024:.0f} KiB spooled", promised="some")
        rig.say("the database is back while the disk is still full")
        await rig.start_postgres()
        await rig.recover("a full disk under the spool")
        await asyncio.to_thread(ballast.unlink)
    await rig.more_posts(60)
    unseen = await rig.query("SELECT count(*) FROM gaps WHERE closed_at IS NOT NULL AND NOT backfilled")
    rig.check("nothing was given up", unseen[0][0] == 0, unseen[0][0], promised="no gap that stays")


async def _left_unread(rig: Rig, times: int) -> bool:
    log = await asyncio.to_thread(rig.relay.log.read_text, "utf-8", "replace")
    return log.count("is full") >= times


DRILL = Drill(
    name="disk-full",
    breaks="the disk of the relay's spool is full while the database is away",
    promises="what was spooled is kept, the rest is left unread at the source, and all of it is stored later",
    setup=Setup(posts_per_second=120, services_dir_mb=DISK_MB),
    course=course,
)
