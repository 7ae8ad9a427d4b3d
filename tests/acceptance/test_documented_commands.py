"""The commands of README.md that need no account, run as they stand: in a fresh copy, in order, with the defaults."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard

from tests.documented_commands import PROOFS, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PORT = 8000
"""What README.md says."""
PAGE = f"http://localhost:{PORT}"
START_LIMIT_S = 600
"""The first start fetches packages and builds the page."""
STOP_LIMIT_S = 120
POSTS_LIMIT_S = 120
RECORDED_S = 600
"""Seconds that the recording holds; at 60 seconds a second it plays for ten."""
OURS = re.compile(r"GROUNDSWELL_|AWS_|PYTEST_|PYTHON|VIRTUAL_ENV|MAKE|MFLAGS|COV_")
"""Variables of this process that a reader does not have."""


class Checkout:
    """A copy of the repository as git has it: nothing fetched, nothing built. At most one platform runs in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._platform: subprocess.Popen[str] | None = None
        self._said: list[str] = []

    def environment(self, **more: str) -> dict[str, str]:
        path = os.pathsep.join(
            each for each in os.environ["PATH"].split(os.pathsep) if Path(each) != Path(sys.executable).parent
        )
        return {**{name: value for name, value in os.environ.items() if not OURS.match(name)}, "PATH": path, **more}

    def run(self, command: str) -> str:
        """Run a command to its end, with .venv/bin on the path as README.md has it. Returns what it printed."""
        path = f"{self.folder / '.venv' / 'bin'}{os.pathsep}{self.environment()['PATH']}"
        done = subprocess.run(
            ["sh", "-ec", command], cwd=self.folder, env=self.environment(PATH=path), check=False,
            capture_output=True, text=True, timeout=START_LIMIT_S,
        )  # fmt: skip
        assert done.returncode == 0, f"`{command}` ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def up(self, command: str, **variables: str) -> None:
        """Start a platform; the one that runs is stopped first."""
        self.stop()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", PORT)) == 0:
                pytest.skip(f"something else answers at {PAGE}, where README.md has the platform")
        self._said = []
        self._platform = subprocess.Popen(
            ["sh", "-c", command], cwd=self.folder, env=self.environment(**variables), start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        running = threading.Event()
        threading.Thread(target=self._read, args=(self._platform, running), daemon=True).start()
        assert running.wait(START_LIMIT_S) and self.is_running, f"`{command}` did not start:\n{self.said()}"

    def _read(self, platform: subprocess.Popen[str], running: threading.Event) -> None:
        assert platform.stdout is not None
        for line in platform.stdout:
            self._said.append(line)
            if f"is running at {PAGE}" in line:
                running.set()
        running.set()

    @property
    def is_running(self) -> bool:
        return self._platform is not None and self._platform.poll() is None

    def said(self) -> str:
        return "".join(self._said[-60:])

    def stop(self) -> None:
        """Press Ctrl-C: every process of the terminal's group gets SIGINT. Nothing may be left of them."""
        platform, self._platform = self._platform, None
        if platform is None:
            return
        try:
            os.killpg(platform.pid, signal.SIGINT)
            platform.wait(STOP_LIMIT_S)
            with pytest.raises(ProcessLookupError):
                os.killpg(platform.pid, 0)
            assert not (self.folder / ".groundswell" / "postgres" / "postmaster.pid").exists(), self.said()
        finally:
            if platform.poll() is None:
                os.killpg(platform.pid, signal.SIGKILL)

    def answer(self, path: str) -> Any:
        with urllib.request.urlopen(f"{PAGE}{path}", timeout=30) as answer:
            body = answer.read()
        return json.loads(body) if path.startswith("/v1/") else body.decode()

    def recording(self, name: str) -> str:
        """Return the source of a recording that is played: its name, and what tells it from others of that name."""
        ends = time.monotonic() + POSTS_LIMIT_S
        while (match := re.search(rf"replay:{re.escape(name)}@[0-9a-f]+", self.said())) is None:
            assert self.is_running and time.monotonic() < ends, self.said()
            time.sleep(0.1)  # another process says it
        return match[0]

    def serves_posts_of(self, source: str) -> None:
        """The page and what it loads, the API, and posts of a source within two minutes."""
        page = self.answer("/")
        assert "<title>Groundswell" in page, page
        for asset in re.findall(r'(?:src|href)="(/assets/[^"]+)"', page):
            assert self.answer(asset)
        assert "data" in self.answer("/v1/momentum")
        ends = time.monotonic() + POSTS_LIMIT_S
        while not self.answer(f"/v1/posts?source={source}")["data"]:
            assert self.is_running and time.monotonic() < ends, f"no posts of {source}:\n{self.said()}"
            time.sleep(0.5)  # another process stores them, and tells only those that listen


@pytest.fixture(scope="module")
def checkout() -> Iterator[Checkout]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("a fresh copy is what git has of the repository, and there is no git here")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="groundswell-fresh-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # Postgres runs as a user of its own where this is root
        fresh = Checkout(Path(folder) / "groundswell")
        for name in listed:
            if (ROOT / name).is_file():
                (fresh.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, fresh.folder / name)
        try:
            yield fresh
        finally:
            fresh.stop()


@pytest.fixture
def bluesky() -> Iterator[str]:
    """The address of the simulator, which speaks what Bluesky speaks."""
    command = [sys.executable, "-m", "groundswell.adapters.simulator", "--port", "0", "--rate", "20"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as simulator:
        assert simulator.stdout is not None
        yield simulator.stdout.readline().strip()
        simulator.terminate()


def record(file: Path) -> None:
    """Write a recording: a frame a second, the last of them an hour ago."""
    began = int((time.time() - 3600 - RECORDED_S) * 1e6)
    frames: list[bytes] = []
    for n in range(RECORDED_S):
        post = {"text": f"A post of Monday, number {n}, about $BTC and #coffee", "createdAt": "2026-01-01T00:00:00Z"}
        commit = {"rev": f"{n:09}", "operation": "create", "collection": "app.bsky.feed.post", "rkey": f"{n}"}
        frame = {"did": f"did:plc:{n % 50}", "time_us": began + n * 10**6, "kind": "commit"}
        frames.append(msgspec.json.encode({**frame, "commit": {**commit, "record": post}}))
    file.parent.mkdir()
    file.write_bytes(zstandard.ZstdCompressor().compress(b"\n".join(frames)))


# ------------------------------------------------------------------ each command
def lists_its_targets(checkout: Checkout, command: str) -> None:
    said = checkout.run(command)
    assert "make up" in said and "rehearse" in said


def starts_the_demo(checkout: Checkout, command: str) -> None:
    checkout.up(command)
    checkout.serves_posts_of("simulator")


def answers(checkout: Checkout, command: str) -> None:
    if not checkout.is_running:
        checkout.up("make up")
    assert "data" in json.loads(checkout.run(command))


def writes_settings(checkout: Checkout, command: str) -> None:
    checkout.run(command)
    checkout.run("groundswell env check")


def prints_a_bill(checkout: Checkout, command: str) -> None:
    assert "Total" in checkout.run(command)


def plays_a_recording(checkout: Checkout, command: str) -> None:
    (file,) = re.findall(r"FILE=(\S+)", command)
    record(checkout.folder / file)
    checkout.up(command)
    checkout.serves_posts_of(checkout.recording(Path(file).name))


def reads_bluesky(checkout: Checkout, command: str, bluesky: str) -> None:
    checkout.up(command, GROUNDSWELL_JETSTREAM_HOSTS=bluesky)
    checkout.serves_posts_of("jetstream")


def reads_a_sealed_feed(checkout: Checkout, command: str) -> None:
    checkout.up(command)
    checkout.serves_posts_of("sealed-simulator")


def finds_node(checkout: Checkout, command: str) -> None:
    said = checkout.run(f"cd {checkout.folder}; {command}; command -v npx; command -v groundswell")
    assert said.split() == [str(checkout.folder / ".venv" / "bin" / name) for name in ("npx", "groundswell")]


def is_where_cdk_finds_its_settings(checkout: Checkout, command: str) -> None:
    assert "cdk.json" in checkout.run(f"{command}; ls")


def leaves_the_data(checkout: Checkout, command: str) -> None:
    checkout.stop()
    checkout.run(command)
    assert not (checkout.folder / ".venv").exists()
    assert (checkout.folder / ".groundswell" / "postgres").is_dir()


STEPS: Mapping[str, Callable[..., None]] = {
    "make": lists_its_targets,
    "make up": starts_the_demo,
    "curl 'localhost:8000/v1/momentum?limit=5'": answers,
    "curl 'localhost:8000/v1/search?q=coffee&limit=3'": answers,
    "groundswell env example > .env": writes_settings,
    "groundswell cost --set relay_cpu=512 --set relay_memory_mb=1024": prints_a_bill,
    "export PATH=$PWD/.venv/bin:$PATH": finds_node,
    "cd cdk": is_where_cdk_finds_its_settings,
    "make up SOURCE=jetstream": reads_bluesky,
    "make up SOURCE=replay FILE=recordings/monday.jsonl.zst SPEED=60": plays_a_recording,
    "make up SOURCE=sealed": reads_a_sealed_feed,
    "make clean": leaves_the_data,
}
"""In the order of a reader."""


def test_every_command_that_is_to_be_run_is_run() -> None:
    assert STEPS.keys() == {command for command, proof in PROOFS.items() if proof.way == "run"}


@pytest.mark.parametrize("command", STEPS)
def test_a_command_does_what_the_readme_says(checkout: Checkout, command: str, request: pytest.FixtureRequest) -> None:
    if command.startswith("curl ") and shutil.which("curl") is None:
        pytest.skip("there is no curl here")
    step = STEPS[command]
    if step is reads_bluesky:
        step(checkout, command, request.getfixturevalue("bluesky"))
    else:
        step(checkout, command)
