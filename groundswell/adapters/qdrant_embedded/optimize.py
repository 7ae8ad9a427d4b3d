"""`python -m groundswell.adapters.qdrant_embedded.optimize SHARD`: build the graph index of a shard nobody else uses.

A process of its own because the engine's `optimize` holds the interpreter for its whole run.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

import qdrant_edge as edge

LONGEST_RUN_S = 7_200
"""The largest merge takes a quarter of an hour on a slow machine."""


def main(path: str) -> None:
    end_with_parent()
    yield_to_everyone()
    shard = edge.EdgeShard.load(path)
    shard.optimize()
    shard.flush()
    shard.close()


def end_with_parent() -> None:
    """`optimize` lets no Python run, so only the kernel can end this process when its parent is gone.

    Linux tells; elsewhere an alarm bounds how long an orphan lives. What it leaves behind is discarded.
    """
    if sys.platform == "linux":
        parent_death_signal = 1
        ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)
    if hasattr(signal, "alarm"):
        signal.alarm(LONGEST_RUN_S)


def yield_to_everyone() -> None:
    """Not Linux's idle class: starved there while it holds a lock of the file system, it would stop the writers too."""
    if hasattr(os, "nice"):
        os.nice(10)


if __name__ == "__main__":
    main(sys.argv[1])
