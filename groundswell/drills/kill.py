"""`kill`: SIGKILL of relay and API, in the middle of whatever they are doing."""

from __future__ import annotations

from random import Random

from groundswell.drills.harness.rig import Rig, Setup
from groundswell.drills.harness.running import Drill


async def course(rig: Rig) -> None:
    rng = Random(rig.seed)  # noqa: S311 -- chooses moments, guards nothing
    for n in range(12 if rig.full else 3):
        posts = rng.randrange(0, 150)
        rig.say(f"kill {n + 1}: SIGKILL of the relay, {posts} posts later")
        await rig.more_posts(posts)
        await rig.pause(rng.random() * 0.3)
        await rig.relay.kill()
        await rig.start_relay()
    await rig.recover("the last kill of the relay")
    for _ in range(4 if rig.full else 1):
        rig.say("SIGKILL of the API")
        with rig.prober.api_away():
            await rig.api.kill()
            await rig.start_api()
        await rig.recover("a kill of the API")
    await rig.more_posts(60)


DRILL = Drill(
    name="kill",
    breaks="relay and API are killed with SIGKILL at random moments",
    promises="a restart reads again what was not committed: every post is stored once, and counts are the truth",
    setup=Setup(posts_per_second=80, relay={"GROUNDSWELL_BATCH_MAX_POSTS": "50"}),
    course=course,
)
