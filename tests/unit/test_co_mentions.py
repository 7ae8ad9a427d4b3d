"""Which entities belong to a mover: named with it more often than chance has it, by several people."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.co_mentions import MAX_RELATED, CoMention, Link, Naming, groups, links, related

FED, CUT, BTC = "ticker:FED", "hashtag:ratecut", "ticker:BTC"


def naming(author: int, *entities: str) -> Naming:
    return Naming(f"did:{author}", entities)


def test_what_is_named_together_beyond_chance_is_related() -> None:
    sample = [naming(i, FED, CUT) if i % 2 else naming(i, FED) for i in range(40)]
    (found,) = related(FED, sample, mover_posts=40, mentions={CUT: 25}, total_posts=10_000)
    assert (found.other, found.posts, found.authors) == (CUT, 20, 20)
    assert found.npmi > 0.7
    assert found.g2 > 100


def test_what_everybody_names_anyway_is_not() -> None:
    sample = [naming(i, FED, BTC) if i % 2 else naming(i, FED) for i in range(40)]
    assert related(FED, sample, mover_posts=40, mentions={BTC: 5_000}, total_posts=10_000) == []


def test_what_is_named_less_than_by_chance_is_not() -> None:
    sample = [naming(i, FED, BTC) if i % 10 == 0 else naming(i, FED) for i in range(400)]
    assert related(FED, sample, mover_posts=400, mentions={BTC: 9_000}, total_posts=10_000) == []


def test_one_account_that_names_two_things_over_and_over_links_nothing() -> None:
    sample = [*(naming(0, FED, CUT) for _ in range(50)), *(naming(i, FED) for i in range(1, 40))]
    assert related(FED, sample, mover_posts=89, mentions={CUT: 50}, total_posts=10_000) == []
    sample += [naming(1, FED, CUT), naming(2, FED, CUT)]
    assert [each.authors for each in related(FED, sample, mover_posts=91, mentions={CUT: 52}, total_posts=10_000)] == [
        3
    ]


def test_a_sample_of_a_large_mover_is_held_against_all_that_is_said() -> None:
    """A tenth of the posts was looked at: those that name both elsewhere are the mover's own, not chance."""
    sample = [naming(i, FED, CUT) if i % 4 == 0 else naming(i, FED) for i in range(200)]
    (found,) = related(FED, sample, mover_posts=2_000, mentions={CUT: 520}, total_posts=20_000)
    assert found.npmi == pytest.approx(0.62, abs=0.05)


def test_the_most_certain_come_first_and_no_more_than_can_be_shown() -> None:
    others = [f"hashtag:n{i}" for i in range(30)]
    sample = [naming(i, FED, *others[: 1 + i % 30]) for i in range(300)]
    found = related(FED, sample, mover_posts=300, mentions={}, total_posts=50_000)
    assert len(found) == MAX_RELATED
    assert [each.g2 for each in found] == sorted((each.g2 for each in found), reverse=True)
    assert found[0].other == "hashtag:n0"


@given(
    sample=st.lists(st.tuples(st.integers(0, 5), st.sets(st.sampled_from([FED, CUT, BTC, "name:x"]))), max_size=40),
    mover_posts=st.integers(0, 10_000),
    mentions=st.dictionaries(st.sampled_from([CUT, BTC, "name:x"]), st.integers(0, 10**6)),
    total=st.integers(0, 10**6),
)
def test_any_counts_give_finite_numbers_in_their_ranges(
    sample: list[tuple[int, set[str]]], mover_posts: int, mentions: dict[str, int], total: int
) -> None:
    namings = [naming(author, *sorted(entities)) for author, entities in sample]
    for found in related(FED, namings, mover_posts=mover_posts, mentions=mentions, total_posts=total):
        assert -1 <= found.npmi <= 1
        assert 0 <= found.g2 < float("inf")
        assert found.other != FED


def test_the_order_of_posts_makes_no_difference() -> None:
    sample = [
        naming(i % 17, FED, *(e for n, e in enumerate((CUT, BTC, "name:x")) if i % (n + 2) == 0)) for i in range(90)
    ]
    shuffled = Random(3).sample(sample, len(sample))
    arguments = {"mover_posts": 90, "mentions": {CUT: 60, BTC: 300}, "total_posts": 9_000}
    assert related(FED, sample, **arguments) == related(FED, shuffled, **arguments)  # pyright: ignore


def co(other: str, npmi: float = 0.5, g2: float = 50.0) -> CoMention:
    return CoMention(other, 5, 4, npmi, g2)


def test_a_pair_is_linked_once_whichever_side_saw_it() -> None:
    found = links({FED: [co(CUT, g2=20), co("domain:x.com")], CUT: [co(FED, g2=80)], BTC: []})
    assert found == [Link(CUT, FED, 5, 4, 0.5, 80)]


def test_movers_that_close_links_lead_to_share_a_group_named_for_the_first() -> None:
    movers = [BTC, FED, CUT, "name:x"]
    found = links({BTC: [co("name:x", npmi=0.2)], FED: [], CUT: [co(FED)], "name:x": [co(CUT)]})
    assert groups(movers, found) == {BTC: BTC, FED: FED, CUT: FED, "name:x": FED}
