"""The data directory: made, checked for writing, and held by one process at a time."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from groundswell.errors import DataDirectoryError

LOCK_NAME = "groundswell.lock"


class DirectoryLock:
    """Held until released or until this process ends, however it ends. The file itself stays."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Make the directory where it is missing, and hold it.

        Raises:
            DataDirectoryError: another process holds it, or it cannot be made or written.
        """
        path = self.data_dir / LOCK_NAME
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise DataDirectoryError(
                f"The data directory {self.data_dir} cannot be used: {error.strerror or error}. "
                "Make it writable for this user, or choose another with --data-dir or GROUNDSWELL_DATA_DIR."
            ) from error
        if not _try_lock(descriptor):
            holder = os.read(descriptor, 32).decode(errors="replace").strip()
            os.close(descriptor)
            raise DataDirectoryError(
                f"Another Groundswell{f' (process {holder})' if holder else ''} is using {self.data_dir}. "
                "Stop that one, or start this one with another --data-dir and --port."
            )
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> int | None:
        """The process that holds the directory now; None if none does."""
        try:
            descriptor = os.open(self.data_dir / LOCK_NAME, os.O_RDWR)
        except OSError:
            return None
        try:
            if _try_lock(descriptor):
                return None
            digits = os.read(descriptor, 32).decode(errors="replace").strip()
            return int(digits) if digits.isdigit() else None
        finally:
            os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, 64, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
