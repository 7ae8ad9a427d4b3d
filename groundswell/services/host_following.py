"""Follows which host of a source is read and how far, and dates what a host sends of a repository read anew."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from groundswell.core.host_positions import MOST_BEHIND_S, HostPosition, with_position
from groundswell.core.jetstream import SYNC
from groundswell.core.posts import MICROS_PER_SECOND, Decoded, Deleted, Ignored, Micros, Post
from groundswell.core.resync import Resyncs
from groundswell.core.tids import tid_instant
from groundswell.ports.sources import HostedSource

SAMPLES = 20
"""Batches by whose last commits the lag of a host is judged: the freshest of them counts."""


class HostFollowing:
    """The state of one `HostedSource` between its frames and the batches that store them."""

    def __init__(self, source: HostedSource, positions: Sequence[HostPosition]) -> None:
        self.source = source
        self._positions = tuple(positions)
        self._last: tuple[bytes, Decoded] | None = None
        self._behind: deque[Micros] = deque(maxlen=SAMPLES)
        self._resyncs = Resyncs()

    def resume(self) -> None:
        """Tell the source where each host stands; before every connection."""
        self._behind.clear()
        self.source.resume_from(self._positions)

    def seen(self, raw: bytes, decoded: Decoded) -> Decoded:
        """Take in a frame of the connection, in order; return what it says, dated."""
        if decoded.cursor is not None:
            self._last = (raw, decoded)
        return self.dated(raw, decoded)

    def dated(self, raw: bytes, decoded: Decoded) -> Decoded:
        """Return what a frame says, with the time at which a post was written where its repository is read anew."""
        if isinstance(decoded, Ignored):
            if decoded.reason == SYNC and decoded.cursor is not None:
                author = self.source.synced_author(raw)
                if author is not None:
                    self._resyncs.begin(author, decoded.cursor)
            return decoded
        return self._resyncs.dated(decoded)

    def position(self) -> HostPosition | None:
        """Return how far the host has been read with the frames seen since this was last asked; None without any."""
        last, self._last = self._last, None
        host = self.source.host
        if last is None or host is None:
            return None
        raw, decoded = last
        at = decoded.cursor
        assert at is not None, "only frames with a time are noted"
        made = tid_instant(decoded.rev) if isinstance(decoded, Post | Deleted) else None
        if made is not None:
            self._behind.append(min(max(0, at - made), round(MOST_BEHIND_S * MICROS_PER_SECOND)))
        position = HostPosition(host, at, self.source.number(raw), min(self._behind, default=0))
        self._positions = with_position(self._positions, position)
        return position
