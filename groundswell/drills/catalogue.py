"""Every drill there is, in the order in which they are run."""

from __future__ import annotations

from groundswell.drills import database_down, deploy_order, garbage, kill, socket_drop
from groundswell.drills.harness.running import Drill

DRILLS: tuple[Drill, ...] = (
    socket_drop.DRILL,
    kill.DRILL,
    database_down.DRILL,
    deploy_order.DRILL,
    garbage.DRILL,
)
