"""What the archive holds and how it is described: rows, files, manifests, and what of them may still be shown.

Pure: the mover, the readers and the command line all decide by these functions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, TypeAlias
from urllib.parse import quote

import msgspec

from groundswell.core.instants import rfc3339
from groundswell.core.paging import LATEST
from groundswell.core.posts import Micros, Post

SCHEMA_VERSION = 1
"""Of the Parquet files: their columns, in order, are the fields of `ArchiveRow`."""
FILE_ROWS = 25_000
"""Most posts of one file, which one transaction takes out of Postgres while batches wait: about half a second."""
MIN_FILE_S = 5.0
"""No file is begun with less time than this before a deadline."""

PREFIX = "posts/v1/"
_LONGEST_SOURCE = 150

Authors: TypeAlias = Mapping[tuple[str, str], Micros]
"""(source, author) of accounts that were deleted or hidden, with the instant up to which their posts are withdrawn."""
ALWAYS: Micros = LATEST
"""Where all posts of an account are withdrawn, whenever they were written."""


class ArchiveRow(msgspec.Struct, frozen=True, gc=False):
    """One post as a file holds it: the columns of Postgres, instants as `Micros`."""

    pk: int
    id: str
    source: str
    author: str
    text: str
    lang: str | None
    created_at: Micros | None
    event_time: Micros
    rev: str
    entities: tuple[str, ...]
    reply_to: str | None
    quote_of: str | None
    ingested_at: Micros

    @property
    def post(self) -> Post:
        return Post(
            id=self.id,
            source=self.source,
            author=self.author,
            text=self.text,
            event_time=self.event_time,
            rev=self.rev,
            cursor=self.event_time,
            created_at=self.created_at,
            lang=self.lang,
            entities=self.entities,
            reply_to=self.reply_to,
            quote_of=self.quote_of,
        )


def row_of(columns: Sequence[Any]) -> ArchiveRow:
    """The row in columns that are in the order of its fields."""
    pk, post_id, source, author, text, lang, created_at, event_time, rev, entities, *rest = columns
    reply_to, quote_of, ingested_at = rest
    return ArchiveRow(
        pk,
        post_id,
        source,
        author,
        text,
        lang,
        created_at,
        event_time,
        rev,
        tuple(entities),
        reply_to,
        quote_of,
        ingested_at,
    )


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a file, whichever way it was written."""

    rows: int
    content_sha256: str
    """Of the rows themselves in the order of `pk`: equal for equal posts, whatever wrote the Parquet."""
    min_event_time: Micros | None
    max_event_time: Micros | None
    min_pk: int | None
    max_pk: int | None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What lies beside every file, as JSON: enough to check the file without a database."""

    file: str
    """Name below the root of the archive."""
    schema_version: int
    day: str
    """Of event time, UTC: `2026-07-04`."""
    source: str
    bytes: int
    sha256: str
    """Of the file, in hexadecimal."""
    rows: int
    content_sha256: str
    min_event_time: str
    max_event_time: str
    min_pk: int
    max_pk: int


class Tally:
    """Adds up the contents of a file while its rows pass, in the order of `pk`."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._rows = 0
        self._times: tuple[Micros, Micros] | None = None
        self._pks: tuple[int, int] | None = None

    def add(self, rows: Iterable[ArchiveRow]) -> bytes:
        """Count these rows in; answers them as lines of JSON.

        Raises:
            ValueError: a row does not come after the one before it.
        """
        lines: list[bytes] = []
        for row in rows:
            if self._pks is not None and row.pk <= self._pks[1]:
                raise ValueError(f"row {row.pk} comes after {self._pks[1]}: rows are counted in order, and each once")
            self._pks = (row.pk if self._pks is None else self._pks[0], row.pk)
            low, high = self._times or (row.event_time, row.event_time)
            self._times = (min(low, row.event_time), max(high, row.event_time))
            lines.append(msgspec.json.encode(row))
        said = b"".join(line + b"\n" for line in lines)
        self._digest.update(said)
        self._rows += len(lines)
        return said

    def contents(self) -> Contents:
        low, high = self._times or (None, None)
        first, last = self._pks or (None, None)
        return Contents(
            rows=self._rows,
            content_sha256=self._digest.hexdigest(),
            min_event_time=low,
            max_event_time=high,
            min_pk=first,
            max_pk=last,
        )


