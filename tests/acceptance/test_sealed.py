"""The real commands on a sealed feed that runs in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from groundswell.errors import EX_CONFIG

LIMIT_S = 90
MODULE = [sys.executable, "-m", "groundswell"]


@pytest.fixture
def feed() -> Iterator[dict[str, str]]:
    """The variables that let a reader in to a feed of a secp256k1 wallet, which serves meanwhile."""
    command = [sys.executable, "-m", "groundswell.adapters.simulator", "--sealed", "--port", "0", "--door-port", "0"]
    command += ["--wallet-kind", "secp256k1", "--history", "30"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        variables = dict(process.stdout.readline().strip().split("=", 1) for _ in range(4))
        yield variables
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def environment(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GROUNDSWELL_")}
    # Wide enough that a table cuts nothing off.
    return {
        **kept,
        "COLUMNS": "250",
        "GROUNDSWELL_LOG_LEVEL": "debug",
        "GROUNDSWELL_SOURCE": "sealed",
        **variables,
    }


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MODULE, *words], env=environment(**variables), capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


def get(url: str, path: str) -> httpx.Response:
    return httpx.get(f"{url}{path}", timeout=10, trust_env=False)


def stored_posts(url: str) -> list[dict[str, Any]]:
    """The newest posts, once there are some."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        posts = get(url, "/v1/posts?limit=5").json().get("data", [])
        if posts:
            return posts
        time.sleep(0.2)
    pytest.fail("no post was stored")


def wait_for_the_source(url: str) -> None:
    """Until the status knows the source: it is asked for anew every few seconds."""
    deadline = time.monotonic() + LIMIT_S
    while not get(url, "/v1/status").json()["sources"]:
        assert time.monotonic() < deadline, "the status names no source"
        time.sleep(0.2)


def test_the_platform_watches_a_sealed_feed_and_shows_no_secret_of_it(feed: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory(prefix="groundswell-tests-") as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        command = [*MODULE, "up", "--port", str(port), "--data-dir", f"{folder}/data"]
        with (Path(folder) / "said").open("w+") as said:
            process = subprocess.Popen(command, stdout=said, stderr=said, text=True, env=environment(**feed))
            try:
                url = f"http://127.0.0.1:{port}"
                while process.poll() is None and "is running at" not in Path(said.name).read_text("utf-8"):
                    time.sleep(0.1)
                assert process.poll() is None, Path(said.name).read_text("utf-8")
                assert {post["source"] for post in stored_posts(url)} == {"sealed"}
                wait_for_the_source(url)
                shown = [get(url, path).text for path in ("/v1/status", "/v1/gaps", "/metrics", "/v1/posts?nonsense=1")]
                checked = run("doctor", "source", **feed)
                listed = run("env", "list", **feed)
            finally:
                process.send_signal(signal.SIGINT)
                assert process.wait(60) == 0
        shown += [Path(f"{folder}/said").read_text("utf-8"), checked.stdout, checked.stderr, listed.stdout]
    assert '"sealed"' in shown[0], "the status was a status"
    assert checked.returncode == 0, checked.stdout
    assert "lets the wallet in, what it sends opens, and sends again what was missed" in checked.stdout
    for name in ("GROUNDSWELL_SEALED_WALLET_KEY", "GROUNDSWELL_SEALED_FEED_KEY"):
        assert name in listed.stdout
        assert not [text for text in shown if feed[name] in text], name


def test_every_problem_with_the_keys_is_named_at_the_start_and_none_of_them_is_shown() -> None:
    halves = {"GROUNDSWELL_SEALED_WALLET_KEY": "5f" * 31, "GROUNDSWELL_SEALED_FEED_KEY": "base58:0OIl" + "9" * 40}
    for command in (("up",), ("doctor",)):
        done = run(*command, **halves)
        said = done.stdout + done.stderr
        assert done.returncode == EX_CONFIG
        assert "GROUNDSWELL_SEALED_URL: is not set" in " ".join(said.split())
        assert "GROUNDSWELL_SEALED_WALLET_KEY: reads as hex with 62 digits" in " ".join(said.split())
        assert "GROUNDSWELL_SEALED_FEED_KEY: says that it is base58, and is not" in " ".join(said.split())
        assert not [key for key in halves.values() if key in said]


@pytest.mark.parametrize("wrong", ["GROUNDSWELL_SEALED_WALLET_KEY", "GROUNDSWELL_SEALED_FEED_KEY"])
def test_a_key_that_the_feed_does_not_accept_ends_the_relay_by_name(
    feed: dict[str, str], wrong: str, database_url: str, tmp_path: Path
) -> None:
    other = bytes(range(1, 33)).hex()
    where = {
        "GROUNDSWELL_DATABASE_URL": database_url,
        "GROUNDSWELL_DATA_DIR": str(tmp_path),
        "GROUNDSWELL_EMBEDDING_CHAIN": "none",
    }
    done = run("relay", **{**feed, **where, wrong: other})
    assert done.returncode == EX_CONFIG, done.stderr
    assert wrong in " ".join(done.stderr.split())
    for key in (other, feed["GROUNDSWELL_SEALED_WALLET_KEY"], feed["GROUNDSWELL_SEALED_FEED_KEY"]):
        assert key not in done.stderr
