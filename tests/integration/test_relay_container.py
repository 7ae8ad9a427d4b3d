"""What the container's image runs: as a process, with the environment that the image sets."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from groundswell.adapters.heartbeat import BEAT_EVERY_S
from groundswell.errors import EX_CONFIG
from relay_container.check import STALE_AFTER_S

COMMAND = [sys.executable, "-m", "relay_container"]
CHECK = [sys.executable, "-m", "relay_container.check"]


def environment(url: str, heartbeat: Path) -> dict[str, str]:
    return {
        **os.environ,
        "GROUNDSWELL_DATABASE_URL": url,
        "GROUNDSWELL_HEARTBEAT_FILE": str(heartbeat),
        "GROUNDSWELL_LOG_FORMAT": "json",
        "GROUNDSWELL_METRICS_FORMAT": "emf",
        "GROUNDSWELL_SIMULATOR_HISTORY_MINUTES": "0",
    }


def check(given: dict[str, str], *arguments: str) -> int:
    return subprocess.run([*CHECK, *arguments], env=given, check=False).returncode


def cpu_seconds(command: list[str]) -> float:
    """What the quickest of some runs took of a processor: others on this machine only ever add to it."""
    taken: list[float] = []
    for _ in range(7):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env={**os.environ, "GROUNDSWELL_HEARTBEAT_FILE": "/nowhere"}, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(taken)


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


def test_some_late_beats_do_not_make_a_process_unhealthy() -> None:
    assert STALE_AFTER_S >= 5 * BEAT_EVERY_S


@pytest.mark.parametrize(
    ("said", "code"), [(b"HTTP/1.1 200 OK", 0), (b"HTTP/1.1 503 Service Unavailable", 1), (b"", 1)]
)
def test_an_api_is_healthy_while_it_answers_200(said: bytes, code: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        with subprocess.Popen([*CHECK, port]) as asking:
            connection, _ = server.accept()
            with connection:
                assert connection.recv(1000).startswith(b"GET /healthz HTTP/1.0\r\n")
                connection.sendall(said + b"\r\n\r\n")
        assert asking.returncode == code
    assert check(dict(os.environ), port) == 1


def test_the_health_check_costs_little_more_than_the_start_of_python() -> None:
    assert cpu_seconds(CHECK) < 2.5 * cpu_seconds([sys.executable, "-c", "pass"])


def test_the_health_check_loads_the_standard_library_alone() -> None:
    asked = "import sys; before = set(sys.modules); import relay_container.check; print(*set(sys.modules) - before)"
    said = subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True, text=True)
    assert set(said.stdout.split()) == {"relay_container", "relay_container.check"}


@pytest.mark.parametrize("variable", ["GROUNDSWELL_DATABASE_URL", "GROUNDSWELL_SOURCE"])
def test_a_wrong_environment_ends_it_with_78(tmp_path: Path, variable: str) -> None:
    given = environment("postgresql://u@127.0.0.1:9/d", tmp_path / "alive") | {variable: "nonsense"}
    ended = subprocess.run(COMMAND, env=given, check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == EX_CONFIG
    assert variable in ended.stderr
