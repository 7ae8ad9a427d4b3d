"""What the machine has, within the limits that this process runs under."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

from groundswell.adapters.encoder import wire
from groundswell.adapters.encoder.process import EncoderProcess
from groundswell.core.embedding_chain import Cuda
from groundswell.errors import EmbeddingUnavailable

PROBE_TIMEOUT_S = 60.0
"""The first use of a GPU in a process compiles and loads for seconds."""
_CGROUP = Path("/sys/fs/cgroup")


def probe_cuda(start: Callable[[], EncoderProcess]) -> Cuda:
    """Run a tiny model on the GPU in a process of its own, which a broken driver may crash or hang.

    Blocks for up to `PROBE_TIMEOUT_S`; never raises.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        return Cuda(usable=False, why="onnxruntime is not installed")
    try:
        child = start()
        try:
            reply = child.ask(wire.Probe(), PROBE_TIMEOUT_S)
        finally:
            child.close()
    except EmbeddingUnavailable as error:
        return Cuda(usable=False, why=f"trying it failed: {error.detail}")
    assert isinstance(reply, wire.Probed)
    return reply.cuda


def usable_cores(cgroup: Path = _CGROUP) -> int:
    """Cores that this process may run on, rounded up where a container has a share of one."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    quota, _, period = _read(cgroup / "cpu.max").partition(" ")
    if quota.isdigit() and period.strip().isdigit():
        cores = min(cores, -(-int(quota) // int(period)))
    return max(1, cores)


def free_memory(cgroup: Path = _CGROUP) -> int | None:
    """Bytes that can still be taken: the machine's, or the container's where that is less. None off Linux."""
    free: int | None = None
    for line in _read(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    limit, used = _read(cgroup / "memory.max").strip(), _read(cgroup / "memory.current").strip()
    if limit.isdigit() and used.isdigit():
        left = max(0, int(limit) - int(used))
        free = left if free is None else min(free, left)
    return free


def _read(path: Path) -> str:
    """Its text; empty where there is no such file, which is what other systems and older kernels have."""
    try:
        return path.read_text("utf-8")
    except OSError:
        return ""
