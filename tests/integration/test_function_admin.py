"""The operator's commands as AWS runs them: by the real runtime client, over a real database."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from groundswell import settings
from groundswell.core.api_keys import KEY_PREFIX
from groundswell.errors import EX_UNAVAILABLE, EX_USAGE
from groundswell.wiring import function_admin
from groundswell.wiring.archive_chores import Selection, archive_desk
from rehearsal.local_lambda import LocalFunction
from tests.archive_world import in_world, moved, rows

KEY = re.compile(rf"{KEY_PREFIX}[\w-]{{20,}}")


class Admin:
    """The function, and all that it logged."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self.log = ""

    def __call__(self, *words: str, timeout_s: float = 900.0, **event: Any) -> Any:
        async def run() -> Any:
            name = "functions.admin.handler.handler"
            async with LocalFunction("admin", name, self._environment, timeout_s=timeout_s) as function:
                try:
                    return await function.invoke({"command": words, **event})
                finally:
                    self.log += "\n".join(function.log)

        return asyncio.run(run())


@pytest.fixture
def admin(database_url: str, tmp_path: Path) -> Admin:
    return Admin(
        {
            "GROUNDSWELL_DATABASE_URL": database_url,
            "GROUNDSWELL_DATA_DIR": str(tmp_path / "data"),
            "GROUNDSWELL_ARCHIVE": str(tmp_path / "archive"),
            "GROUNDSWELL_LOG_FORMAT": "json",
        }
    )


@pytest.fixture
def archived(database_url: str, tmp_path: Path) -> str:
    """The database's URL; its posts are in the archive."""
    in_world(database_url, tmp_path, moved)
    return database_url


def where(url: str) -> tuple[int, int]:
    """How many posts Postgres has, and how many the archive."""
    return rows(url, "SELECT (SELECT count(*) FROM posts), (SELECT count(*) FROM archived_posts)")[0]


def test_a_key_is_in_the_answer_and_in_no_log(admin: Admin) -> None:
    made = admin("keys", "create", "ops")
    assert made["exit"] == 0
    key = made["stdout"].strip()
    assert KEY.fullmatch(key)
    assert "shown again" in made["stderr"]
    assert "ops" in admin("keys", "list")["stdout"]
    assert "is revoked" in admin("keys", "revoke", "ops")["stderr"]
    assert key not in admin.log and not KEY.search(admin.log)
    assert '"command":"keys create"' in admin.log.replace(" ", "").replace("keyscreate", "keys create")


def test_a_command_that_is_not_permitted_does_not_run(admin: Admin) -> None:
    refused = admin("env", "list")
    assert refused["exit"] == EX_USAGE
    assert "cannot run in a deployment" in refused["stderr"]
    assert admin("doctor", shell="true")["exit"] == EX_USAGE


def test_a_commands_own_failure_is_its_exit_code_and_its_text(admin: Admin) -> None:
    missing = admin("keys", "revoke", "nobody")
    assert (missing["exit"], missing["stdout"]) == (EX_USAGE, "")
    assert "There is no key named 'nobody'" in missing["stderr"]


def test_the_archive_is_verified_asked_and_brought_back(admin: Admin, archived: str) -> None:
    assert "All 6 files" in admin("archive", "verify")["stdout"]
    asked = admin("archive", "query", "SELECT count(*) AS n FROM posts", "--format", "json")
    assert json.loads(asked["stdout"])["n"] == where(archived)[1]
    back = admin("archive", "restore", "2026-05-01", "--until", "2026-05-03")
    assert (back["exit"], where(archived)[1]) == (0, 0), back


def test_a_restore_that_is_asked_to_end_finishes_the_file_under_way_and_goes_on_when_repeated(
    archived: str, tmp_path: Path
) -> None:
    chosen = settings.load(
        settings.MoverSettings,
        {
            "GROUNDSWELL_DATABASE_URL": archived,
            "GROUNDSWELL_DATA_DIR": str(tmp_path / "data"),
            "GROUNDSWELL_ARCHIVE": str(tmp_path / "archive"),
        },
    )

    async def once() -> tuple[int, int, int]:
        stop = asyncio.Event()
        async with archive_desk(chosen) as desk:
            files = await desk.files(Selection())
            restored, done = await desk.restore(files, lambda _file: stop.set(), stop)
        return len(files), done, restored

    archived_before = where(archived)[1]
    runs = [asyncio.run(once()) for _ in range(6)]
    assert [(left, done) for left, done, _ in runs] == [(6, 1), (5, 1), (4, 1), (3, 1), (2, 1), (1, 1)]
    assert sum(restored for _, _, restored in runs) == archived_before
    assert where(archived)[1] == 0


