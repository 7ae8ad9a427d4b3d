"""Writes one file of the archive, with its manifest, and reads both back before anybody relies on them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec

from groundswell.core.retention import ArchiveRow, Manifest, Tally, describe, faults, manifest_name
from groundswell.crash_points import CrashPoint, reach
from groundswell.errors import ArchiveDamaged
from groundswell.ports.archive import Archive, PostFiles
from groundswell.services.archived_files import checksum


async def write_file(
    archive: Archive,
    files: PostFiles,
    folder: Path,
    pages: AsyncIterator[Sequence[ArchiveRow]],
    *,
    name: str,
    day: str,
    source: str,
) -> Manifest | None:
    """Put the rows of `pages` into the archive as the file `name`; None where there are none.

    Args:
        folder: an empty one, for files on their way.

    Raises:
        ArchiveUnavailable: the archive or `folder` takes no more.
        ArchiveDamaged: what came back is not what was written.
    """
    path = folder / f"posts{files.suffix}"
    contents = await files.write(pages, path)
    if not contents.rows:
        return None
    size, sha256 = await checksum(path)
    manifest = describe(name, day=day, source=source, contents=contents, size=size, sha256=sha256)
    await archive.put(manifest.file, path, sha256=sha256)
    reach(CrashPoint.MOVER_AFTER_FILE)
    beside = folder / "manifest.json"
    beside.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    await archive.put(manifest_name(manifest.file), beside, sha256=(await checksum(beside))[1])
    reach(CrashPoint.MOVER_AFTER_MANIFEST)
    await _read_back(archive, files, manifest, folder)
    return manifest


async def _read_back(archive: Archive, files: PostFiles, manifest: Manifest, folder: Path) -> None:
    """What the archive gives back is what was to be kept, or nothing leaves its old place."""
    copy, beside, tally = folder / "copy", folder / "copy.json", Tally()
    await archive.get(manifest.file, copy)
    await archive.get(manifest_name(manifest.file), beside)
    async for page in files.read(copy):
        tally.add(page)
    size, sha256 = await checksum(copy)
    found = faults(manifest, contents=tally.contents(), size=size, sha256=sha256)
    if found or msgspec.json.decode(beside.read_bytes(), type=Manifest) != manifest:
        raise ArchiveDamaged(
            f"{manifest.file} did not come back from {archive.where} as it was written"
            f"{': ' + found[0] if found else ', nor did its manifest'}. Nothing left Postgres; it is tried again."
        )
