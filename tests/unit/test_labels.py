"""A label says what a mover's posts have in common that others do not, in the words of several people."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.labels import MAX_PHRASE_CHARACTERS, MAX_PHRASES, MIN_AUTHORS, Background, Label, Said, label_of

COMMON = [
    *("the", "of", "and", "a", "to", "in", "is", "you", "that", "it", "he", "was", "for", "on", "are", "as", "with"),
    *("i", "at", "be", "this", "have", "from", "or", "one", "had", "by", "but", "not", "what", "all", "were", "we"),
    *("when", "your", "can", "said", "there", "use", "an", "each", "which", "she", "do", "how", "their", "if", "will"),
    *("up", "other", "about", "out", "many", "then", "them", "these", "so", "some", "her", "would", "make", "like"),
    *("him", "into", "time", "has", "look", "two", "more", "go", "see", "no", "way", "could", "my", "than", "his"),
]
THINGS = [
    f"{first}{second}"
    for first in ("wal", "bro", "ten", "mi", "sa", "pol")
    for second in ("ker", "ton", "der", "nes", "ra", "vik", "low", "mat")
]


def chatter(number: int) -> str:
    """Ten of the words that everybody uses, and three that are about something."""
    chance = Random(number)
    return " ".join([*chance.choices(COMMON, k=10), *chance.choices(THINGS, k=3)])


def said(author: int, text: str, lang: str | None = "en") -> Said:
    return Said(f"did:{author}", text, lang)


def background(*more: tuple[Said, tuple[str, ...]]) -> Background:
    return Background([*((said(i, chatter(i)), ()) for i in range(1, 400)), *more])


def surge(*endings: str, start: str = "wow the fed announced an emergency rate cut") -> list[Said]:
    extras = endings or (
        "right now",
        "unbelievable",
        "this is huge",
        "markets go crazy",
        "did not expect this",
        "about time",
    )
    return [said(i, f"{start} {extras[i % len(extras)]} {'!' * (i % 3)}") for i in range(24)]


def test_the_phrase_that_the_posts_share_is_the_label_without_the_words_that_everybody_uses() -> None:
    label = label_of("ticker:FED", "FED", surge(), background())
    assert label is not None
    assert "emergency rate cut" in label.text
    for each in label.phrases:
        assert not {each.phrase.split()[0].lower(), each.phrase.split()[-1].lower()} & {*COMMON, "fed"}
    assert (label.posts, label.authors) == (24, 24)


def test_words_keep_the_spelling_that_most_people_use() -> None:
    posts = [said(i, f"Jerome Powell speaks about {i}") for i in range(9)] + [said(9, "jerome powell, again")]
    label = label_of("ticker:FED", "FED", posts, background())
    assert label is not None
    assert label.phrases[0].phrase == "Jerome Powell speaks"


def test_a_phrase_of_fewer_than_three_authors_is_never_part_of_a_label() -> None:
    shouting = [said(0, f"vile slogan number {i}") for i in range(60)] + [said(1, "vile slogan"), said(2, "calm")]
    assert label_of("hashtag:x", "x", shouting, background()) is None


def test_what_is_said_everywhere_labels_nothing() -> None:
    posts = [said(i, chatter(1000 + i)) for i in range(60)]
    assert label_of("hashtag:x", "x", posts, background()) is None


def test_too_few_authors_have_no_label() -> None:
    assert label_of("hashtag:x", "x", surge()[: MIN_AUTHORS - 1], background()) is None
    assert label_of("hashtag:x", "x", [], background()) is None


def test_the_movers_own_name_is_not_its_label() -> None:
    posts = [said(i, f"#KCON bank of england kcon {i}") for i in range(12)]
    label = label_of("hashtag:kcon", "kcon", posts, background())
    assert label is not None
    assert "kcon" not in label.text.lower()
    assert "bank of england" in label.text
    own = label_of("name:Bank of England", "Bank of England", posts, background())
    assert own is None or "england" not in own.text.lower()
    tense = [said(i, f"of state of emergency declared {i}") for i in range(12)]
    label = label_of("name:Bank of England", "Bank of England", tense, background())
    assert label is not None
    assert label.text == "state of emergency declared"


def test_posts_about_the_mover_do_not_count_as_background() -> None:
    about = [(post, ("ticker:FED",)) for post in surge()]
    label = label_of("ticker:FED", "FED", surge(), background(*about))
    assert label is not None
    assert "emergency rate cut" in label.text


def test_links_mentions_and_signs_are_no_words() -> None:
    posts = [said(i, f"https://spam.example/landing @someone.bsky.social solar eclipse {i}") for i in range(12)]
    label = label_of("hashtag:sky", "sky", posts, background())
    assert label is not None
    assert label.text == "solar eclipse"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("地震速報が出ました{}", "地震速報"),
        ("กรุงเทพน้ำท่วม{}", "น้ำท่วม"),
        ("{} 방탄소년단 컴백 무대", "방탄소년단 컴백 무대"),
        ("{} زلزال قوي في تركيا", "زلزال قوي في تركيا"),
        ("{} भारी बारिश मुंबई में", "भारी बारिश मुंबई"),
    ],
)
def test_labels_come_in_every_script(text: str, expected: str) -> None:
    fillers = ["a1", "b2", "c3", "d4", "e5", "f6", "g7", "h8", "i9"]
    label = label_of(
        "hashtag:x", "x", [said(i, text.format(f" {f} "), "xx") for i, f in enumerate(fillers)], background()
    )
    assert label is not None
    assert expected in label.text or label.phrases[0].phrase in expected or label.text in text


def test_common_words_of_a_language_are_told_by_posts_in_it() -> None:
    german = ["das ist nicht so gut und auch nicht schön", "und auch das ist so", "nicht und nicht aber auch so das"]
    spoken = [(said(i, f"{german[i % 3]} {i}", "de"), ()) for i in range(150)]
    posts = [said(i, f"das ist auch so und nicht anders: streik bei der bahn {i}", "de") for i in range(20)]
    label = label_of("hashtag:bahn", "bahn", posts, background(*spoken))
    assert label is not None
    assert "streik" in label.text
    assert all(each.phrase not in {"das ist", "und nicht", "auch so", "das", "auch"} for each in label.phrases)


def test_the_order_of_posts_makes_no_difference() -> None:
    posts = surge()
    assert label_of("ticker:FED", "FED", posts, background()) == label_of(
        "ticker:FED", "FED", Random(5).sample(posts, len(posts)), background()
    )


@given(st.lists(st.tuples(st.integers(0, 4), st.text(max_size=60), st.none() | st.text(max_size=4)), max_size=20))
def test_any_texts_give_a_bounded_label_or_none(texts: list[tuple[int, str, str | None]]) -> None:
    posts = [Said(f"did:{author}", text, lang) for author, text, lang in texts]
    label = label_of("hashtag:x", "x", posts, Background([(post, ()) for post in posts[:5]]))
    assert label is None or bounded(label)


def bounded(label: Label) -> bool:
    return (
        1 <= len(label.phrases) <= MAX_PHRASES
        and all(each.authors >= MIN_AUTHORS and len(each.phrase) <= MAX_PHRASE_CHARACTERS for each in label.phrases)
        and "\n" not in label.text
    )
