"""`groundswell forget`: everything of one author goes, from every place, and stays away."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest

from groundswell.adapters.archive_directory import DirectoryArchive
from groundswell.adapters.archive_s3 import S3Archive
from groundswell.adapters.handles import author_of
from groundswell.adapters.postgres_forgetting import PostgresForgetting
from groundswell.core.operator_commands import choose
from groundswell.core.retention import forgotten_key
from groundswell.crash_points import EXIT_CODE, CrashPoint
from groundswell.errors import InvalidRequest, NotFound, SourceFailed
from groundswell.ports.archive import Archive
from groundswell.services.archive_care import verify
from groundswell.services.forgetting import ArchiveAccess, Forgetting, Forgotten
from tests.archive_world import (
    DAY_ONE,
    World,
    account_deleted,
    age,
    archived,
    batch,
    counts,
    deleted,
    in_world,
    places,
    post,
    rows,
)

AUTHOR = "did:plc:3"
POSTS = tuple(post(number, day=day) for day in range(3) for number in range(40))
MINE = tuple(p for p in POSTS if p.author == AUTHOR)
OTHERS = tuple(p for p in POSTS if p.author != AUTHOR)
DAY_THREE = tuple(p for p in POSTS if "/2-" in p.id)
OLD = tuple(p for p in POSTS if p not in DAY_THREE)


class Points:
    """A vector index that is only asked to remove."""

    def __init__(self) -> None:
        self.removed: list[int] = []

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked of the vector index")

    async def delete(self, pks: Sequence[int]) -> None:
        self.removed += pks


async def filled(world: World) -> None:
    """Two days are archived, one is hot; of some of the author's archived posts the deletion is settled, or waits."""
    await world.store.commit(batch(*OLD))
    age(world.url)
    await world.mover(file_rows=15).move()
    await world.store.commit(batch(*DAY_THREE))
    mine = [p for p in OLD if p.author == AUTHOR]
    await world.store.commit(batch(deletes=[deleted(mine[0])]))
    await world.withdrawals.settle()
    await world.store.commit(batch(deletes=[deleted(mine[1]), deleted(OTHERS[3])]))


async def forget(world: World, author: str = AUTHOR, index: Any = None) -> Forgotten:
    access = ArchiveAccess(
        archive=world.archive, files=world.files, cache=world.cache, claims=world.claims,
        scratch=world.scratch / "forget",
    )  # fmt: skip
    forgetting = Forgetting(PostgresForgetting(world.pool), access, index or Points())
    return await forgetting.forget(author, lambda text: None, asyncio.Event())


def counted(url: str) -> Any:
    """What counts, without rows that are owed to each other."""
    return [
        rows(url, "SELECT entity, minute::text, mentions, authors FROM minute_counts ORDER BY 1, 2"),
        counts(url)[2],
    ]


def named(url: str, author: str) -> list[str]:
    """Columns of any table in which an author is named."""
    with psycopg.connect(url) as conn:
        columns = conn.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
            " AND data_type IN ('text', 'jsonb', 'ARRAY') AND table_name <> 'events'"
        ).fetchall()
        return [
            f"{table}.{column}"
            for table, column in columns
            if conn.execute(
                f'SELECT 1 FROM "{table}" WHERE "{column}"::text LIKE %s LIMIT 1',  # pyright: ignore[reportArgumentType, reportCallIssue]
                (f"%{author}%",),
            ).fetchone()
        ]


