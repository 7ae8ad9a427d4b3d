"""Files that no other user of this machine reads."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path


def write_private(path: Path, content: bytes) -> None:
    """Replace the file as a whole. Only the folder's owner can read it (mode 0600), from its first byte on.

    What lay there is replaced, and no link in it is followed.

    Raises:
        OSError: it cannot be written.
    """
    owner = path.parent.stat()
    arriving = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(arriving, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if sys.platform != "win32" and owner.st_uid != os.geteuid():
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        arriving.replace(path)
    except BaseException:
        arriving.unlink(missing_ok=True)
        raise
