"""Every drill there is, in the order in which they are run."""

from __future__ import annotations

from groundswell.drills import (
    archive,
    clock_skew,
    connections_exhausted,
    database_down,
    database_full,
    deploy_order,
    disk_full,
    embeddings_broken,
    frozen,
    garbage,
    kill,
    leak,
    outage,
    parts_killed,
    rolling_deploy,
    sealed_feed,
    slow_clients,
    socket_drop,
    vectors_down,
)
from groundswell.drills.harness.running import Drill

DRILLS: tuple[Drill, ...] = (
    socket_drop.DRILL,
    kill.DRILL,
    archive.DRILL,
    outage.DRILL,
    database_down.DRILL,
    parts_killed.DRILL,
    database_full.DRILL,
    disk_full.DRILL,
    connections_exhausted.DRILL,
    vectors_down.DRILL,
    frozen.DRILL,
    embeddings_broken.DRILL,
    clock_skew.DRILL,
    deploy_order.DRILL,
    rolling_deploy.DRILL,
    garbage.DRILL,
    sealed_feed.DRILL,
    slow_clients.DRILL,
    leak.DRILL,
)
