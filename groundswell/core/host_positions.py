"""Where a source of several hosts is resumed: on the host that was read, by its own number; on another, by time."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from groundswell.core.cursor import RESUME_OVERLAP_S, resume_cursor
from groundswell.core.posts import MICROS_PER_SECOND, Micros

HOST_CHANGE_REWIND: Micros = 180 * MICROS_PER_SECOND
"""Hosts see the same event at different times: another host is asked from so much earlier."""
SEQ_OVERLAP = 5_000
"""Numbers that are asked for again on the same host: about ten seconds of the network, of which posts are a few."""
MOST_BEHIND_S = 3600.0
"""A host that seems later than this sends old commits, and is not late."""


class HostPosition(msgspec.Struct, frozen=True, array_like=True):
    """How far one host of a source has been read."""

    host: str
    at: Micros
    """When the host saw the last event, by its own clock."""
    seq: int | None = None
    """The number that the host gave it. Other hosts number differently."""
    behind: Micros = 0
    """How much later than the network's authors the host sees events."""


class HostCursor(msgspec.Struct, frozen=True):
    """What a host is asked for: its own number if it can be, else an instant."""

    at: Micros
    seq: int | None = None


def cursor_for(
    host: str, cursor: Micros | None, positions: Iterable[HostPosition], *, alone: bool = False
) -> HostCursor | None:
    """Return where `host` is resumed, for a source that is known up to `cursor`. None: it is not known at all.

    The host that was read until now continues at its own number, or a few seconds early. Any other is asked from
    minutes earlier, and by as much more as the last host was late: what that one had not seen yet, this one may have.
    Repeats are stored once. `alone`: there is no other host.
    """
    if cursor is None:
        return None
    known = {position.host: position for position in positions}
    own = known.get(host)
    if own is not None and own.at >= cursor - HOST_CHANGE_REWIND:
        at = resume_cursor(min(cursor, own.at))
        assert at is not None, "made from an instant"
        return HostCursor(at, None if own.seq is None else max(1, own.seq - SEQ_OVERLAP))
    if alone:
        return HostCursor(max(0, cursor - int(RESUME_OVERLAP_S * MICROS_PER_SECOND)))
    last = max(known.values(), key=lambda position: position.at, default=None)
    behind = 0 if last is None else min(last.behind, round(MOST_BEHIND_S * MICROS_PER_SECOND))
    return HostCursor(max(0, cursor - HOST_CHANGE_REWIND - behind))


def with_position(positions: Iterable[HostPosition], newer: HostPosition | None) -> tuple[HostPosition, ...]:
    """Return the positions with that of one host replaced, in the order of their hosts."""
    known = {position.host: position for position in positions}
    if newer is not None:
        known[newer.host] = newer
    return tuple(known[host] for host in sorted(known))


def latest_positions(one: Iterable[HostPosition], other: Iterable[HostPosition]) -> tuple[HostPosition, ...]:
    """Return of each host the position that is further along in time."""
    known: dict[str, HostPosition] = {}
    for position in (*one, *other):
        seen = known.get(position.host)
        if seen is None or position.at >= seen.at:
            known[position.host] = position
    return tuple(known[host] for host in sorted(known))
