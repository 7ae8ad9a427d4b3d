"""What every archive does: a directory, and a bucket behind a real socket that speaks S3."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from groundswell.adapters.archive_directory import DirectoryArchive
from groundswell.adapters.archive_s3 import S3Archive
from groundswell.errors import ArchiveDamaged, ArchiveUnavailable
from groundswell.ports.archive import Archive

_numbers = itertools.count()
NAME = "posts/v1/day=2026-05-01/source=replay%3Aa/f.parquet"


@pytest.fixture(params=["directory", "bucket", "bucket with a prefix"])
def archive(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    if request.param == "directory":
        return DirectoryArchive(tmp_path / "archive")
    for name, value in (("ACCESS_KEY_ID", "test"), ("SECRET_ACCESS_KEY", "test"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    import boto3

    url, bucket = request.getfixturevalue("s3_url"), f"archive-{next(_numbers)}"
    boto3.client("s3", endpoint_url=url).create_bucket(Bucket=bucket)
    return S3Archive(bucket, "/a/b/" if request.param.endswith("prefix") else "", endpoint_url=url)


def file(folder: Path, content: bytes) -> tuple[Path, str]:
    path = folder / f"file-{next(_numbers)}"
    path.write_bytes(content)
    return path, hashlib.sha256(content).hexdigest()


async def names(archive: Archive, prefix: str = "") -> dict[str, int]:
    return {found.name: found.bytes async for found in archive.objects(prefix)}


def test_what_was_put_comes_back_under_its_name(archive: Archive, tmp_path: Path) -> None:
    content = bytes(range(256)) * 9000
    path, sha256 = file(tmp_path, content)

    async def scenario() -> None:
        assert await names(archive) == {}
        await archive.put(NAME, path, sha256=sha256)
        await archive.put("posts/v1/other.json", path, sha256=sha256)
        await archive.get(NAME, tmp_path / "back")
        assert await names(archive) == {NAME: len(content), "posts/v1/other.json": len(content)}
        assert await names(archive, "posts/v1/day=") == {NAME: len(content)}

    asyncio.run(scenario())
    assert (tmp_path / "back").read_bytes() == content


def test_putting_again_replaces(archive: Archive, tmp_path: Path) -> None:
    async def scenario() -> None:
        for content in (b"first", b"second"):
            path, sha256 = file(tmp_path, content)
            await archive.put(NAME, path, sha256=sha256)
        await archive.get(NAME, tmp_path / "back")

    asyncio.run(scenario())
    assert (tmp_path / "back").read_bytes() == b"second"


def test_what_is_not_what_its_checksum_says_is_refused_and_leaves_nothing(archive: Archive, tmp_path: Path) -> None:
    path, _ = file(tmp_path, b"spoiled on the way")
    promised = hashlib.sha256(b"whole").hexdigest()

    async def scenario() -> None:
        with pytest.raises(ArchiveUnavailable):
            await archive.put(NAME, path, sha256=promised)
        assert await names(archive) == {}

    asyncio.run(scenario())


def test_what_is_missing_is_named(archive: Archive, tmp_path: Path) -> None:
    path, sha256 = file(tmp_path, b"something")

    async def scenario() -> None:
        await archive.put("posts/v1/there", path, sha256=sha256)
        with pytest.raises(ArchiveDamaged, match=r"f\.parquet is missing"):
            await archive.get(NAME, tmp_path / "back")

    asyncio.run(scenario())


def test_deleting_is_thorough_and_may_be_repeated(archive: Archive, tmp_path: Path) -> None:
    path, sha256 = file(tmp_path, b"something")

    async def scenario() -> None:
        await archive.delete(NAME)
        await archive.put(NAME, path, sha256=sha256)
        await archive.delete(NAME)
        await archive.delete(NAME)
        assert await names(archive) == {}

    asyncio.run(scenario())


def test_a_file_that_lies_here_need_not_be_fetched(archive: Archive, tmp_path: Path) -> None:
    path, sha256 = file(tmp_path, b"something")
    asyncio.run(archive.put(NAME, path, sha256=sha256))
    local = archive.local(NAME)
    assert (local is not None) == isinstance(archive, DirectoryArchive)
    assert local is None or local.read_bytes() == b"something"
    assert archive.local("posts/v1/absent") is None


def test_more_files_than_one_listing_holds(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, sha256 = file(tmp_path, b"x")
    wanted = {f"posts/v1/{number}": 1 for number in range(7)}

    async def scenario() -> None:
        for name in wanted:
            await archive.put(name, path, sha256=sha256)
        if isinstance(archive, S3Archive):
            _list_in_pages_of(archive, 3, monkeypatch)
        assert await names(archive, "posts/") == wanted

    asyncio.run(scenario())


def _list_in_pages_of(archive: S3Archive, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    client: Any = archive._client
    whole: Callable[..., Any] = client.list_objects_v2
    monkeypatch.setattr(client, "list_objects_v2", lambda **given: whole(**given, MaxKeys=size))


# ------------------------------------------------------------------ what only one kind can suffer
def test_a_put_that_is_cut_short_is_never_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = DirectoryArchive(tmp_path / "archive")
    path, sha256 = file(tmp_path, b"a file")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    async def scenario() -> None:
        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(ArchiveUnavailable, match=r"No space left on device\. Free some space"):
            await archive.put(NAME, path, sha256=sha256)
        assert await names(archive) == {}

    asyncio.run(scenario())
    assert [found for found in (tmp_path / "archive").rglob("*") if found.is_file()] == []


def test_a_directory_that_cannot_be_used_is_unavailable_and_not_damaged(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a directory")
    archive = DirectoryArchive(tmp_path / "taken")
    path, sha256 = file(tmp_path, b"something")

    async def scenario() -> None:
        for attempt in (archive.put(NAME, path, sha256=sha256), archive.get(NAME, tmp_path / "back")):
            with pytest.raises(ArchiveUnavailable) as caught:
                await attempt
            assert not isinstance(caught.value, ArchiveDamaged)

    asyncio.run(scenario())


@pytest.mark.parametrize("where", ["no such bucket", "nobody listens"])
def test_a_bucket_that_cannot_be_reached_is_unavailable(
    where: str, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("ACCESS_KEY_ID", "test"), ("SECRET_ACCESS_KEY", "test"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setattr("groundswell.adapters.archive_s3.MAX_ATTEMPTS", 1)
    url = s3_url if where == "no such bucket" else "http://127.0.0.1:1"
    archive = S3Archive("absent-bucket", endpoint_url=url)
    path, sha256 = file(tmp_path, b"something")

    async def scenario() -> None:
        with pytest.raises(ArchiveUnavailable, match="posts stay in Postgres"):
            await archive.put(NAME, path, sha256=sha256)
        with pytest.raises(ArchiveUnavailable):
            await names(archive)

    asyncio.run(scenario())
