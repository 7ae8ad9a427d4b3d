from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.fusion import freshness, fuse

RANKINGS = st.dictionaries(
    st.sampled_from(["lexical", "semantic"]), st.lists(st.integers(0, 50), unique=True), max_size=2
)


def test_a_post_that_both_legs_know_beats_the_first_of_either() -> None:
    fused = fuse({"lexical": [1, 9], "semantic": [2, 9]})
    assert fused[0].key == 9
    assert fused[0].ranks == {"lexical": 2, "semantic": 2}


def test_the_score_is_the_sum_of_reciprocal_ranks() -> None:
    (first, second) = fuse({"lexical": [5, 6], "semantic": [5]}, k=60)
    assert first.score == 1 / 61 + 1 / 61
    assert second.score == 1 / 62


def test_equals_are_ordered_by_what_was_stored_later() -> None:
    assert [entry.key for entry in fuse({"lexical": [3], "semantic": [8]})] == [8, 3]


def test_recency_breaks_near_ties_and_brings_in_nothing_of_its_own() -> None:
    fused = fuse({"lexical": [1, 2]}, freshness={99: 1.0, 2: 1.0, 1: 0.5}, recency_weight=0.25)
    assert [entry.key for entry in fused] == [2, 1]
    assert fused[0].ranks == {"lexical": 2}
    assert fused[0].parts == {"lexical": 1 / 62, "recency": 0.25 / 61}


def test_a_post_is_half_as_fresh_after_each_half_life() -> None:
    assert [freshness(age, 60) for age in (-5, 0, 60, 120)] == [1, 1, 0.5, 0.25]
    assert freshness(10**12, 60) < 1e-9


def test_a_key_named_twice_by_one_leg_counts_once_at_its_better_rank() -> None:
    assert fuse({"lexical": [4, 4, 4]})[0].score == 1 / 61


@given(RANKINGS)
def test_the_fusion_holds_every_key_once_best_first(rankings: dict[str, list[int]]) -> None:
    fused = fuse(rankings, freshness={7: 1.0, 8: 0.1}, recency_weight=0.25)
    keys = [entry.key for entry in fused]
    assert sorted(keys) == sorted({key for ranking in rankings.values() for key in ranking})
    scores = [entry.score for entry in fused]
    assert scores == sorted(scores, reverse=True)
    assert all(entry.score == sum(entry.parts.values()) for entry in fused)


@given(st.lists(st.integers(0, 50), unique=True))
def test_one_leg_alone_keeps_its_order(ranking: list[int]) -> None:
    assert [entry.key for entry in fuse({"lexical": ranking})] == ranking
