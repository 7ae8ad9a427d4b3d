"""The lexical leg: what people type, in any script."""

from __future__ import annotations

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from groundswell.adapters.postgres_pool import connection
from groundswell.adapters.postgres_search import CANDIDATES
from groundswell.core.near_duplicates import fingerprint
from groundswell.ports.vectors import SearchFilters
from tests.search_world import (
    NO_FILTERS,
    World,
    in_world,
)


def test_the_lexical_leg_finds_what_people_type(database_url: str) -> None:
    async def scenario(world: World) -> None:
        assert await world.words("bitcoin ") == {1, 2}
        assert await world.words("bitcoin") == {1, 2, 7}
        assert await world.words("BITCOIN rate ") == {1}
        assert await world.words('"rate cut"') == {1}
        assert await world.words("rate cut ") == {1, 4}
        assert await world.words("bitcoin -fed ") == {1}
        assert await world.words('bitc* -"rate cut"') == {2, 7}
        assert await world.words("$BTC") == {1, 2}
        assert await world.words("$BTC -#kcon") == {1}
        assert await world.words("example.com") == {6}
        assert await world.words("https://example.com/deep/page") == {6}
        assert await world.words("東京") == {5}
        assert await world.words("🎉 -東京") == set()
        assert await world.words("or ") == {8}
        assert await world.words("don't ") == {8}
        assert await world.words("-the ") == {2, 4, 5, 6, 8}

    in_world(database_url, scenario)


def test_without_terms_the_newest_posts_that_pass_the_filters_come_first(database_url: str) -> None:
    async def scenario(world: World) -> None:
        async def listed(filters: SearchFilters) -> list[int]:
            return await world.best("", filters, 3)

        assert await listed(NO_FILTERS) == [8, 7, 6]
        assert await listed(SearchFilters(author="author1")) == [7, 5, 3]
        assert await listed(SearchFilters(lang="ja")) == [5]
        assert await listed(SearchFilters(entity="ticker:BTC")) == [2, 1]
        assert await listed(SearchFilters(since=2_000_000, until=5_000_000)) == [4, 3, 2]
        assert await listed(SearchFilters(source="elsewhere")) == []

    in_world(database_url, scenario)


def test_words_and_filters_are_combined(database_url: str) -> None:
    async def scenario(world: World) -> None:
        assert await world.words("bitcoin ", SearchFilters(entity="hashtag:kcon")) == {2}
        assert await world.words("bitcoin", SearchFilters(author="author1", until=7_000_000)) == {1}

    in_world(database_url, scenario)


def test_whole_words_rank_before_words_that_begin_so_and_equals_by_time(database_url: str) -> None:
    async def scenario(world: World) -> None:
        await world.add(20, "bitcoinery")
        await world.add(21, "bitcoin")
        await world.add(22, "bitcoin")
        assert (await world.best("bitcoin", limit=3))[:2] == [11, 10]

    in_world(database_url, scenario)


def test_a_rare_word_is_found_however_old_and_a_common_one_is_ranked_among_the_newest(database_url: str) -> None:
    async def scenario(world: World) -> None:
        async with connection(world.pool) as conn:
            await conn.execute(
                "INSERT INTO posts (id, source, author, text, event_time, rev)"
                " SELECT 'at://many/' || n, 'test', 'a', 'common filler ' || n, to_timestamp(100 + n), 'r'"
                " FROM generate_series(1, 7000) n"
            )
        assert await world.words("sofa ") == {3}
        common = await world.best("common ", limit=1_000)
        assert len(common) == 1_000
        assert min(common) == 8 + 6_001
        assert len(await world.best("common ", limit=10)) == 10
        assert CANDIDATES < 1_000

    in_world(database_url, scenario)


ODD_TEXTS = st.text(max_size=80) | st.text(alphabet="ab'\"-$#@:*.&|!()<>\\%_ \0\ud800🎉東مא\u202e", max_size=40)


def test_no_query_is_an_error(database_url: str) -> None:
    async def scenario(world: World) -> None:
        loop = asyncio.get_running_loop()
        fixed = [
            "",
            "x" * 10_000,
            "word " * 3_000,
            "🎉🎉",
            "مرحبا بكم",
            "a\0b",
            "& | ! <->",
            "':*",
            "\\",
            "%",
            "-" * 50,
            "@_ #_ $_ @_.-",
        ]
        for text in fixed:
            await world.best(text)

        @settings(
            max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
        )
        @given(ODD_TEXTS)
        def any_text(text: str) -> None:
            asyncio.run_coroutine_threadsafe(world.best(text), loop).result(10)

        await asyncio.to_thread(any_text)

    in_world(database_url, scenario)


def test_words_are_found_in_any_script_and_whatever_surrounds_them(database_url: str) -> None:
    posts = {
        10: "“Rate cut” — the Fed’s move…now",
        11: "МОСКВА: новости дня",
        12: "昨日は東京タワーで花火、大会でした",
        13: "สวัสดีครับทุกคน",
        14: "ما هذا؟ مُحَمَّد هنا",
        15: "so hot🎉party 👍🏽",
        16: "Café Málaga, STRASSE",
        17: "हिंदी समाचार आज",
        18: "read www.Example.com/Deep/page?x=1, then sleep",
        19: "example.org/deeper 🇩🇪",
    }

    async def scenario(world: World) -> None:
        for n, text in posts.items():
            await world.add(n, text)
        found = {
            query: {n + 8 - 9 for n in numbers}
            for query, numbers in {
                '"rate cut" fed ': {10},
                "move now ": {10},
                "москва ": {11},
                "東京": {12},
                "花": {12},
                "花火大会": set[int](),
                "สวัสดี": {13},
                "محمد ": {14},
                "هذا ": {14},
                "🎉 party ": {15},
                "👍": {15},
                "cafe malaga ": {16},
                "straße ": {16},
                "समाचार": {17},
                "https://example.com/deep/page?x=1": {18},
                "example.com/deep": {18},
                "example.com/dee": {18},
                "example.org": {19},
                "🇩🇪": {19},
            }.items()
        }
        assert {query: await world.words(query) & set(range(9, 19)) for query in found} == found
        assert await world.words("東京") == {5, 11}
        assert 5 in await world.words("🎉 -hot ")

    in_world(database_url, scenario)


def test_a_long_question_is_answered_by_posts_that_say_most_of_it(database_url: str) -> None:
    async def scenario(world: World) -> None:
        assert await world.best("the bitcoin rally after fed news on rates today ") == [2]
        assert await world.best("bitcoin climbs after a rate hike in spring ") == [1]
        assert await world.best("bitcoin climbs after a rate hike in spring -cut ") == []
        assert await world.best('"rate hike" bitcoin climbs after ') == []
        assert await world.best("volcano erupts near iceland ") == []

    in_world(database_url, scenario)


def test_posts_of_a_release_that_cut_no_terms_are_found_too(database_url: str) -> None:
    async def scenario(world: World) -> None:
        async with connection(world.pool) as conn:
            insert = (
                "INSERT INTO posts (id, source, author, text, event_time, rev) VALUES (%s, 's', 'a', %s, now(), 'r')"
            )
            await conn.execute(insert, ("at://old", "Zebras cross the river"))
            await conn.execute(insert, ("at://edited", "nothing yet"))
            await conn.execute("UPDATE posts SET text = 'a zebra edited' WHERE id = 'at://edited'")
        assert await world.words("zebra") == {9, 10}
        assert await world.words("nothing ") == set()
        traits = await world.lexical.traits([9])
        assert traits[9].fingerprint == fingerprint("Zebras cross the river")

    in_world(database_url, scenario)
