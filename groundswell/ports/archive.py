"""Where old posts go, and how they come back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from groundswell.core.posts import Post
from groundswell.core.retention import ArchiveRow, Authors, Contents, Manifest


class StoredObject(msgspec.Struct, frozen=True):
    name: str
    """Below the root, with forward slashes."""
    bytes: int


class Archive(Protocol):
    """Where files of old posts lie: a directory, or a bucket. Names are relative, with forward slashes.

    Every method raises `ArchiveUnavailable` where the archive cannot be reached or has no room.
    """

    where: str
    """For people: the directory, or `s3://bucket/prefix`."""

    async def put(self, name: str, file: Path, *, sha256: str) -> None:
        """Store a whole file under a name, or nothing: nobody ever sees a part of it. Replaces what was there.

        Raises:
            ArchiveUnavailable: also where what arrived is not what `sha256` says.
        """
        ...

    async def get(self, name: str, into: Path) -> None:
        """Raises `ArchiveDamaged` where there is no such file."""
        ...

    async def delete(self, name: str) -> None:
        """Also what a `put` of this name left behind when it was cut short. An absent file is no error."""
        ...

    def objects(self, prefix: str) -> AsyncIterator[StoredObject]:
        """All whose name begins with `prefix`, in any order."""
        ...

    def local(self, name: str) -> Path | None:
        """Where the file of that name lies on this machine, if it does: it need not be fetched then."""
        ...


class PostFiles(Protocol):
    """Posts as files, and back. Nothing here knows where the files end up."""

    suffix: str

    async def write(self, pages: AsyncIterator[Sequence[ArchiveRow]], path: Path) -> Contents:
        """Write every row, pages in the order of `pk`. Raises `ArchiveUnavailable` where the disk is full."""
        ...

    def read(self, path: Path) -> AsyncIterator[Sequence[ArchiveRow]]:
        """All rows in the order of `pk`. Raises `ArchiveDamaged` for what cannot be read as such a file."""
        ...

    async def find(self, path: Path, post_id: str) -> ArchiveRow | None:
        """One post. Raises `ArchiveDamaged`."""
        ...


class Claim(msgspec.Struct, frozen=True):
    """Posts of one source and day that one mover is archiving, until its lease runs out."""

    file_id: int
    name: str
    """The file's name in the archive, never used by another claim."""
    source: str
    day: str
    rows: int


class Released(msgspec.Struct, frozen=True):
    """One post as it was written: what has to be unchanged for it to leave Postgres."""

    pk: int
    rev: str
    key: bytes
    author_key: int


class ClaimStore(Protocol):
    """The mover's side of Postgres. Every method raises `StoreUnavailable`."""

    async def claim(self, *, hot_s: float, limit: int, lease_s: float) -> Claim | None:
        """Claim posts of the oldest day that is over and past the hot window, by the database's clock.

        Two movers never claim the same post. None when there is nothing to archive.
        """
        ...

    def claimed(self, claim: Claim) -> AsyncIterator[Sequence[ArchiveRow]]:
        """The claimed posts as they are now, in the order of `pk`."""
        ...

    async def release(self, claim: Claim, manifest: Manifest, posts: Sequence[Released]) -> int:
        """Take archived posts out of Postgres, in one transaction that makes the file the place where they are.

        A post that was edited since it was read stays, one that was deleted is gone; their rows in the file are
        withdrawn from the start. Returns how many posts left; 0, and the claim is given up, where none is as it was
        read or the lease had run out.
        """
        ...

    async def give_up(self, claim: Claim) -> bool:
        """The posts are free again, and the file is left to be discarded. False where the claim was lost already."""
        ...

    async def expire(self) -> int:
        """Give up the claims whose lease has run out; answers how many there were."""
        ...

    async def discarded(self) -> Sequence[tuple[int, str]]:
        """Files that are in nobody's use, as id and name: to be deleted from the archive."""
        ...

    async def forget(self, file_id: int) -> None:
        """A discarded file was deleted. Its row goes once no mover can still be writing it."""
        ...


class ArchivedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the archive as Postgres knows it."""

    id: int
    manifest: Manifest
    withdrawn: int
    """Posts in it that must not be shown any more."""


class ArchivedPost(msgspec.Struct, frozen=True):
    pk: int
    post: Post
    file: str
    """The name of the file that holds it."""


class ArchiveReader(Protocol):
    async def post(self, post_id: str, *, signed_in: bool = False) -> ArchivedPost | None:
        """An archived post that may still be shown, to this reader.

        Raises:
            StoreUnavailable: Postgres, which knows where it is, cannot be reached.
            ArchiveUnavailable: the file cannot be fetched, or is damaged.
        """
        ...


class Withdrawal(msgspec.Struct, frozen=True):
    """What has been withdrawn of one file since it was archived and is still counted."""

    file: ArchivedFile
    revs: Mapping[bytes, str]
    """By key of the post, the revision of its deletion."""
    authors: Authors
    deleted: Authors
    """Of these accounts, those that were deleted, and up to when. All else that is withdrawn of `authors` is hidden."""


class ArchiveIndex(Protocol):
    """Which post is in which file, and what has been withdrawn. Every method raises `StoreUnavailable`."""

    async def files(
        self, *, since: str | None = None, until: str | None = None, source: str | None = None
    ) -> Sequence[ArchivedFile]:
        """Oldest day first. `since` is the first day, `until` the last."""
        ...

    async def file_of(self, post_id: str) -> ArchivedFile | None: ...

    async def labels_of(self, post_id: str) -> tuple[tuple[str, ...], bool]:
        """What the author says of an archived post, and whether readers need an API key to see it."""
        ...

    async def withdrawn(self, file_ids: Sequence[int]) -> tuple[Mapping[int, frozenset[bytes]], Authors]:
        """What must not be shown of these files: keys of posts by file, and accounts."""
        ...

    async def names(self) -> frozenset[str]:
        """Of every file that is archived, being written or waiting to be deleted."""
        ...

    async def pending(self, after: int = 0) -> Withdrawal | None:
        """The first file with an id above `after` of which something withdrawn is still counted; None for none."""
        ...

    async def settle(self, withdrawal: Withdrawal, gone: Sequence[ArchiveRow], kept: Sequence[bytes]) -> int:
        """In one transaction: subtract what `gone` counted, each post once however often this is called.

        Posts of hidden accounts are kept, to come back with their account. `kept` are keys whose post is newer than its
        deletion, and stays. Answers how many posts were subtracted.
        """
        ...

    async def restore(self, file: ArchivedFile, rows: Sequence[ArchiveRow]) -> int:
        """Bring these posts of a file back into Postgres, in one transaction that discards the file.

        What is withdrawn is settled in it and does not come back. Returns how many posts did, 0 for a file that is in
        use no longer.
        """
        ...
