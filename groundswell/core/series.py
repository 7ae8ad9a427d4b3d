"""What a history is asked for and how it can be answered: its bounds, its buckets, and the counts to make them from.

Counts are kept by the minute for a while and in longer and longer buckets after that (`RESOLUTIONS_S`). Each resolution
can be answered from an instant of its own on, its *horizon*. A bucket is made from the counts of any resolution that
divides it, so a plan picks one whose horizon lies before the history begins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from groundswell.core.instants import rfc3339
from groundswell.core.posts import MICROS_PER_MINUTE, MICROS_PER_SECOND, Micros
from groundswell.errors import InvalidRequest

RESOLUTIONS_S: Final = (60, 300, 3600, 86_400)
"""Lengths of the buckets in which counts are stored, in seconds; each divides the next."""
DURATION: Final = r"^[1-9][0-9]{0,4}[mhd]$"
"""Pattern of a length of time: whole minutes, hours or days."""
MAX_BUCKETS = 1500
CHART_BUCKETS = 240
"""About what a chart can show: how many buckets there are at most where nobody chose their length."""
MAX_SPAN_S = 3660 * 86_400
DEFAULT_WINDOW_S = 3600
BUCKETS_S: Final = (60, 300, 900, 3600, 21_600, 86_400, 7 * 86_400, 30 * 86_400)
"""Lengths to choose from where nobody chose one."""

_UNITS: Final = {"m": 60, "h": 3600, "d": 86_400}


class SeriesRequest(msgspec.Struct, frozen=True):
    """Which history is asked for. Not both of `since` and `window_s`; what is None is chosen to suit."""

    window_s: int | None = None
    since: Micros | None = None
    """Inclusive."""
    until: Micros | None = None
    """Exclusive; None: up to now, or up to `as_of`."""
    bucket_s: int | None = None
    as_of: Micros | None = None
    """Time travel: only what had happened by then counts."""


class SeriesPlan(msgspec.Struct, frozen=True):
    """How a history is answered. Buckets start at multiples of `bucket_s` since 1970."""

    since: Micros
    until: Micros
    bucket_s: int
    resolution_s: int
    """The resolution of the counts that older parts are made from."""
    end: Micros
    """What happened from here on is left out: now, or the instant that was asked for, as exactly as counts know it."""
    as_of: Micros | None
    """`end`, where the past was asked for."""


def parse_duration(text: str) -> int:
    """Seconds of a length of time that matches `DURATION`, such as `15m`, `6h`, `30d`.

    Raises:
        ValueError: it does not.
    """
    if not re.fullmatch(DURATION, text, re.ASCII):
        raise ValueError(f"{text!r} is no length of time: write whole minutes, hours or days, such as 15m, 6h or 30d")
    return int(text[:-1]) * _UNITS[text[-1]]


def format_duration(seconds: int) -> str:
    """Whole minutes in the longest unit that says them exactly: 3600 is `1h`, 5400 is `90m`."""
    unit = next(u for u in ("d", "h", "m") if seconds % _UNITS[u] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def plan_series(request: SeriesRequest, now: Micros, horizons: Mapping[int, Micros | None]) -> SeriesPlan:
    """How to answer `request` at `now`.

    Args:
        horizons: by resolution in seconds, from when on it can be answered; None: from the beginning.

    Raises:
        InvalidRequest: the request cannot be answered; `field` names the parameter at fault.
    """
    start, stop, present = _bounds(request, now)
    bucket_s = request.bucket_s
    if bucket_s is None:
        bucket_s = _suiting_bucket(start, stop, horizons)
    else:
        _check_bucket(bucket_s, start, stop)
    by_window, past = request.since is None, request.as_of is not None
    since, until = _aligned(start, stop, bucket_s, by_window=by_window)
    resolution = _resolution(bucket_s, since, horizons, finest=past)
    if resolution is None:
        resolution = next(r for r in reversed(RESOLUTIONS_S) if bucket_s % r == 0)
        if request.bucket_s is not None and resolution < RESOLUTIONS_S[-1]:
            raise InvalidRequest(_too_fine(bucket_s, since, horizons), field="bucket")
    end = present
    if past:
        end = _end(present, resolution, horizons)
        if end < stop:
            since, until = _aligned(start - (stop - end if by_window else 0), end, bucket_s, by_window=by_window)
    horizon = horizons.get(resolution)
    if horizon is not None and since < horizon:
        since = _ceil(horizon, bucket_s)  # nothing coarser is kept: the history begins where it can
    if since >= min(until, end):
        raise InvalidRequest(
            f"Nothing can be said of so short a time so long ago: from {rfc3339(since)} on, counts are kept in buckets "
            f"of {format_duration(resolution)}.",
            field="as_of" if past else "until" if request.until is not None else "window",
        )
    return SeriesPlan(since, until, bucket_s, resolution, end, end if past else None)


def _bounds(request: SeriesRequest, now: Micros) -> tuple[Micros, Micros, Micros]:
    """Where the history starts and stops, and the present that it is seen from."""
    if request.as_of is not None and request.as_of > now:
        raise InvalidRequest(f"as_of lies in the future: it is {rfc3339(now)} now.", field="as_of")
    if request.since is not None and request.window_s is not None:
        raise InvalidRequest("window says how far back from the end, since says where from: give one.", field="window")
    present = now if request.as_of is None else request.as_of
    stop = present if request.until is None else min(request.until, present)
    if request.since is not None:
        if request.until is not None and request.since >= request.until:
            raise InvalidRequest("until lies before since, or at it: nothing is between them.", field="until")
        if request.since >= stop:
            raise InvalidRequest(f"since lies after the end of what is known, {rfc3339(stop)}.", field="since")
        start = request.since
    else:
        start = stop - (request.window_s or DEFAULT_WINDOW_S) * MICROS_PER_SECOND
    if start < 0:
        field = "since" if request.since is not None else "until" if request.until is not None else "as_of"
        raise InvalidRequest("That is before 1970: nothing was watched then.", field=field)
    if stop - start > MAX_SPAN_S * MICROS_PER_SECOND:
        field = "window" if request.since is None else "since"
        raise InvalidRequest(f"A history is of {MAX_SPAN_S // 86_400} days at most: ask for less.", field=field)
    return start, stop, present


def _check_bucket(bucket_s: int, start: Micros, stop: Micros) -> None:
    if bucket_s % 60:
        raise InvalidRequest("A bucket is of whole minutes.", field="bucket")
    span_s = (stop - start) // MICROS_PER_SECOND
    if bucket_s > MAX_SPAN_S:
        raise InvalidRequest(f"A bucket is of {MAX_SPAN_S // 86_400} days at most.", field="bucket")
    if span_s > MAX_BUCKETS * bucket_s:
        least = next((b for b in BUCKETS_S if span_s <= MAX_BUCKETS * b), BUCKETS_S[-1])
        raise InvalidRequest(
            f"That is {span_s // bucket_s} buckets, and {MAX_BUCKETS} are the limit: ask for less time, or for "
            f"bucket={format_duration(least)}.",
            field="bucket",
        )


def _suiting_bucket(start: Micros, stop: Micros, horizons: Mapping[int, Micros | None]) -> int:
    span = stop - start
    fitting = [b for b in BUCKETS_S if span <= CHART_BUCKETS * b * MICROS_PER_SECOND]
    for bucket_s in fitting:
        step = bucket_s * MICROS_PER_SECOND
        if _resolution(bucket_s, start // step * step, horizons, finest=False) is not None:
            return bucket_s
    return next(b for b in fitting if b % RESOLUTIONS_S[-1] == 0)


def _aligned(start: Micros, stop: Micros, bucket_s: int, *, by_window: bool) -> tuple[Micros, Micros]:
    step = bucket_s * MICROS_PER_SECOND
    until = _ceil(stop, bucket_s)
    # A window of an hour in buckets of a minute is sixty buckets, the last of which has just begun.
    return until - _ceil(stop - start, bucket_s) if by_window else start // step * step, until


def _ceil(instant: Micros, step_s: int) -> Micros:
    step = step_s * MICROS_PER_SECOND
    return -(-instant // step) * step


def _resolution(bucket_s: int, since: Micros, horizons: Mapping[int, Micros | None], *, finest: bool) -> int | None:
    """The coarsest resolution (the least to read) that the buckets can be made from; or the finest."""
    order = RESOLUTIONS_S if finest else tuple(reversed(RESOLUTIONS_S))
    for resolution in order:
        horizon = horizons.get(resolution)
        if bucket_s % resolution == 0 and (horizon is None or horizon <= since):
            return resolution
    return None


def _end(as_of: Micros, resolution_s: int, horizons: Mapping[int, Micros | None]) -> Micros:
    """`as_of` as exactly as the counts around it are kept: to the minute, or to the resolution."""
    minutes_from = horizons.get(RESOLUTIONS_S[0])
    to_the_minute = as_of // MICROS_PER_MINUTE * MICROS_PER_MINUTE
    if minutes_from is None or to_the_minute >= minutes_from:
        return to_the_minute
    step = resolution_s * MICROS_PER_SECOND
    return as_of // step * step


def _too_fine(bucket_s: int, since: Micros, horizons: Mapping[int, Micros | None]) -> str:
    coarser = next(
        (r for r in RESOLUTIONS_S if r > bucket_s and ((found := horizons.get(r)) is None or found <= since)),
        RESOLUTIONS_S[-1],
    )
    possible = [horizons.get(r) for r in RESOLUTIONS_S if bucket_s % r == 0]
    kept_from = min((horizon for horizon in possible if horizon is not None), default=since)
    return (
        f"Counts that old are kept in longer buckets only: {format_duration(bucket_s)} can be answered from "
        f"{rfc3339(kept_from)} on. Ask for bucket={format_duration(coarser)}, or for a later time."
    )
