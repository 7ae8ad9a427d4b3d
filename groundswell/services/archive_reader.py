"""One archived post by its id: where it is, Postgres knows; what it says, its file does."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from groundswell.core.retention import ArchiveRow, is_withdrawn
from groundswell.errors import ArchiveDamaged
from groundswell.ports.archive import ArchivedPost, ArchiveIndex, PostFiles
from groundswell.services.archived_files import ArchivedFiles

POSTS_KEPT = 1_000
"""Archived posts that are remembered, so that a page that many look at is read once."""


class ArchivedPosts:
    """`ports.ArchiveReader` over the index and fetched files."""

    def __init__(self, index: ArchiveIndex, cache: ArchivedFiles, files: PostFiles) -> None:
        self._index = index
        self._cache = cache
        self._files = files
        self._rows: OrderedDict[tuple[str, str], ArchiveRow] = OrderedDict()

    async def post(self, post_id: str, *, signed_in: bool = False) -> ArchivedPost | None:
        file = await self._index.file_of(post_id)
        if file is None:
            return None
        name = file.manifest.file
        row = self._rows.get((name, post_id))
        if row is None:
            async with self._cache.held(file.manifest) as path:
                row = await self._files.find(path, post_id)
            if row is None:
                raise ArchiveDamaged(
                    f"{name} should hold the post {post_id} and does not. "
                    "`groundswell archive verify` says what is wrong with it."
                )
            while len(self._rows) >= POSTS_KEPT:
                self._rows.popitem(last=False)
            self._rows[name, post_id] = row
        self._rows.move_to_end((name, post_id))
        keys, authors = await self._index.withdrawn([file.id])
        if is_withdrawn(row, keys.get(file.id, frozenset()), authors):
            return None
        # Asked last: what the author says may change at any time.
        labels, restricted = await self._index.labels_of(post_id)
        if restricted and not signed_in:
            return None
        post = msgspec.structs.replace(row.post, labels=labels, restricted=restricted)
        return ArchivedPost(pk=row.pk, post=post, file=name)
