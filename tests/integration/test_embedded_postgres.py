"""The Postgres in the data directory, through everything that happens to one on a laptop."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from groundswell.adapters.data_directory import DirectoryLock
from groundswell.adapters.embedded_postgres import EmbeddedPostgres, running_url
from groundswell.adapters.postgres_access import SOCKET_FOLDER_FILE
from groundswell.errors import DataDirectoryError, StoreUnavailable

OWNER = """
import asyncio, sys
from pathlib import Path
from groundswell.adapters.embedded_postgres import EmbeddedPostgres

async def main():
    server = EmbeddedPostgres(Path(sys.argv[1]))
    await server.start()
    print(server.running_pid(), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@contextmanager
def running(data_dir: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(data_dir)
    asyncio.run(server.start())
    try:
        yield server
    finally:
        asyncio.run(server.stop())


def remember(url: str, word: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS words (word text)")
        connection.execute("INSERT INTO words VALUES (%s)", (word,))


def remembered(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("SELECT word FROM words")]


def refusal(data_dir: Path) -> str:
    with pytest.raises(DataDirectoryError) as caught:
        asyncio.run(EmbeddedPostgres(data_dir).start())
    return caught.value.detail


@contextmanager
def owned_by_another_process(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(data_dir)], stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout is not None
        yield owner, int(owner.stdout.readline())
    finally:
        owner.kill()
        owner.wait()
        owner.stdout.close()  # type: ignore[union-attr]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    # Not pytest's own: its path is long, and grows with the test's name.
    with tempfile.TemporaryDirectory(prefix="groundswell-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def used() -> Iterator[Path]:
    """A data directory with a word in it, not running. Copy it before harming it."""
    with tempfile.TemporaryDirectory(prefix="groundswell-") as folder:
        with running(Path(folder)) as server:
            remember(server.url, "kept")
        yield Path(folder)


@pytest.fixture
def mine(used: Path, tmp_path: Path) -> Path:
    """A copy of `used` of one's own."""
    subprocess.run(["cp", "-a", f"{used}/.", str(tmp_path)], check=True)
    return tmp_path


def test_it_starts_from_nothing_keeps_what_it_stored_and_says_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with running(tmp_path / "new" / "data") as server:
        remember(server.url, "first")
        with psycopg.connect(server.url) as connection:
            shown = {
                name: connection.execute(f"SHOW {name}").fetchone()[0]  # type: ignore[index]
                for name in ("fsync", "jit", "timezone", "listen_addresses", "server_encoding", "shared_buffers")
            }
    assert shown == {
        "fsync": "on",
        "jit": "off",
        "timezone": "UTC",
        "listen_addresses": "",
        "server_encoding": "UTF8",
        "shared_buffers": "128MB",
    }
    assert running_url(tmp_path / "new" / "data") is None
    with running(tmp_path / "new" / "data") as server:
        assert remembered(server.url) == ["first"]
    assert capfd.readouterr() == ("", "")


def test_starting_and_stopping_twice_does_nothing_more(mine: Path) -> None:
    async def body() -> None:
        server = EmbeddedPostgres(mine)
        assert await server.start() == await server.start() == server.url
        await server.stop()
        await server.stop()
        with pytest.raises(StoreUnavailable):
            _ = server.url

    asyncio.run(body())


def test_the_terminals_interrupt_does_not_reach_the_server(mine: Path) -> None:
    with running(mine) as server:
        pid = server.running_pid()
        assert pid is not None
        assert os.getpgid(pid) != os.getpgid(0)
        assert os.getsid(pid) != os.getsid(0)


def test_a_running_server_is_found_by_others(mine: Path) -> None:
    with running(mine) as server:
        assert running_url(mine) == server.url


def test_the_server_of_a_killed_process_is_adopted(mine: Path) -> None:
    with owned_by_another_process(mine) as (owner, postmaster):
        remember(running_url(mine) or "", "before the kill")
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        assert psutil.pid_exists(postmaster)
        with running(mine) as server:
            assert server.running_pid() == postmaster
            assert remembered(server.url) == ["kept", "before the kill"]
        assert server.running_pid() is None


def test_a_killed_server_recovers_what_was_committed(mine: Path) -> None:
    with owned_by_another_process(mine) as (owner, postmaster):
        remember(running_url(mine) or "", "before the crash")
        os.kill(postmaster, signal.SIGKILL)
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        with running(mine) as server:
            assert server.running_pid() != postmaster
            assert remembered(server.url) == ["kept", "before the crash"]


OF_THIS_PROCESS = f"{os.getpid()}\n/elsewhere\n1\n5432\n\n\n\nready\n"


@pytest.mark.parametrize(
    "content",
    ["", "not a number\n", OF_THIS_PROCESS, "1\n"],
    ids=["empty", "no-number", "another-process", "init"],
)
def test_a_stale_pid_file_is_no_obstacle(mine: Path, content: str) -> None:
    (mine / "postgres" / "postmaster.pid").write_text(content)
    with running(mine) as server:
        assert remembered(server.url) == ["kept"]


def test_a_second_process_on_the_same_directory_is_told_who_has_it(mine: Path) -> None:
    with owned_by_another_process(mine) as (owner, _):
        said = refusal(mine)
        assert f"process {owner.pid}" in said
        assert "--data-dir" in said
        assert DirectoryLock(mine).holder() == owner.pid
        assert running_url(mine) is not None, "the first one goes on"
        asyncio.run(EmbeddedPostgres(mine).stop())
        assert running_url(mine) is not None
        with psycopg.connect(running_url(mine) or "") as connection:
            connection.execute("SELECT 1")
        os.kill(_, signal.SIGQUIT)


def test_data_of_another_major_version_is_named_and_kept(mine: Path) -> None:
    (mine / "postgres" / "PG_VERSION").write_text("16\n")
    said = refusal(mine)
    assert "PostgreSQL 16" in said
    assert "PostgreSQL 18" in said
    assert "Nothing was deleted" in said
    assert (mine / "postgres" / "base").exists()


@pytest.mark.parametrize("name", ["PG_VERSION", "global/pg_control", "pg_wal"])
def test_missing_parts_are_named_and_the_rest_is_kept(mine: Path, name: str) -> None:
    (mine / "postgres" / name).rename(mine / "elsewhere")
    said = refusal(mine)
    assert name in said
    assert f"mv {mine}/postgres" in said
    assert (mine / "postgres" / "base").exists()
    (mine / "elsewhere").rename(mine / "postgres" / name)
    with running(mine) as server:
        assert remembered(server.url) == ["kept"]


def test_corrupt_parts_are_named_in_the_servers_own_words(mine: Path) -> None:
    control = mine / "postgres" / "global" / "pg_control"
    control.write_bytes(bytes(reversed(control.read_bytes())))
    said = refusal(mine)
    assert str(mine / "postgres") in said
    assert "FATAL" in said or "PANIC" in said
    assert "server.log" in said
    assert "Nothing was deleted" in said


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert str(tmp_path / "file" / "data") in refusal(tmp_path / "file" / "data")


def test_an_interrupted_creation_leaves_nothing_half_made(tmp_path: Path) -> None:
    (tmp_path / "postgres.initialising" / "base").mkdir(parents=True)
    with running(tmp_path) as server:
        remember(server.url, "whole")
    assert not (tmp_path / "postgres.initialising").exists()


def test_a_cancelled_start_leaves_no_server_behind(mine: Path) -> None:
    async def body() -> None:
        start = asyncio.create_task(EmbeddedPostgres(mine).start())
        await asyncio.sleep(0)
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start

    asyncio.run(body())
    assert running_url(mine) is None
    with running(mine) as server:
        assert remembered(server.url) == ["kept"]


@pytest.mark.parametrize(
    "name",
    [
        "with space and 'quote'",
        "long-" + "x" * 120,
        'comma, and "double quotes"',
        "$HOME and `backquotes` and back\\slash",
        pytest.param("two\nlines", marks=pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a name")),
    ],
)
def test_any_path_will_do(mine: Path, name: str) -> None:
    moved = mine / name
    moved.mkdir()
    (mine / "postgres").rename(moved / "postgres")
    with running(moved) as server:
        assert remembered(server.url) == ["kept"]
    remembered_folder = moved / "postgres" / SOCKET_FOLDER_FILE
    if remembered_folder.exists():  # a socket folder outside outlives the server, and this directory
        shutil.rmtree(remembered_folder.read_text("utf-8").strip())
