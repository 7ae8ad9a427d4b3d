"""The text of a recording, whatever it is compressed with and encoded in.

Decoded in small steps, so that what stands before a damaged place comes out whole, and memory stays bounded.
"""

from __future__ import annotations

import bz2
import codecs
import lzma
import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Final, Protocol

import zstandard

from groundswell.errors import SourceFailed

CHUNK_BYTES: Final = 16 * 1024
"""Read from the file at once."""
STEP_BYTES: Final = 256
"""Compressed bytes that zstd is given at a time: what it decodes before damage in the same step is lost."""
OUTPUT_BYTES: Final = 4 * 1024
"""Decompressed bytes that the other formats give at a time, for the same reason."""
HEAD_BYTES: Final = 512
"""What a form is known by."""
LONGEST_WINDOW_BYTES: Final = 2**31
"""Of zstd: what `--long=31` writes, the most there is."""
MAX_LAYERS: Final = 3
"""Compressions around one another, such as a .gz that a browser packed again."""

_UNREAD = {
    b"PK\x03\x04": ("a zip archive", "unzip -p {0} > recording.jsonl"),
    b"7z\xbc\xaf'\x1c": ("a 7z archive", "7z e -so {0} > recording.jsonl"),
    b"Rar!\x1a\x07": ("a rar archive", "unrar p -inul {0} > recording.jsonl"),
    b"\x04\x22\x4d\x18": ("compressed with lz4", "lz4 -dc {0} > recording.jsonl"),
    b"\x1f\x9d": ("compressed with compress", "uncompress -c {0} > recording.jsonl"),
    b"\x89LZO": ("compressed with lzop", "lzop -dc {0} > recording.jsonl"),
    b"\xff\x06\x00\x00sNaPpY": ("compressed with snappy", "snzip -dc {0} > recording.jsonl"),
    b"PAR1": ("a Parquet file", "duckdb -c \"COPY (FROM '{0}') TO 'recording.jsonl' (FORMAT json)\""),
    b"SQLite format 3\x00": ("an SQLite database", "sqlite3 {0} 'SELECT …' > recording.jsonl"),
}
_TAR_AT = 257


class Damaged(Exception):
    """The file cannot be decoded from here on; all before has been given."""


class _Decoder(Protocol):
    def feed(self, chunk: bytes) -> Iterator[bytes]: ...
    def rest(self) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unused(self) -> bytes: ...


class _Zlib:
    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(wbits=31)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        while chunk and not self._decoder.eof:
            yield self._decoder.decompress(chunk, OUTPUT_BYTES)
            chunk = self._decoder.unconsumed_tail

    def rest(self) -> bytes:
        return self._decoder.flush()

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def unused(self) -> bytes:
        return self._decoder.unused_data


