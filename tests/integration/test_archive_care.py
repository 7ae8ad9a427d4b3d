"""What people do with an archive: look into it, check it, ask it, bring posts back."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from groundswell.adapters.archive_directory import DirectoryArchive
from groundswell.adapters.archive_s3 import S3Archive
from groundswell.adapters.postgres_search import PostgresSearch
from groundswell.core.queries import parse_query
from groundswell.core.retention import ArchiveRow, archive_key
from groundswell.errors import EX_CONFIG, EX_SOFTWARE, EX_USAGE, ArchiveUnavailable
from groundswell.ports.archive import ArchivedFile
from groundswell.ports.vectors import SearchFilters
from groundswell.services.archive_care import restore
from groundswell.services.archive_reader import ArchivedPosts
from groundswell.services.archived_files import ArchivedFiles
from groundswell.wiring.maintenance import open_archive
from tests.archive_world import (
    POSTS,
    World,
    account_deleted,
    age,
    batch,
    counts,
    deleted,
    in_world,
    moved,
    places,
    rows,
)
from tests.integration.test_cli import Cli
from tests.integration.test_mover import flip_a_byte


class ArchiveCli:
    """`groundswell archive` over a database and an archive that are there."""

    def __init__(self, url: str, folder: Path) -> None:
        self._run = Cli(folder)
        self._environment = {"GROUNDSWELL_DATABASE_URL": url, "GROUNDSWELL_ARCHIVE": str(folder / "archive")}

    def __call__(self, *arguments: str, exit_code: int = 0) -> str:
        return self._run("archive", *arguments, exit_code=exit_code, **self._environment)


# ------------------------------------------------------------------ verify
def test_verify_finds_a_flipped_byte_and_names_the_file(database_url: str, tmp_path: Path) -> None:
    in_world(database_url, tmp_path, moved)
    cli = ArchiveCli(database_url, tmp_path)
    assert "All 6 files" in cli("verify")
    files = sorted((tmp_path / "archive").rglob("*.parquet"))
    flip_a_byte(files[2])
    said = cli("verify", exit_code=EX_SOFTWARE)
    assert "1 of 6 files" in said and files[2].name in said and "bytes have changed" in said
    assert all(file.name not in said for file in files if file != files[2])
    assert "All 2 files" in cli("verify", "--since", "2026-05-03")


def test_verify_tells_missing_files_bad_manifests_and_strays_apart(database_url: str, tmp_path: Path) -> None:
    in_world(database_url, tmp_path, moved)
    cli = ArchiveCli(database_url, tmp_path)
    files = sorted((tmp_path / "archive").rglob("*.parquet"))
    files[0].unlink()
    files[1].with_suffix(".json").unlink()
    files[2].with_suffix(".json").write_text("{", "utf-8")
    changed = json.loads(files[3].with_suffix(".json").read_text("utf-8"))
    files[3].with_suffix(".json").write_text(json.dumps({**changed, "rows": 1}), "utf-8")
    files[4].with_name("stray.parquet").write_bytes(b"left behind")
    said = cli("verify", exit_code=EX_SOFTWARE)
    assert "4 of 6 files" in said
    for file, fault in zip(
        files, ("is missing", "manifest is missing", "manifest cannot be read", "not the one"), strict=False
    ):
        assert any(file.name in line and fault in line for line in said.splitlines()), said
    assert "nobody needs" in said and "stray.parquet" in said


# ------------------------------------------------------------------ restore
def test_restore_brings_a_day_back_to_listings_and_search_without_counting_it_again(
    database_url: str, tmp_path: Path
) -> None:
    day = [p for p in POSTS if p.id.rpartition("/")[2].startswith("1-")]

    async def scenario(world: World) -> None:
        await moved(world)
        before, pks = counts(world.url), await _pks(world)
        said = await asyncio.to_thread(ArchiveCli(world.url, tmp_path), "restore", "2026-05-02")
        assert "Brought 30 posts back" in said
        again = await asyncio.to_thread(ArchiveCli(world.url, tmp_path), "restore", "2026-05-02", exit_code=EX_USAGE)
        assert "has nothing of 2026-05-02. It holds 2026-05-01 to 2026-05-03" in again
        assert counts(world.url) == before
        assert await places(world) == {p.id: 1 for p in POSTS}
        stored = rows(world.url, "SELECT id, pk FROM posts")
        assert {post_id for post_id, _ in stored} == {p.id for p in day}
        assert all(pks[post_id] == pk for post_id, pk in stored)
        assert rows(world.url, "SELECT count(*) FROM outbox WHERE op = 'upsert'") == [(30,)]
        found = await PostgresSearch(world.pool).lexical(parse_query("größer"), SearchFilters(), 100)
        assert {hit.pk for hit in found} == {pk for _, pk in stored}
        # Restored posts are hot again: they stay for another window.
        assert (await world.mover().move()).posts == 0
        # Sent again, edited and deleted, they are posts like any other.
        assert (await world.store.commit(batch(*day))).created == []
        assert (await world.store.commit(batch(deletes=[deleted(day[0])]))).deleted == 1
        age(world.url)
        assert (await world.mover().move()).posts == 29
        assert await places(world) == {p.id: 1 for p in POSTS if p != day[0]}

    in_world(database_url, tmp_path, scenario)


async def _pks(world: World) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for file in await world.index.files():
        async with world.cache.held(file.manifest) as path:
            async for page in world.files.read(path):
                found |= {row.id: row.pk for row in page}
    return found


def test_restore_does_not_resurrect_what_was_withdrawn(database_url: str, tmp_path: Path) -> None:
    gone, author = POSTS[33], "did:plc:2"

    async def scenario(world: World) -> None:
        await moved(world)
        # Neither is settled yet: restoring does that first.
        await world.store.commit(
            batch(deletes=[deleted(gone)], accounts=[account_deleted(author, POSTS[-1].event_time + 10**9)])
        )
        restored = 0
        for file in await world.index.files():
            restored += await restore(world.index, world.cache, world.files, file)
            # A second attempt finds nothing left to do.
            assert await restore(world.index, world.cache, world.files, file) == 0
        kept = {p.id for p in POSTS if p != gone and p.author != author}
        assert {row[0] for row in rows(world.url, "SELECT id FROM posts")} == kept
        assert restored == len(kept)
        assert sum(n for _, _, n in counts(world.url)[2]) == len(kept)
        assert await world.withdrawals.settle() == 0

    in_world(database_url, tmp_path, scenario)


def test_deletions_that_keep_coming_do_not_hold_up_a_restore(database_url: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await moved(world)
        left = list(POSTS)

        class Meanwhile:
            """The index, while another post is deleted between the reading of each file and its restore."""

            def __getattr__(self, name: str) -> Any:
                return getattr(world.index, name)

            async def restore(self, file: ArchivedFile, rows: Sequence[ArchiveRow]) -> int:
                await world.store.commit(batch(deletes=[deleted(left.pop())]))
                return await world.index.restore(file, rows)

        index: Any = Meanwhile()
        for file in await world.index.files():
            await restore(index, world.cache, world.files, file)
        assert {row[0] for row in rows(world.url, "SELECT id FROM posts")} == {p.id for p in left}
        assert sum(n for _, _, n in counts(world.url)[2]) == len(left)

    in_world(database_url, tmp_path, scenario)


def test_a_damaged_file_restores_nothing(database_url: str, tmp_path: Path) -> None:
    in_world(database_url, tmp_path, moved)
    for file in (tmp_path / "archive").rglob("*.parquet"):
        flip_a_byte(file)
    said = ArchiveCli(database_url, tmp_path)("restore", "2026-05-02", exit_code=EX_SOFTWARE)
    assert "is not what was archived" in said
    assert rows(database_url, "SELECT count(*) FROM posts") == [(0,)]


# ------------------------------------------------------------------ query and list
def test_the_archive_answers_sql_in_tables_json_and_csv(database_url: str, tmp_path: Path) -> None:
    in_world(database_url, tmp_path, moved)
    cli = ArchiveCli(database_url, tmp_path)
    by_lang = "SELECT lang, count(*) AS n, min(event_time) AS first FROM posts GROUP BY ALL ORDER BY 1 NULLS LAST"
    said = [json.loads(line) for line in cli("query", by_lang, "--format", "json").splitlines()]
    assert [(row["lang"], row["n"]) for row in said] == [("en", 30), ("ja", 30), (None, 30)]
    assert said[0]["first"] == "2026-05-01T00:00:00Z"
    table = cli("query", by_lang)
    assert [line.split()[:2] for line in table.splitlines()[1:3]] == [["en", "30"], ["ja", "30"]]
    raw = cli("query", "SELECT * FROM posts ORDER BY pk", "--format", "csv", "--since", "2026-05-03")
    listed = list(csv.DictReader(StringIO(raw)))
    assert [row["id"] for row in listed] == [p.id for p in POSTS[60:]]
    assert listed[1]["text"] == POSTS[61].text and json.loads(listed[1]["entities"]) == list(POSTS[61].entities)


def test_a_query_sees_nothing_that_was_withdrawn(database_url: str, tmp_path: Path) -> None:
    gone, author = POSTS[5], "did:plc:2"

    async def scenario(world: World) -> None:
        await moved(world)
        await world.store.commit(
            batch(deletes=[deleted(gone)], accounts=[account_deleted(author, POSTS[-1].event_time + 10**9)])
        )

    def shown() -> set[str]:
        said = ArchiveCli(database_url, tmp_path)("query", "SELECT id FROM posts", "--format", "json")
        return {json.loads(line)["id"] for line in said.splitlines()}

    in_world(database_url, tmp_path, scenario)
    kept = {p.id for p in POSTS if p != gone and p.author != author}
    assert shown() == kept
    in_world(database_url, tmp_path, lambda world: world.withdrawals.settle())
    assert shown() == kept
    said = ArchiveCli(database_url, tmp_path)("list")
    assert "2026-05-01" in said and "90 posts in 6 files" in said and "Withdrawn since" in said


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("DELETE FROM posts", "Write one SELECT"),
        ("SELECT 1; SELECT 2", "Write one SELECT"),
        ("COPY posts TO 'x.csv'", "Write one SELECT"),
        ("SELEKT", "not SQL that DuckDB understands"),
        ("SELECT nothing FROM posts", "nothing"),
        ("SELECT * FROM read_text('/etc/hostname')", "file system operations are disabled"),
        ("SELECT * FROM glob('/etc/*')", "DuckDB refuses this"),
    ],
)
def test_a_query_that_does_more_than_read_the_archive_is_refused(
    sql: str, why: str, database_url: str, tmp_path: Path
) -> None:
    assert why in ArchiveCli(database_url, tmp_path)("query", sql, exit_code=EX_USAGE)


def test_a_query_is_bounded_in_rows_and_time(database_url: str, tmp_path: Path) -> None:
    in_world(database_url, tmp_path, moved)
    cli = ArchiveCli(database_url, tmp_path)
    said = cli("query", "SELECT id FROM posts", "--limit", "7", "--format", "json")
    assert said.count("at://") == 7 and "Only the first 7 rows" in said
    endless = "SELECT count(*) FROM range(100000000) a, range(100000000) b, posts WHERE a.range % 7 = b.range % 11"
    assert "took longer than 1 s" in cli("query", endless, "--timeout", "1", exit_code=69)


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (("restore", "yesterday"), EX_USAGE, "Write it as 2026-07-04"),
        (("list", "--since", "2026-05-03", "--until", "2026-05-01"), EX_USAGE, "Swap the two"),
        (("restore", "2026-05-01"), EX_USAGE, "It is empty"),
    ],
)
def test_a_mistake_is_explained(
    arguments: tuple[str, ...], code: int, why: str, database_url: str, tmp_path: Path
) -> None:
    assert why in ArchiveCli(database_url, tmp_path)(*arguments, exit_code=code)


def test_without_an_archive_it_is_said_what_to_set(database_url: str, tmp_path: Path) -> None:
    for value, state in (("", "is not set"), ("off", "is off")):
        said = Cli(tmp_path)(
            "archive",
            "list",
            exit_code=EX_CONFIG,
            GROUNDSWELL_DATABASE_URL=database_url,
            GROUNDSWELL_ARCHIVE=value,
        )
        assert f"GROUNDSWELL_ARCHIVE: {state}" in said


def test_move_says_what_it_did(database_url: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.store.commit(batch(*POSTS))
        age(world.url)

    in_world(database_url, tmp_path, scenario)
    cli = ArchiveCli(database_url, tmp_path)
    assert "Moved 90 posts in 3 files" in cli("move", "--within", "60")
    assert "Moved 0 posts" in cli("move")
    manifests = [json.loads(line) for line in cli("list", "--json").splitlines() if line.startswith("{")]
    assert [manifest["day"] for manifest in manifests] == ["2026-05-01", "2026-05-02", "2026-05-03"]


def test_the_archive_is_where_it_was_said_and_only_beside_an_embedded_database_by_itself(tmp_path: Path) -> None:
    assert open_archive(None, tmp_path, embedded=False) is None
    assert open_archive("off", tmp_path, embedded=True) is None
    beside, named = open_archive(None, tmp_path, embedded=True), open_archive("/mnt/a", tmp_path, embedded=False)
    assert isinstance(beside, DirectoryArchive) and beside.root == tmp_path / "archive"
    assert isinstance(named, DirectoryArchive) and named.where == "/mnt/a"
    bucket = open_archive("s3://my-bucket/some/prefix/", tmp_path, embedded=False)
    assert isinstance(bucket, S3Archive) and bucket.where == "s3://my-bucket/some/prefix"


# ------------------------------------------------------------------ fetched files
class Faraway:
    """A directory that pretends to be somewhere else, and counts what is fetched from it."""

    def __init__(self, archive: Any) -> None:
        self._archive = archive
        self.fetched: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._archive, name)

    def local(self, name: str) -> None:
        return None

    async def get(self, name: str, into: Path) -> None:
        self.fetched.append(name)
        await self._archive.get(name, into)


def test_fetched_files_are_bounded_and_fetched_once_while_they_are_kept(database_url: str, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await moved(world)
        faraway = Faraway(world.archive)
        files = await world.index.files()
        two = sum(file.manifest.bytes for file in files[:2])
        cache = ArchivedFiles(faraway, tmp_path / "far", max_bytes=two)
        reader = ArchivedPosts(world.index, cache, world.files)
        for _ in range(3):
            assert await asyncio.gather(*(reader.post(p.id) for p in POSTS[:20]))
        assert len(faraway.fetched) == 1
        for p in POSTS:
            assert (await reader.post(p.id)) is not None
        kept = sum(path.stat().st_size for path in (tmp_path / "far").iterdir())
        assert kept <= two + max(file.manifest.bytes for file in files)
        assert len(faraway.fetched) == len(files)

    in_world(database_url, tmp_path, scenario)


def test_a_file_that_is_spoiled_on_its_way_is_not_kept(database_url: str, tmp_path: Path) -> None:
    class Spoiling(Faraway):
        async def get(self, name: str, into: Path) -> None:
            await super().get(name, into)
            if len(self.fetched) == 1:
                await asyncio.to_thread(flip_a_byte, into)

    async def scenario(world: World) -> None:
        await moved(world)
        reader = ArchivedPosts(world.index, ArchivedFiles(Spoiling(world.archive), tmp_path / "far"), world.files)
        with pytest.raises(ArchiveUnavailable):
            await reader.post(POSTS[0].id)
        assert (await reader.post(POSTS[0].id)) is not None

    in_world(database_url, tmp_path, scenario)


def test_the_index_is_slim(database_url: str, tmp_path: Path) -> None:
    in_world(database_url, tmp_path, moved)
    keys = {bytes(row[0]) for row in rows(database_url, "SELECT key FROM archived_posts")}
    assert keys == {archive_key(p.id) for p in POSTS}
