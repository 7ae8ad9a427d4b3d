"""`socket-drop`: the stream is cut, stalls, flaps, refuses, repeats itself and rewinds by a long way."""

from __future__ import annotations

from collections.abc import Callable

from groundswell.drills.harness.rig import RECOVERY_LIMIT_S, Rig, Setup
from groundswell.drills.harness.running import Drill

FLAPPING_LIMIT_S = 180.0
"""Each short-lived connection doubles the longest wait for the next: that is what backoff is for."""
STALL_S = 6.0
STALL_NOTICED_S = 90.0
"""A dead link is noticed by an unanswered ping: a tick, the ping's ten seconds, and a loaded machine's delay."""


async def course(rig: Rig) -> None:
    faults = rig.feed.host.faults
    for n in range(3 if rig.full else 1):
        rig.say("cutting every connection in the middle of a frame")
        await _lose_and_find(rig, "a cut in the middle of a frame", lambda n=n: faults.drop(reset=n % 2 == 1))

    rig.say("the host rewinds an hour, sends things twice and out of order")
    faults.rewind(3600)
    faults.duplicate(0.2)
    faults.reorder(8)
    await _lose_and_find(rig, "a host that rewinds, repeats and shuffles", faults.drop)
    faults.calm()

    rig.say("flapping: the next connections end after a few frames, and the host refuses for a while")
    faults.flap(3 if rig.full else 1, after_frames=5)
    faults.refuse(503, times=2 if rig.full else 1)
    await _lose_and_find(
        rig, "flapping and refusals", lambda: faults.drop(mid_frame=False, reset=True), limit_s=FLAPPING_LIMIT_S
    )

    rig.say("a stall: the connection stands and nothing comes, not even an answer to a ping")
    faults.stall()
    if rig.full:

        async def noticed() -> bool:
            return bool(await rig.ask("SELECT 1 FROM gaps WHERE cause = 'stall'"))

        seconds = await rig.until(noticed, "the stall is noticed", limit_s=STALL_NOTICED_S)
        rig.check("a half-open connection is noticed and named a stall", True, f"{seconds:.0f} s", promised="a gap")
    else:
        await rig.pause(STALL_S)
    faults.resume()
    await rig.recover("a stall")
    await rig.more_posts(60)


async def _lose_and_find(rig: Rig, after: str, drop: Callable[[], int], *, limit_s: float = RECOVERY_LIMIT_S) -> None:
    """Drop the connection, and see the gap recorded and closed again."""
    gaps = await rig.count_gaps()
    dropped = drop()
    assert dropped, "a relay that is live has a connection"

    async def recorded() -> bool:
        return await rig.count_gaps() > gaps

    await rig.until(recorded, f"the gap of {after} is recorded")
    await rig.recover(after, limit_s=limit_s)


DRILL = Drill(
    name="socket-drop",
    breaks="the stream is cut mid-frame, flaps, refuses, rewinds, repeats, shuffles and stalls",
    promises="each loss is a recorded gap, and what the host re-sends closes it: no post is lost or counted twice",
    setup=Setup(posts_per_second=60),
    course=course,
)
