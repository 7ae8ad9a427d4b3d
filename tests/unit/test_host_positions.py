"""The host that was read continues where it was; another one is asked from minutes earlier."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.adapters.simulator.chance import tid
from groundswell.core.host_positions import (
    HostCursor,
    HostPosition,
    cursor_for,
    latest_positions,
    with_position,
)
from groundswell.core.jetstream import RESYNCED
from groundswell.core.posts import MICROS_PER_SECOND, Deleted, Ignored, Post
from groundswell.core.resync import MAX_AUTHORS, Resyncs
from groundswell.core.tids import tid_instant

NOW = 1_783_175_880_000_000


def ago(seconds: float) -> int:
    return NOW - round(seconds * MICROS_PER_SECOND)


def test_a_source_that_was_never_read_is_asked_for_the_present() -> None:
    assert cursor_for("a", None, [HostPosition("a", NOW, 5)]) is None


def test_the_host_that_was_read_continues_at_its_number_a_little_early() -> None:
    assert cursor_for("a", NOW, [HostPosition("a", NOW, 1_000_000)]) == HostCursor(ago(5), 995_000)
    assert cursor_for("a", NOW, [HostPosition("a", NOW, 40)]) == HostCursor(ago(5), 1)


def test_a_host_without_numbers_continues_a_few_seconds_early() -> None:
    assert cursor_for("a", NOW, [HostPosition("a", NOW)]) == HostCursor(ago(5))


def test_another_host_is_asked_by_time_from_minutes_earlier() -> None:
    assert cursor_for("b", NOW, [HostPosition("a", NOW, 1_000_000)]) == HostCursor(ago(180))
    assert cursor_for("b", NOW, []) == HostCursor(ago(180)), "it is not known which host was read"


def test_another_host_is_asked_from_earlier_by_as_much_as_the_last_one_was_late() -> None:
    late = HostPosition("a", NOW, 1, behind=600 * MICROS_PER_SECOND)
    assert cursor_for("b", NOW, [late, HostPosition("b", ago(9000), 7)]) == HostCursor(ago(780))
    absurd = HostPosition("a", NOW, 1, behind=10**6 * MICROS_PER_SECOND)
    assert cursor_for("b", NOW, [absurd]) == HostCursor(ago(3780))


def test_a_host_that_was_left_a_moment_ago_continues_where_it_was_left() -> None:
    positions = [HostPosition("a", ago(60), 1_000_000), HostPosition("b", NOW, 3)]
    assert cursor_for("a", NOW, positions) == HostCursor(ago(65), 995_000)


def test_a_host_that_was_left_long_ago_is_asked_by_time() -> None:
    positions = [HostPosition("a", ago(86_400), 1_000_000), HostPosition("b", NOW, 3)]
    assert cursor_for("a", NOW, positions) == HostCursor(ago(180))


def test_the_only_host_is_never_another_one() -> None:
    assert cursor_for("a", NOW, [], alone=True) == HostCursor(ago(5))


@given(
    st.lists(st.builds(HostPosition, st.sampled_from("abc"), st.integers(ago(10**5), NOW), st.none() | st.integers(1))),
    st.sampled_from("abc"),
    st.booleans(),
)
def test_nothing_is_ever_asked_for_from_later_than_it_is_known(
    positions: list[HostPosition], host: str, alone: bool
) -> None:
    found = cursor_for(host, NOW, positions, alone=alone)
    assert found is not None
    assert found.at <= NOW - 5 * MICROS_PER_SECOND
    own = {position.host: position for position in positions}.get(host)
    if found.seq is not None:
        assert own is not None
        assert own.seq is not None
        assert found.seq <= own.seq


def test_positions_are_kept_by_host() -> None:
    a, b, newer = HostPosition("a", 1, 1), HostPosition("b", 2), HostPosition("a", 3, 9)
    assert with_position((b, a), None) == (a, b)
    assert with_position((b, a), newer) == (newer, b)
    assert latest_positions((newer, b), (a,)) == (newer, b)


# ------------------------------------------------------------------ when something was made
def test_a_tid_names_its_instant() -> None:
    assert tid_instant(tid(NOW, 1023)) == NOW
    assert tid_instant("3mptbypcq372f") is not None


@pytest.mark.parametrize("text", ["", "self", "3mptbypcq372", "3mptbypcq372!", "0" * 13, "zzzzzzzzzzzzz", "2" * 13])
def test_what_is_no_tid_names_none(text: str) -> None:
    assert tid_instant(text) is None


@given(st.text(max_size=20))
def test_any_text_is_looked_at_safely(text: str) -> None:
    at = tid_instant(text)
    assert at is None or at > 0


# ------------------------------------------------------------------ a repository that is read anew
def row(written: int, seen: int = NOW, author: str = "did:plc:a", rkey: str | None = None) -> Post:
    post_id = f"at://{author}/app.bsky.feed.post/{rkey or tid(written, 1)}"
    return Post(id=post_id, source="x", author=author, text="", event_time=seen, rev="9", cursor=seen)


def test_posts_of_a_repository_that_is_read_anew_land_when_they_were_written() -> None:
    resyncs = Resyncs()
    assert resyncs.dated(row(ago(5000))).event_time == NOW, "without a sync, a host's time stands"
    resyncs.begin("did:plc:a", NOW)
    dated = resyncs.dated(row(ago(5000)))
    assert (dated.event_time, dated.cursor) == (ago(5000), NOW)
    assert resyncs.dated(row(ago(5000), author="did:plc:b")).event_time == NOW
    assert resyncs.dated(row(ago(3))).event_time == NOW, "written now"


def test_years_of_old_posts_are_left_out() -> None:
    resyncs = Resyncs()
    resyncs.begin("did:plc:a", NOW)
    assert resyncs.dated(row(ago(40 * 3600))) == Ignored(RESYNCED, NOW, NOW)
    assert resyncs.dated(row(NOW, rkey="self")) == Ignored(RESYNCED, NOW, NOW), "nothing says when it was written"


def test_a_while_after_a_sync_everything_is_as_before() -> None:
    resyncs = Resyncs()
    resyncs.begin("did:plc:a", ago(601))
    assert resyncs.dated(row(ago(5000))).event_time == NOW


def test_deletes_are_dated_as_ever_and_memory_is_bounded() -> None:
    resyncs = Resyncs()
    for n in range(MAX_AUTHORS + 5):
        resyncs.begin(f"did:plc:{n}", NOW)
    assert resyncs.dated(row(ago(5000), author="did:plc:0")).event_time == NOW
    assert resyncs.dated(row(ago(5000), author="did:plc:9")).event_time == ago(5000)
    gone = Deleted(source="x", author="did:plc:9", event_time=NOW, cursor=NOW)
    assert resyncs.dated(gone) is gone
