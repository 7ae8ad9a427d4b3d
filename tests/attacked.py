"""The API in a process of its own, over a filled database, for tests that send it what no client should."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from bench.loop_lag import WatchedApi, watched_api
from tests.api_world import fill
from tests.roles import as_role


@contextmanager
def attacked_api(postgres_server: str, runner: asyncio.Runner, database: str, **options: str) -> Iterator[WatchedApi]:
    """Serve the API over a database of this name; `options` are variables."""
    with psycopg.connect(postgres_server, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {database} TEMPLATE migrated")  # pyright: ignore[reportArgumentType]
    url = postgres_server.replace("/postgres?", f"/{database}?")
    fill(url)
    with tempfile.TemporaryDirectory(prefix="groundswell-tests-") as folder:
        serving = watched_api(as_role(url, "api"), Path(folder), **options)
        yield runner.run(serving.__aenter__())
        runner.run(serving.__aexit__(None, None, None))
    with psycopg.connect(postgres_server, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE {database} WITH (FORCE)")  # pyright: ignore[reportArgumentType]
