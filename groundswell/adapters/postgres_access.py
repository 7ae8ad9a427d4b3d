"""Who reaches the embedded Postgres, and where: the account that runs the platform, over a private Unix socket.

Postgres asks the kernel which account is at the other end of the socket (`peer`), and lets that one connect under any
role. Where there are no such sockets (Windows), a random password does it instead.
"""

from __future__ import annotations

import os
import secrets
import stat
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from groundswell.adapters.data_directory import PRIVATE, user_name
from groundswell.adapters.private_files import write_private
from groundswell.errors import DataDirectoryError, StoreUnavailable

OVER_TCP = sys.platform == "win32"
SUPERUSER = "postgres"
SOCKET_PORT = 5432
"""Only a part of the socket's name: nothing listens on the network."""
SOCKET_PATH_LIMIT = 100
"""Bytes. The kernel's own limit is 107 on Linux and 103 on macOS."""
WORKING_DIRECTORY = "/proc/self/cwd"
"""The cluster as its own processes name it on Linux: whatever its path contains, and whoever may enter its parents."""
SOCKET_FOLDER_FILE = "groundswell_socket_folder"
PASSWORD_FILE = "postgres.password"  # noqa: S105 -- the name of a file

_RULES = "# Written by Groundswell at each start: only the account that runs it may connect.\n"


class Postmaster(NamedTuple):
    """What `postmaster.pid` says."""

    pid: int
    port: int
    socket_dir: str
    host: str
    ready: bool


def read_postmaster(pgdata: Path) -> Postmaster | None:
    """Return what `postmaster.pid` says: pid, directory, start, port, socket folder, host, memory, status by line."""
    try:
        lines = (pgdata / "postmaster.pid").read_text("utf-8").splitlines()
        pid = int(lines[0])
    except (OSError, ValueError, IndexError):
        return None
    lines += [""] * (8 - len(lines))
    return Postmaster(
        pid=pid,
        port=int(lines[3]) if lines[3].strip().isdigit() else SOCKET_PORT,
        socket_dir=lines[4].strip(),
        host=lines[5].strip(),
        ready=lines[7].strip() == "ready",
    )


def url_of(pgdata: Path, postmaster: Postmaster, database: str) -> str:
    """Return the connection URL of a running server. It names the account that the server has to run as."""
    if not postmaster.socket_dir:
        password = quote(read_password(pgdata) or "", safe="")
        return f"postgresql://{SUPERUSER}:{password}@{postmaster.host or '127.0.0.1'}:{postmaster.port}/{database}"
    folder = str(pgdata) if postmaster.socket_dir == WORKING_DIRECTORY else postmaster.socket_dir
    peer = quote(user_name(pgdata.stat().st_uid), safe="")
    host = quote(folder, safe="")
    return f"postgresql://{SUPERUSER}@/{database}?host={host}&port={postmaster.port}&requirepeer={peer}"


# ------------------------------------------------------------------ rules
def write_rules(pgdata: Path) -> None:
    """Replace `pg_hba.conf` and `pg_ident.conf`: a cluster of an earlier version let everybody in.

    Raises:
        StoreUnavailable: this process runs under an account without a name, which Postgres cannot recognise.
    """
    if OVER_TCP:
        write_private(pgdata / "pg_hba.conf", f"{_RULES}host all all 127.0.0.1/32 scram-sha-256\n".encode())
        return
    import pwd

    uid = os.geteuid()
    try:
        account = pwd.getpwuid(uid).pw_name
    except KeyError:
        raise StoreUnavailable(
            f"The user with the id {uid} has no name on this machine, so Postgres cannot recognise it. Run Groundswell "
            "as a user that /etc/passwd names, or set GROUNDSWELL_DATABASE_URL to a Postgres of your own."
        ) from None
    write_private(pgdata / "pg_hba.conf", f"{_RULES}local all all peer map=groundswell\n".encode())
    write_private(pgdata / "pg_ident.conf", f'{_RULES}groundswell "{account}" all\n'.encode())


def read_password(pgdata: Path) -> str | None:
    """Return the superuser's password; None where none was made."""
    try:
        return (pgdata.parent / PASSWORD_FILE).read_text("utf-8").strip()
    except FileNotFoundError:
        return None


def make_password() -> str:
    return secrets.token_urlsafe(32)


def keep_password(pgdata: Path, password: str) -> None:
    write_private(pgdata.parent / PASSWORD_FILE, f"{password}\n".encode())


# ------------------------------------------------------------------ the socket
def listening(pgdata: Path, folder: Path | None, port: int) -> Mapping[str, str]:
    """Return the server's settings of where it listens."""
    if folder is None:
        return {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "port": str(port)}
    return {
        "listen_addresses": "",
        "unix_socket_directories": socket_name(pgdata, folder),
        "unix_socket_permissions": "0700",
        "port": str(port),
    }


def socket_name(pgdata: Path, folder: Path) -> str:
    """Return how the server names the folder of its socket."""
    return WORKING_DIRECTORY if folder == pgdata and sys.platform == "linux" else str(folder)


def socket_folder(pgdata: Path, *, keep: Path | None = None) -> Path:
    """Return the folder for the socket, in which only the server's account may be: made where it is missing.

    It is the cluster itself, unless that path is too long for a socket or has a comma, which separates hosts. Then it
    is one with a random name, which the cluster remembers; one that is not private any more is replaced.

    Args:
        keep: the folder that clients know already, which no other can replace.

    Raises:
        DataDirectoryError: it cannot be made.
    """
    if keep == pgdata or (keep is None and _fits(pgdata)):
        return pgdata
    owner = pgdata.stat()
    remembered = keep or _remembered(pgdata)
    if remembered is not None and is_private(remembered, owner.st_uid):
        return remembered
    try:
        if keep is None:
            folder = Path(tempfile.mkdtemp(prefix="groundswell-", dir=_short_folder()))
        else:
            keep.mkdir(mode=PRIVATE)
            folder = keep
        if owner.st_uid != os.geteuid():
            os.chown(folder, owner.st_uid, owner.st_gid, follow_symlinks=False)
    except OSError as error:
        raise DataDirectoryError(
            f"The path of {pgdata} does not suit a socket, and a private folder for it cannot be made: {error}. "
            "Choose a data directory with a shorter path and without commas (--data-dir)."
        ) from error
    write_private(pgdata / SOCKET_FOLDER_FILE, f"{folder}\n".encode())
    return folder


def is_private(folder: Path, uid: int) -> bool:
    """Whether `folder` is a directory, not a link to one, that only this user may enter."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == uid and stat.S_IMODE(found.st_mode) == PRIVATE


def _fits(folder: Path) -> bool:
    name = str(folder / f".s.PGSQL.{SOCKET_PORT}")
    return len(os.fsencode(name)) <= SOCKET_PATH_LIMIT and not set(name) & {",", '"'}


def _short_folder() -> Path:
    folder = Path(tempfile.gettempdir())
    return folder if _fits(folder / "groundswell-12345678") else Path("/tmp")  # noqa: S108 -- the folder in it is random


def _remembered(pgdata: Path) -> Path | None:
    try:
        text = (pgdata / SOCKET_FOLDER_FILE).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    folder = Path(text)
    return folder if folder.is_absolute() and _fits(folder) else None