def test_a_verification_that_is_asked_to_end_says_where_to_go_on(archived: str, tmp_path: Path) -> None:
    chosen = settings.load(
        settings.MoverSettings,
        {
            "GROUNDSWELL_DATABASE_URL": archived,
            "GROUNDSWELL_DATA_DIR": str(tmp_path / "data"),
            "GROUNDSWELL_ARCHIVE": str(tmp_path / "archive"),
        },
    )

    async def once() -> bool:
        stop = asyncio.Event()
        async with archive_desk(chosen) as desk:
            files = await desk.files(Selection())
            damaged, next_file = await desk.verify(files, lambda _file: stop.set(), stop)
        return not damaged and next_file == files[1]

    assert asyncio.run(once())


def test_the_doctor_says_what_is_missing_in_what_was_deployed(admin: Admin, archived: str) -> None:
    (path, *_) = sorted((Path(admin._environment["GROUNDSWELL_ARCHIVE"])).rglob("*.parquet"))
    said = admin("doctor")
    assert "6 files at" in said["stdout"]
    assert "Qdrant         none is configured" in said["stdout"]
    path.unlink()
    said = admin("doctor")
    assert said["exit"] == EX_UNAVAILABLE
    assert "1 of 6 files are missing" in said["stdout"]
    assert rows(archived, "SELECT count(*) FROM archive_files")[0][0] == 6


def test_an_answer_that_does_not_fit_is_cut_and_says_so(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archived: str
) -> None:
    for name, value in (
        ("DATABASE_URL", database_url),
        ("DATA_DIR", tmp_path / "d"),
        ("ARCHIVE", tmp_path / "archive"),
    ):
        monkeypatch.setenv(f"GROUNDSWELL_{name}", str(value))
    monkeypatch.setattr(function_admin, "ANSWER_MOST_BYTES", 1000)
    name, answer = function_admin.run_command({"command": ["archive", "list", "--json"]}, 900)
    assert (name, answer["exit"], answer["cut"]) == ("archive list", EX_USAGE, True)
    assert "longer than a function can give" in answer["stderr"]
    assert len(json.dumps(answer["stdout"])) <= 1002


def test_an_answer_at_its_most_fits_into_what_lambda_passes_on() -> None:
    assert function_admin.ANSWER_MOST_BYTES + 100_000 < 6_291_556


def test_a_command_that_does_not_end_is_killed_before_the_function_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stubborn = tmp_path / "groundswell"
    stubborn.mkdir()
    (stubborn / "__init__.py").write_text("")
    (stubborn / "__main__.py").write_text(
        "import signal, sys, threading\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('asked', flush=True))\n"
        "print('begun', flush=True)\n"
        "while True:\n    threading.Event().wait(3600)\n"
    )
    monkeypatch.setattr(function_admin, "END_S", 0.5)
    monkeypatch.setattr(function_admin, "_environment", lambda columns: {**os.environ, "PYTHONPATH": str(tmp_path)})
    monkeypatch.chdir(tmp_path)
    _, answer = function_admin.run_command({"command": ["doctor"], "within_s": 3}, 900)
    assert answer["exit"] == 128 + 9
    assert answer["stdout"].startswith("begun\nasked")


def test_an_author_is_forgotten_in_a_deployment(admin: Admin, archived: str) -> None:
    author = "did:plc:3"
    assert rows(archived, "SELECT count(*) FROM archived_posts WHERE author_key = author_key(%s)", [author])[0][0] > 0
    said = admin("forget", author)
    assert said["exit"] == 0, said
    assert f"Removed of {author}" in said["stdout"]
    assert "files of the archive are without their posts" in said["stderr"]
    assert rows(archived, "SELECT count(*) FROM archived_posts WHERE author_key = author_key(%s)", [author]) == [(0,)]
    again = admin("forget", author)
    assert again["exit"] == 0 and " 0  rows of the archive" in again["stdout"]
