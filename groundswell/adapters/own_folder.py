"""A folder of a process's own, for files on their way, that does not outlive it for long."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from groundswell.adapters.data_directory import LOCK_NAME, DirectoryLock
from groundswell.errors import DataDirectoryError

log = logging.getLogger(__name__)


@contextmanager
def own_folder(parent: Path) -> Generator[Path]:
    """A new folder below `parent`, gone at the end of the block.

    A process that was killed leaves its folder behind, and with it its lock: who comes next removes both. Nothing else
    may lie in `parent`.

    Raises:
        DataDirectoryError: `parent` cannot be made or written.
    """
    _remove_left_behind(parent)
    lock = _take(parent)
    try:
        yield lock.data_dir
    finally:
        shutil.rmtree(lock.data_dir, ignore_errors=True)
        lock.release()


def _take(parent: Path) -> DirectoryLock:
    while True:
        try:
            parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=parent))
        except OSError as error:
            raise DataDirectoryError(
                f"{parent} cannot be used: {error.strerror or error}. Make it writable for this user, or choose "
                "another data directory with GROUNDSWELL_DATA_DIR."
            ) from error
        lock = DirectoryLock(folder)
        try:
            lock.acquire()
        except DataDirectoryError as error:
            log.info("%s was taken for one that a dead process had left: %s", folder, error)
            continue
        if (folder / LOCK_NAME).exists():
            return lock
        lock.release()


def _remove_left_behind(parent: Path) -> None:
    for folder in parent.glob("*"):
        lock = DirectoryLock(folder)
        try:
            lock.acquire()
        except DataDirectoryError:
            continue  # somebody is at work there
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
