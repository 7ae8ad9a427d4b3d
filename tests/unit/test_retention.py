"""Names, manifests and what of an archive may be shown."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import json
from msgspec.structs import replace

from groundswell.adapters.archive_directory import DirectoryArchive
from groundswell.adapters.parquet_files import ParquetFiles
from groundswell.core.retention import (
    ArchiveRow,
    Contents,
    Manifest,
    Tally,
    archive_key,
    author_key,
    describe,
    faults,
    file_name,
    fits,
    is_withdrawn,
    manifest_name,
)
from groundswell.errors import ArchiveDamaged
from groundswell.services.archived_files import ArchivedFiles

# What Postgres can hold: any text without NUL, any instant that a timestamptz and Python share.
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
instants = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)


def rows_of(pks: Sequence[int]) -> st.SearchStrategy[list[ArchiveRow]]:
    row = st.builds(
        ArchiveRow,
        pk=st.just(0),
        id=texts,
        source=texts,
        author=texts,
        text=texts,
        lang=st.none() | texts,
        created_at=st.none() | instants,
        event_time=instants,
        rev=texts,
        entities=st.lists(texts, max_size=3).map(tuple),
        reply_to=st.none() | texts,
        quote_of=st.none() | texts,
        ingested_at=instants,
    )
    return st.tuples(*[row] * len(pks)).map(lambda found: [replace(r, pk=pk) for r, pk in zip(found, pks, strict=True)])


rows = st.lists(st.integers(0, 2**62), unique=True, max_size=8).map(sorted).flatmap(rows_of)


@settings(deadline=None, max_examples=25)
@given(rows, st.integers(1, 5))
def test_any_posts_come_back_from_a_file_as_they_were(posts: list[ArchiveRow], page: int) -> None:
    files = ParquetFiles()

    async def pages() -> AsyncGenerator[Sequence[ArchiveRow]]:
        for start in range(0, len(posts), page):
            yield posts[start : start + page]

    async def there_and_back(path: Path) -> tuple[Contents, list[ArchiveRow]]:
        written = await files.write(pages(), path)
        return written, [row async for found in files.read(path) for row in found]

    with TemporaryDirectory() as folder:
        written, back = asyncio.run(there_and_back(Path(folder) / "it's.parquet"))
    tally = Tally()
    tally.add(back)
    assert back == posts
    assert tally.contents() == written


@given(rows, st.integers(1, 5))
def test_contents_do_not_depend_on_how_rows_are_paged(posts: list[ArchiveRow], page: int) -> None:
    whole, paged = Tally(), Tally()
    whole.add(posts)
    for start in range(0, len(posts), page):
        paged.add(posts[start : start + page])
    assert whole.contents() == paged.contents()
    assert whole.contents().rows == len(posts)


@given(rows.filter(lambda found: len(found) > 1))
def test_a_row_that_is_counted_twice_or_out_of_order_is_noticed(posts: list[ArchiveRow]) -> None:
    for wrong in ([posts[0], posts[0]], list(reversed(posts))):
        with pytest.raises(ValueError, match="rows are counted in order"):
            Tally().add(wrong)


@given(rows.filter(bool), texts)
def test_a_manifest_survives_json_and_describes_its_rows(posts: list[ArchiveRow], source: str) -> None:
    tally = Tally()
    tally.add(posts)
    contents = tally.contents()
    made = describe("a/b.parquet", day="2026-07-04", source=source, contents=contents, size=7, sha256="ab")
    assert json.decode(json.encode(made), type=Manifest) == made
    assert (made.rows, made.min_pk, made.max_pk) == (len(posts), posts[0].pk, posts[-1].pk)
    assert faults(made, contents=contents, size=7, sha256="ab") == []
    assert faults(made, contents=contents, size=8, sha256="ab")
    assert faults(made, contents=contents, size=7, sha256="ac")
    assert faults(made, contents=replace(contents, content_sha256="0"), size=7, sha256="ab")
    assert faults(made, contents=replace(contents, rows=0), size=7, sha256="ab")


def test_nothing_is_no_file() -> None:
    with pytest.raises(ValueError, match="without posts"):
        describe("f", day="2026-07-04", source="s", contents=Tally().contents(), size=1, sha256="")


@given(texts)
def test_any_source_has_a_folder_of_its_own_inside_the_archive(source: str) -> None:
    name = file_name("2026-07-04", source, "token")
    assert name.startswith("posts/v1/day=2026-07-04/source=") and name.endswith("/token.parquet")
    assert len(name.split("/")) == 5 and ".." not in name.split("/")
    assert all(len(part.encode()) <= 255 for part in name.split("/"))
    assert manifest_name(name) == name.replace(".parquet", ".json")


@given(st.lists(texts, unique=True, max_size=20))
def test_different_sources_never_share_a_folder(sources: list[str]) -> None:
    long = [source + "x" * 300 for source in sources]
    for some in (sources, long):
        assert len({file_name("2026-07-04", source, "t") for source in some}) == len(some)


@given(texts)
def test_keys_are_of_one_size_and_fit_their_columns(text: str) -> None:
    assert len(archive_key(text)) == 16
    assert -(2**63) <= author_key(text) < 2**63


def test_the_key_of_an_author_is_the_one_that_the_database_computes() -> None:
    assert author_key("did:plc:ann") == int.from_bytes(hashlib.sha256(b"did:plc:ann").digest()[:8], "big", signed=True)


@given(rows.filter(bool), st.integers(-5, 5))
def test_what_is_withdrawn_is_decided_by_key_or_by_account_and_time(posts: list[ArchiveRow], later: int) -> None:
    row = posts[0]
    assert not is_withdrawn(row, frozenset(), {})
    assert is_withdrawn(row, {archive_key(row.id)}, {})
    assert is_withdrawn(row, frozenset(), {(row.source, row.author): row.event_time + later}) == (later >= 0)
    assert not is_withdrawn(row, frozenset(), {(row.source + "?", row.author): row.event_time + 9})


def test_a_file_is_begun_only_if_it_can_be_finished() -> None:
    assert fits(None, 1e9)
    assert fits(100, 40) and not fits(79, 40)
    assert fits(5, 0) and not fits(4.9, 0)


@pytest.mark.parametrize("spoil", ["flip", "cut", "empty", "text"])
def test_a_damaged_file_is_named(spoil: str, tmp_path: Path) -> None:
    row = ArchiveRow(1, "at://a/1", "s", "a", "t", None, None, 5, "r", (), None, None, 6)

    async def pages() -> AsyncGenerator[Sequence[ArchiveRow]]:
        yield [row]

    async def scenario() -> None:
        path = tmp_path / "x" / "f.parquet"
        path.parent.mkdir()
        contents = await ParquetFiles().write(pages(), path)
        good = path.read_bytes()
        manifest = describe(
            "x/f.parquet",
            day="2026-07-04",
            source="s",
            contents=contents,
            size=len(good),
            sha256=hashlib.sha256(good).hexdigest(),
        )
        flipped = bytearray(good)
        flipped[len(good) // 2] ^= 1
        spoiled = {"flip": bytes(flipped), "cut": good[:-9], "empty": b"", "text": b"x" * len(good)}[spoil]
        path.write_bytes(spoiled)
        cache = ArchivedFiles(DirectoryArchive(tmp_path), tmp_path / "cache")
        with pytest.raises(ArchiveDamaged, match=r"x/f\.parquet is not what was archived"):
            async with cache.held(manifest):
                pass
        if spoil != "flip":
            with pytest.raises(ArchiveDamaged, match=r"f\.parquet"):
                _ = [found async for found in ParquetFiles().read(path)]

    asyncio.run(scenario())
