"""Whether a deployment's vector index and database hold the posts that they are to keep, from measured bytes a post.

A full index is refused its writes or ends for want of memory, and then search by meaning is gone: that is checked
before a deployment, like its cost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from deployment.cost_lines import GIGA, archive_days, database_gb
from deployment.costs import default_usage
from deployment.knobs import CONTEXT_FILE, DeploymentError, Knobs, line_for

FILLED_SHARE = 0.8
"""Share of the database's storage that posts may fill: the rest is for its log, for dead rows and for sorting."""
MINUTES_A_DAY = 1_440
DEAD_SHARE = 0.2
"""Points that are deleted or replaced and still on disk: Qdrant rebuilds a segment when a fifth of it is."""
SEGMENT_POSTS = 500_000
"""Posts of the largest segment, which takes its size once more while it is rebuilt."""
LOG_GB = 0.1
"""Qdrant's write-ahead log."""
BASE_MEMORY_GB = 0.2
"""A Qdrant server without points."""
MEMORY_SHARE = 0.6
"""What of the memory may be taken for good; the rest is the cache of what lies on disk."""
TASK_DISK_GB = 20.0
"""Of a Fargate task, without what the image takes."""


@dataclass(frozen=True)
class Fit:
    """What a deployment's vector index needs and has."""

    posts: float
    """Most that are in it at once."""
    disk_gb: float
    disk_has_gb: float
    memory_gb: float
    memory_has_gb: float
    days: int
    """Whole days of posts that fit."""

    @property
    def holds(self) -> bool:
        return self.disk_gb <= self.disk_has_gb and self.memory_gb <= self.memory_has_gb * MEMORY_SHARE


def vectors(chosen: Knobs, usage: Mapping[str, float] | None = None) -> Fit | None:
    """The fit of the vector index; None where the deployment has none."""
    if chosen.qdrant == "none":
        return None
    assumed = usage or default_usage()
    if chosen.qdrant == "fargate":
        disk_has, memory_has = TASK_DISK_GB, chosen.qdrant_memory_mb / 1024
    else:
        disk_has, memory_has = chosen.qdrant_cloud_disk_gb, chosen.qdrant_cloud_memory_gb
    per_day = assumed["posts_per_day"]
    late = chosen.mover_every_minutes / MINUTES_A_DAY
    posts = per_day * (chosen.hot_days + late)
    disk, memory = _disk_gb(posts, assumed), _memory_gb(posts, assumed)
    room = (disk_has - LOG_GB - _segment_gb(assumed)) * (1 - DEAD_SHARE)
    by_disk = room * GIGA / assumed["vector_disk_bytes_per_post"]
    by_memory = (memory_has * MEMORY_SHARE - BASE_MEMORY_GB) * GIGA / assumed["vector_memory_bytes_per_post"]
    days = max(0, math.floor(min(by_disk, by_memory) / per_day - late))
    return Fit(posts, disk, disk_has, memory, memory_has, days)


def check(chosen: Knobs, usage: Mapping[str, float] | None = None) -> Fit | None:
    """The fit, where the index holds the posts.

    Raises:
        DeploymentError: it does not; says how long it holds them and which lines to change to what.
    """
    fit = vectors(chosen, usage)
    if fit is None or fit.holds:
        return fit
    remedies: list[str] = []
    if fit.days >= 1:
        remedies.append(f"set {line_for('hot_days', fit.days)} (now {chosen.hot_days})")
    memory = math.ceil(fit.memory_gb / MEMORY_SHARE * 2) / 2
    if chosen.qdrant == "cloud":
        disk, needed = math.ceil(fit.disk_gb), max(memory, chosen.qdrant_cloud_memory_gb)
        remedies.append(
            f"take a larger cluster and say so by {line_for('qdrant_cloud_disk_gb', float(disk))} and "
            f"{line_for('qdrant_cloud_memory_gb', float(needed))}"
        )
    elif fit.disk_gb <= fit.disk_has_gb:
        remedies.append(f"set {line_for('qdrant_memory_mb', int(memory * 1024))} (now {chosen.qdrant_memory_mb})")
    if chosen.qdrant == "cloud" and fit.disk_gb <= TASK_DISK_GB:
        remedies.append(f"run our own with {line_for('qdrant', 'fargate')}")
    raise DeploymentError(
        [
            f"The vector index would not hold {chosen.hot_days} days of posts: {fit.posts / 1e6:.1f} million need "
            f"{fit.disk_gb:.1f} GB of disk and {fit.memory_gb:.1f} GB of memory, and it has {fit.disk_has_gb:g} GB "
            f"and {fit.memory_has_gb:g} GB, of which {MEMORY_SHARE:.0%} may be taken for good. "
            f"In {CONTEXT_FILE}, {', or '.join(remedies) or 'lower posts_per_day in usage'}."
        ]
    )


def check_database(chosen: Knobs, usage: Mapping[str, float] | None = None) -> float:
    """GB that the database takes, where they fit: hot posts, and the index of the archive.

    Raises:
        DeploymentError: they do not; names each line that could be changed, and to what.
    """
    assumed = usage or default_usage()
    needed, room = database_gb(chosen, assumed), chosen.database_storage_max_gb * FILLED_SHARE
    if needed <= room:
        return needed
    remedies = [line_for("database_storage_max_gb", math.ceil(needed / FILLED_SHARE))]
    hot = assumed["posts_per_day"] * assumed["database_bytes_per_post"] / GIGA
    index = assumed["posts_per_day"] * assumed["archive_index_bytes_per_post"] / GIGA
    if (days := int((room - archive_days(chosen) * index) / hot)) >= 1:
        remedies.append(f"{line_for('hot_days', days)} (now {chosen.hot_days})")
    if (kept := int((room - chosen.hot_days * hot) / index)) >= 1:
        remedies.append(f"{line_for('archive_keep_days', kept)} (now {chosen.archive_keep_days})")
    raise DeploymentError(
        [
            f"The database would fill up: {assumed['posts_per_day']:,.0f} posts a day for {chosen.hot_days} days, and "
            f"where those of {archive_days(chosen)} days are in the archive, take {needed:.0f} GB, and "
            f"{FILLED_SHARE:.0%} of {chosen.database_storage_max_gb} GB is {room:.0f}. "
            f"In {CONTEXT_FILE}, set {' or '.join(remedies)}."
        ]
    )


def _disk_gb(posts: float, usage: Mapping[str, float]) -> float:
    alive = posts * usage["vector_disk_bytes_per_post"] / GIGA
    return alive / (1 - DEAD_SHARE) + _segment_gb(usage) + LOG_GB


def _segment_gb(usage: Mapping[str, float]) -> float:
    return SEGMENT_POSTS * usage["vector_disk_bytes_per_post"] / GIGA


def _memory_gb(posts: float, usage: Mapping[str, float]) -> float:
    return BASE_MEMORY_GB + posts * usage["vector_memory_bytes_per_post"] / GIGA
