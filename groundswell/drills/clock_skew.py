"""`clock-skew`: relay and API disagree about the time by hours, and their clocks jump. Movers: see `archive`."""

from __future__ import annotations

from typing import Any

from groundswell.core.instants import parse_rfc3339
from groundswell.core.posts import MICROS_PER_SECOND
from groundswell.drills.harness.rig import Rig, Setup
from groundswell.drills.harness.running import Drill

AHEAD_S = 3 * 3600
BEHIND_S = -5 * 3600
JUMP_EVERY_S = 2
TOLERANCE_S = 30


async def course(rig: Rig) -> None:
    rig.say("the relay is three hours ahead; the clock of the API jumps between five hours ahead and five behind")
    status = await _status(rig)
    (source,) = status["sources"]
    rig.check("the source is live by the database's clock", source["state"] == "live", source["state"], promised="live")
    off = abs(parse_rfc3339(status["as_of"]) - rig.feed.now()) / MICROS_PER_SECOND
    rig.check(
        "answers carry the database's time", off < TOLERANCE_S, f"{off:.1f} s off", promised=f"< {TOLERANCE_S} s off"
    )
    await rig.more_posts(300 if not rig.full else 3000)

    rig.say("the connection is cut, and the relay is restarted with a clock five hours behind")
    rig.feed.host.faults.drop()
    await rig.relay.kill()
    await rig.start_relay(GROUNDSWELL_CLOCK_SKEW=f"{BEHIND_S}")
    await rig.recover("a restart with the clock eight hours earlier")

    rig.say("and then with one that jumps forth and back")
    await rig.relay.stop()
    await rig.start_relay(GROUNDSWELL_CLOCK_SKEW=f"{AHEAD_S}/{JUMP_EVERY_S}")
    await rig.recover("a restart with a clock that jumps")
    await rig.more_posts(300 if not rig.full else 3000)
    rows = await rig.query(
        "SELECT count(*) FROM posts WHERE event_time > clock_timestamp() OR ingested_at > clock_timestamp()"
    )
    rig.check("posts from the future", rows[0][0] == 0, rows[0][0], promised="0")
    rows = await rig.query("SELECT count(*) FROM momentum WHERE as_of > clock_timestamp() + interval '1 second'")
    rig.check("momentum from the future", rows[0][0] == 0, rows[0][0], promised="0")


async def _status(rig: Rig) -> dict[str, Any]:
    """An API that has just started may remember for two seconds that there was no source yet."""
    found: dict[str, Any] = {}

    async def knows_the_source() -> bool:
        found.update(await rig.get("/v1/status") or {})
        return bool(found.get("sources"))

    await rig.until(knows_the_source, "the status knows the source")
    return found


DRILL = Drill(
    name="clock-skew",
    breaks="the clocks of relay and API are hours apart, and jump",
    promises="every age is judged by the database's clock: nothing is skipped, counted twice, stale or from the future",
    setup=Setup(
        posts_per_second=80,
        relay={"GROUNDSWELL_CLOCK_SKEW": f"{AHEAD_S}"},
        api={"GROUNDSWELL_CLOCK_SKEW": f"{BEHIND_S}/{JUMP_EVERY_S}"},
    ),
    course=course,
)
