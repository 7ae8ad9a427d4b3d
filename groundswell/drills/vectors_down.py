"""`vectors-down`: the vector engine is stopped, and then frozen, while posts keep coming."""

from __future__ import annotations

import os
import signal

from groundswell.adapters.qdrant import QdrantIndex
from groundswell.drills.harness.rig import Rig, Setup
from groundswell.drills.harness.running import Drill

DOWN_S = 4.0
FROZEN_S = 5.0
ANSWER_LIMIT_S = 8.0


async def course(rig: Rig) -> None:
    engine = rig.engine
    assert engine is not None, "this drill is set up with an engine"
    await _indexed(rig)

    rig.say(f"the vector engine is stopped for {DOWN_S:g} s")
    await engine.stop()
    await rig.pause(DOWN_S)
    answer = await rig.get("/v1/search?q=coffee")
    rig.check(
        "search goes on by words, and says so",
        answer is not None and answer.get("legs") == ["lexical"] and "vector-index" in answer.get("degraded", ()),
        None if answer is None else (answer.get("legs"), answer.get("degraded")),
        promised="lexical leg only",
    )
    await engine.start()
    await rig.recover("a stopped vector engine")

    rig.say(f"the vector engine is frozen for {FROZEN_S:g} s: it accepts requests and says nothing")
    pid = engine.pid
    assert pid is not None, "it was started a moment ago"
    os.kill(pid, signal.SIGSTOP)
    await rig.pause(FROZEN_S * (3 if rig.full else 1))
    os.kill(pid, signal.SIGCONT)
    await rig.recover("a frozen vector engine")

    rig.say("SIGKILL of the vector engine")
    pid = engine.pid
    assert pid is not None, "it still runs"
    os.kill(pid, signal.SIGKILL)
    await rig.more_posts(60)
    slowest = rig.prober.answers.slowest_s
    rig.check("no request hangs", slowest < ANSWER_LIMIT_S, f"{slowest:.1f} s", promised=f"under {ANSWER_LIMIT_S:g} s")

    await rig.end_the_world()
    await _indexed(rig)
    posts, points = await rig.stored_posts(), await _points(rig)
    rig.check("every post is in the index, and nothing else", posts == points, points, promised=f"{posts} points")


async def _indexed(rig: Rig) -> None:
    """Wait until the outbox is empty: every post has its vector."""

    async def empty() -> bool:
        rows = await rig.ask(
            "SELECT count(*) FROM (SELECT 1 FROM outbox UNION ALL SELECT 1 FROM posts p WHERE NOT EXISTS"
            " (SELECT 1 FROM post_vectors v WHERE v.post_pk = p.pk)) AS waiting"
        )
        return bool(rows) and rows[0][0] <= (0 if rig.feed.ended else 60)

    seconds = await rig.until(empty, "the outbox is empty", limit_s=90)
    rig.say(f"the outbox is empty after {seconds:.1f} s")


async def _points(rig: Rig) -> int:
    assert rig.engine is not None, "this drill is set up with an engine"
    index = QdrantIndex(rig.engine.url, api_key=rig.engine.api_key, timeout_s=15)
    try:
        return await index.count()
    finally:
        await index.close()


DRILL = Drill(
    name="vectors-down",
    breaks="the vector engine is stopped, frozen and killed while posts keep coming",
    promises="search goes on by words and says so; what was missed is indexed when the engine is back",
    setup=Setup(posts_per_second=50, vectors=True),
    course=course,
    short_s=40,
)
