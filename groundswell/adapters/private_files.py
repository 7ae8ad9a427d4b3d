"""Files and folders that no other user of this machine reads."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)


def private_folder(path: Path) -> None:
    """Make `path` where it is missing, and close it to everybody but its owner (mode 0700).

    Raises:
        OSError: it cannot be made.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        path.chmod(0o700)
    except OSError as error:
        # A file system of another kind, or a folder of another user. What must stay secret has a mode of its own.
        log.warning("%s cannot be closed to other users: %s", path, error.strerror or error)


def write_private(path: Path, content: bytes) -> None:
    """Replace the file as a whole. It is readable by this user alone (mode 0600) from its first byte on.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(path.name + ".new")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)
