"""`kill`: SIGKILL of relay and API, at random moments and between every two durable steps."""

from __future__ import annotations

from pathlib import Path
from random import Random

from groundswell.crash_points import EXIT_CODE, CrashPoint
from groundswell.drills.harness.rig import Rig, Setup
from groundswell.drills.harness.running import Drill

POINTS = tuple(point for point in CrashPoint if point.service == "relay")
DRAINING = frozenset({CrashPoint.RELAY_DRAIN_STORED, CrashPoint.RELAY_DRAIN_MOVED})
DEATH_LIMIT_S = 60.0


async def course(rig: Rig) -> None:
    rng = Random(rig.seed)  # noqa: S311 -- chooses moments, guards nothing
    for n in range(12 if rig.full else 2):
        posts = rng.randrange(0, 150)
        rig.say(f"kill {n + 1}: SIGKILL of the relay, {posts} posts later")
        await rig.more_posts(posts)
        await rig.pause(rng.random() * 0.3)
        await rig.relay.kill()
        await rig.start_relay()
    await rig.recover("the last kill of the relay")
    for time in range(1, 4 if rig.full else 2):
        for point in POINTS:
            await _die_at(rig, point, time)
    await rig.recover("the last death between two durable steps")
    for _ in range(4 if rig.full else 1):
        rig.say("SIGKILL of the API")
        with rig.prober.api_away():
            await rig.api.kill()
            await rig.start_api()
        await rig.recover("a kill of the API")
    await rig.more_posts(60)


async def _die_at(rig: Rig, point: CrashPoint, time: int) -> None:
    """Let the relay die where it reaches `point` for that time, with the database away where only then it gets there.

    Whoever comes after it, comes while the database is still away.
    """
    rig.say(f"the relay dies at {point.value}, the {time}. time that it gets there")
    await rig.relay.kill()
    await rig.start_relay(GROUNDSWELL_CRASH_POINT=f"{point.value}@{time}")
    rig.relay.doom()
    away = point is not CrashPoint.RELAY_AFTER_COMMIT
    if away:
        await rig.until(lambda: _connected(rig), "the relay reads its source")
        await rig.kill_postgres()
    if point in DRAINING:
        await rig.until(lambda: _spooled(rig), "something waits in the spool")
        await rig.start_postgres()
        away = False
    code = await rig.relay.ended(DEATH_LIMIT_S)
    rig.check(f"the relay died at {point.value}", code == EXIT_CODE, f"exit code {code}", promised=f"{EXIT_CODE}")
    await rig.start_relay()
    if away:
        await rig.start_postgres()


async def _connected(rig: Rig) -> bool:
    return rig.relay.said(" connected to ") or not rig.relay.alive


async def _spooled(rig: Rig) -> bool:
    return any(_size(path) for path in rig.services_dir.glob("spool/*/*.seg")) or not rig.relay.alive


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


DRILL = Drill(
    name="kill",
    breaks="relay and API are killed with SIGKILL, at random moments and between every two durable steps",
    promises="a restart reads again what was not committed: every post is stored once, and counts are the truth",
    setup=Setup(
        posts_per_second=80,
        relay={"GROUNDSWELL_BATCH_MAX_POSTS": "50", "GROUNDSWELL_DATABASE_POOL_WAIT_S": "0.3"},
    ),
    course=course,
    short_s=45,
)
