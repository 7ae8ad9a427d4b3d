"""Which texts count as copies of one."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.near_duplicates import (
    NEAR_BITS,
    distance,
    fingerprint,
    fingerprints,
    group,
    is_near,
    normalised,
    repeated_share,
)

POST = "Bitcoin breaks through the old high while the market waits for the Fed to say what comes next"
TWEETS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "tweets-sample.txt"


@pytest.mark.parametrize(
    "copy",
    [
        POST.upper(),
        f"RT @someone: {POST}",
        f"{POST} https://t.co/Ab3xYz",
        f"@ann @bob.example.com {POST}!!!",
        POST.replace(" ", "\n  "),
        f"“{POST}…” 🚀🚀",
    ],
)
def test_a_copy_has_the_fingerprint_of_its_original(copy: str) -> None:
    assert fingerprint(copy) == fingerprint(POST)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (POST, POST.replace("old", "previous")),
        (POST, f"{POST} $BTC"),
        (
            "東京タワーの近くで大きな花火大会が始まりました。駅からの道はもう人でいっぱいで、なかなか前に進めません",
            "東京タワーの近くで大きな花火大会が始まりました。駅からの道はもう人でいっぱいで、なかなか前に進めませんよ",
        ),
        ("نتائج الانتخابات الرئاسية تعلن اليوم في العاصمة", "نتائج الانتخابات الرئاسية تعلن اليوم في العاصمة الآن"),
    ],
)
def test_a_near_copy_is_near(one: str, other: str) -> None:
    assert is_near(fingerprint(one), fingerprint(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (POST, "The Fed says what comes next, and the market does not like any of it this time around"),
        ("good morning", "good night"),
        ("🎉🎉🎉", "😂😂😂"),
        ("https://example.com/a", "https://example.com/b"),
        ("Apple beats estimates in the third quarter", "Tesla misses estimates in the fourth quarter"),
        ("東京は雨です", "大阪は晴れです"),
        ("5", "6"),
    ],
)
def test_another_text_is_not_near(one: str, other: str) -> None:
    assert not is_near(fingerprint(one), fingerprint(other))


def test_what_is_left_without_words_is_compared_as_it_stands() -> None:
    assert normalised("  🎉  🎉 ") == "🎉 🎉"
    assert normalised("") == normalised(" \n ") == " "
    assert fingerprint("🎉 🎉") == fingerprint("🎉\n🎉 ")


def test_fingerprints_never_change() -> None:
    """They are stored: another value for the same text would make new posts strangers to their stored copies."""
    assert fingerprints([POST, "", "東京タワー", "🎉"]) == [
        5707052686169729585,
        -7733567929116600798,
        -212959711579687924,
        6940187838583107954,
    ]


@given(st.lists(st.text(max_size=300), max_size=150))
def test_any_texts_have_64_bit_fingerprints_whatever_they_are_computed_with(texts: list[str]) -> None:
    together = fingerprints(texts)
    assert together == [fingerprint(text) for text in texts]
    assert all(-(2**63) <= found < 2**63 for found in together)


@given(st.text(st.characters(), max_size=100))
def test_the_normalised_form_is_never_empty_and_normal_already(text: str) -> None:
    form = normalised(text)
    assert form
    assert normalised(form) == form


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
def test_distance_counts_differing_bits(one: int, other: int) -> None:
    assert distance(one, one) == 0
    assert distance(one, other) == distance(other, one) == bin((one ^ other) & (2**64 - 1)).count("1")


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3), max_size=40))
def test_groups_are_led_by_the_first_that_is_near(prints: list[int]) -> None:
    found = group(prints)
    for position, leader in enumerate(found):
        assert found[leader] == leader <= position
        assert is_near(prints[position], prints[leader])
        assert not any(found[k] == k and is_near(prints[position], prints[k]) for k in range(leader))


def test_a_chain_of_small_changes_does_not_join_its_ends() -> None:
    steps = [0, 0b1111111, 0b11111111111111]
    assert [distance(a, b) for a, b in pairwise(steps)] == [NEAR_BITS, NEAR_BITS]
    assert group(steps) == [0, 0, 2]


def test_the_repeated_share_counts_each_text_once() -> None:
    different = fingerprints(["rain all week", "a goal in the last minute", "polls close at eight"])
    assert repeated_share([]) == 0
    assert repeated_share(different) == 0
    assert repeated_share(different[:1] * 10) == pytest.approx(0.9)
    assert repeated_share([*different, *different]) == pytest.approx(0.5)


def test_among_real_posts_only_copies_are_near() -> None:
    if not TWEETS.exists():
        pytest.skip(f"{TWEETS} is not there")
    texts = TWEETS.read_text("utf-8").splitlines()
    sample = random.Random(7).sample(texts, 2_000)
    near = [(sample[leader], sample[i]) for i, leader in enumerate(group(fingerprints(sample))) if leader != i]
    assert len(near) <= 20
    for one, other in near:
        assert set(normalised(one).split()) & set(normalised(other).split())
