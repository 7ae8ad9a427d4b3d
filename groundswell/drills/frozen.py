"""`frozen`: each part stops in the middle of what it does, for longer than any of its limits, and goes on."""

from __future__ import annotations

import signal
from collections.abc import Sequence

import psutil

from groundswell.drills.harness.rig import Rig, Setup, send_signal
from groundswell.drills.harness.running import Drill

FROZEN_S = 3.0
LONG_S = 90.0
ANSWER_LIMIT_S = 10.0


async def course(rig: Rig) -> None:
    engine = rig.engine
    assert engine is not None and engine.pid is not None, "this drill is set up with an engine"
    seconds = LONG_S if rig.full else FROZEN_S
    for part, processes in (
        ("the relay", [psutil.Process(rig.relay.pid)]),
        ("the vector engine", [psutil.Process(engine.pid)]),
        ("the database", rig.postgres_processes()),
        ("relay and database", [psutil.Process(rig.relay.pid), *rig.postgres_processes()]),
    ):
        await _freeze(rig, part, processes, seconds)
    slowest = rig.prober.answers.slowest_s
    rig.check("no request hangs", slowest < ANSWER_LIMIT_S, f"{slowest:.1f} s", promised=f"under {ANSWER_LIMIT_S:g} s")
    # An API that is frozen answers nobody, and there is nothing that it could promise meanwhile.
    await rig.stop_probing()
    await _freeze(rig, "the API", [psutil.Process(rig.api.pid)], seconds)
    rig.probe()
    gaps = await rig.query("SELECT count(*) FROM gaps WHERE closed_at IS NOT NULL AND NOT backfilled")
    rig.check("nothing was given up", gaps[0][0] == 0, gaps[0][0], promised="no gap that stays")
    early = await rig.query("SELECT count(*) FROM momentum WHERE as_of > clock_timestamp() + interval '1 second'")
    rig.check("momentum from the future", early[0][0] == 0, early[0][0], promised="0")
    await rig.more_posts(60)


async def _freeze(rig: Rig, part: str, processes: Sequence[psutil.Process], seconds: float) -> None:
    rig.say(f"{part}: frozen for {seconds:g} s")
    for process in processes:
        send_signal(process, signal.SIGSTOP)
    try:
        await rig.pause(seconds)
    finally:
        for process in processes:
            send_signal(process, signal.SIGCONT)
    await rig.recover(f"{part} was frozen")


DRILL = Drill(
    name="frozen",
    breaks="relay, database, vector engine, API, and two of them at once are frozen",
    promises="each goes on where it was: nothing is lost, counted twice, given up or said too early",
    setup=Setup(posts_per_second=40, vectors=True, api={"GROUNDSWELL_DATABASE_STATEMENT_TIMEOUT_S": "2"}),
    course=course,
    short_s=50,
)
