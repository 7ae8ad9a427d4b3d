"""Looking after the archive: is every file what was written, and how do posts come back."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import msgspec

from groundswell.core.retention import PREFIX, Contents, Manifest, Tally, faults, manifest_name
from groundswell.crash_points import CrashPoint, reach
from groundswell.errors import ArchiveDamaged
from groundswell.ports.archive import Archive, ArchivedFile, ArchiveIndex, PostFiles
from groundswell.services.archived_files import ArchivedFiles, checksum


class Checked(msgspec.Struct, frozen=True):
    """What was found out about one file."""

    file: ArchivedFile
    faults: Sequence[str]
    """In words; none where it is what was archived."""


async def verify(
    archive: Archive, files: PostFiles, scratch: Path, wanted: Sequence[ArchivedFile]
) -> AsyncGenerator[Checked]:
    """Read every file of `wanted` and its manifest again, and compare them with what was written.

    Raises:
        ArchiveUnavailable: the archive cannot be reached: that says nothing about its files.
    """
    for file in wanted:
        with tempfile.TemporaryDirectory(prefix="groundswell-verify-", dir=scratch) as folder:
            yield Checked(file, await _faults(archive, files, Path(folder), file.manifest))


async def strays(index: ArchiveIndex, archive: Archive) -> list[str]:
    """Files that nobody knows of: left by a mover that was killed or slow. No post is only there."""
    known = await index.names()
    known |= {manifest_name(name) for name in known}
    return sorted([found.name async for found in archive.objects(PREFIX) if found.name not in known])


async def restore(index: ArchiveIndex, cache: ArchivedFiles, files: PostFiles, file: ArchivedFile) -> int:
    """Bring the posts of one file back into Postgres; answers how many. What was withdrawn does not come back.

    Counts stay as they are: a moved post never stopped counting. Repeating it brings nothing back twice.

    Raises:
        ArchiveDamaged: the file is not what was archived; nothing is restored of it.
        ArchiveUnavailable, StoreUnavailable: nothing is restored of it yet.
    """
    async with cache.held(file.manifest) as path:
        rows = [row async for page in files.read(path) for row in page]
    restored = await index.restore(file, rows)
    reach(CrashPoint.RESTORE_AFTER_FILE)
    return restored


async def _faults(archive: Archive, files: PostFiles, folder: Path, manifest: Manifest) -> list[str]:
    copy, beside = folder / "copy.parquet", folder / "copy.json"
    try:
        await archive.get(manifest.file, copy)
        size, sha256 = await checksum(copy)
        contents = await _contents(files, copy) if sha256 == manifest.sha256 else _NOTHING
        found = faults(manifest, contents=contents, size=size, sha256=sha256)
    except ArchiveDamaged as error:
        return [error.detail]
    try:
        await archive.get(manifest_name(manifest.file), beside)
        if msgspec.json.decode(beside.read_bytes(), type=Manifest) != manifest:
            found.append("its manifest is not the one that was written")
    except ArchiveDamaged:
        found.append("its manifest is missing")
    except msgspec.DecodeError:
        found.append("its manifest cannot be read")
    return found


_NOTHING: Contents = Tally().contents()


async def _contents(files: PostFiles, path: Path) -> Contents:
    tally = Tally()
    async for page in files.read(path):
        tally.add(page)
    return tally.contents()