def archive_key(post_id: str) -> bytes:
    """Sixteen bytes that stand for a post's id in the index: the first half of its SHA-256, so none can be forged."""
    return hashlib.sha256(post_id.encode()).digest()[:16]


def author_key(author: str) -> int:
    """Eight bytes, as a signed number, that lead to an author's archived posts. Whoever uses them checks the author."""
    return int.from_bytes(hashlib.sha256(author.encode()).digest()[:8], "big", signed=True)


def forgotten_key(author: str) -> bytes:
    """Return what the list of forgotten authors holds in place of a name."""
    return hashlib.sha256(author.encode()).digest()


def file_name(day: str, source: str, token: str) -> str:
    """Where a file lies below the root: Hive-style folders, which every Parquet reader understands."""
    folder = quote(source, safe="")
    if len(folder) > _LONGEST_SOURCE:
        folder = f"{folder[:_LONGEST_SOURCE]}~{hashlib.sha256(source.encode()).hexdigest()[:8]}"
    return f"{PREFIX}day={day}/source={folder}/{token}.parquet"


def manifest_name(file: str) -> str:
    """The manifest of `x.parquet` is `x.json`, beside it."""
    return file.removesuffix(".parquet") + ".json"


def describe(file: str, *, day: str, source: str, contents: Contents, size: int, sha256: str) -> Manifest:
    """The manifest of a file. Raises ValueError for an empty one: there is nothing to archive."""
    low, high, first, last = contents.min_event_time, contents.max_event_time, contents.min_pk, contents.max_pk
    if low is None or high is None or first is None or last is None:
        raise ValueError("a file without posts is not archived")
    return Manifest(
        file=file,
        schema_version=SCHEMA_VERSION,
        day=day,
        source=source,
        bytes=size,
        sha256=sha256,
        rows=contents.rows,
        content_sha256=contents.content_sha256,
        min_event_time=rfc3339(low),
        max_event_time=rfc3339(high),
        min_pk=first,
        max_pk=last,
    )


def faults(manifest: Manifest, *, contents: Contents, size: int, sha256: str) -> list[str]:
    """What a file has otherwise than its manifest says, in words; nothing where all is well."""
    if size != manifest.bytes:
        return [f"it has {size:,} bytes and its manifest says {manifest.bytes:,}"]
    if sha256 != manifest.sha256:
        return [f"its bytes have changed: SHA-256 {sha256[:16]}… where its manifest says {manifest.sha256[:16]}…"]
    found: list[str] = []
    if contents.rows != manifest.rows:
        found.append(f"it holds {contents.rows:,} posts and its manifest says {manifest.rows:,}")
    elif contents.content_sha256 != manifest.content_sha256:
        found.append("its posts are not those that were archived")
    return found


def withdrawn_rows(
    rows: Iterable[ArchiveRow], revs: Mapping[bytes, str], authors: Authors
) -> tuple[list[ArchiveRow], list[bytes]]:
    """Return the rows of a file that are withdrawn, and the keys of those whose deletion is older than they are.

    Args:
        revs: the revision of each deletion, by the post's key; an empty one deletes every revision.
        authors: accounts whose posts are withdrawn, and up to when.
    """
    gone: list[ArchiveRow] = []
    kept: list[bytes] = []
    for row in rows:
        key = archive_key(row.id)
        rev = revs.get(key)
        until = authors.get((row.source, row.author))
        if (rev is not None and (rev == "" or row.rev <= rev)) or (until is not None and row.event_time <= until):
            gone.append(row)
        elif rev is not None:
            kept.append(key)
    return gone, kept


def is_withdrawn(row: ArchiveRow, keys: Set[bytes], authors: Authors) -> bool:
    """Whether an archived post must not be shown: its author withdrew it, or the account was taken down."""
    until = authors.get((row.source, row.author))
    return archive_key(row.id) in keys or (until is not None and row.event_time <= until)


def fits(left_s: float | None, longest_s: float) -> bool:
    """Whether another file can be finished in the `left_s` seconds before a deadline; None is no deadline.

    `longest_s` is the time that the slowest file so far took.
    """
    return left_s is None or left_s >= max(MIN_FILE_S, 2 * longest_s)
