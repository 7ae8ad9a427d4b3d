"""Entities are found as people write them, and only there."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundswell.core.entities import (
    MAX_ENTITIES,
    MAX_KEY_CHARS,
    EntityExtractor,
    Facet,
    FacetIndex,
    Feature,
    display_entity,
    entity_kind,
    entity_name,
    parse_entity_key,
)
from groundswell.core.posts import ENTITY_KINDS

PLAIN = EntityExtractor()
WATCHING = EntityExtractor(
    [
        "# names to notice",
        "",
        "Bitcoin | BTC | ビットコイン",
        "Apple | Apple Inc.",
        "AT&T",
        "Taylor Swift | T. Swift",
        "New York | New York City",
        "Zürich",
        "東京 | 東京都",
        "हिन्दी",
    ]
)


def found(kind: str, text: str, extractor: EntityExtractor = PLAIN) -> list[str]:
    """Names of one kind in a text."""
    return [entity_name(key) for key in extractor.extract(text) if entity_kind(key) == kind]


def facet(text: str, part: str, feature: Feature) -> Facet:
    start = len(text[: text.index(part)].encode())
    return Facet(FacetIndex(start, start + len(part.encode())), [feature])


@pytest.mark.parametrize(
    ("text", "tickers"),
    [
        ("$BTC to the moon", ["BTC"]),
        ("long $btc, short $Eth", ["BTC", "ETH"]),
        ("$BRK.B and $brk.a.", ["BRK.A", "BRK.B"]),
        ("$VOD.L $SHOP.to $ES_F", ["ES_F", "SHOP.TO", "VOD.L"]),
        ("$BTC.X is how StockTwits writes it", ["BTC"]),
        ("sold my $BTC.I regret it", ["BTC"]),
        ("($AAPL) \"$TSLA\" '$F' $GME's $AMC!", ["AAPL", "AMC", "F", "GME", "TSLA"]),
        ("$BTC/$ETH and $BTC/USD and $SOL-USD", ["BTC", "ETH", "SOL"]),
        ("$FARTCOIN is eight letters", ["FARTCOIN"]),
        ("$SPX500 and $C98", ["C98", "SPX500"]),
        ("これは$BTC", []),
        ("price: $100, $1k, $5M, $.92, $ 5, US$5, CA$20, 11$ and 1.50$", []),
        ("A$AP Rocky, Ke$ha, young$ter, $uicideboy$, $$$, $PR$FIT", []),
        ("in a cell: $A$1", []),
    ],
)
def test_cashtags_are_found_and_prices_are_not(text: str, tickers: list[str]) -> None:
    assert found("ticker", text) == tickers


@pytest.mark.parametrize(
    "text",
    [
        "echo $foo",
        "export $name",
        "cd $HOME/bin; add it to $PATH",
        "${BTC} $(date) $arr[0] $this->that $f(x)",
        "$x = 5; $foo=1; $sum += 2",
        "run `echo $BTC $ETH` first",
        "```\n$FOO bar\n$BAR\n```",
        "```\n$FOO never closed",
        "{$user} and $env:Path and $Foo::bar",
        "for $i in range",
    ],
)
def test_variables_of_a_program_are_no_tickers(text: str) -> None:
    assert found("ticker", text) == []


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("#kcon #KCON #Kcon", ["kcon"]),
        ("makeup #kcon, and #TiDay… #yum.", ["kcon", "tiday", "yum"]),
        ("#東京 ＃カラオケ #서울", ["カラオケ", "東京", "서울"]),
        ("#हिन्दी #ภาษาไทย #تقنية", ["تقنية", "हिन्दी", "ภาษาไทย"]),
        ("#می\u200cخواهم", ["می\u200cخواهم"]),
        ("#Élan #STRASSE #straße", ["strasse", "élan"]),
        ("#ﬁn1２", ["fin12"]),
        ("#love#music", ["love", "music"]),
        ("#80s #1st #2k16", ["1st", "2k16", "80s"]),
        ("#snake_case", ["snake_case"]),
        ("#1 #2016 #１２ #_ #__ # #\ufe0f\u20e3 5#", []),
        ("C# F# &#39; &#x27; glued#tag", []),
        ("https://example.com/page#section www.example.com/#top", []),
        ("`#include <stdio.h>`", []),
    ],
)
def test_hashtags_are_found_in_any_script(text: str, tags: list[str]) -> None:
    assert found("hashtag", text) == tags


@pytest.mark.parametrize(
    ("text", "handles"),
    [
        ("hi @Handle.bsky.social!", ["handle.bsky.social"]),
        ("@nytimes.com, .@someone and (@other).", ["nytimes.com", "other", "someone"]),
        ("@user@Mastodon.Social", ["user@mastodon.social"]),
        ("mail bob@example.com or bob.smith+x@example.co.uk", []),
        ("dinner @ NBC News", []),
        ("https://medium.com/@author/story", []),
    ],
)
def test_mentions_are_found_and_mail_addresses_are_not(text: str, handles: list[str]) -> None:
    assert found("mention", text) == handles


@pytest.mark.parametrize(
    ("text", "domains"),
    [
        ("https://www.Example.com/path?q=1#x", ["example.com"]),
        ("http://user:pw@example.com:8080/", ["example.com"]),
        ("(https://example.com/a), <https://example.org>", ["example.com", "example.org"]),
        ("www.tumblr.com/tempo-tales/...", ["tumblr.com"]),
        ("denikn.cz/2113523", ["denikn.cz"]),
        ("see example.com. And amzn.to/3xyz, youtu.be/abc", ["amzn.to", "example.com", "youtu.be"]),
        ("見てhttps://example.jpを見て", ["example.jp"]),
        ("https://bücher.de/ü", ["xn--bcher-kva.de"]),
        ("http://localhost http://127.0.0.1:8000 https://10", []),
        ("end.Next sentence, this.is fine, U.S.A. e.g. 3.5M", []),
        ("readme.md main.rs node.js run.sh", []),
        ("bob@example.com @example.com", []),
    ],
)
def test_domains_of_links_are_found_and_full_stops_are_not(text: str, domains: list[str]) -> None:
    assert found("domain", text) == domains


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("I bought BITCOIN and btc", ["Bitcoin"]),
        ("bitcoins, unbitcoin, pineapple", []),
        ("Apple Inc. makes phones; #apple too", ["Apple"]),
        ("AT&T is not at t", ["AT&T"]),
        ("TAYLOR  swift in new york\ncity", ["New York", "Taylor Swift"]),
        ("ZÜRICH and Zu\u0308rich", ["Zürich"]),
        ("昨日東京都でビットコインを買った", ["Bitcoin", "東京"]),
        ("मुझे हिन्दी पसंद है", ["हिन्दी"]),
        ("हिन्", []),
        ("https://apple.com/bitcoin and www.bitcoin.org", []),
    ],
)
def test_watched_names_are_found_as_whole_words_in_any_script(text: str, names: list[str]) -> None:
    assert found("name", text, WATCHING) == names


def test_a_watch_list_of_thousands_finds_each_of_its_names() -> None:
    lines = [f"Person{i} Surname{i} | alias{i} | 人物{i}号" for i in range(3000)]
    extractor = EntityExtractor(lines)
    text = "we met person7 surname7, Alias1500 and 人物2999号 today"
    assert found("name", text, extractor) == ["Person1500 Surname1500", "Person2999 Surname2999", "Person7 Surname7"]


def test_names_that_begin_alike_do_not_hide_each_other() -> None:
    extractor = EntityExtractor(["東" * n for n in range(1, 60)])
    assert found("name", "東" * 40, extractor) == ["東" * 40]


def test_a_bad_watch_list_names_all_its_faults() -> None:
    with pytest.raises(ValueError, match="line 1") as caught:
        EntityExtractor(["A || B", "Fine", "Fine | again", "Emoji | 🚀"])
    assert all(part in str(caught.value) for part in ("line 1", "line 3", "line 4"))


def test_a_facet_wins_over_the_text() -> None:
    text = "émoji 😀 #Wrong @ann.bsky.social example.com"
    facets = [
        facet(text, "#Wrong", Feature(tag="Right")),
        facet(text, "@ann.bsky.social", Feature(did="did:plc:ANN")),
        facet(text, "example.com", Feature(uri="https://www.elsewhere.org/x")),
    ]
    assert PLAIN.extract(text, facets) == ("domain:elsewhere.org", "hashtag:right", "mention:did:plc:ann")


def test_what_no_facet_speaks_for_is_still_scanned() -> None:
    text = "😀 #one and #two for $BTC"
    assert PLAIN.extract(text, [facet(text, "#one", Feature(tag="one"))]) == (
        "hashtag:one",
        "hashtag:two",
        "ticker:BTC",
    )


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (3, 3), (5, 2), (0, 10**9), (10**18, 10**19), (1, 2)])
def test_facets_with_broken_offsets_still_say_what_they_say(start: int, end: int) -> None:
    broken = Facet(FacetIndex(start, end), [Feature(tag="tag")])
    assert "hashtag:tag" in PLAIN.extract("😀😀😀 text", [broken])


def test_a_name_counts_in_a_hashtag_and_not_behind_a_link() -> None:
    text = "#Bitcoin by example.com/apple"
    facets = [
        facet(text, "#Bitcoin", Feature(tag="Bitcoin")),
        facet(text, "example.com/apple", Feature(uri="https://example.com/apple")),
    ]
    assert found("name", text, WATCHING) == ["Bitcoin"]
    assert "name:Apple" not in WATCHING.extract(text, facets)
    assert "name:Bitcoin" in WATCHING.extract(text, facets)


def test_tags_and_links_beside_the_text_count() -> None:
    keys = PLAIN.extract("look", tags=["Art", "not a tag"], links=["https://www.youtube.com/watch?v=1", "nonsense"])
    assert keys == ("domain:youtube.com", "hashtag:art")


def test_a_post_has_at_most_thirty_two_entities() -> None:
    keys = PLAIN.extract(" ".join(f"#tag{i}" for i in range(500)))
    assert len(keys) == MAX_ENTITIES
    assert keys == tuple(sorted(keys))


def test_an_overlong_entity_is_dropped() -> None:
    assert PLAIN.extract("#" + "a" * 500 + " #ok") == ("hashtag:ok",)


ALPHABET = "aZ9é東हि$#@＃.:/-_&`=+ \n\0\u200c\ufe0f😀()[]{}www.https://example.com"


@settings(deadline=None, max_examples=300)
@given(
    st.text(st.sampled_from(ALPHABET) | st.characters(), max_size=120),
    st.lists(
        st.tuples(st.integers(-5, 400), st.integers(-5, 400), st.text(max_size=20), st.integers(0, 2)), max_size=6
    ),
)
def test_any_text_gives_sorted_bounded_keys_that_parse_to_themselves(
    text: str, spans: list[tuple[int, int, str, int]]
) -> None:
    facets = [Facet(FacetIndex(a, b), [Feature(**{("tag", "did", "uri")[kind]: value})]) for a, b, value, kind in spans]
    keys = WATCHING.extract(text, facets)
    assert keys == tuple(sorted(set(keys)))
    assert len(keys) <= MAX_ENTITIES
    for key in keys:
        assert entity_kind(key) in ENTITY_KINDS
        assert len(key) <= MAX_KEY_CHARS
        assert "\0" not in key
        assert "\x1f" not in key
        assert parse_entity_key(key) == key
        if entity_kind(key) != "name":
            assert parse_entity_key(display_entity(key)) == key


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("$btc", "ticker:BTC"),
        (" $BRK.b ", "ticker:BRK.B"),
        ("#KCON", "hashtag:kcon"),
        ("＃東京", "hashtag:東京"),
        ("@Someone", "mention:someone"),
        ("@ann.bsky.social", "mention:ann.bsky.social"),
        ("did:plc:abc123", "mention:did:plc:abc123"),
        ("mention:did:plc:abc123", "mention:did:plc:abc123"),
        ("WWW.Example.com", "domain:example.com"),
        ("https://www.example.com/path", "domain:example.com"),
        ("bücher.de", "domain:xn--bcher-kva.de"),
        ("ticker:btc", "ticker:BTC"),
        ("hashtag:#KCON", "hashtag:kcon"),
        ("name: Taylor  Swift", "name:Taylor Swift"),
        ("NAME:x: y", "name:x: y"),
    ],
)
def test_an_entity_is_read_as_people_write_it(written: str, key: str) -> None:
    assert parse_entity_key(written) == key


@pytest.mark.parametrize(
    "written",
    ["", "  ", "$100", "$", "#1", "#", "# a", "@", "@@", "hello", "colour:red", "domain:x", "name:", "ticker:a b"],
)
def test_what_is_no_entity_is_refused_with_advice(written: str) -> None:
    with pytest.raises(ValueError, match=r"write \$TICKER, #hashtag, @mention"):
        parse_entity_key(written)


def test_an_entity_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        parse_entity_key("#" + "a" * 130)


@pytest.mark.parametrize("key", ["", "ticker", "ticker:", "colour:red", ":x"])
def test_a_text_that_is_no_key_has_no_kind(key: str) -> None:
    with pytest.raises(ValueError, match="kind:name"):
        entity_kind(key)


# ------------------------------------------------------------------ one thing, one key
def tagged(text: str, *tags: str) -> tuple[str, ...]:
    """Entities of a text whose client says of each `#tag` or `$tag` in it that it is a tag."""
    facets: list[Facet] = []
    for tag in tags:
        sign = "" if tag[0] in "$＄" else "#"
        start = len(text[: text.index(sign + tag)].encode())
        facets.append(Facet(FacetIndex(start, start + len((sign + tag).encode())), [Feature(tag=tag)]))
    return PLAIN.extract(text, facets)


def test_a_tag_with_a_dollar_sign_is_a_ticker() -> None:
    assert tagged("watching $NVDA and $BTC", "$NVDA", "$BTC") == ("ticker:BTC", "ticker:NVDA")
    assert tagged("low $brk.b ＄eth", "$brk.b", "＄eth") == ("ticker:BRK.B", "ticker:ETH")
    assert PLAIN.extract("", tags=["$NVDA", "$5", "#$BTC"]) == ("ticker:BTC", "ticker:NVDA")
    for written in ("hashtag:$NVDA", "#$nvda", "ticker:$NVDA", "$nvda", "＄NVDA", "hashtag:＄nvda"):
        assert parse_entity_key(written) == "ticker:NVDA"


@pytest.mark.parametrize(
    ("text", "tag", "keys"),
    [
        ("#חדשות\u200f היום", "חדשות\u200f", ("hashtag:חדשות",)),
        ("tonight #ENG🏴\U000e0067\U000e0062\U000e007f plays", "ENG🏴\U000e0067\U000e0062\U000e007f", ("hashtag:eng",)),
        ("a #fedi\u200bblock case", "fedi\u200bblock", ("hashtag:fediblock",)),
        ("soft #Donau\u00addampf here", "Donau\u00addampf", ("hashtag:donaudampf",)),
        ("byte mark #bom\ufefftag", "bom\ufefftag", ("hashtag:bomtag",)),
        ("isolates #\u2067اخبار\u2069 now", "\u2067اخبار\u2069", ("hashtag:اخبار",)),
        ("in #new york", "new york", ("hashtag:new",)),
        ("off #1 and #kcon", "1", ("hashtag:kcon",)),
    ],
)
def test_a_tag_gives_what_its_text_gives(text: str, tag: str, keys: tuple[str, ...]) -> None:
    assert tagged(text, tag) == keys
    assert PLAIN.extract(text) == keys


def test_a_facet_that_states_nothing_hides_nothing() -> None:
    text = "see $BTC #kcon @who.example example.com"
    nothing = [
        Facet(FacetIndex(0, len(text)), [Feature()]),
        Facet(FacetIndex(0, len(text)), [Feature(tag="   "), Feature(did="no did"), Feature(uri="at://x")]),
    ]
    assert PLAIN.extract(text, nothing) == PLAIN.extract(text)
    assert len(PLAIN.extract(text)) == 4


ONE_TAG = [
    ("İstanbul", "istanbul", "İSTANBUL", "i\u0307stanbul", "ISTANBUL", "ıstanbul"),
    ("straße", "STRASSE", "Straße", "STRAẞE"),
    ("ΣΊΣΥΦΟΣ", "σίσυφος", "Σίσυφοσ"),
    ("ｋｃｏｎ", "KCON", "kcon", "ＫＣＯＮ", "\u2068kcon\u2069"),
    ("café", "cafe\u0301", "CAFÉ", "CAFE\u0301"),
    ("❤", "❤\ufe0f", "❤\ufe0e"),
    (
        "kcon2026",
        "kcon2026.",
        "kcon2026!",
        "“kcon2026”",
        "(kcon2026)",
        "#kcon2026",
        "＃kcon2026",
        "kcon2026_",
        "kcon2026🎉",
    ),
    ("가나", "\u1100\u1161\u1102\u1161"),
    ("ガンダム", "ｶﾞﾝﾀﾞﾑ", "カ\u3099ンタ\u3099ム"),
    ("ﬁfa", "FIFA"),
]


@pytest.mark.parametrize("tags", ONE_TAG, ids=lambda tags: tags[0])
def test_what_a_person_calls_the_same_tag_has_one_key(tags: tuple[str, ...]) -> None:
    key = parse_entity_key(f"hashtag:{tags[0]}")
    for tag in tags:
        assert parse_entity_key(f"hashtag:{tag}") == key
        assert PLAIN.extract("", tags=[tag]) == (key,)
        assert PLAIN.extract(f"x #{tag} y", [Facet(FacetIndex(2, 3 + len(tag.encode())), [Feature(tag=tag)])]) == (key,)


@pytest.mark.parametrize("tags", [("c", "c++"), ("café", "cafe"), ("می\u200cخواهم", "میخواهم"), ("a_b", "ab")])
def test_what_a_person_tells_apart_has_two_keys(tags: tuple[str, str]) -> None:
    assert len({parse_entity_key(f"hashtag:{tag}") for tag in tags}) == 2


def test_handles_and_links_are_read_through_invisible_characters() -> None:
    assert parse_entity_key("@who.example\u202c") == "mention:who.example"
    facets = [Facet(FacetIndex(0, 2), [Feature(uri="https://exam\u00adple.com/x")])]
    assert PLAIN.extract("it", facets) == ("domain:example.com",)


def test_a_watched_name_is_found_whatever_its_capitals() -> None:
    turkish = EntityExtractor(["Işık | Iğdır", "İzmir"])
    assert turkish.extract("IŞIK ve izmir, İZMİR, ığdır") == ("name:Işık", "name:İzmir")


@given(st.text(max_size=40))
@settings(max_examples=300)
def test_a_key_is_its_own_canonical_form(tag: str) -> None:
    for key in PLAIN.extract("", tags=[tag]):
        assert parse_entity_key(key) == key
        assert "|" not in key
