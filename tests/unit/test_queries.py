from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.frames import post_url
from groundswell.core.posts import Post
from groundswell.core.queries import ParsedQuery, parse_query, post_named
from groundswell.core.terms import chain


def post(text: str, *entities: str) -> Post:
    return Post("at://x", "s", "a", text, 0, "r", 0, entities=tuple(sorted(entities)))


def test_the_last_word_is_the_beginning_of_a_word_while_it_is_being_typed() -> None:
    assert parse_query("rate cut") == ParsedQuery(words=("rate",), prefix="cut")
    assert parse_query("rate cut ") == ParsedQuery(words=("rate", "cut"))
    assert parse_query("to be") == ParsedQuery(words=("to", "be"))
    assert parse_query("bitc* ") == ParsedQuery(prefix="bitc")


def test_quotes_of_every_kind_make_phrases_and_an_open_one_ends_with_the_text() -> None:
    assert parse_query('"rate cut" ').phrases == ("rate cut",)
    assert parse_query("“rate  cut").phrases == ("rate cut",)


def test_a_minus_excludes_words_phrases_and_entities() -> None:
    parsed = parse_query('fed -crypto -"to the moon" -$DOGE ')
    assert parsed == ParsedQuery(words=("fed",), not_words=("crypto", "to the moon"), not_entities=("ticker:DOGE",))
    assert parsed.excludes(post("To the moon!"))
    assert parsed.excludes(post("hm", "ticker:DOGE"))
    assert not parsed.excludes(post("cryptography"))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("$btc", "ticker:BTC"),
        ("#KCON,", "hashtag:kcon"),
        ("ticker:eth", "ticker:ETH"),
        ('name:"New York"', "name:New York"),
        ("@Alice.example", "mention:alice.example"),
        ("www.Example.com", "domain:example.com"),
        ("https://example.com/", "domain:example.com"),
    ],
)
def test_entities_are_read_as_people_write_them(text: str, key: str) -> None:
    parsed = parse_query(text)
    assert [term.key for term in parsed.entities] == [key]
    assert (parsed.words, parsed.prefix) == ((), None)


def test_only_what_a_text_may_say_without_linking_it_is_looked_for_in_texts_too() -> None:
    assert parse_query("$BTC").entities[0].text is None
    assert parse_query("@alice.example").entities[0].text == "alice.example"
    assert parse_query("$BTC #kcon example.com").required_entities == ("ticker:BTC", "hashtag:kcon")
    assert parse_query("example.com").required_entities == ()


def test_a_link_with_a_path_is_looked_for_as_a_whole() -> None:
    assert parse_query("https://www.Example.com/a?b=c") == ParsedQuery(links=("example.com/a?b=c",))
    assert parse_query("fed -example.com/a ") == ParsedQuery(words=("fed",), not_words=("example.com/a",))


def test_words_of_any_script_and_emoji_are_words() -> None:
    assert parse_query("東京タワー 🎉") == ParsedQuery(words=("東京タワー", "🎉"))
    assert parse_query("한국어 привет مرحبا ").words == ("한국어", "привет", "مرحبا")
    assert parse_query("समाचार").prefix == "समाचार"


@pytest.mark.parametrize("text", ["&|!", "-", '"', '""', "* ( )", "\0", "\ud800", "::"])
def test_a_query_of_operators_alone_looks_for_nothing(text: str) -> None:
    parsed = parse_query(text)
    assert parsed.nothing
    assert not parsed.has_terms


def test_an_empty_query_is_one_without_terms() -> None:
    assert parse_query("  ") == ParsedQuery()


def test_what_is_embedded_leaves_out_what_is_excluded() -> None:
    assert parse_query('fed "rate cut" -crypto $BTC ').meaning == "fed rate cut $BTC"


@given(st.text(max_size=200) | st.text(alphabet='ab-"$#@:*. \0\ud800🎉東&|!()', max_size=60))
def test_every_text_is_a_query(text: str) -> None:
    parsed = parse_query(text)
    assert parsed.nothing <= bool(text.strip())
    assert all(chain(word) for word in (*parsed.words, *parsed.phrases, *filter(None, [parsed.prefix])))
    everything = " ".join([*parsed.words, *parsed.phrases, *parsed.links, *parsed.not_words])
    assert "\0" not in everything
    assert parsed.excludes(post(text.replace("\ud800", ""))) in {True, False}


def test_a_huge_query_is_cut() -> None:
    assert len(parse_query("word " * 5_000).words) <= 24


@given(
    st.from_regex(r"did:(plc:[a-z2-7]{24}|web:[a-z.]{1,20})", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9._~:-]{1,20}", fullmatch=True),
)
def test_a_post_is_named_by_its_id_and_by_its_address(did: str, key: str) -> None:
    named = Post(f"at://{did}/app.bsky.feed.post/{key}", "jetstream", did, "", 0, "r", 0)
    address = post_url(named)
    assert address is not None
    assert post_named(f" {named.id}\n") == post_named(address) == named.id


@given(st.text())
def test_whatever_says_more_than_a_posts_id_names_none(text: str) -> None:
    assert post_named(text) is None or text.strip() == post_named(text)
    assert post_named(f"more at://did:plc:a/app.bsky.feed.post/3k {text}") is None
    assert post_named("at://did:plc:a/app.bsky.feed.post") is None
    assert post_named("https://bsky.app/profile/alice.example/post/3k") is None
