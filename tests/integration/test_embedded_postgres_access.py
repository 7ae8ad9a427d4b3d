"""Who reaches the embedded Postgres and its data directory: the account that runs the platform, and nobody else."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from groundswell.adapters import embedded_postgres, postgres_access, postgres_binaries
from groundswell.adapters.data_directory import DirectoryLock
from groundswell.adapters.embedded_postgres import EmbeddedPostgres, running_url
from groundswell.adapters.postgres_binaries import as_user, find_binaries, runnable_by
from groundswell.errors import DataDirectoryError, StoreUnavailable
from tests.integration.test_embedded_postgres import running

ATTACKER = "nobody"
needs_another_user = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root on Linux can act as another user"
)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter."""
    with tempfile.TemporaryDirectory(prefix="groundswell-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def modes_above(path: Path) -> dict[Path, int]:
    return {parent: mode(parent) for parent in path.parents}


def socket_folder(url: str) -> Path:
    return Path(parse_qs(urlsplit(url).query)["host"][0])


def attack(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """What another user of the machine gets from a command."""
    return subprocess.run(command, capture_output=True, text=True, cwd="/", check=False, **as_user(ATTACKER))


def connect_as_attacker(url: str) -> subprocess.CompletedProcess[str]:
    address = re.sub(r"&requirepeer=\w+", "", url)
    return attack(runnable_by(ATTACKER, find_binaries()) / "psql", address, "-Atc", "SELECT current_user")


def too_long(folder: Path) -> Path:
    """A data directory whose path is too long for a socket."""
    return folder / ("long-" + "x" * 120)


# ------------------------------------------------------------------ the data directory
def test_the_data_directory_is_for_its_user_alone(open_folder: Path) -> None:
    before = modes_above(open_folder / "data")
    with running(open_folder / "data") as server:
        assert mode(open_folder / "data") == 0o700
        assert mode(open_folder / "data" / "postgres") == 0o700
        assert mode(server.log) == 0o600
    assert modes_above(open_folder / "data") == before


def test_a_data_directory_of_an_earlier_version_is_closed_to_others(open_folder: Path) -> None:
    data_dir = open_folder / "data"
    data_dir.mkdir()
    data_dir.chmod(0o755)
    DirectoryLock(data_dir).acquire()
    assert mode(data_dir) == 0o700
    assert mode(open_folder) == 0o755


@needs_another_user
def test_another_user_reads_nothing_of_the_data_directory(open_folder: Path) -> None:
    with running(open_folder / "data"):
        said = attack("cat", open_folder / "data" / "groundswell.lock")
        assert "Permission denied" in said.stderr


@needs_another_user
def test_a_data_directory_of_another_user_is_refused(open_folder: Path) -> None:
    data_dir = open_folder / "data"
    data_dir.mkdir()
    shutil.chown(data_dir, ATTACKER)
    data_dir.chmod(0o777)
    with pytest.raises(DataDirectoryError, match=r"belongs to nobody.*chown.*--data-dir"):
        asyncio.run(EmbeddedPostgres(data_dir).start())
    assert mode(data_dir) == 0o777
    assert list(data_dir.iterdir()) == []


@needs_another_user
def test_a_link_of_another_user_does_not_choose_the_data_directory(open_folder: Path) -> None:
    (open_folder / "elsewhere").mkdir()
    link = open_folder / "data"
    link.symlink_to(open_folder / "elsewhere")
    os.lchown(link, 65534, 65534)
    with pytest.raises(DataDirectoryError, match="is a symbolic link of nobody"):
        asyncio.run(EmbeddedPostgres(link).start())
    assert list((open_folder / "elsewhere").iterdir()) == []


def test_a_link_of_ones_own_is_followed(open_folder: Path) -> None:
    (open_folder / "disk").mkdir()
    (open_folder / "data").symlink_to(open_folder / "disk")
    with running(open_folder / "data"):
        assert (open_folder / "disk" / "postgres").is_dir()


@needs_another_user
def test_a_cluster_of_another_account_is_refused(open_folder: Path) -> None:
    with running(open_folder / "data"):
        pass
    shutil.chown(open_folder / "data" / "postgres", ATTACKER)
    with pytest.raises(DataDirectoryError, match="belongs to nobody, and Postgres runs as"):
        asyncio.run(EmbeddedPostgres(open_folder / "data").start())


@needs_another_user
def test_parents_that_only_root_may_enter_stay_closed(open_folder: Path) -> None:
    inner = open_folder / "private" / "inner"
    inner.mkdir(parents=True, mode=0o700)
    (open_folder / "private").chmod(0o700)
    before = modes_above(inner / "data")
    with running(inner / "data") as server, psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("postgres",)
    assert modes_above(inner / "data") == before
    assert "Permission denied" in attack("ls", inner).stderr


@needs_another_user
def test_programs_that_only_root_may_reach_are_copied_and_stay_closed(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = open_folder / "private"
    package = find_binaries().parent.parent
    for folder in (package, package.with_name("embedded_postgres.libs")):
        shutil.copytree(folder, private / folder.name, symlinks=True)
    private.chmod(0o700)
    programs = private / package.name / "pginstall" / "bin"
    before = modes_above(programs / "postgres")
    monkeypatch.setattr(postgres_binaries, "COPIES", open_folder / "copies")
    monkeypatch.setattr(embedded_postgres, "find_binaries", lambda: programs)
    for _ in range(2):
        with running(open_folder / "data") as server, psycopg.connect(server.url) as connection:
            connection.execute("SELECT 1")
    (copy,) = (open_folder / "copies").iterdir()
    assert mode(copy) == 0o755
    assert copy.owner() == "root"
    assert modes_above(programs / "postgres") == before

    copy.chmod(0o777)
    with pytest.raises(StoreUnavailable, match=r"can be changed by others.*ordinary user"):
        asyncio.run(EmbeddedPostgres(open_folder / "data").start())


# ------------------------------------------------------------------ the socket
@pytest.mark.parametrize("name", ["data", "long-" + "x" * 120, "with, comma"])
def test_the_socket_lies_in_a_private_folder_of_the_server(open_folder: Path, name: str) -> None:
    with running(open_folder / name) as server:
        folder = socket_folder(server.url)
        assert postgres_access.is_private(folder, server.pgdata.stat().st_uid)
        assert (folder / ".s.PGSQL.5432").is_socket()
        assert running_url(open_folder / name) == server.url
        known = server.url
    with running(open_folder / name) as server:
        assert server.url == known
    if folder != server.pgdata:
        shutil.rmtree(folder)


@needs_another_user
@pytest.mark.parametrize("planted", ["a folder", "a folder of theirs at 0700", "a link"])
def test_a_socket_folder_that_another_user_planted_is_not_used(open_folder: Path, planted: str) -> None:
    data_dir = too_long(open_folder)
    with running(data_dir) as server:
        first = socket_folder(server.url)
    shutil.rmtree(first)
    trap = open_folder / "trap"
    (trap if planted == "a link" else first).mkdir()
    if planted == "a link":
        first.symlink_to(trap)
        trap.chmod(0o777)
    elif planted == "a folder":
        first.chmod(0o777)
    else:
        first.chmod(0o700)
    os.lchown(first, 65534, 65534)
    second = first
    try:
        with running(data_dir) as server:
            second = socket_folder(server.url)
            assert second != first
            assert postgres_access.is_private(second, server.pgdata.stat().st_uid)
            assert connect_as_attacker(server.url).returncode != 0
        assert list(first.iterdir()) == []
        assert mode(trap if planted == "a link" else first) == (0o700 if "0700" in planted else 0o777)
    finally:
        for folder in {first, second}:
            folder.unlink() if folder.is_symlink() else shutil.rmtree(folder)


@needs_another_user
def test_another_user_is_no_superuser_even_where_the_socket_can_be_reached(open_folder: Path) -> None:
    with running(open_folder / "data") as server:
        assert "Permission denied" in connect_as_attacker(server.url).stderr
        for path in (server.data_dir, server.pgdata):
            path.chmod(0o755)
        (server.pgdata / ".s.PGSQL.5432").chmod(0o777)
        assert "Peer authentication failed" in connect_as_attacker(server.url).stderr


@needs_another_user
def test_a_server_of_another_account_is_not_believed(open_folder: Path) -> None:
    with running(open_folder / "data") as server:
        account = server.pgdata.owner()
        assert f"requirepeer={account}" in server.url
        with pytest.raises(psycopg.OperationalError, match="requirepeer specifies"):
            psycopg.connect(server.url.replace(f"requirepeer={account}", f"requirepeer={ATTACKER}"))


def test_any_role_is_open_to_the_account_that_runs_the_platform(open_folder: Path) -> None:
    with running(open_folder / "data") as server:
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE ROLE reader LOGIN")
        with psycopg.connect(server.url.replace("//postgres@", "//reader@")) as connection:
            assert connection.execute("SELECT session_user").fetchone() == ("reader",)


def test_the_rules_of_an_earlier_version_are_replaced(open_folder: Path) -> None:
    with running(open_folder / "data") as server:
        rules = server.pgdata / "pg_hba.conf"
    rules.write_text("local all all trust\n")
    with running(open_folder / "data"):
        assert "trust" not in rules.read_text()
        assert mode(rules) == 0o600


@needs_another_user
def test_what_the_servers_account_links_to_is_not_written(open_folder: Path) -> None:
    victim = open_folder / "victim"
    victim.write_text("mine")
    with running(open_folder / "data") as server:
        pass
    for name in ("pg_hba.conf", "pg_ident.conf"):
        (server.pgdata / name).unlink()
        (server.pgdata / name).symlink_to(victim)
    with running(open_folder / "data"):
        pass
    server.log.unlink()
    server.log.symlink_to(victim)
    with pytest.raises(DataDirectoryError, match=r"server\.log of Postgres cannot be written"):
        asyncio.run(EmbeddedPostgres(open_folder / "data").start())
    assert victim.read_text() == "mine"


def test_where_there_are_no_unix_sockets_a_password_is_asked(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() == 0:
        pytest.skip("the single-user mode that sets the password does not run as root")
    monkeypatch.setattr(postgres_access, "OVER_TCP", True)
    for _ in range(2):
        with running(open_folder / "data") as server:
            with psycopg.connect(server.url) as connection:
                connection.execute("SELECT 1")
            without = re.sub(r":[^:@/]+@", "@", server.url)
            with pytest.raises(psycopg.OperationalError, match="no password supplied"):
                psycopg.connect(without)
    assert mode(open_folder / "data" / "postgres.password") == 0o600
