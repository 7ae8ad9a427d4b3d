"""`parts-killed`: parts of `groundswell up` die one after the other, and nobody helps them."""

from __future__ import annotations

import asyncio
import signal
from functools import partial

import psutil

from groundswell.drills.harness.rig import Rig, Setup, send_signal
from groundswell.drills.harness.running import Drill

ENGINE = "groundswell.adapters.qdrant_embedded"


async def course(rig: Rig) -> None:
    for n in range(3 if rig.full else 1):
        for whole in (True, False):
            family = rig.postgres_processes()
            rig.say("SIGKILL of the whole database server" if whole else "SIGKILL of the postmaster alone")
            await _kill(family if whole else family[:1])
            await rig.recover("a killed database server" if whole else "a killed postmaster")
            after = rig.postgres_processes()
            rig.check("the database server is another process", bool(after) and after[0] != family[0], len(after))
        rig.say("SIGKILL of the vector engine")
        (before,) = _engines(rig)
        await _kill([before])
        await rig.until(partial(_has_another, rig, before), "the vector engine runs again")
        await rig.recover("a killed vector engine")
        found: list[object] = []
        counted = [2 * (n + 1), n + 1]
        # Components write their state at their next heartbeat, not at the moment of a restart.
        await rig.until(partial(_counts, rig, counted, found), f"the status counts {counted} restarts")
        rig.check("the status counts the restarts", found == counted, found, promised=str(counted))
    await rig.more_posts(60)


async def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        send_signal(process, signal.SIGKILL)
    await asyncio.to_thread(psutil.wait_procs, processes, 10)


def _engines(rig: Rig) -> list[psutil.Process]:
    """The engine itself, without the processes that it starts for its work."""
    children = psutil.Process(rig.relay.pid).children()
    return [child for child in children if child.status() != psutil.STATUS_ZOMBIE and ENGINE in child.cmdline()]


async def _has_another(rig: Rig, before: psutil.Process) -> bool:
    return any(engine != before for engine in _engines(rig))


async def _counts(rig: Rig, counted: list[int], found: list[object]) -> bool:
    """Put the restarts of Postgres and the engine that the status names into `found`; whether they are `counted`."""
    status = await rig.get("/v1/status")
    components = {} if status is None else {c["component"]: c for c in status.get("components", ())}
    found[:] = [components.get(part, {}).get("detail", {}).get("restarts") for part in ("postgres", "engine")]
    return found == counted


DRILL = Drill(
    name="parts-killed",
    breaks="Postgres and the vector engine of `groundswell up` are killed, and nobody starts them",
    promises="the platform starts them again, and goes on where it was",
    setup=Setup(posts_per_second=40, vectors=True, together=True),
    course=course,
    short_s=60,
)