@pytest.fixture(params=["directory", "bucket"])
def archive(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    if request.param == "directory":
        return DirectoryArchive(tmp_path / "archive")
    for name, value in (("ACCESS_KEY_ID", "test"), ("SECRET_ACCESS_KEY", "test"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    import boto3

    url = request.getfixturevalue("s3_url")
    boto3.client("s3", endpoint_url=url).create_bucket(Bucket="forgetting")
    return S3Archive("forgetting", "", endpoint_url=url)


def test_everything_of_an_author_goes_and_everybody_else_stays_and_counts_as_before(
    database_url: str, tmp_path: Path, archive: Archive
) -> None:
    async def scenario(world: World) -> None:
        await filled(world)
        points = Points()
        pks = {row[0] for row in rows(world.url, "SELECT pk FROM posts WHERE author = %s", [AUTHOR])}
        done = await forget(world, index=points)
        assert (done.posts, done.archived) == (len(pks), len(MINE) - len(pks)) and done.files > 2
        assert pks <= set(points.removed)
        assert {p.author for p in await archived(world)} == {p.author for p in OTHERS}
        kept = [p.id for p in OTHERS if p != OTHERS[3]]
        assert sorted(await places(world)) == sorted(kept) and set((await places(world)).values()) == {1}
        assert named(world.url, AUTHOR) == []
        files = await world.index.files()
        world.scratch.mkdir(exist_ok=True)
        checked = [each async for each in verify(world.archive, world.files, world.scratch, files)]
        assert [each.faults for each in checked] == [[]] * len(files)
        names = {found.name async for found in world.archive.objects("")}
        known = {file.manifest.file for file in files}
        assert names == known | {name.removesuffix(".parquet") + ".json" for name in known}
        # The deletion of somebody else's post that waited in a rewritten file still counts it out.
        assert await world.withdrawals.settle() == 1

    in_world(database_url, tmp_path, scenario, archive)
    found = counted(database_url)
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("CREATE DATABASE expected TEMPLATE migrated")
    other = database_url.rsplit("/", 1)[0] + "/expected?" + database_url.partition("?")[2]
    try:
        others = [p for p in OTHERS if p != OTHERS[3]]
        in_world(other, tmp_path / "expected", lambda world: world.store.commit(batch(*others)))
        assert found == counted(other)
    finally:
        with psycopg.connect(database_url, autocommit=True) as conn:
            conn.execute("DROP DATABASE expected WITH (FORCE)")


def test_forgetting_twice_removes_nothing_more_and_nothing_comes_back_however_it_is_sent(
    database_url: str, tmp_path: Path
) -> None:
    async def scenario(world: World) -> None:
        await filled(world)
        await forget(world)
        before = counted(world.url), sorted(await places(world))
        assert await forget(world) == Forgotten()
        await world.store.commit(batch(*MINE, post(500, author=AUTHOR)))
        elsewhere = post(501, author=AUTHOR, source="replay:a")
        await world.store.commit(batch(elsewhere, source="replay:a"))
        assert (counted(world.url), sorted(await places(world))) == before
        for file in await world.index.files():
            async with world.cache.held(file.manifest) as path:
                restored = [row async for page in world.files.read(path) for row in page]
            await world.index.restore(file, restored)
        assert rows(world.url, "SELECT count(*) FROM posts WHERE author = %s", [AUTHOR]) == [(0,)]
        assert rows(world.url, "SELECT key FROM forgotten_authors") == [(forgotten_key(AUTHOR),)]

    in_world(database_url, tmp_path, scenario)


def test_hidden_posts_go_too_and_open_pages_lose_what_they_show(database_url: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.store.commit(batch(*DAY_THREE, accounts=[account_deleted(AUTHOR, DAY_ONE)]))
        hidden = rows(world.url, "SELECT count(*) FROM hidden_posts")[0][0]
        assert hidden > 0
        done = await forget(world)
        assert (done.posts, done.hidden) == (0, hidden)
        done = await forget(world, "did:plc:4")
        gone = rows(world.url, "SELECT data FROM events WHERE type = 'posts.deleted'")
        assert sum(len(data["ids"]) for (data,) in gone) == done.posts > 0

    in_world(database_url, tmp_path, scenario)


def test_a_mover_that_is_writing_posts_of_the_author_begins_again_without_them(
    database_url: str, tmp_path: Path
) -> None:
    async def scenario(world: World) -> None:
        await world.store.commit(batch(*OLD))
        age(world.url)

        class Meanwhile:
            """The archive, while the author is forgotten in the middle of the mover's work."""

            done = False

            def __getattr__(self, name: str) -> Any:
                return getattr(world.archive, name)

            async def put(self, name: str, file: Path, *, sha256: str) -> None:
                await world.archive.put(name, file, sha256=sha256)
                if not self.done:
                    self.done = True
                    await forget(world)

        await world.mover(archive=Meanwhile()).move()
        await world.mover().move()
        assert AUTHOR not in {p.author for p in await archived(world)}
        assert named(world.url, AUTHOR) == []
        assert sorted(await places(world)) == sorted(p.id for p in OLD if p.author != AUTHOR)

    in_world(database_url, tmp_path, scenario)


@pytest.mark.slow
@pytest.mark.parametrize(
    "point", [point for point in CrashPoint if point.service == "forget"], ids=lambda point: point.value
)
def test_a_run_that_is_killed_in_the_middle_is_completed_by_the_next(
    point: CrashPoint, database_url: str, tmp_path: Path
) -> None:
    in_world(database_url, tmp_path, filled)

    def run(**environment: str) -> subprocess.CompletedProcess[str]:
        settings = {
            "GROUNDSWELL_DATABASE_URL": database_url,
            "GROUNDSWELL_DATA_DIR": str(tmp_path / "data"),
            "GROUNDSWELL_ARCHIVE": str(tmp_path / "archive"),
        }
        command = [sys.executable, "-m", "groundswell", "forget", AUTHOR]
        return subprocess.run(
            command, env={**os.environ, **settings, **environment}, check=False, capture_output=True, text=True
        )

    killed = run(GROUNDSWELL_CRASH_POINT=point.value)
    assert killed.returncode == EXIT_CODE, killed.stderr
    again = run()
    assert again.returncode == 0, again.stderr
    assert f"Removed of {AUTHOR}" in again.stdout and "rows in the archive" in again.stderr

    async def look(world: World) -> None:
        assert named(world.url, AUTHOR) == []
        assert sorted(await places(world)) == sorted(p.id for p in OTHERS if p != OTHERS[3])
        assert AUTHOR not in {p.author for p in await archived(world)}
        assert rows(world.url, "SELECT count(*) FROM outbox WHERE op = 'delete'") == [(0,)]

    in_world(database_url, tmp_path, look)


class Directory(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        known = self.path.endswith("handle=ann.example.com")
        self.send_response(200 if known else 503 if "broken" in self.path else 400)
        self.end_headers()
        self.wfile.write(b'{"did":"did:plc:ann"}' if known else b"{}")

    def log_message(self, format: str, *args: object) -> None:
        return None


def test_an_author_is_a_did_or_a_handle_that_the_directory_knows() -> None:
    server = HTTPServer(("127.0.0.1", 0), Directory)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    resolver = f"http://127.0.0.1:{server.server_port}/resolve"

    async def ask(name: str) -> str:
        return await author_of(name, resolver)

    try:
        assert asyncio.run(ask("did:web:example.com")) == "did:web:example.com"
        assert asyncio.run(ask("@ann.example.com")) == "did:plc:ann"
        for name, error in (
            ("nobody.example.com", NotFound), ("broken.example.com", SourceFailed), ("ann", InvalidRequest),
            ("'; DROP TABLE posts", InvalidRequest),
        ):  # fmt: skip
            with pytest.raises(error):
                asyncio.run(ask(name))
    finally:
        server.shutdown()
        server.server_close()


def test_an_operator_may_forget_in_a_deployment_and_it_goes_on_by_itself() -> None:
    chosen = choose(["forget", "ann.example.com"])
    assert chosen.words == ("forget", "ann.example.com") and chosen.rule.continues
