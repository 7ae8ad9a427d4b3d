"""WebSocket frames ready for the socket, and the seconds that were encoded last."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from groundswell.adapters.simulator.host import Format, HostView
from groundswell.adapters.simulator.writing import POST
from groundswell.core.jetstream import PROFILE_COLLECTION as PROFILE
from groundswell.core.posts import Micros

INLINE_POSTS = 200
"""A second of fewer posts is generated at once; a bigger one in a thread, so that the loop stays responsive."""
_WHOLE_MESSAGE = 0x80
_TEXT, _BINARY = 1, 2
_ALWAYS = frozenset({"identity", "account", "garbage"})


def wire_frame(payload: bytes) -> bytes:
    """One unmasked WebSocket message (RFC 6455, section 5.2): text, or binary where it is not UTF-8.

    Servers send the same bytes to every reader, so that a second is encoded once.
    """
    size = len(payload)
    opcode = _TEXT if payload.isascii() or _is_utf8(payload) else _BINARY
    if size < 126:
        return bytes((_WHOLE_MESSAGE | opcode, size)) + payload
    if size < 65536:
        return bytes((_WHOLE_MESSAGE | opcode, 126, size >> 8, size & 255)) + payload
    return bytes((_WHOLE_MESSAGE | opcode, 127)) + size.to_bytes(8, "big") + payload


class Wanted:
    """What a reader asked for with `wantedCollections`. Identity and account frames go to everyone."""

    def __init__(self, collections: Sequence[str]) -> None:
        self._names = frozenset(name for name in collections if not name.endswith("*"))
        self._prefixes = tuple(name[:-1] for name in collections if name.endswith("*"))
        # Nobody here changes a profile.
        self.everything = bool(self._prefixes) or self._names - {PROFILE} != frozenset((POST,))
        """Whether more than posts has to be generated."""
        self.filtered = self.everything and bool(collections)

    def takes(self, label: str) -> bool:
        return label in _ALWAYS or label in self._names or label.startswith(self._prefixes)


class Filter(Protocol):
    """Which frames a reader asked for, by their labels."""

    everything: bool
    """Whether more than posts has to be generated."""
    filtered: bool
    """Whether anything that is generated is left out."""

    def takes(self, label: str) -> bool: ...


class EncodedSecond(msgspec.Struct, frozen=True):
    """The frames of a second as they go over the socket, with their times."""

    times: list[Micros]
    wires: list[bytes]
    sizes: list[int]
    """Of the frames before compression, in bytes."""

    def between(self, since: Micros, until: Micros) -> tuple[int, int]:
        """Indices of the frames in [since, until)."""
        return bisect_left(self.times, since), bisect_left(self.times, until)


class EncodedWorld:
    """The seconds of a world as a host sees them, encoded on demand; the last ones are kept for other readers."""

    def __init__(
        self, view: HostView, *, busy: bool, cache_seconds: int, compress: Callable[[bytes], bytes] | None = None
    ) -> None:
        """`busy`: seconds are encoded in a thread. `compress` is what readers with a dictionary get."""
        self._view = view
        self._busy = busy
        self._compress = compress
        self._cache_seconds = cache_seconds
        self._cache: OrderedDict[tuple[int, bool, Format, bool], asyncio.Future[tuple[EncodedSecond, list[str]]]] = (
            OrderedDict()
        )

    async def second(
        self, second: int, wanted: Filter, form: Format = "v1", *, max_bytes: int = 0, compressed: bool = False
    ) -> EncodedSecond:
        """The frames of a second that a reader gets. `max_bytes`: larger ones are left out; 0: none is."""
        encoded, labels = await self._encoded(second, wanted.everything, form, compressed)
        if not wanted.filtered and not max_bytes:
            return encoded
        kept = [
            n
            for n, label in enumerate(labels)
            if wanted.takes(label) and (not max_bytes or encoded.sizes[n] <= max_bytes)
        ]
        return EncodedSecond(
            [encoded.times[n] for n in kept], [encoded.wires[n] for n in kept], [encoded.sizes[n] for n in kept]
        )

    def prefetch(self, second: int, wanted: Filter, form: Format = "v1", *, compressed: bool = False) -> None:
        """Begin to encode a second that will be wanted soon."""
        self._encoded(second, wanted.everything, form, compressed)

    def _encoded(
        self, second: int, everything: bool, form: Format, compressed: bool
    ) -> asyncio.Future[tuple[EncodedSecond, list[str]]]:
        key = (second, everything, form, compressed)
        found = self._cache.get(key)
        if found is None:
            if not self._busy:
                found = asyncio.get_running_loop().create_future()
                found.set_result(self._encode(*key))
            else:
                found = asyncio.ensure_future(asyncio.to_thread(self._encode, *key))
            self._cache[key] = found
            while len(self._cache) > self._cache_seconds:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(key)
        return found

    def _encode(self, second: int, everything: bool, form: Format, compressed: bool) -> tuple[EncodedSecond, list[str]]:
        told = self._view.second(second, everything=everything, form=form)
        frames = [self._compress(frame) for frame in told.frames] if compressed and self._compress else told.frames
        wires = [wire_frame(frame) for frame in frames]
        return EncodedSecond(told.times, wires, [len(frame) for frame in told.frames]), told.labels


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
