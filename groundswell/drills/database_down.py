"""`database-down`: Postgres is killed, stopped, and frozen so that it accepts connections and says nothing."""

from __future__ import annotations

import os
import signal

from groundswell.drills.harness.rig import Rig, Setup
from groundswell.drills.harness.running import Drill

DOWN_S = 8.0
"""Longer than the pool tries to connect of its own accord."""
FROZEN_S = 10.0
STATEMENT_S = 2
ANSWER_LIMIT_S = 7.0
"""The pool's wait, a statement's limit and its margin are 4 s; the rest is for a loaded machine."""


async def course(rig: Rig) -> None:
    for n in range(3 if rig.full else 1):
        rig.say(f"SIGKILL of the whole database server, for {DOWN_S:g} s")
        await rig.kill_postgres()
        await rig.pause(DOWN_S * (n + 1))
        answer = await rig.get("/v1/posts?limit=1")
        rig.check(
            "without a database the API says so",
            answer is not None and answer.get("type", "").endswith("#store-unavailable"),
            None if answer is None else answer.get("type"),
            promised="a problem of the type store-unavailable",
        )
        await rig.start_postgres()
        await rig.recover("a killed database")

    rig.say(f"the database is frozen for {FROZEN_S:g} s: connections stand, nothing answers")
    frozen = rig.postgres_processes()
    for process in frozen:
        os.kill(process.pid, signal.SIGSTOP)
    await rig.pause(FROZEN_S * (3 if rig.full else 1))
    for process in frozen:
        os.kill(process.pid, signal.SIGCONT)
    await rig.recover("a frozen database")
    slowest = rig.prober.answers.slowest_s
    rig.check("no request hangs", slowest < ANSWER_LIMIT_S, f"{slowest:.1f} s", promised=f"under {ANSWER_LIMIT_S:g} s")
    await rig.more_posts(60)


DRILL = Drill(
    name="database-down",
    breaks="Postgres is killed, and then frozen in the middle of everything",
    promises="the relay keeps or leaves unread what it cannot store; the API says what is missing, and never hangs",
    setup=Setup(posts_per_second=60, api={"GROUNDSWELL_DATABASE_STATEMENT_TIMEOUT_S": f"{STATEMENT_S}"}),
    course=course,
    short_s=45,
)