class _Blocks:
    """bz2 and xz: both of the standard library, of one form."""

    def __init__(self, decoder: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> None:
        self._decoder = decoder

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        yield self._decoder.decompress(chunk, OUTPUT_BYTES)
        while not self._decoder.eof and not self._decoder.needs_input:
            yield self._decoder.decompress(b"", OUTPUT_BYTES)

    def rest(self) -> bytes:
        return b""

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def unused(self) -> bytes:
        return self._decoder.unused_data


class _Zstd:
    def __init__(self) -> None:
        self._decoder = zstandard.ZstdDecompressor(max_window_size=LONGEST_WINDOW_BYTES).decompressobj()
        self._unused = b""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        for start in range(0, len(chunk), STEP_BYTES):
            yield self._decoder.decompress(chunk[start : start + STEP_BYTES])
            if self._decoder.eof:
                self._unused = self._decoder.unused_data + chunk[start + STEP_BYTES :]
                return

    def rest(self) -> bytes:
        return b""

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def unused(self) -> bytes:
        return self._unused


_ZSTD_SKIPPABLE = tuple(bytes([0x50 + n]) + b"\x2a\x4d\x18" for n in range(16))
_FORMATS: tuple[tuple[str, tuple[bytes, ...], Callable[[], _Decoder]], ...] = (
    ("gzip", (b"\x1f\x8b",), _Zlib),
    ("zstd", (b"\x28\xb5\x2f\xfd", *_ZSTD_SKIPPABLE), _Zstd),
    ("bzip2", (b"BZh",), lambda: _Blocks(bz2.BZ2Decompressor())),
    ("xz", (b"\xfd7zXZ\x00",), lambda: _Blocks(lzma.LZMADecompressor())),
)
_DECODING_ERRORS = (EOFError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError)


def text_of(path: Path) -> Iterator[bytes]:
    """Yield the text of a recording as UTF-8, in pieces cut anywhere. Blocks: iterate in a thread.

    Raises:
        SourceFailed: at the first step: it is missing, unreadable, or of a form that is not read.
        Damaged: after all that could be decoded.
    """
    chunks = _chunks(path)
    for _ in range(MAX_LAYERS):
        head, chunks = _peek(chunks)
        _refuse(path, head)
        found = next(((name, make) for name, magics, make in _FORMATS if head.startswith(magics)), None)
        if found is None:
            return _as_utf8(head, chunks)
        chunks = _decompressed(*found, chunks)
    return chunks


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        mode = path.stat().st_mode
        if not S_ISREG(mode):
            form = (
                "a folder: name a file in it" if S_ISDIR(mode) else "no file: save what it gives to one, and name that"
            )
            raise SourceFailed(f"The recording {path} cannot be opened: it is {form}. A recording is read again later")
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except FileNotFoundError:
        raise SourceFailed(f"The recording {path} does not exist: check the path") from None
    except OSError as error:
        raise SourceFailed(f"The recording {path} cannot be read: {error.strerror or error}") from error


def _peek(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Return the first bytes, and all."""
    head, damage = b"", None
    while len(head) < HEAD_BYTES:
        try:
            piece = next(chunks, None)
        except Damaged as error:
            damage = error
            break
        if piece is None:
            break
        head += piece

    def everything() -> Iterator[bytes]:
        yield head
        if damage is not None:
            raise damage
        yield from chunks

    return head, everything()


def _refuse(path: Path, head: bytes) -> None:
    found = next((known for magic, known in _UNREAD.items() if head.startswith(magic)), None)
    if found is None and head[_TAR_AT : _TAR_AT + 5] == b"ustar":
        found = ("a tar archive", "tar -xOf {0} > recording.jsonl")
    if found is not None:
        form, command = found
        raise SourceFailed(
            f"The recording {path} is {form}, which is not read: extract it first, for example with "
            f"`{command.format(path.name)}`, and play that file"
        )


def _decompressed(name: str, make: Callable[[], _Decoder], chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what one member after the other holds. Zeros between and after them are padding."""
    decoder: _Decoder | None = None
    members = 0
    try:
        for chunk in chunks:
            left = chunk
            while left:
                if decoder is None:
                    left = left.lstrip(b"\0") if members else left
                    if not left:
                        break
                    decoder = make()
                yield from decoder.feed(left)
                left = b""
                if decoder.eof:
                    left, decoder, members = decoder.unused, None, members + 1
        if decoder is not None:
            yield decoder.rest()
            raise Damaged(f"the {name} data breaks off")
    except _DECODING_ERRORS as error:
        what = "what follows its end is something else" if members else str(error)
        raise Damaged(f"the {name} data is damaged: {what}") from error


def _as_utf8(head: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    encoding = _encoding(head)
    if encoding is None:
        return chunks
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    return (decoder.decode(chunk, final=not chunk).encode() for chunk in chain(chunks, [b""]))


def _encoding(head: bytes) -> str | None:
    """Return what the text is encoded in; None for UTF-8. Without a byte order mark, zeros beside ASCII tell it."""
    for mark, encoding in (
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if head.startswith(mark):
            return encoding
    zeros = [head[first : len(head) // 2 * 2 : 2].count(0) * 8 > len(head) * 3 for first in (0, 1)]
    return "utf-16-be" if zeros[0] and not zeros[1] else "utf-16-le" if zeros[1] and not zeros[0] else None
