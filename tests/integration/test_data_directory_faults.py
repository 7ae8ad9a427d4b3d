"""What happens to a running platform whose data directory is touched by others, or is damaged."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.request import urlopen

import psutil
import psycopg
import pytest

from groundswell.adapters.data_directory import LOCK_NAME
from groundswell.adapters.embedded_postgres import EmbeddedPostgres, running_url
from groundswell.errors import DataDirectoryError, DataDirectoryLost
from groundswell.settings import foreign_environment

READY_LIMIT_S = 90
END_LIMIT_S = 60
FROZEN_END_LIMIT_S = 150
"""Statements in hand run into their limits first, and then the server is given time to stop."""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="groundswell-") as folder:
        yield Path(folder) / "data"


def damage(data_dir: Path, database: str, table: str) -> None:
    """Overwrite the pages of a table of the stopped server with other bytes."""

    async def where() -> str:
        server = EmbeddedPostgres(data_dir)
        url = await server.start()
        with psycopg.connect(url.replace("/groundswell?", f"/{database}?")) as connection:
            row = connection.execute("SELECT pg_relation_filepath(%s)", (table,)).fetchone()
        await server.stop()
        assert row is not None
        return str(row[0])

    path = data_dir / "postgres" / asyncio.run(where())
    path.write_bytes(os.urandom(path.stat().st_size))


# ------------------------------------------------------------------ the server alone
def test_a_killed_server_is_started_again_at_its_address_with_what_was_committed(data_dir: Path) -> None:
    async def body() -> None:
        server = EmbeddedPostgres(data_dir)
        url = await server.start()
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE words (word text)")
            connection.execute("INSERT INTO words VALUES ('kept')")
        for _ in range(2):
            postmaster = server.running_pid()
            assert postmaster is not None
            ending = asyncio.create_task(server.ended())
            os.kill(postmaster, signal.SIGKILL)
            assert await ending == "was killed by SIGKILL"
            await server.restart()
            assert server.running_pid() != postmaster
            assert running_url(data_dir) == url
            with psycopg.connect(url) as connection:
                assert connection.execute("SELECT word FROM words").fetchall() == [("kept",)]
        await server.stop()
        assert server.running_pid() is None

    asyncio.run(body())


def test_a_frozen_child_of_a_killed_server_does_not_keep_it_away(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("groundswell.adapters.embedded_postgres.ORPHAN_PAUSE_S", 0.02)

    async def body() -> None:
        server = EmbeddedPostgres(data_dir)
        url = await server.start()
        postmaster = psutil.Process(server.running_pid())
        child = postmaster.children()[0]
        child.suspend()
        postmaster.kill()
        await server.ended()
        await server.restart()
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
        psycopg.connect(url).close()
        await server.stop()

    asyncio.run(body())


def test_a_removed_cluster_is_noticed_while_the_server_runs_and_never_made_anew(data_dir: Path) -> None:
    async def body() -> None:
        server = EmbeddedPostgres(data_dir)
        await server.start()
        postmaster = psutil.Process(server.running_pid())
        shutil.rmtree(data_dir, ignore_errors=True)
        (data_dir / "postgres").mkdir(parents=True)
        assert await server.ended() == "has lost its data directory"
        with pytest.raises(DataDirectoryLost, match="was removed or replaced while the platform used it"):
            await server.restart()
        assert list((data_dir / "postgres").iterdir()) == []
        await server.stop()
        assert not postmaster.is_running() or postmaster.status() == psutil.STATUS_ZOMBIE

    asyncio.run(body())


def test_a_removed_lock_lets_no_second_platform_in(data_dir: Path) -> None:
    async def body() -> None:
        first, second = EmbeddedPostgres(data_dir), EmbeddedPostgres(data_dir)
        url = await first.start()
        (data_dir / LOCK_NAME).unlink()
        with pytest.raises(DataDirectoryError, match="Another Groundswell is using"):
            await second.start()
        await second.stop()
        assert not (data_dir / LOCK_NAME).exists()
        psycopg.connect(url).close()
        await first.stop()

    asyncio.run(body())


@pytest.mark.parametrize("database", ["postgres", "groundswell"])
@pytest.mark.parametrize("table", ["pg_class", "pg_attribute"])
def test_a_damaged_system_table_is_named_with_what_to_do(data_dir: Path, database: str, table: str) -> None:
    damage(data_dir, database, table)
    with pytest.raises(DataDirectoryError) as caught:
        asyncio.run(EmbeddedPostgres(data_dir).start())
    assert f"The database in {data_dir}/postgres is damaged: " in caught.value.detail
    assert "Restore the directory from a backup" in caught.value.detail
    assert running_url(data_dir) is None, "it was stopped"


# ------------------------------------------------------------------ the whole platform
def ready(port: int) -> tuple[int, str]:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, json.loads(error.read())["detail"]


def started(process: subprocess.Popen[bytes], said: IO[str]) -> str:
    """Wait until the platform runs; return what it said up to then."""
    text = ""
    limit = time.monotonic() + READY_LIMIT_S
    while "is running at" not in text:
        assert process.poll() is None and time.monotonic() < limit, text
        time.sleep(0.1)  # a file tells nobody that it has grown
        said.seek(0)
        text = said.read()
    return text


@pytest.mark.slow
def test_a_platform_whose_data_is_removed_is_not_ready_then_says_so_and_ends(data_dir: Path) -> None:
    command = [sys.executable, "-m", "groundswell", "up", "--port", "0", "--data-dir", str(data_dir), "--rate", "5"]
    environment = {**foreign_environment(), "GROUNDSWELL_EMBEDDING_CHAIN": "none"}
    environment["GROUNDSWELL_SIMULATOR_HISTORY_MINUTES"] = "1"
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stderr=said, env=environment, cwd=data_dir.parent)
        try:
            text = started(process, said)
            port = int(text.rpartition("is running at")[2].split()[0].rpartition(":")[2].strip("/."))
            assert ready(port)[0] == 200
            (data_dir / "postgres" / "base").rename(data_dir / "base")
            status, detail = ready(port)
            assert status == 503
            assert "data: The database in" in detail and "base missing" in detail
            (data_dir / "base").rename(data_dir / "postgres" / "base")
            assert ready(port)[0] == 200

            shutil.rmtree(data_dir, ignore_errors=True)
            assert process.wait(END_LIMIT_S) == 78
        finally:
            process.kill()
            process.wait()
        said.seek(0)
        text = " ".join(said.read().split())
    assert "was removed or replaced while the platform used it" in text
    assert "Traceback" not in text, text


def has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("frozen", ["groundswell.adapters.qdrant_embedded", "postgres"])
def test_a_platform_whose_data_is_gone_and_whose_part_is_frozen_ends_when_it_is_told_to(
    data_dir: Path, frozen: str
) -> None:
    command = [sys.executable, "-m", "groundswell", "up", "--port", "0", "--data-dir", str(data_dir), "--rate", "5"]
    environment = {**foreign_environment(), "GROUNDSWELL_EMBEDDING_CHAIN": "static:wordllama-256"}
    environment["GROUNDSWELL_SIMULATOR_HISTORY_MINUTES"] = "1"
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stderr=said, env=environment, cwd=data_dir.parent)
        children: list[psutil.Process] = []
        try:
            started(process, said)
            children = psutil.Process(process.pid).children(recursive=True)
            stopped = [child for child in children if frozen in " ".join(child.cmdline())]
            assert stopped
            for child in stopped:
                child.suspend()
            shutil.rmtree(data_dir, ignore_errors=True)
            process.terminate()
            assert process.wait(FROZEN_END_LIMIT_S) is not None
            _, alive = psutil.wait_procs(children, timeout=5)
            # Whoever adopts what has ended may be slow to bury it.
            assert [child for child in alive if not has_ended(child)] == []
        finally:
            process.kill()
            process.wait()
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
