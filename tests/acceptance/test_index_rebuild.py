"""The vector index made anew beside a platform that runs."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Generator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pytest

from groundswell.adapters.embedded_postgres import running_url
from groundswell.adapters.qdrant import QdrantIndex
from groundswell.adapters.qdrant_embedded import running_engine

PATIENCE_S = 60


class Platform(Protocol):
    url: str
    data_dir: Path


def asked(platform: Platform, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(platform.url + path, timeout=30) as answer:
        return json.load(answer)


@contextmanager
def searching_all_the_time(platform: Platform) -> Generator[list[dict[str, Any]]]:
    """One search after the other until the block ends; whatever is not answered fails the test."""
    answers: list[dict[str, Any]] = []
    failures: list[Exception] = []
    ended = threading.Event()

    def search() -> None:
        try:
            while not ended.is_set():
                answers.append(asked(platform, "/v1/search?q=markets%20and%20weather&limit=5"))
        except (OSError, ValueError) as error:
            failures.append(error)

    thread = threading.Thread(target=search)
    thread.start()
    try:
        yield answers
    finally:
        ended.set()
        thread.join()
    assert not failures


def stored(platform: Platform) -> set[int]:
    url = running_url(platform.data_dir)
    assert url is not None
    with psycopg.connect(url) as conn:
        return {pk for (pk,) in conn.execute("SELECT pk FROM posts")}


def wait_for_more(platform: Platform, before: Set[int]) -> Set[int]:
    """What is stored once something has come that is not among `before`."""
    until = time.monotonic() + PATIENCE_S
    while not (now := stored(platform)) - before:
        assert time.monotonic() < until, "no post arrived"
        time.sleep(0.1)
    return now


async def missing(platform: Platform, pks: Set[int]) -> Set[int]:
    """Those of `pks` that are not in the index once it has had time, and that are still posts."""
    engine = running_engine(platform.data_dir / "qdrant")
    assert engine is not None
    index = QdrantIndex(engine.url, api_key=engine.api_key)
    left = pks
    try:
        async with asyncio.timeout(PATIENCE_S):
            while left := left & stored(platform):
                found, after = set[int](), -1
                while page := await index.pks(after, 1_000):
                    found.update(page)
                    after = page[-1]
                left -= found
                await asyncio.sleep(0.2 if left else 0)
    except TimeoutError:
        return left
    finally:
        await index.close()
    return frozenset()


@pytest.mark.parametrize("words", [[], ["--from-scratch"]], ids=["in place", "from scratch"])
def test_an_index_is_made_anew_while_searches_are_answered_and_posts_arrive(
    platform: Platform, words: list[str]
) -> None:
    before = wait_for_more(platform, set())
    assert not asyncio.run(missing(platform, before)), "the platform has not indexed what it stored"
    command = [sys.executable, "-m", "groundswell", "index", "rebuild", *words, "--data-dir", str(platform.data_dir)]
    with searching_all_the_time(platform) as answers:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        after = wait_for_more(platform, before)
    assert "The platform that runs does the work" in done.stderr
    assert "are indexed anew" in done.stderr
    assert answers
    for answer in answers:
        assert says_what_took_part(answer)
    if not words:
        # One that waits too long for a busy machine says so; the index is there all the time.
        by_meaning = sum("semantic" in answer["legs"] for answer in answers)
        assert by_meaning > len(answers) / 2
    assert not asyncio.run(missing(platform, before | after))
    assert asked(platform, "/v1/search?q=markets%20and%20weather")["legs"] == ["lexical", "semantic"]


def says_what_took_part(answer: Mapping[str, Any]) -> bool:
    complete = answer["legs"] == ["lexical", "semantic"]
    return complete or (answer["legs"] == ["lexical"] and "vector-index" in answer["degraded"])


@pytest.mark.timeout(300)
def test_points_removed_behind_a_running_platforms_back_are_missed_and_come_back(platform: Platform) -> None:
    engine = running_engine(platform.data_dir / "qdrant")
    assert engine is not None
    known = stored(platform)
    assert not asyncio.run(missing(platform, known))

    async def remove() -> None:
        index = QdrantIndex(engine.url, api_key=engine.api_key)
        await index.delete(sorted(known))
        await index.close()

    asyncio.run(remove())
    until = time.monotonic() + 2 * PATIENCE_S
    while "vectors" not in (status := asked(platform, "/v1/status"))["degraded"]:
        assert time.monotonic() < until, f"nothing is said of the loss: {status}"
        time.sleep(0.2)
    while "vectors" in asked(platform, "/v1/status")["degraded"]:
        assert time.monotonic() < until + PATIENCE_S, "the loss is not mended"
        time.sleep(0.2)
    assert not asyncio.run(missing(platform, known))
