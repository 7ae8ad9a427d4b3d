"""`outage`: everything dies at once, and stays away for longer than the host keeps what was missed."""

from __future__ import annotations

import asyncio
import os
import signal

from groundswell.drills.harness.rig import Rig, Setup
from groundswell.drills.harness.running import Drill

RETENTION_S = 6.0
AWAY_S = 14.0


async def course(rig: Rig) -> None:
    rig.say("power is lost: relay, API and database die in the same moment")
    with rig.prober.api_away():
        for process in rig.postgres_processes():
            os.kill(process.pid, signal.SIGKILL)
        await asyncio.gather(rig.relay.kill(), rig.api.kill())
        await rig.kill_postgres()
        rig.say(f"it stays away for {AWAY_S:g} s; the host keeps {RETENTION_S:g} s")
        await rig.pause(AWAY_S * (4 if rig.full else 1))
        await rig.start_postgres()
        await rig.start_relay()
        await rig.start_api()
    await rig.recover("everything died at once")
    await rig.more_posts(100)
    rows = await rig.query(
        "SELECT cause, backfilled, extract(epoch FROM ended_at - started_at)::float8 FROM gaps WHERE NOT backfilled"
    )
    lost = sum(row[2] for row in rows)
    rig.check(
        "what the host no longer had is a recorded gap", lost > 1, f"{lost:.1f} s in {len(rows)}", promised="a gap"
    )


DRILL = Drill(
    name="outage",
    breaks="everything dies at once and stays away for longer than the host keeps what was missed",
    promises="what can be re-sent is stored; what is lost lies inside a recorded gap, and counts know of it",
    setup=Setup(posts_per_second=60, retention_s=RETENTION_S),
    course=course,
)
