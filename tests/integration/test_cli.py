"""The command `groundswell`, run as a person runs it."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from groundswell.adapters.embedded_postgres import running_url
from groundswell.cli import app
from groundswell.errors import EX_CONFIG, EX_NOINPUT, EX_UNAVAILABLE, EX_USAGE

GROUNDSWELL = Path(sys.executable).with_name("groundswell")


class Cli:
    """Runs the command in a folder of its own with an environment of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {
            name: value for name, value in os.environ.items() if not name.startswith(("GROUNDSWELL_", "COLUMNS"))
        } | {"GROUNDSWELL_DATA_DIR": str(folder / "data"), "NO_COLOR": "1", "COLUMNS": "200"}

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [GROUNDSWELL, *arguments],
            cwd=self.folder,
            env=self.environ | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __call__(self, *arguments: str, exit_code: int = 0, **variables: str) -> str:
        """What it printed, standard error included. Never a traceback."""
        process = self.start(*arguments, **variables)
        out, err = process.communicate(timeout=60)
        assert process.returncode == exit_code, out + err
        assert "Traceback" not in out + err
        return out + err


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    # Not pytest's own: its path is long, and grows with the test's name.
    with tempfile.TemporaryDirectory(prefix="groundswell-") as folder:
        yield Path(folder)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def test_help_names_every_command_and_teaches_by_example(cli: Cli) -> None:
    said = cli("--help")
    commands = ("up", "replay", "relay", "api", "migrate", "doctor", "drill", "env", "keys")
    assert all(re.search(rf"^  {command} ", said, re.MULTILINE) for command in commands)
    for command in commands:
        explained = CliRunner().invoke(app, [command, "--help"], prog_name="groundswell")
        assert explained.exit_code == 0
        assert explained.output.startswith(f"Usage: groundswell {command}")
    assert "groundswell up --source jetstream" in cli("up", "--help")
    assert cli("--version").startswith("groundswell ")


def test_a_configuration_that_cannot_work_is_listed_in_full_and_ends_with_78(cli: Cli) -> None:
    said = cli("relay", exit_code=EX_CONFIG, GROUNDSWELL_BATCH_MAX_POSTS="many", GROUNDSWELL_SORCE="jetstream")
    assert "GROUNDSWELL_BATCH_MAX_POSTS: 'many' is not a whole number" in said
    assert "Did you mean GROUNDSWELL_SOURCE?" in said
    assert "GROUNDSWELL_DATABASE_URL: is not set" in said


def test_a_wrong_flag_is_named_as_the_flag(cli: Cli) -> None:
    said = cli("up", "--speed", "fast", "--file", "nowhere.jsonl", exit_code=EX_CONFIG)
    assert "--speed: 'fast' is not a speed" in said
    assert "--file: there is no file nowhere.jsonl" in said


