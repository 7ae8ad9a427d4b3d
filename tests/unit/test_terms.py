"""How texts are cut into terms, for posts, queries and highlights alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.terms import MAX_POSITIONS, chain, fold, link_term, search_vector, terms

ODD = st.text(max_size=200) | st.text(alphabet="aé'\\:, \n東京ทั🎉👍🏽\u200d\ufe0f.x/@#://www", max_size=80)


def words(text: str) -> list[str]:
    return [term.text for term in chain(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("“Rate cut” — the Fed’s move…now", ["rate", "cut", "the", "fed", "s", "move", "now"]),
        ("МОСКВА Ёлка ΟΔΟΣ Ελλάδα", ["москва", "елка", "οδοσ", "ελλαδα"]),
        ("Café CAFÉ ｃａｆｅ São-Paulo", ["cafe", "cafe", "cafe", "sao", "paulo"]),
        ("İstanbul Straße", ["istanbul", "strasse"]),
        ("हिंदी समाचार", ["हिंदी", "समाचार"]),
        ("مُحَمَّد، مرحبا", ["محمد", "مرحبا"]),
        ("hot🎉party 👍🏽 🇩🇪❤️", ["hot", "🎉", "party", "👍", "🇩🇪", "❤"]),
        ("東京タワー", ["東京", "京タ", "タワ", "ワー"]),
        ("猫", ["猫"]),
        ("iPhone発売", ["iphone", "発売"]),
        ("ｶﾞﾝﾀﾞﾑ", words("ガンダム")),
        ("สวัสดี", ["สวั", "วัส", "สดี"]),
        ("COVID-19 foo_bar", ["covid", "19", "foo", "bar"]),
        ("… — !?", []),
    ],
)
def test_words_of_any_script_are_found_without_what_surrounds_them(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_a_part_of_a_text_without_spaces_is_a_chain_in_it() -> None:
    whole = {(term.text, term.position) for term in terms("昨日東京タワーで花火を見た")}
    for part in ("東京", "東京タワー", "花火", "花", "花火を見た"):
        first = next(place for text, place in sorted(whole) if text == chain(part)[0].text)
        assert {(term.text, term.position - chain(part)[0].position + first) for term in chain(part)} <= whole


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("https://www.Example.com/Deep/page?x=1.", "example.com/deep/page?x=1"),
        ("example.com/", "example.com"),
        ("http://münchen.de/a", "munchen.de/a"),
        ("x.com", "x.com"),
        ("a.b", None),
        ("e.g", None),
        ("https://", None),
        ("two words.com", None),
        ("someone@example.com", None),
    ],
)
def test_a_link_is_one_term(text: str, term: str | None) -> None:
    assert link_term(text) == term


def test_a_link_in_a_text_is_found_as_a_whole_by_its_host_and_by_its_words() -> None:
    text = "see https://www.Example.com/deep/page."
    found = {term.text: text[term.start : term.end] for term in terms(text)}
    assert found["example.com/deep/page"] == found["example.com"] == "https://www.Example.com/deep/page"
    assert found["deep"] == "deep"


@given(ODD)
def test_any_text_is_cut_into_terms_that_lie_where_they_say(text: str) -> None:
    found = terms(text)
    assert all(0 <= term.start < term.end <= len(text) for term in found)
    assert all(term.text and not set(term.text) & set(" \0\t\n") for term in found)
    positions = [term.position for term in found]
    assert positions == sorted(positions)
    assert not positions or positions[0] == 1
    assert {term.text for term in chain(text)} <= {term.text for term in found} | {"http", "https", "www"}


@given(st.text(st.characters(max_codepoint=127), max_size=60))
def test_what_follows_a_text_does_not_change_how_it_is_cut(text: str) -> None:
    assert terms(f"{text} été")[:-1] == terms(text)


@given(ODD)
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)


def test_a_vector_is_written_as_postgres_reads_it() -> None:
    assert search_vector("Rate cut, rate!") == "rate:1 cut:2 rate:3"
    assert search_vector("l'été") == "'l':1 'ete':2"
    assert search_vector("") == ""
    assert search_vector("a " * 2 * MAX_POSITIONS).count(":") == MAX_POSITIONS


@pytest.mark.parametrize(
    ("written", "typed"),
    [
        ("Łódź", "Lodz"),
        ("co\u00adoper\u00adation", "cooperation"),
        ("Ørsted", "orsted"),
        ("Đà Nẵng", "da nang"),
        ("Straße", "STRASSE"),
        ("İSTANBUL", "istanbul"),
        ("IŞIK", "ışık"),
        ("œuvre", "oeuvre"),
        ("Þór", "thor"),
        ("fi\u200bre", "fire"),
        ("\u202bשלום\u202c", "שלום"),
        ("bom\ufeffmark", "bommark"),
        ("東\u200b京", "東京"),
        ("ไทย\u200bแลนด์", "ไทยแลนด์"),
        ("ﬁre", "fire"),
    ],
)
def test_a_word_is_found_as_people_type_it(written: str, typed: str) -> None:
    def found(text: str) -> list[str]:
        return [term.text for term in chain(text)]

    assert found(written) == found(typed)
    assert {term.text for term in terms(f"so {written} it is")} >= set(found(typed))
