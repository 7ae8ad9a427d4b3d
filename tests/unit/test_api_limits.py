"""How requests are counted, and whose word is taken for where they come from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.api.limits import MAX_CLIENTS, RateLimiter, TrustedProxies


@given(st.integers(1, 1000), st.lists(st.floats(0, 30), min_size=1, max_size=200))
def test_no_client_makes_more_requests_than_its_bucket_and_its_refill(per_minute: int, waits: list[float]) -> None:
    limiter = RateLimiter(per_minute)
    now, allowed = 0.0, 0
    for wait in waits:
        now += wait
        allowed += limiter.take("a", now).allowed
    assert allowed <= per_minute + per_minute * now / 60 + 1e-6


def test_who_waits_as_long_as_told_is_let_in() -> None:
    limiter = RateLimiter(7)
    now = 0.0
    while (allowance := limiter.take("a", now)).allowed:
        pass
    assert limiter.take("a", now + allowance.retry_after_s).allowed


def test_one_client_does_not_spend_the_requests_of_another() -> None:
    limiter = RateLimiter(1)
    assert limiter.take("a", 0).allowed
    assert not limiter.take("a", 0).allowed
    assert limiter.take("b", 0).allowed


def test_a_flood_of_addresses_does_not_fill_the_memory() -> None:
    limiter = RateLimiter(1)
    for n in range(MAX_CLIENTS + 100):
        limiter.take(str(n), 0)
    assert len(limiter._buckets) == MAX_CLIENTS  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", ["1.1.1.1"], "203.0.113.9"),
        ("10.0.0.1", ["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["203.0.113.9", "10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["nonsense"], "nonsense"),
        (None, ["1.1.1.1"], "unknown"),
        ("2001:db8:1:2:3:4:5:6", [], "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.9", [], "203.0.113.9"),
    ],
)
def test_only_trusted_proxies_say_for_whom_they_speak(peer: str | None, forwarded: list[str], client: str) -> None:
    assert TrustedProxies(["10.0.0.0/8"]).client_of(peer, forwarded) == client


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", ["for=1.1.1.1"], "203.0.113.9"),
        (
            "10.0.0.1",
            ["by=10.0.0.3;for=203.0.113.9;host=x.execute-api.us-east-1.amazonaws.com;proto=https"],
            "203.0.113.9",
        ),
        ("10.0.0.1", ["for=1.1.1.1, For=203.0.113.9;proto=https"], "203.0.113.9"),
        ("10.0.0.1", ["for=203.0.113.9", "for=10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["for=203.0.113.9:4711"], "203.0.113.9"),
        ("10.0.0.1", ['for="[2001:db8:1:2::9]:4711"'], "2001:db8:1:2::/64"),
        ("10.0.0.1", ["proto=https"], "10.0.0.1"),
    ],
)
def test_proxies_that_write_forwarded_are_read_by_its_form(peer: str, forwarded: list[str], client: str) -> None:
    assert TrustedProxies(["10.0.0.0/8"], "forwarded").client_of(peer, forwarded) == client
