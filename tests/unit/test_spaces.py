"""Which spaces are asked, how their answers become one, what is embedded anew and what is dropped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.spaces import (
    ENOUGH,
    MOST_SPACES,
    choose_spaces,
    merge_by_share,
    retired,
    to_embed_anew,
)

NAMES = ("best", "fallback", "old", "older", "oldest")
COUNTS = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 10_000))


def test_a_space_that_holds_nearly_everything_is_asked_alone() -> None:
    choice = choose_spaces({"best": 1_000, "old": 5}, ["best", "old"])
    assert choice.spaces == ("best",)


def test_while_posts_are_in_two_spaces_both_are_asked() -> None:
    choice = choose_spaces({"best": 400, "old": 600}, ["best", "old"])
    assert choice.spaces == ("best", "old")
    assert choice.covered == 1


def test_a_space_that_nobody_here_speaks_is_missing_from_what_is_covered() -> None:
    choice = choose_spaces({"best": 750, "fallback": 250}, ["fallback"])
    assert choice.spaces == ("fallback",)
    assert choice.covered == 0.25
    assert choose_spaces({"best": 10}, []).covered == 0


def test_before_the_first_post_the_preferred_space_is_asked() -> None:
    assert choose_spaces({}, ["best", "old"]).spaces == ("best",)
    assert choose_spaces({}, []).covered == 1


@given(COUNTS, st.lists(st.sampled_from(NAMES), unique=True))
def test_any_counts_give_few_readable_spaces_and_a_share_that_adds_up(
    posts: dict[str, int], readable: list[str]
) -> None:
    choice = choose_spaces(posts, readable)
    assert len(choice.spaces) <= MOST_SPACES
    assert set(choice.spaces) <= set(readable)
    assert -1e-9 <= choice.covered <= 1 + 1e-9
    held = sum(posts.get(space, 0) for space in readable)
    if sum(posts.values()) and held == sum(posts.values()) and len(readable) <= MOST_SPACES:
        assert choice.covered >= ENOUGH


def test_a_small_space_has_its_best_among_the_best_and_not_every_second_place() -> None:
    big, small = list(range(100, 120)), list(range(10))
    merged = merge_by_share([(big, 0.9), (small, 0.1)])
    assert merged[0] == 100
    assert 0 in merged[:12]
    assert sum(key < 10 for key in merged[:10]) <= 1
    assert sorted(merged) == sorted([*big, *small])


@given(st.lists(st.tuples(st.lists(st.integers(), unique=True, max_size=20), st.floats(0, 1)), max_size=3))
def test_merging_keeps_every_key_and_each_ranking_s_order(rankings: list[tuple[list[int], float]]) -> None:
    rankings = [
        ([number * 10**6 + n for n in range(len(keys))], share) for number, (keys, share) in enumerate(rankings)
    ]
    merged = merge_by_share(rankings)
    assert sorted(merged) == sorted(key for keys, _ in rankings for key in keys)
    for keys, _ in rankings:
        assert [key for key in merged if key in set(keys)] == list(keys)


def test_a_better_model_s_posts_are_left_alone_while_a_fallback_is_in_use() -> None:
    posts = {"best": 10, "fallback": 10, "old": 10, "empty": 0}
    chain = ["best", "fallback", "last"]
    assert to_embed_anew(posts, "best", chain) == ["fallback", "old"]
    assert to_embed_anew(posts, "fallback", chain) == ["old"]


def test_a_space_is_dropped_when_it_is_empty_and_nothing_would_fill_it() -> None:
    assert retired(["best", "fallback", "old", "older"], {"older": 1}, ["best", "fallback"]) == ["old"]
