"""A recording is played whole, once, from wherever its owner keeps it and however it is packed."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from groundswell.adapters.replay import ReplaySource, recording_name
from groundswell.core.posts import Post
from groundswell.errors import SourceFailed
from groundswell.ports.sources import SourceEnded
from groundswell.wiring.chores import look_at_recording

T0 = 1_764_400_000_000_000


def frame(n: int, *, at: int | None = None, sort: bool = False) -> bytes:
    record = {"text": f"post {n} " + "word " * 40, "createdAt": "2025-11-29T07:06:40Z"}
    commit = {
        "rev": f"{n:09}",
        "operation": "create",
        "collection": "app.bsky.feed.post",
        "rkey": f"{n}",
        "record": record,
    }
    when = T0 + (n if at is None else at) * 1_000_000
    fields = {"did": "did:plc:a", "time_us": when, "kind": "commit", "commit": commit}
    return json.dumps(fields, sort_keys=sort).encode()


TAPE = [frame(n) for n in range(300)]
CONTENT = b"\n".join(TAPE) + b"\n"


def long_window(content: bytes) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=31)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return compressor.compress(content) + compressor.flush()


SKIPPABLE = b"\x5a\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"index"
Pack = Callable[[bytes], bytes]
HALF = len(CONTENT) // 2
PACKED: dict[str, Pack] = {
    "plain": lambda content: content,
    "gzip": gzip.compress,
    "gzip members": lambda content: gzip.compress(content[:HALF]) + gzip.compress(content[HALF:]),
    "gzip members with padding": lambda content: (
        gzip.compress(content[:HALF]) + bytes(512) + gzip.compress(content[HALF:]) + bytes(99)
    ),
    "gzip twice": lambda content: gzip.compress(gzip.compress(content)),
    "zstd": zstandard.compress,
    "zstd frames": lambda content: zstandard.compress(content[:HALF]) + zstandard.compress(content[HALF:]),
    "zstd with skippable frames": lambda content: SKIPPABLE + zstandard.compress(content) + SKIPPABLE,
    "zstd with the longest window": long_window,
    "bzip2": bz2.compress,
    "bzip2 streams": lambda content: bz2.compress(content[:HALF]) + bz2.compress(content[HALF:]),
    "xz": lzma.compress,
    "UTF-16 of PowerShell": lambda content: content.decode().encode("utf-16"),
    "UTF-16, big end first": lambda content: b"\xfe\xff" + content.decode().encode("utf-16-be"),
    "UTF-16 without a mark": lambda content: content.decode().encode("utf-16-le"),
    "UTF-16 without a mark, big end first": lambda content: content.decode().encode("utf-16-be"),
    "UTF-32": lambda content: content.decode().encode("utf-32"),
    "UTF-8 with a mark, packed": lambda content: gzip.compress(b"\xef\xbb\xbf" + content),
}  # fmt: skip


def write(folder: Path, content: bytes, name: str = "capture.jsonl") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content)
    return path


def play(path: Path, cursor: int | None = None) -> tuple[list[bytes], list[int], str | None]:
    """The frames, the cursors of the posts in them, and the damage in the end."""

    async def main() -> tuple[list[bytes], list[int], str | None]:
        source = ReplaySource(path, extractor=None)
        frames: list[bytes] = []
        damage = None
        async with source.connect(cursor) as connection:
            try:
                while True:
                    frames.append(await connection.receive())
            except SourceEnded:
                pass
            except SourceFailed as error:
                damage = error.detail
        cursors = [said.cursor for raw in frames if isinstance(said := source.decode(raw), Post)]
        return frames, cursors, damage

    return asyncio.run(main())


@pytest.mark.parametrize("pack", PACKED.values(), ids=PACKED)
def test_every_packing_is_played_whole_and_is_the_same_recording(tmp_path: Path, pack: Pack) -> None:
    path = write(tmp_path, pack(CONTENT), "other name")
    frames, _, damage = play(path)
    assert frames == TAPE
    assert damage is None
    plain = recording_name(write(tmp_path, CONTENT))
    assert recording_name(path, [plain]) == plain


@pytest.mark.parametrize("name", ["gzip", "zstd", "bzip2", "xz", "gzip members"])
def test_what_was_decoded_is_played_before_the_damage_is_named(tmp_path: Path, name: str) -> None:
    packed = PACKED[name](CONTENT)
    frames, _, damage = play(write(tmp_path, packed + b"not compressed\n"))
    assert (frames, damage is not None) == (TAPE, True)
    frames, _, damage = play(write(tmp_path, packed[:-3]))
    assert frames == TAPE[: len(frames)]
    assert len(frames) >= (299 if name == "gzip members" else 0)
    assert damage is not None
    assert f"first {len(frames)} frames" in damage


def test_a_recorder_that_was_killed_leaves_every_frame_that_it_flushed(tmp_path: Path) -> None:
    file = io.BytesIO()
    with gzip.GzipFile(fileobj=file, mode="wb") as out:
        out.write(b"\n".join(TAPE[:50]))
        out.flush()
        flushed = file.getvalue()
    frames, _, damage = play(write(tmp_path, flushed))
    assert frames == TAPE[:50]
    assert damage is not None


def zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("capture.jsonl", content)
    return file.getvalue()


def tarred(content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("capture.jsonl")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "form", "remedy"),
    [
        (zipped(CONTENT), "a zip archive", "unzip -p capture.jsonl"),
        (tarred(CONTENT), "a tar archive", "tar -xOf"),
        (gzip.compress(tarred(CONTENT)), "a tar archive", "tar -xOf"),
        (b"\x04\x22\x4d\x18" + bytes(20), "lz4", "lz4 -dc"),
        (b"PAR1" + bytes(20), "Parquet", "duckdb"),
    ],
)
def test_a_form_that_is_not_read_is_refused_with_what_to_do(
    tmp_path: Path, content: bytes, form: str, remedy: str
) -> None:
    path = write(tmp_path, content)
    for attempt in (play, recording_name):
        with pytest.raises(SourceFailed) as caught:
            attempt(path)
        assert form in caught.value.detail
        assert remedy in caught.value.detail


def test_a_folder_and_a_pipe_are_refused_and_a_link_is_followed(tmp_path: Path) -> None:
    path = write(tmp_path, CONTENT)
    os.mkfifo(tmp_path / "pipe")
    for wrong in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(SourceFailed, match="cannot be opened"):
            play(wrong)
    (tmp_path / "link").symlink_to(path)
    assert play(tmp_path / "link")[0] == TAPE


def test_two_recordings_of_one_name_are_two_sources(tmp_path: Path) -> None:
    tuesday = recording_name(write(tmp_path / "tuesday", CONTENT))
    monday = recording_name(write(tmp_path / "monday", b"\n".join(TAPE[1:])), [tuesday])
    assert tuesday.startswith("replay:capture.jsonl@")
    assert monday.startswith("replay:capture.jsonl@")
    assert monday != tuesday


def test_one_recording_is_one_source_wherever_it_is_and_however_it_was_rewritten(tmp_path: Path) -> None:
    name = recording_name(write(tmp_path, CONTENT))
    stored = ["jetstream", "replay:x@00000000", name]
    rewritten = json.dumps([json.loads(raw) for raw in TAPE], sort_keys=True, indent=1).encode()
    for content in (CONTENT, rewritten, zstandard.compress(rewritten), CONTENT[: len(CONTENT) // 3]):
        assert recording_name(write(tmp_path / "elsewhere", content, "renamed"), stored) == name


def test_a_recording_goes_on_at_the_frame_that_was_stored_last(tmp_path: Path) -> None:
    unordered = [frame(n, at=(n * 37) % 300, sort=n % 2 == 0) for n in range(300)]
    path = write(tmp_path, b"\n".join(unordered))
    _, cursors, _ = play(path)
    assert cursors == sorted(cursors)
    for n in (0, 1, 150, 299):
        assert play(path, cursors[n])[0] == unordered[n:]


def test_a_recording_that_has_grown_is_gone_on_with(tmp_path: Path) -> None:
    path = write(tmp_path, b"\n".join(TAPE[:100]) + b"\n" + TAPE[100][:50])
    before, cursors, _ = play(path)
    name = recording_name(path)
    assert before[:100] == TAPE[:100]
    path.write_bytes(CONTENT)
    assert recording_name(path) == name
    assert play(path, cursors[-1])[0] == TAPE[99:]


def test_another_recording_with_the_same_first_frame_is_played_from_its_start(tmp_path: Path) -> None:
    _, cursors, _ = play(write(tmp_path, CONTENT))
    others = [TAPE[0], *(frame(n, at=1000 + n) for n in range(1, 200))]
    path = write(tmp_path, b"\n".join(others))
    assert play(path, cursors[100])[0] == others
    assert play(path, cursors[250])[0] == others


def test_a_look_at_a_recording_says_what_is_wrong_with_its_beginning(tmp_path: Path) -> None:
    assert look_at_recording(write(tmp_path, CONTENT)) is None
    assert "is empty" in str(look_at_recording(write(tmp_path, b"\n")))
    assert '"hello"' in str(look_at_recording(write(tmp_path, b"hello\nworld\n")))
