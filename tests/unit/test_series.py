"""How a history is planned: its bounds, its buckets, and which counts it is made from."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.instants import parse_rfc3339
from groundswell.core.posts import MICROS_PER_SECOND, Micros
from groundswell.core.series import (
    MAX_BUCKETS,
    RESOLUTIONS_S,
    SeriesRequest,
    format_duration,
    parse_duration,
    plan_series,
)
from groundswell.errors import InvalidRequest

NOW = parse_rfc3339("2026-07-04T14:38:06Z")
HOUR, DAY = 3600, 86_400
EVERYTHING: Mapping[int, Micros | None] = {}


def ago(seconds: float) -> Micros:
    return NOW - round(seconds * MICROS_PER_SECOND)


KEPT: Mapping[int, Micros | None] = {
    60: ago(2 * DAY) // (HOUR * MICROS_PER_SECOND) * HOUR * MICROS_PER_SECOND,
    300: ago(14 * DAY) // (300 * MICROS_PER_SECOND) * 300 * MICROS_PER_SECOND,
    3600: ago(60 * DAY) // (HOUR * MICROS_PER_SECOND) * HOUR * MICROS_PER_SECOND,
    86_400: ago(700 * DAY) // (DAY * MICROS_PER_SECOND) * DAY * MICROS_PER_SECOND,
}


def refused(field: str, request: SeriesRequest, horizons: Mapping[int, Micros | None] = KEPT) -> str:
    with pytest.raises(InvalidRequest) as caught:
        plan_series(request, NOW, horizons)
    assert caught.value.field == field, caught.value.detail
    return caught.value.detail


def test_an_hour_in_minutes_is_sixty_buckets_up_to_the_minute_that_has_just_begun() -> None:
    plan = plan_series(SeriesRequest(window_s=HOUR, bucket_s=60), NOW, EVERYTHING)
    assert plan.until == parse_rfc3339("2026-07-04T14:39:00Z")
    assert plan.since == parse_rfc3339("2026-07-04T13:39:00Z")
    assert (plan.resolution_s, plan.end, plan.as_of) == (60, NOW, None)


def test_bounds_that_were_given_are_widened_to_whole_buckets() -> None:
    request = SeriesRequest(
        since=parse_rfc3339("2026-07-04T10:20:00Z"), until=parse_rfc3339("2026-07-04T12:40:00Z"), bucket_s=HOUR
    )
    plan = plan_series(request, NOW, EVERYTHING)
    assert (plan.since, plan.until) == (parse_rfc3339("2026-07-04T10:00:00Z"), parse_rfc3339("2026-07-04T13:00:00Z"))


@pytest.mark.parametrize(
    ("window_s", "bucket_s"),
    [
        (HOUR, 60),
        (6 * HOUR, 300),
        (2 * DAY, 900),
        (7 * DAY, HOUR),
        (30 * DAY, 6 * HOUR),
        (200 * DAY, DAY),
        (900 * DAY, 7 * DAY),
    ],
)
def test_a_bucket_that_nobody_chose_suits_a_chart(window_s: int, bucket_s: int) -> None:
    assert plan_series(SeriesRequest(window_s=window_s), NOW, EVERYTHING).bucket_s == bucket_s


def test_a_bucket_that_nobody_chose_is_as_long_as_what_is_kept_needs() -> None:
    request = SeriesRequest(since=ago(20 * DAY), until=ago(20 * DAY - HOUR))
    assert plan_series(request, NOW, KEPT).bucket_s == HOUR
    ancient = SeriesRequest(since=ago(100 * DAY), until=ago(99 * DAY))
    assert plan_series(ancient, NOW, KEPT).bucket_s == DAY


def test_longer_buckets_are_made_from_the_longest_counts_that_divide_them() -> None:
    assert plan_series(SeriesRequest(window_s=5 * DAY, bucket_s=2 * HOUR), NOW, KEPT).resolution_s == HOUR
    assert plan_series(SeriesRequest(window_s=5 * DAY, bucket_s=10 * 60), NOW, KEPT).resolution_s == 300
    assert plan_series(SeriesRequest(window_s=DAY, bucket_s=7 * 60), NOW, KEPT).resolution_s == 60


def test_time_travel_ends_at_its_instant_to_the_minute_or_to_what_is_kept() -> None:
    recent = plan_series(SeriesRequest(window_s=HOUR, bucket_s=300, as_of=ago(HOUR + 5)), NOW, KEPT)
    assert recent.end == recent.as_of == parse_rfc3339("2026-07-04T13:38:00Z")
    assert recent.until == parse_rfc3339("2026-07-04T13:40:00Z")
    old = plan_series(SeriesRequest(window_s=DAY, bucket_s=HOUR, as_of=ago(10 * DAY)), NOW, KEPT)
    assert old.end == old.as_of == parse_rfc3339("2026-06-24T14:35:00Z")
    assert old.resolution_s == 300
    older = plan_series(SeriesRequest(window_s=DAY, bucket_s=HOUR, as_of=ago(30 * DAY)), NOW, KEPT)
    assert (older.end, older.until) == (parse_rfc3339("2026-06-04T14:00:00Z"),) * 2
    assert older.until - older.since == DAY * MICROS_PER_SECOND


def test_a_history_begins_where_the_longest_buckets_do() -> None:
    plan = plan_series(SeriesRequest(window_s=900 * DAY, bucket_s=DAY), NOW, KEPT)
    assert plan.since == KEPT[86_400]


def test_what_cannot_be_answered_names_the_parameter_at_fault() -> None:
    refused("window", SeriesRequest(window_s=HOUR, since=ago(HOUR)))
    refused("until", SeriesRequest(since=ago(10), until=ago(20)))
    refused("until", SeriesRequest(since=ago(10), until=ago(10)))
    refused("since", SeriesRequest(since=NOW + 1))
    refused("since", SeriesRequest(since=ago(10), as_of=ago(20)))
    refused("as_of", SeriesRequest(as_of=NOW + 1))
    refused("window", SeriesRequest(window_s=4000 * DAY))
    refused("since", SeriesRequest(since=ago(4000 * DAY)))
    refused("since", SeriesRequest(since=-1))
    refused("until", SeriesRequest(until=-5))
    refused("as_of", SeriesRequest(as_of=0))
    refused("bucket", SeriesRequest(window_s=DAY, bucket_s=90))
    refused("as_of", SeriesRequest(as_of=ago(800 * DAY)))


def test_too_many_buckets_are_refused_with_a_length_that_works() -> None:
    detail = refused("bucket", SeriesRequest(window_s=30 * DAY, bucket_s=60))
    assert "43200 buckets" in detail
    assert "bucket=1h" in detail
    assert plan_series(SeriesRequest(window_s=30 * DAY, bucket_s=HOUR), NOW, KEPT).bucket_s == HOUR


def test_buckets_finer_than_what_is_kept_are_refused_with_a_length_that_works() -> None:
    asked = SeriesRequest(since=ago(5 * DAY), until=ago(4.5 * DAY), bucket_s=60)
    assert "bucket=5m" in refused("bucket", asked)
    asked = SeriesRequest(since=ago(20 * DAY), until=ago(19.5 * DAY), bucket_s=900)
    assert "bucket=1h" in refused("bucket", asked)


def test_lengths_of_time_are_read_and_written() -> None:
    assert [parse_duration(text) for text in ("1m", "90m", "6h", "30d")] == [60, 5400, 21_600, 30 * DAY]
    assert [format_duration(s) for s in (60, 5400, 21_600, 30 * DAY)] == ["1m", "90m", "6h", "30d"]
    for text in ("", "0m", "01m", "1s", "h", "1.5h", "-1h", "1 h", "1h\n", "１h", "123456m"):
        with pytest.raises(ValueError, match="no length of time"):
            parse_duration(text)


@given(
    window_s=st.none() | st.integers(1, 9999).map(lambda n: n * 60),
    since=st.none() | st.integers(0, 900 * DAY).map(ago),
    until=st.none() | st.integers(-DAY, 900 * DAY).map(ago),
    bucket_s=st.none() | st.integers(1, 3000).map(lambda n: n * 60),
    as_of=st.none() | st.integers(0, 900 * DAY).map(ago),
    kept=st.booleans(),
)
def test_any_request_is_refused_by_name_or_answered_from_counts_that_are_kept(
    window_s: int | None, since: int | None, until: int | None, bucket_s: int | None, as_of: int | None, kept: bool
) -> None:
    horizons = KEPT if kept else EVERYTHING
    request = SeriesRequest(window_s, since, until, bucket_s, as_of)
    try:
        plan = plan_series(request, NOW, horizons)
    except InvalidRequest as error:
        assert error.field in ("window", "since", "until", "bucket", "as_of")
        return
    step = plan.bucket_s * MICROS_PER_SECOND
    assert plan.since % step == plan.until % step == 0
    assert plan.since < min(plan.until, plan.end)
    assert (plan.until - plan.since) // step <= MAX_BUCKETS + 2
    assert plan.bucket_s == bucket_s or bucket_s is None
    assert plan.resolution_s in RESOLUTIONS_S
    assert plan.bucket_s % plan.resolution_s == 0
    assert (horizons.get(plan.resolution_s) or plan.since) <= plan.since
    assert plan.end <= (NOW if as_of is None else as_of)
