"""Which parts of a post are marked for a query."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.highlights import MAX_HIGHLIGHTS, highlights
from groundswell.core.posts import Post
from groundswell.core.queries import parse_query


def marked(text: str, query: str) -> list[str]:
    post = Post("at://x", "s", "a", text, 0, "r", 0)
    return [text[start:end] for start, end in highlights(post, parse_query(query))]


@pytest.mark.parametrize(
    ("text", "query", "expected"),
    [
        ("Bitcoin climbs; BITCOIN’s rate", "bitcoin ", ["Bitcoin", "BITCOIN"]),
        ("Bitcoiners like bitcoin", "bitc", ["Bitcoiners", "bitcoin"]),
        ("a rate cut, no cut rate", '"rate cut" ', ["rate cut"]),
        ("a “rate… cut”", '"rate cut"', ["rate… cut"]),
        ("Un café à Málaga", "cafe malaga ", ["café", "Málaga"]),
        ("Große Straße", "strasse ", ["Straße"]),
        ("昨日東京タワーへ", "東京タワー", ["東京タワー"]),
        ("sun☀️ and 👍🏽!", "👍 ☀ ", ["☀️", "👍🏽"]),
        ("$BTC is not BTC; $BTCUSD neither", "$BTC", ["$BTC"]),
        ("go #KCon go", "#kcon", ["#KCon"]),
        ("thanks @Ann.Example.com", "@ann.example.com", ["@Ann.Example.com"]),
        ("at https://example.com/a/b, example.org", "example.com", ["https://example.com/a/b"]),
        ("at https://example.com/a/b", "example.com/a", ["https://example.com/a/b"]),
        ("Trip to New York today", 'name:"New York"', ["New York"]),
        ("says nothing of it", "volcano", []),
        ("fed fed", "-fed ", []),
        ("abcabc", "", []),
    ],
)
def test_what_was_asked_for_is_marked_where_it_stands(text: str, query: str, expected: list[str]) -> None:
    assert marked(text, query) == expected


def test_a_post_has_only_so_many_marks() -> None:
    assert len(marked("no " * 500, "no ")) == MAX_HIGHLIGHTS


ODD = st.text(max_size=100) | st.text(alphabet="aé '東京🎉👍🏽\u200d\ufe0f$#@.\u0301/:-", max_size=60)


@given(ODD, ODD)
def test_marks_lie_in_the_text_in_order_without_overlaps(text: str, query: str) -> None:
    post = Post("at://x", "s", "a", text, 0, "r", 0)
    spans = highlights(post, parse_query(query))
    edges = [edge for span in spans for edge in span]
    assert edges == sorted(set(edges))
    assert not edges or (edges[0] >= 0 and edges[-1] <= len(text))
