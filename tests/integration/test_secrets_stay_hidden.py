"""Every command, with good and bad variables, shows no secret: neither what was set nor what a library quotes of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import typer

from groundswell.cli import app
from groundswell.configuration.schema import variables

LIMIT_S = 100
MARKER: Final = "M4rk3r-7Qz-0f-Secrets"
SERVES: Final = None
ARGUMENTS: Final[Mapping[str, tuple[str, ...] | None]] = {
    "up": SERVES,
    "replay": SERVES,
    "relay": SERVES,
    "api": SERVES,
    "migrate": (),
    "cost": ("--help",),
    "doctor": (),
    "drill": ("list",),
    "bench search": ("--help",),
    "bench momentum": ("--help",),
    "archive move": (),
    "archive list": (),
    "archive verify": (),
    "forget": ("did:plc:nobody",),
    "archive restore": ("2026-01-01",),
    "archive query": ("SELECT 1",),
    "aws run": ("--", "up"),
    "aws restore": ("--to", "never"),
    "env list": (),
    "env check": (),
    "env example": (),
    "env docs": (),
    "env generate": ("--check",),
    "index status": (),
    "index rebuild": (),
    "keys create": ("a-name",),
    "keys list": (),
    "keys revoke": ("a-name",),
}
"""What each command is tried with. One that serves until it is stopped is tried with variables that it refuses."""

NOWHERE: Final = "127.0.0.1:1"
GOOD: Final = {
    "GROUNDSWELL_DATABASE_URL": f"postgresql://operator:{MARKER}@{NOWHERE}/groundswell?connect_timeout=2",
    "GROUNDSWELL_QDRANT_API_KEY": MARKER,
    "GROUNDSWELL_SEALED_WALLET_KEY": MARKER,
    "GROUNDSWELL_SEALED_FEED_KEY": MARKER,
}
BAD: Final[Mapping[str, Mapping[str, str]]] = {
    "a parameter of the database that nobody knows": {
        "GROUNDSWELL_DATABASE_URL": f"postgresql://operator:{MARKER}@{NOWHERE}/groundswell?bogus=1"
    },
    "a password with characters that end a URL": {
        "GROUNDSWELL_DATABASE_URL": f"postgresql://operator:{MARKER}/#@x@{NOWHERE}/groundswell"
    },
    "JSON that is no secret of RDS": {"GROUNDSWELL_DATABASE_URL": f'{{"password": "{MARKER}", "port": "x"}}'},
    "a password in the address of the vector server": {"GROUNDSWELL_QDRANT_URL": f"http://x:{MARKER}@{NOWHERE}"},
    "a password with a slash in an address": {"GROUNDSWELL_QDRANT_URL": f"http://x:{MARKER}/y@{NOWHERE}"},
    "a token in the address of a feed": {
        "GROUNDSWELL_SEALED_URL": f"https://{MARKER}@feed.example.org/v1",
        "GROUNDSWELL_JETSTREAM_URLS": f"wss://x:{MARKER}@feed.example.org",
    },
}


def commands(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[str]:
    command = command or typer.main.get_command(app)
    inner = getattr(command, "commands", None)
    if inner is None:
        yield " ".join(path)
        return
    for name, one in inner.items():
        yield from commands(one, (*path, name))


WALK = """
import sys, json
from typer.testing import CliRunner
from groundswell.cli import app
for command, arguments in json.loads(sys.argv[1]):
    result = CliRunner().invoke(app, [*command.split(), *arguments])
    print(f"== {command}: {result.exit_code}", flush=True)
    print(result.output)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        sys.excepthook(type(result.exception), result.exception, result.exception.__traceback__)
"""
"""One process for all commands: starting a process for each would take most of the time."""


def walked(folder: Path, environ: Mapping[str, str], tried: Mapping[str, tuple[str, ...]]) -> str:
    import json

    program = f"from groundswell.configuration.redaction import redact_crashes\nredact_crashes()\n{WALK}"
    own = {name: value for name, value in os.environ.items() if not name.startswith(("GROUNDSWELL_", "AWS_"))}
    ended = subprocess.run(
        [sys.executable, "-c", program, json.dumps(list(tried.items()))],
        cwd=folder,
        env={**own, "GROUNDSWELL_DATA_DIR": str(folder / "data"), **environ},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    assert [line.split(":")[0].removeprefix("== ") for line in said.splitlines() if line.startswith("== ")] == [*tried]
    return said


def test_every_command_is_tried_and_every_secret_variable_is_set() -> None:
    assert set(commands()) == set(ARGUMENTS)
    assert {variable.name for variable in variables() if variable.secret} == set(GOOD)


@pytest.mark.parametrize("level", ["info", "debug"])
def test_no_command_shows_a_secret_that_is_valid(tmp_path: Path, level: str) -> None:
    tried = {name: given for name, given in ARGUMENTS.items() if given is not None}
    said = walked(tmp_path, {**GOOD, "GROUNDSWELL_LOG_LEVEL": level}, tried)
    assert MARKER not in said
    assert "connect" in said, "the commands that need the database did try it"


@pytest.mark.parametrize("wrong", BAD.values(), ids=BAD.keys())
def test_no_command_shows_a_secret_that_is_refused(tmp_path: Path, wrong: Mapping[str, str]) -> None:
    refusing = {**GOOD, **wrong, "GROUNDSWELL_BATCH_MAX_POSTS": "none", "GROUNDSWELL_API_PORT": "none"}
    tried = {name: given or () for name, given in ARGUMENTS.items()}
    said = walked(tmp_path, refusing, tried)
    assert MARKER not in said
    assert not [part for part in (MARKER[:12], MARKER[-12:]) if part in said]
