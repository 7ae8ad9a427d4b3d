"""`leak`: a soak with ever new entities, authors and connections; what has to stay flat does."""

from __future__ import annotations

import asyncio

import psutil

from groundswell.drills.harness.churn import churn
from groundswell.drills.harness.rig import Rig, Setup
from groundswell.drills.harness.running import Drill

POSTS_PER_SECOND = 250
WARM_UP_S, SHORT_S, FULL_S = 8.0, 10.0, 240.0
ALLOWED_MB = 10.0
ALLOWED_MB_A_MINUTE = 4.0
"""Of a short soak only a rush of memory can be told from noise; `bench/soak.py` measures the slope for ten minutes."""
MAX_MOMENTUM = 20_000


async def course(rig: Rig) -> None:
    seconds = FULL_S if rig.full else SHORT_S
    churning = asyncio.create_task(churn(rig.api_url))
    try:
        rig.say(f"warming up for {WARM_UP_S:g} s, with clients that come and go")
        await rig.pause(WARM_UP_S * (4 if rig.full else 1))
        services = {name: psutil.Process(service.pid) for name, service in (("relay", rig.relay), ("api", rig.api))}
        before = {name: process.memory_info().rss / 1e6 for name, process in services.items()}
        files = {name: process.num_fds() for name, process in services.items()}
        rig.say(f"measuring for {seconds:g} s")
        await rig.pause(seconds)
        allowed = max(ALLOWED_MB, ALLOWED_MB_A_MINUTE * seconds / 60)
        for name, process in services.items():
            grown = process.memory_info().rss / 1e6 - before[name]
            rig.check(f"memory of the {name}", grown < allowed, f"{grown:+.1f} MB", promised=f"< +{allowed:g} MB")
            opened = process.num_fds() - files[name]
            rig.check(f"open files of the {name}", opened < 40, f"{opened:+d}", promised="< +40")
    finally:
        churning.cancel()
        await asyncio.gather(churning, return_exceptions=True)
    for table, limit in (("cursors", 1), ("components", 20), ("momentum", MAX_MOMENTUM)):
        rows = (await rig.query(f"SELECT count(*) FROM {table}"))[0][0]  # noqa: S608 -- our own words
        rig.check(f"rows in {table}", rows <= limit, rows, promised=f"at most {limit}")
    text = await rig.get_text("/metrics")
    clients = next(
        (line for line in (text or "").splitlines() if line.startswith("groundswell_websocket_clients")), "?"
    )
    rig.check("clients that left are forgotten", clients.endswith((" 0", " 0.0")), clients, promised="0 held")
    await rig.recover("the soak")


DRILL = Drill(
    name="leak",
    breaks="hours of ever new entities, authors, queries and connections, in a short time",
    promises="memory, open files and the tables that are meant to stay small stay as they are",
    setup=Setup(posts_per_second=POSTS_PER_SECOND, relay={"GROUNDSWELL_BATCH_MAX_POSTS": "500"}),
    course=course,
    short_s=50,
)
