"""Where everything of one author is, and how it goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from groundswell.core.retention import ArchiveRow, Manifest
from groundswell.ports.archive import ArchivedFile


class Holdings(msgspec.Struct, frozen=True):
    """Posts of one author."""

    posts: int
    hidden: int
    archived: int
    """Rows in files of the archive, those withdrawn earlier among them."""


class Copy(msgspec.Struct, frozen=True):
    """A file that is being written to take the place of another."""

    id: int
    name: str


class AuthorStore(Protocol):
    """One author's side of Postgres. Every method raises `StoreUnavailable`, and can be repeated."""

    async def remember(self, author: str) -> None:
        """Store nothing of this author from now on, whoever sends it."""
        ...

    async def holdings(self, author: str) -> Holdings: ...

    async def take_posts(self, author: str, limit: int) -> int:
        """Remove at most `limit` posts, and what they counted, in one transaction. Returns how many."""
        ...

    async def take_traces(self, author: str) -> int:
        """Remove hidden posts, and all that names the author. Returns how many hidden posts there were."""
        ...

    async def files(self, author: str) -> Sequence[ArchivedFile]:
        """Files of the archive that hold rows of the author."""
        ...

    async def open_copy(self, file: ArchivedFile, lease_s: float) -> Copy | None:
        """None for a file that is in use no longer."""
        ...

    async def replace(
        self, file: ArchivedFile, copy: Copy | None, manifest: Manifest | None, gone: Sequence[ArchiveRow]
    ) -> bool:
        """Let `copy`, which has all rows of `file` but `gone`, take its place, and subtract what `gone` counted.

        In one transaction. Without a copy the file had no other rows. False where file or copy is in use no longer.
        """
        ...

    async def newest_entry(self) -> int:
        """The newest entry of the outbox."""
        ...

    async def waiting_vectors(self, until: int, limit: int) -> Sequence[tuple[int, int]]:
        """Entries of the outbox up to `until` that remove a point from the vector index, each with the point."""
        ...

    async def finish_vectors(self, entries: Sequence[int]) -> None:
        """Those points are removed."""
        ...
