"""What the container's image runs: as a process, with the environment that the image sets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from groundswell.adapters.heartbeat import STALE_AFTER_S
from groundswell.errors import EX_CONFIG

COMMAND = [sys.executable, "-m", "relay_container"]


def environment(url: str, heartbeat: Path) -> dict[str, str]:
    return {
        **os.environ,
        "GROUNDSWELL_DATABASE_URL": url,
        "GROUNDSWELL_HEARTBEAT_FILE": str(heartbeat),
        "GROUNDSWELL_LOG_FORMAT": "json",
        "GROUNDSWELL_METRICS_FORMAT": "emf",
        "GROUNDSWELL_SIMULATOR_HISTORY_MINUTES": "0",
    }


def check(given: dict[str, str]) -> int:
    return subprocess.run([*COMMAND, "--check"], env=given, check=False).returncode


def test_it_is_healthy_while_it_turns_drains_on_sigterm_and_leaves_its_metrics(
    database_url: str, tmp_path: Path
) -> None:
    heartbeat = tmp_path / "alive"
    given = environment(database_url, heartbeat)
    assert check(given) == 1
    relay = subprocess.Popen(COMMAND, env=given, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        with psycopg.connect(database_url, autocommit=True) as conn:
            deadline = time.monotonic() + 60
            stored: tuple[int] | None = (0,)
            while stored == (0,) and time.monotonic() < deadline and relay.poll() is None:
                stored = conn.execute("SELECT count(*) FROM posts").fetchone()
                time.sleep(0.1)
            assert stored != (0,)
            assert check(given) == 0
            relay.send_signal(signal.SIGTERM)
            said, _ = relay.communicate(timeout=30)
            assert relay.returncode == 0
            assert conn.execute("SELECT cause FROM gaps WHERE closed_at IS NULL").fetchall() == [("shutdown",)]
        assert '"posts_stored_total":' in said
    finally:
        relay.kill()
        relay.wait()


def test_a_process_that_does_not_turn_any_more_is_not_healthy(tmp_path: Path) -> None:
    heartbeat = tmp_path / "alive"
    heartbeat.touch()
    given = environment("unused", heartbeat)
    assert check(given) == 0
    long_ago = time.time() - STALE_AFTER_S - 1
    os.utime(heartbeat, (long_ago, long_ago))
    assert check(given) == 1


@pytest.mark.parametrize("variable", ["GROUNDSWELL_DATABASE_URL", "GROUNDSWELL_SOURCE"])
def test_a_wrong_environment_ends_it_with_78(tmp_path: Path, variable: str) -> None:
    given = environment("postgresql://u@127.0.0.1:9/d", tmp_path / "alive") | {variable: "nonsense"}
    ended = subprocess.run(COMMAND, env=given, check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == EX_CONFIG
    assert variable in ended.stderr
