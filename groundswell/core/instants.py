"""Instants as people and other programs write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from groundswell.core.posts import Micros

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_datetime(instant: Micros) -> datetime:
    """An aware UTC datetime, exact to the microsecond.

    Raises:
        OverflowError: before year 1 or after year 9999.
    """
    return _EPOCH + timedelta(microseconds=instant)


def from_datetime(moment: datetime) -> Micros:
    """Exact; a naive datetime is an error of the caller.

    Raises:
        TypeError: `moment` has no time zone.
    """
    return (moment - _EPOCH) // _MICROSECOND


def rfc3339(instant: Micros) -> str:
    """RFC 3339 in UTC with a trailing Z; fractions only where there are any."""
    return to_datetime(instant).isoformat().replace("+00:00", "Z")


def parse_rfc3339(text: str) -> Micros:
    """The instant that an RFC 3339 text names.

    Raises:
        ValueError: not RFC 3339, or without an offset: an instant without one is anybody's guess.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no offset: add Z for UTC, for example 2026-07-04T14:38:06Z")
    return from_datetime(moment)
