"""Parts that many tests share: one Postgres server, and a fresh migrated database for each test that asks."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from groundswell.adapters.embedded_postgres import EmbeddedPostgres
from groundswell.adapters.migrations import migrate
from tests.roles import make_roles

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A real PostgreSQL for the whole run, with a migrated database `migrated` to copy. Yields the URL of another."""
    with tempfile.TemporaryDirectory(prefix="groundswell-tests-") as folder, asyncio.Runner() as runner:
        # The tests kill processes, not machines: durability on a power cut is the one thing they do not need.
        server = EmbeddedPostgres(Path(folder), tuning={"fsync": "off"}, database="migrated")
        url = runner.run(server.start())
        make_roles(url)
        runner.run(migrate(url))
        yield url.replace("/migrated?", "/postgres?")
        runner.run(server.stop())


@pytest.fixture
def database_url(postgres_server: str) -> Iterator[str]:
    """The URL of an empty database with the newest schema, dropped when the test ends."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(postgres_server, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE migrated")
    yield postgres_server.replace("/postgres?", f"/{name}?")
    with psycopg.connect(postgres_server, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")


@dataclass(frozen=True)
class Platform:
    """A whole platform that runs."""

    url: str
    data_dir: Path


HOSTILE: Mapping[str, str] = {
    **{"PGHOSTADDR": "127.0.0.1", "PGPORT": "1", "PGSERVICE": "nowhere", "PGREQUIREAUTH": "scram-sha-256"},
    **{"PGCLIENTENCODING": "LATIN1", "PGOPTIONS": "-c default_transaction_read_only=on", "PGDATA": "/nowhere"},
    **{"ALL_PROXY": "socks5://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "::::", "NO_PROXY": ""},
    **{"LC_ALL": "tr_TR.UTF-8", "LANG": "xx_NOWHERE", "PYTHONIOENCODING": "latin-1", "TZ": "Nowhere/Land"},
}
"""An environment that is about other programs. None of it may reach what the platform brings along."""
ODD_DIRECTORY = """data, $HOME `touch run` "x" 'y' %s"""


@pytest.fixture(scope="module")  # it costs a part of a processor as long as it runs
def platform() -> Iterator[Platform]:
    """`groundswell up`, the real command on the simulated feed, ready to answer.

    It runs in an environment that would bend it, on a directory whose name would run a program where a shell read it.
    """
    with tempfile.TemporaryDirectory(prefix="groundswell-tests-") as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        command = [
            sys.executable,
            "-m",
            "groundswell",
            "up",
            "--port",
            str(port),
            "--data-dir",
            f"{folder}/{ODD_DIRECTORY}",
        ]
        # A smaller past than the demo's: the tests want the present.
        environment = {**os.environ, **HOSTILE, "GROUNDSWELL_SIMULATOR_HISTORY_MINUTES": "5"}
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=folder)
        assert process.stderr is not None
        said: list[str] = []
        for line in process.stderr:
            said.append(line)
            if "is running at" in line:
                break
        else:
            pytest.fail(f"the platform did not start:\n{''.join(said)}")
        # Nobody reads on: a full pipe must not stop the platform.
        reader = threading.Thread(target=process.stderr.read, daemon=True)
        reader.start()
        yield Platform(f"http://127.0.0.1:{port}", Path(folder) / ODD_DIRECTORY)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        reader.join()
        assert [entry.name for entry in Path(folder).iterdir()] == [ODD_DIRECTORY]


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    """The address of a local S3."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
