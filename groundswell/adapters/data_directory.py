"""The data directory: private to one user, checked for writing, and held by one process at a time."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

from groundswell.errors import DataDirectoryError

LOCK_NAME = "groundswell.lock"
PRIVATE = 0o700
_TAKEN = (errno.EWOULDBLOCK, errno.EACCES)


def make_private(folder: Path) -> None:
    """Make `folder` where it is missing, and close one of this user to all others.

    Nothing outside `folder` changes its permissions.

    Raises:
        DataDirectoryError: it belongs to another user, or cannot be made.
    """
    try:
        folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        if sys.platform == "win32":
            return
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise _unusable(folder, error) from error
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid():
            raise DataDirectoryError(
                f"{folder} belongs to {user_name(found.st_uid)}, who could read and change what is stored in it. Run "
                "as that user, make the folder your own (chown), or choose another with --data-dir or "
                "GROUNDSWELL_DATA_DIR."
            )
        if stat.S_IMODE(found.st_mode) & ~PRIVATE:
            os.fchmod(descriptor, PRIVATE)
    except OSError as error:
        raise _unusable(folder, error) from error
    finally:
        os.close(descriptor)


def user_name(uid: int) -> str:
    """Return the name of a user for a message: `nobody`, or `user 12345` where it has no name."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


class DirectoryLock:
    """Held until released or until this process ends, however it ends. The file itself stays.

    The directory is locked as well as the file in it: removing the file gives nothing free.
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._descriptors: list[int] = []

    def acquire(self) -> None:
        """Make the directory where it is missing, private to this user, and hold it.

        Raises:
            DataDirectoryError: another process holds it, it belongs to another user, or it cannot be made or written.
        """
        make_private(self.data_dir)
        try:
            if sys.platform != "win32":
                self._hold(os.open(self.data_dir, os.O_RDONLY | os.O_DIRECTORY))
            file = os.open(self.data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o600)
            self._hold(file)
            os.ftruncate(file, 0)
            os.write(file, f"{os.getpid()}\n".encode())
        except OSError as error:
            self.release()
            raise _unusable(self.data_dir, error) from error
        except DataDirectoryError:
            self.release()
            raise

    def release(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())

    def holder(self) -> int | None:
        """The process that holds the directory now; None if none does."""
        try:
            descriptor = os.open(self.data_dir / LOCK_NAME, os.O_RDWR)
        except OSError:
            return None
        try:
            return None if _try_lock(descriptor) else _process_in(descriptor)
        finally:
            os.close(descriptor)

    def _hold(self, descriptor: int) -> None:
        self._descriptors.append(descriptor)
        if _try_lock(descriptor):
            return
        holder = self.holder()
        raise DataDirectoryError(
            f"Another Groundswell{'' if holder is None else f' (process {holder})'} is using {self.data_dir}. "
            "Stop that one, or start this one with another --data-dir and --port."
        )


_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def _try_lock(descriptor: int) -> bool:
    """Whether the lock is had. A file system that cannot lock a directory leaves it to the file in it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, 64, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _TAKEN and stat.S_ISDIR(os.fstat(descriptor).st_mode)
    return True


def _process_in(descriptor: int) -> int | None:
    digits = os.read(descriptor, 32).decode(errors="replace").strip()
    return int(digits) if digits.isdigit() else None


def _unusable(folder: Path, error: OSError) -> DataDirectoryError:
    return DataDirectoryError(
        f"The data directory {folder} cannot be used: {error.strerror or error}. "
        "Make it writable for this user, or choose another with --data-dir or GROUNDSWELL_DATA_DIR."
    )
