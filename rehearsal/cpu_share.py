"""The part of a core that a function's memory buys, kept by a cgroup of Linux.

Lambda gives one core for 1,769 MB, and in proportion below. During INIT a function on demand has a whole core.
https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
https://serverlessland.com/content/service/lambda/guides/effectively-running-java-on-serverless/init-heavy-lifting
"""

from __future__ import annotations

import errno
import itertools
import os
import time
from pathlib import Path

MEMORY_OF_A_CORE_MB = 1769
PERIOD_US = 20_000
LEAST_QUOTA_US = 1_000
"""The kernel takes no less."""
EMPTY_LIMIT_S = 10.0
_ROOT = Path("/sys/fs/cgroup")
_numbers = itertools.count(1)


def cores_of(memory_mb: int) -> float:
    """Return how much of a core a function with this memory has."""
    return memory_mb / MEMORY_OF_A_CORE_MB


class NoCpuShare(Exception):
    """This machine lets us limit no processor time; the text says why."""


class CpuShare:
    """A limit for one process and its children. `close` removes it.

    Args:
        cores: what they have after INIT.
        in_init: what they have in INIT; None for a whole core, or what they have after it where that is more.

    Raises:
        NoCpuShare: the machine does not allow it.
    """

    def __init__(self, name: str, cores: float, *, in_init: float | None = None) -> None:
        self._quota_us = _quota_us(cores)
        self._init_quota_us = _quota_us(max(1.0, cores) if in_init is None else in_init)
        parent, self._second = _parent()
        self._folder = parent / f"groundswell-{os.getpid()}-{next(_numbers)}-{name}"
        try:
            self._folder.mkdir()
        except OSError as error:
            raise NoCpuShare(f"{parent} takes no group of ours ({error.strerror})") from error
        try:
            self.lift()
        except OSError as error:
            self._folder.rmdir()
            raise NoCpuShare(f"{parent} lets us limit no processor time ({error.strerror})") from error

    def add(self, pid: int) -> None:
        """Put a process, with what it starts from now on, under the limit."""
        (self._folder / "cgroup.procs").write_text(str(pid))

    def lift(self) -> None:
        """Let the processes use what they have in INIT."""
        self._write(self._init_quota_us)

    def apply(self) -> None:
        """Hold the processes to their share."""
        self._write(self._quota_us)

    def throttled_s(self) -> float:
        """Return the seconds that the processes had to wait."""
        said = dict(line.split() for line in (self._folder / "cpu.stat").read_text().splitlines())
        return int(said["throttled_usec"]) / 1e6 if self._second else int(said["throttled_time"]) / 1e9

    def close(self) -> None:
        """Remove the limit. The processes have been ended."""
        ends = time.monotonic() + EMPTY_LIMIT_S
        while True:
            try:
                self._folder.rmdir()
            except OSError as error:
                # The kernel removes what was killed a moment later, and tells nobody.
                if error.errno != errno.EBUSY or time.monotonic() > ends:
                    raise
                time.sleep(0.01)
            else:
                return

    def _write(self, quota_us: int) -> None:
        if self._second:
            (self._folder / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
            return
        (self._folder / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (self._folder / "cpu.cfs_quota_us").write_text(str(quota_us))


def _quota_us(cores: float) -> int:
    return max(LEAST_QUOTA_US, round(cores * PERIOD_US))


def _parent() -> tuple[Path, bool]:
    """Return the folder for groups that limit processor time, and whether it is of cgroup v2."""
    for line in Path("/proc/self/cgroup").read_text().splitlines() if Path("/proc/self/cgroup").exists() else []:
        _, controllers, inside = line.split(":", 2)
        if "cpu" in controllers.split(","):
            for mounted in (_ROOT / controllers, _ROOT / "cpu"):
                own = mounted / inside.lstrip("/")
                for folder in (own, mounted):
                    if (folder / "cpu.cfs_quota_us").exists():
                        return folder, False
                    if folder == mounted and (folder / "cgroup.procs").exists():
                        return folder, False
    for folder in (_ROOT, _ROOT / "unified"):
        handed_on = folder / "cgroup.subtree_control"
        if handed_on.exists() and "cpu" in handed_on.read_text().split():
            return folder, True
    raise NoCpuShare("no cgroup that limits processor time is mounted at /sys/fs/cgroup")


def cpu_share(name: str, cores: float) -> tuple[CpuShare | None, str]:
    """Return a limit, or None and why there is none. Whoever has as much as the machine is not limited."""
    if cores >= (os.cpu_count() or 1):
        return None, ""
    try:
        return CpuShare(name, cores), ""
    except NoCpuShare as reason:
        return None, str(reason)