def test_a_taken_port_is_told_before_anything_is_started(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = cli("up", "--port", str(port), exit_code=EX_CONFIG)
    assert f"Port {port} on 127.0.0.1 cannot be used" in said
    assert f"--port {port + 1}" in said
    assert not (cli.folder / "data").exists()


def test_env_list_shows_values_and_origins_but_no_secrets(cli: Cli) -> None:
    (cli.folder / ".env").write_text("GROUNDSWELL_API_PORT=9001\n", "utf-8")
    said = cli("env", "list", GROUNDSWELL_DATABASE_URL="postgresql://u:k7Jq2Vx9@db/x")
    assert re.search(r"GROUNDSWELL_API_PORT +9001 +\.env", said)
    assert re.search(r"GROUNDSWELL_DATABASE_URL +\(set\) +environment", said)
    assert re.search(r"GROUNDSWELL_SOURCE +simulator +default", said)
    assert "k7Jq2Vx9" not in said
    assert "GROUNDSWELL_SOURCE" not in cli("env", "list", "--changed")


def test_env_check_names_the_service_that_cannot_start(cli: Cli) -> None:
    assert "configuration of embedded can work" in cli("env", "check")
    assert "GROUNDSWELL_DATABASE_URL" in cli("env", "check", "all", exit_code=EX_CONFIG)
    assert "GROUNDSWELL_DATABASE_URL" in cli("env", "check", "relay", exit_code=EX_CONFIG)
    assert "no service 'relais'" in cli("env", "check", "relais", exit_code=EX_CONFIG)


def test_env_example_and_docs_are_those_of_the_repository(cli: Cli) -> None:
    root = Path(__file__).parents[2]
    assert cli("env", "example") == (root / ".env.example").read_text("utf-8")
    assert cli("env", "docs") == (root / "docs" / "configuration.md").read_text("utf-8")
    assert "up to date" in cli("env", "generate", "--check")


def test_migrate_and_keys_work_without_a_running_platform_and_leave_nothing_running(cli: Cli) -> None:
    assert "from version none to" in cli("migrate")
    assert "up to date" in cli("migrate")
    key = cli("keys", "create", "my script").splitlines()[0]
    assert key.startswith("gsk_")
    assert "my script" in cli("keys", "list")
    assert "already" in cli("keys", "create", "my script", exit_code=EX_USAGE)
    cli("keys", "revoke", "my script")
    assert "no key named" in cli("keys", "revoke", "my script", exit_code=EX_USAGE)
    assert running_url(cli.folder / "data") is None


@pytest.mark.parametrize(
    "command",
    [
        ("index", "status"),
        ("index", "rebuild"),
        ("keys", "list"),
        ("keys", "create", "mine"),
        ("keys", "revoke", "mine"),
        ("archive", "list"),
        ("archive", "verify"),
        ("archive", "query", "SELECT 1"),
        ("archive", "move"),
        ("archive", "restore", "2026-07-04"),
    ],
    ids=" ".join,
)
def test_a_mistyped_data_directory_is_said_and_not_made(cli: Cli, command: tuple[str, ...]) -> None:
    said = cli(*command, exit_code=EX_NOINPUT, GROUNDSWELL_DATA_DIR="not/here")
    assert f"There is no Groundswell at {cli.folder / 'not/here'}" in said
    assert list(cli.folder.iterdir()) == []


def test_help_has_a_short_form_in_every_command() -> None:
    for command in ((), ("up",), ("keys",), ("keys", "create"), ("archive", "query")):
        explained = CliRunner().invoke(app, [*command, "-h"], prog_name="groundswell")
        assert explained.output == CliRunner().invoke(app, [*command, "--help"], prog_name="groundswell").output
        assert explained.exit_code == 0


def test_a_source_that_is_nearly_right_is_suggested(cli: Cli) -> None:
    said = cli("up", "--source", "jetsream", exit_code=EX_CONFIG)
    assert "--source: 'jetsream' is not one of its values. Did you mean 'jetstream'?" in said
    assert "simulator, jetstream, sealed, replay" in said


def test_keys_reach_a_database_of_ones_own(cli: Cli, postgres_server: str) -> None:
    database_url = postgres_server.replace("/postgres?", "/of_ones_own?")
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute("CREATE DATABASE of_ones_own")
    key = cli("keys", "create", "theirs", GROUNDSWELL_DATABASE_URL=database_url).splitlines()[0]
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT name, hash FROM api_keys").fetchone()
    assert row == ("theirs", hashlib.sha256(key.encode()).digest())


def test_doctor_finds_nothing_broken_on_a_fresh_machine(cli: Cli) -> None:
    said = cli("doctor", "--port", "0")
    assert "Nothing is broken" in said
    assert not (cli.folder / "data").exists(), "it changes nothing"


def test_doctor_names_every_broken_link_with_its_remedy(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = cli(
            "doctor",
            "--port",
            str(taken.getsockname()[1]),
            "--source",
            "jetstream",
            exit_code=EX_UNAVAILABLE,
            GROUNDSWELL_DATABASE_URL="postgresql://u@127.0.0.1:1/x",
            GROUNDSWELL_QDRANT_URL="http://127.0.0.1:1",
            GROUNDSWELL_JETSTREAM_HOSTS="ws://127.0.0.1:1/subscribe",
        )
    assert "Broken: Postgres, Qdrant, Source, Port." in said
    assert said.count("→") >= 3


def test_doctor_of_a_broken_configuration_ends_with_78(cli: Cli) -> None:
    assert "GROUNDSWELL_API_PORT" in cli("doctor", exit_code=EX_CONFIG, GROUNDSWELL_API_PORT="x")


def test_doctor_names_a_damaged_data_directory(cli: Cli) -> None:
    cli("migrate")
    (cli.folder / "data" / "postgres" / "global" / "pg_control").unlink()
    said = cli("doctor", "--port", "0", exit_code=EX_UNAVAILABLE)
    assert "global/pg_control missing" in said
    assert "Nothing was deleted" in said


def test_up_runs_the_platform_is_seen_by_doctor_and_stops_cleanly_on_ctrl_c(cli: Cli) -> None:
    process = cli.start("up", "--port", "0", GROUNDSWELL_SIMULATOR_HISTORY_MINUTES="0")
    try:
        assert process.stderr is not None
        said: list[str] = []
        for line in process.stderr:
            said.append(line)
            if "is running at" in line:
                break
        assert process.poll() is None, "".join(said)
        url = said[-1].split()[-1]
        with urllib.request.urlopen(f"{url}/healthz", timeout=10) as answer:
            assert answer.status == 200
        checked = cli("doctor", "--port", "0")
        assert f"in use by process {process.pid}" in checked
        second = cli("up", "--port", "0", exit_code=EX_CONFIG)
        assert f"process {process.pid}" in second
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) == 0
        assert running_url(cli.folder / "data") is None
    finally:
        process.kill()
        process.communicate()


def test_doctor_shows_what_was_probed_tried_and_chosen_among_the_embedding_models(cli: Cli) -> None:
    said = cli(
        "doctor",
        "embeddings",
        GROUNDSWELL_EMBEDDING_CHAIN="fastembed:no/such@gpu,fastembed:no/such@cpu,static:wordllama-256,fastembed:never/asked",
        GROUNDSWELL_MODEL_FETCH="never",
    )
    assert "cores" in said
    assert "CUDA" in said
    assert "fastembed:no/such@gpu" in said
    assert "fastembed:no/such@cpu does not work: fastembed does not know no/such" in said
    assert "static:wordllama-256 chosen: works on cpu (float16" in said
    assert "fastembed:never/asked not tried: a model before it works" in said
    assert "space wordllama-256" in said
    assert "Postgres" not in said
