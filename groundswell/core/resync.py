"""Dates what a host sends of a repository that it has read anew.

After a `#sync` a host of Jetstream v2 sends all records of the author as if they were created at that moment. The posts
among them that had been missed are news; years of others are not, and would look like a surge. So each is dated by its
own key, which is made when a post is, and what lies beyond the reach of the stream is left out.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import msgspec

from groundswell.core.jetstream import RESYNCED
from groundswell.core.posts import MICROS_PER_SECOND, Decoded, Ignored, Micros, Post
from groundswell.core.tids import tid_instant

FOLLOWS_S: Final = 600.0
"""So long after a `#sync` the author's records come."""
FRESH_S: Final = 5.0
"""A post that is no older than this when it comes was written just now."""
REACH_S: Final = 36 * 3600.0
"""What a stream sends again at most; older posts of a repository are left out."""
MAX_AUTHORS: Final = 10_000


class Resyncs:
    """The authors whose repositories were read anew lately."""

    def __init__(self) -> None:
        self._since: OrderedDict[str, Micros] = OrderedDict()

    def begin(self, author: str, at: Micros) -> None:
        """Note a `#sync`. Of many authors the longest known is forgotten."""
        self._since.pop(author, None)
        self._since[author] = at
        if len(self._since) > MAX_AUTHORS:
            self._since.popitem(last=False)

    def dated(self, decoded: Decoded) -> Decoded:
        """Return the post with the time at which it was written, where its repository was read anew."""
        if not self._since or not isinstance(decoded, Post):
            return decoded
        since = self._since.get(decoded.author)
        if since is None:
            return decoded
        now = decoded.cursor
        if now - since > FOLLOWS_S * MICROS_PER_SECOND:
            del self._since[decoded.author]
            return decoded
        written = tid_instant(decoded.id.rpartition("/")[2]) or decoded.created_at
        if written is None or written < now - REACH_S * MICROS_PER_SECOND:
            return Ignored(RESYNCED, now, now)
        if written >= now - FRESH_S * MICROS_PER_SECOND:
            return decoded
        return msgspec.structs.replace(decoded, event_time=written)
