"""Search over a real Postgres, a real index and the real model; and the indexer that fills the index."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from groundswell.adapters.postgres_outbox import PostgresOutbox
from groundswell.adapters.postgres_pool import Pool, connection, open_pool
from groundswell.adapters.postgres_search import CANDIDATES, MAX_COPIES, PostgresSearch
from groundswell.adapters.qdrant import IN_MEMORY, QdrantIndex
from groundswell.adapters.qdrant_embedded import EmbeddedQdrant
from groundswell.adapters.static_model import StaticModel
from groundswell.core.near_duplicates import fingerprint
from groundswell.core.queries import ParsedQuery, parse_query
from groundswell.core.terms import search_vector
from groundswell.errors import NotFound, StoreUnavailable, VectorIndexUnavailable
from groundswell.ports.outbox import OutboxItem
from groundswell.ports.vectors import EVERYTHING, Hit, SearchFilters, Space, Vector, VectorPoint, Vectors, Within
from groundswell.services.indexer import Indexer
from groundswell.services.search import SearchService

NO_FILTERS = SearchFilters()
T = TypeVar("T")

TEXTS = {
    1: "Bitcoin climbs after the rate cut",
    2: "Markets rally: bitcoin and ether both up on Fed news",
    3: "my cat sleeps on the sofa all day",
    4: "A rate decision and a cut to growth forecasts",
    5: "東京タワーから 🎉 party tonight",
    6: "reading https://example.com/deep/page today",
    7: "the bitcoins of old",
    8: "cats or dogs? don't ask",
}
ENTITIES = {1: ["ticker:BTC"], 2: ["hashtag:kcon", "ticker:BTC"], 6: ["domain:example.com"]}


class SystemClock:
    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def now(self) -> int:
        return 0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.05))


class World:
    """A database with `TEXTS` in it, all of them waiting in the outbox; post n is n seconds after the epoch."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.outbox = PostgresOutbox(pool)
        self.lexical = PostgresSearch(pool)

    async def fill(self) -> None:
        for n, text in TEXTS.items():
            await self.add(n, text, ENTITIES.get(n, []))

    async def add(self, n: int, text: str, entities: Sequence[str] = ()) -> None:
        async with connection(self.pool) as conn:
            await conn.execute(
                "WITH p AS (INSERT INTO posts (id, source, author, text, lang, event_time, rev, entities, search,"
                " fingerprint) VALUES (%s, 'test', %s, %s, %s, to_timestamp(%s), 'r', %s, %s, %s) RETURNING pk)"
                " INSERT INTO outbox (post_pk, op) SELECT pk, 'upsert' FROM p",
                (
                    *(f"at://{n}", f"author{n % 2}", text, "ja" if n == 5 else "en", n, list(entities)),
                    *(search_vector(text), fingerprint(text)),
                ),
            )

    async def remove(self, pk: int) -> None:
        async with connection(self.pool) as conn:
            await conn.execute("DELETE FROM posts WHERE pk = %s", (pk,))
            await conn.execute("INSERT INTO outbox (post_pk, op) VALUES (%s, 'delete')", (pk,))

    async def words(self, query: str, filters: SearchFilters = NO_FILTERS) -> set[int]:
        return set(await self.best(query, filters, 50))

    async def best(self, query: str, filters: SearchFilters = NO_FILTERS, limit: int = 10) -> list[int]:
        return [hit.pk for hit in await self.lexical.lexical(parse_query(query), filters, limit)]


def in_world(database_url: str, scenario: Callable[[World], Awaitable[T]]) -> T:
    async def main() -> T:
        pool = await open_pool(database_url, size=4, wait_s=5, statement_timeout_s=10, application_name="test-search")
        try:
            world = World(pool)
            await world.fill()
            return await scenario(world)
        finally:
            await pool.close()

    return asyncio.run(main())


async def pages(service: SearchService, query: str, size: int, filters: SearchFilters = NO_FILTERS) -> list[list[int]]:
    """Every page of a search, to its end."""
    found: list[list[int]] = []
    place = None
    while not found or place is not None:
        answer = await service.search(query, filters, size, after=place)
        found.append([hit.pk for hit in answer.hits])
        place = answer.next
    return found


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Poll what tells nobody when it changes."""
    while True:
        answer = condition()
        if answer if isinstance(answer, bool) else await answer:
            return
        await asyncio.sleep(0.01)


async def empty(outbox: PostgresOutbox) -> bool:
    return await outbox.depth() == 0


async def indexed(world: World, index: QdrantIndex, model: StaticModel) -> None:
    """Run an indexer until the outbox is empty."""
    indexer = Indexer(world.outbox, index, model, SystemClock())
    stop = asyncio.Event()
    task = asyncio.create_task(indexer.run(stop))
    await until(lambda: empty(world.outbox))
    stop.set()
    await task


@pytest.fixture(scope="module")
def model() -> StaticModel:
    return StaticModel()


# ------------------------------------------------------------------ the lexical leg
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


# ------------------------------------------------------------------ both legs
def test_both_legs_are_fused_and_each_hit_says_which_found_it(database_url: str, model: StaticModel) -> None:
    async def scenario(world: World) -> None:
        index = QdrantIndex(IN_MEMORY)
        await indexed(world, index, model)
        answer = await SearchService(world.lexical, index, model, SystemClock()).search("bitcoin ", NO_FILTERS, 10)
        assert answer.legs == ["lexical", "semantic"]
        assert answer.degraded == []
        assert {hit.pk for hit in answer.hits[:2]} == {1, 2}
        assert set(answer.hits[0].ranks) == {"lexical", "semantic"}
        assert answer.hits[0].post.text == TEXTS[answer.hits[0].pk]
        assert 3 not in {hit.pk for hit in answer.hits}
        meaning = await SearchService(world.lexical, index, model, SystemClock()).search(
            "sleeping kitten", NO_FILTERS, 10
        )
        assert meaning.hits[0].pk == 3
        assert set(meaning.hits[0].ranks) == {"semantic"}

    in_world(database_url, scenario)


def test_answers_found_by_meaning_keep_to_entities_exclusions_and_filters(
    database_url: str, model: StaticModel
) -> None:
    async def scenario(world: World) -> None:
        index = QdrantIndex(IN_MEMORY)
        await indexed(world, index, model)
        service = SearchService(world.lexical, index, model, SystemClock(), min_similarity=-1)

        async def pks(query: str, filters: SearchFilters = NO_FILTERS) -> set[int]:
            return {hit.pk for hit in (await service.search(query, filters, 20)).hits}

        assert await pks("$BTC rally") == {1, 2}
        assert await pks("bitcoin -rate ") == {2, 3, 5, 6, 7, 8}
        assert await pks("bitcoin", SearchFilters(lang="ja")) == {5}
        assert await pks("bitcoin", SearchFilters(since=3_000_000, until=5_000_000)) == {3, 4}

    in_world(database_url, scenario)


def test_pages_are_full_and_never_overlap(database_url: str, model: StaticModel) -> None:
    async def scenario(world: World) -> None:
        index = QdrantIndex(IN_MEMORY)
        await indexed(world, index, model)
        service = SearchService(world.lexical, index, model, SystemClock(), min_similarity=-1)
        whole = [hit.pk for hit in (await service.search("bitcoin -rate ", NO_FILTERS, 6)).hits]
        assert await pages(service, "bitcoin -rate ", 2) == [whole[:2], whole[2:4], whole[4:]]

    in_world(database_url, scenario)


def test_pages_stay_as_they_were_while_posts_arrive_and_leave(database_url: str, model: StaticModel) -> None:
    async def scenario(world: World) -> None:
        index = QdrantIndex(IN_MEMORY)
        await indexed(world, index, model)
        service = SearchService(world.lexical, index, model, SystemClock(), min_similarity=-1)
        whole = [hit.pk for hit in (await service.search("bitcoin", NO_FILTERS, 8)).hits]
        first = await service.search("bitcoin", NO_FILTERS, 3)
        assert first.next is not None
        for n in range(30, 40):
            await world.add(n, f"bitcoin bitcoin news number {n} of the day")
        await world.remove(whole[3])
        await indexed(world, index, model)
        rest = [pk for pk in whole[3:] if pk != whole[3]]
        again = await service.search("bitcoin", NO_FILTERS, 3, after=first.next)
        assert [hit.pk for hit in again.hits] == rest[:3]
        # A process that has never heard of the first page makes it again of what was stored then.
        other = SearchService(world.lexical, index, model, SystemClock(), min_similarity=-1)
        elsewhere = await other.search("bitcoin", NO_FILTERS, 10, after=first.next)
        assert {hit.pk for hit in elsewhere.hits} <= set(whole) - {hit.pk for hit in first.hits} | set(whole[:3])
        assert max(hit.pk for hit in elsewhere.hits) <= 8
        assert (await service.search("bitcoin", NO_FILTERS, 1)).hits[0].pk > 8

    in_world(database_url, scenario)


def test_a_search_can_be_read_beyond_what_its_first_pages_rank(database_url: str) -> None:
    async def scenario(world: World) -> None:
        async with connection(world.pool) as conn:
            await conn.execute(
                "INSERT INTO posts (id, source, author, text, event_time, rev, search, fingerprint)"
                " SELECT 'at://many/' || n, 'test', 'a', 'common filler ' || n, to_timestamp(100 + n), 'r',"
                " to_tsvector('simple', 'common filler'), hashint8extended(n, 0) FROM generate_series(1, 700) n"
            )
        service = SearchService(world.lexical, None, None, SystemClock())
        found = [pk for page in await pages(service, "common ", 150) for pk in page]
        assert found == list(range(8 + 700, 8, -1))

    in_world(database_url, scenario)


# ------------------------------------------------------------------ copies
STORY = "Bitcoin breaks through the old high while the market waits for the Fed to say what comes next"


def test_one_post_stands_for_its_copies_and_says_how_many(database_url: str, model: StaticModel) -> None:
    async def scenario(world: World) -> None:
        for n in range(20, 25):
            await world.add(n, f"RT @someone{n}: {STORY.upper()} https://t.co/{n}")
        await world.add(25, STORY.replace("old", "previous"))
        await world.add(26, f"{STORY}!", ["ticker:ETH"])
        index = QdrantIndex(IN_MEMORY)
        await indexed(world, index, model)
        for service in (
            SearchService(world.lexical, index, model, SystemClock()),
            SearchService(world.lexical, None, None, SystemClock()),
        ):
            hits = (await service.search("bitcoin breaks high ", NO_FILTERS, 10)).hits
            told = [hit for hit in hits if "breaks" in hit.post.text.lower()]
            assert [(hit.similar) for hit in told] == [6]
            assert all(hit.similar == 0 for hit in hits if hit not in told)
            narrow = (await service.search("bitcoin breaks high ", SearchFilters(entity="ticker:ETH"), 10)).hits
            assert [hit.similar for hit in narrow] == [0]

    in_world(database_url, scenario)


@pytest.mark.parametrize("with_vectors", [True, False])
def test_a_storm_of_copies_hides_nothing_else(database_url: str, model: StaticModel, with_vectors: bool) -> None:
    async def scenario(world: World) -> None:
        async with connection(world.pool) as conn:
            await conn.execute(
                "WITH p AS (INSERT INTO posts (id, source, author, text, lang, event_time, rev, search, fingerprint)"
                " SELECT 'at://copy/' || n, 'test', 'a', %s, 'en', to_timestamp(1000 + n), 'r', %s::tsvector, %s"
                " FROM generate_series(1, 1500) n RETURNING pk)"
                " INSERT INTO outbox (post_pk, op) SELECT pk, 'upsert' FROM p",
                (STORY, search_vector(STORY), fingerprint(STORY)),
            )
        index = QdrantIndex(IN_MEMORY) if with_vectors else None
        if index is not None:
            await indexed(world, index, model)
        service = SearchService(world.lexical, index, model, SystemClock())
        hits = (await service.search("bitcoin ", NO_FILTERS, 10)).hits
        assert {1, 2} <= {hit.pk for hit in hits}
        storm = next(hit for hit in hits if hit.pk > 8)
        assert storm.similar == MAX_COPIES - 1
        assert len([hit for hit in hits if hit.pk > 8]) == 1

    in_world(database_url, scenario)


# ------------------------------------------------------------------ like this
def test_more_like_a_post_is_what_is_about_the_same_without_itself_and_its_copies(
    database_url: str, model: StaticModel
) -> None:
    async def scenario(world: World) -> None:
        await world.add(30, f"{TEXTS[1]}!!", ["ticker:BTC"])
        await world.add(31, "ether and $BTC", ["ticker:BTC", "ticker:ETH"])
        index = QdrantIndex(IN_MEMORY)
        await indexed(world, index, model)
        service = SearchService(world.lexical, index, model, SystemClock())
        answer = await service.search("", NO_FILTERS, 10, like="at://1")
        found = [hit.pk for hit in answer.hits]
        assert answer.legs == ["lexical", "semantic"]
        assert found[0] == 2
        assert not {1, 9} & set(found)
        assert 10 in found
        without = SearchService(world.lexical, None, None, SystemClock())
        fewer = await without.search("", NO_FILTERS, 10, like="at://1")
        assert {hit.pk for hit in fewer.hits} == {2, 10}
        assert fewer.degraded == ["embeddings"]
        assert [hit.pk for hit in (await service.search("", SearchFilters(until=2), 10, like="at://1")).hits] == []
        with pytest.raises(NotFound, match="no such post"):
            await service.search("", NO_FILTERS, 10, like="at://nowhere")

    in_world(database_url, scenario)


def test_a_hit_says_what_was_found_in_it_and_what_made_its_score(database_url: str, model: StaticModel) -> None:
    async def scenario(world: World) -> None:
        index = QdrantIndex(IN_MEMORY)
        await indexed(world, index, model)
        hits = (await SearchService(world.lexical, index, model, SystemClock()).search("bitcoin ", NO_FILTERS, 5)).hits
        for hit in hits[:2]:
            assert [hit.post.text[start:end].lower() for start, end in hit.highlights] == ["bitcoin"]
            assert set(hit.parts) == {"lexical", "semantic", "recency"}
            assert hit.score == pytest.approx(sum(hit.parts.values()))

    in_world(database_url, scenario)


class Broken(PostgresSearch):
    """A lexical leg that times out while posts can still be read, and an index that is away."""

    def __init__(self, world: World) -> None:
        super().__init__(world.pool)

    async def lexical(
        self, query: ParsedQuery, filters: SearchFilters, limit: int, within: Within = EVERYTHING
    ) -> list[Hit]:
        raise StoreUnavailable("cancelled")


def test_whatever_leg_is_missing_the_other_answers_and_it_is_said(database_url: str, model: StaticModel) -> None:
    async def scenario(world: World) -> None:
        index = QdrantIndex(IN_MEMORY)
        away = QdrantIndex("http://127.0.0.1:9", timeout_s=1)
        await indexed(world, index, model)

        async def ask(service: SearchService) -> tuple[list[str], list[str], set[int]]:
            answer = await service.search("bitcoin ", NO_FILTERS, 10)
            return answer.legs, answer.degraded, {hit.pk for hit in answer.hits[:2]}

        lexical = world.lexical
        assert await ask(SearchService(lexical, index, None, SystemClock())) == (["lexical"], ["embeddings"], {1, 2})
        assert await ask(SearchService(lexical, None, model, SystemClock())) == (["lexical"], ["vector-index"], {1, 2})
        assert await ask(SearchService(lexical, away, model, SystemClock())) == (["lexical"], ["vector-index"], {1, 2})
        assert (await ask(SearchService(Broken(world), index, model, SystemClock())))[:2] == (["semantic"], ["lexical"])
        with pytest.raises(StoreUnavailable):
            await ask(SearchService(Broken(world), away, model, SystemClock()))
        await away.close()

    in_world(database_url, scenario)


def test_a_query_without_terms_needs_no_model_and_is_not_degraded(database_url: str) -> None:
    async def scenario(world: World) -> None:
        service = SearchService(world.lexical, None, None, SystemClock())
        answer = await service.search("", SearchFilters(entity="ticker:BTC"), 10)
        assert [hit.pk for hit in answer.hits] == [2, 1]
        assert answer.degraded == []
        nothing = await service.search("&|!", NO_FILTERS, 10)
        assert nothing.hits == []

    in_world(database_url, scenario)


def test_the_vectors_of_queries_are_remembered_within_bounds(database_url: str, model: StaticModel) -> None:
    class Counting:
        space = model.space
        min_similarity = 0.0
        calls = 0

        def embed(self, texts: Sequence[str]) -> Vectors:
            raise AssertionError("a question is embedded as one")

        def embed_query(self, text: str) -> Vector:
            self.calls += 1
            return model.embed_query(text)

    async def scenario(world: World) -> None:
        index, counting = QdrantIndex(IN_MEMORY), Counting()
        await index.ensure(model.space)
        service = SearchService(world.lexical, index, counting, SystemClock())
        for text in ["bitcoin", "bitcoin", "cats", "bitcoin"]:
            await service.search(text, NO_FILTERS, 5)
        assert counting.calls == 2

    in_world(database_url, scenario)


# ------------------------------------------------------------------ the indexer
def test_edits_replace_and_deletes_remove_what_was_indexed(database_url: str, model: StaticModel) -> None:
    async def scenario(world: World) -> None:
        index = QdrantIndex(IN_MEMORY)
        await indexed(world, index, model)
        assert await index.count() == len(TEXTS)
        async with connection(world.pool) as conn:
            await conn.execute("UPDATE posts SET text = 'volcano erupts in iceland' WHERE pk = 3")
            await conn.execute("INSERT INTO outbox (post_pk, op) VALUES (3, 'upsert'), (3, 'upsert')")
        await world.remove(1)
        await indexed(world, index, model)
        assert await index.count() == len(TEXTS) - 1
        vector = model.embed_query("volcano in iceland")
        assert (await index.search(vector, NO_FILTERS, 1))[0].pk == 3
        async with connection(world.pool) as conn:
            spaces = await (await conn.execute("SELECT DISTINCT space FROM post_vectors")).fetchall()
        assert spaces == [("wordllama-256",)]

    in_world(database_url, scenario)


def test_an_index_that_was_lost_is_made_again_from_postgres(database_url: str, model: StaticModel) -> None:
    async def scenario(world: World) -> None:
        await indexed(world, QdrantIndex(IN_MEMORY), model)
        another = QdrantIndex(IN_MEMORY)
        indexer, stop = Indexer(world.outbox, another, model, SystemClock()), asyncio.Event()
        task = asyncio.create_task(indexer.run(stop))
        await until(lambda: indexer.state.indexed_total == len(TEXTS))
        stop.set()
        await task
        assert await another.count() == len(TEXTS)

    in_world(database_url, scenario)


def test_the_outbox_waits_out_an_engine_that_is_away(database_url: str, model: StaticModel, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        engine = EmbeddedQdrant(tmp_path)
        url = await engine.start()
        await engine.stop()
        index = QdrantIndex(url, timeout_s=5)
        indexer = Indexer(world.outbox, index, model, SystemClock())
        stop = asyncio.Event()
        task = asyncio.create_task(indexer.run(stop))
        await until(lambda: indexer.state.failures_total >= 2)
        assert indexer.state.phase == "waiting"
        assert "does not answer" in (indexer.state.last_error or "")
        assert await world.outbox.depth() == len(TEXTS)
        async with EmbeddedQdrant(tmp_path, port=int(url.rpartition(":")[2])):
            await until(lambda: empty(world.outbox))
            assert await index.count() == len(TEXTS)
            stop.set()
            await task
        assert indexer.state.last_error is None
        assert indexer.state.indexed_total == len(TEXTS)
        await index.close()

    in_world(database_url, scenario)


def test_a_store_that_fails_repeats_work_and_loses_none(model: StaticModel) -> None:
    class Flaky:
        """Is away for some calls; keeps its items until they are marked done."""

        def __init__(self) -> None:
            self.items = [OutboxItem(n, n, None) for n in range(1, 11)]
            self.calls = 0

        def _maybe_fail(self) -> None:
            self.calls += 1
            if self.calls in {1, 3, 4, 6, 9}:
                raise StoreUnavailable("away")

        async def claim(self, limit: int, after: int = 0) -> Sequence[OutboxItem]:
            self._maybe_fail()
            return [item for item in self.items if item.id > after][:limit]

        async def done(self, items: Sequence[OutboxItem], *, space: str) -> None:
            self._maybe_fail()
            gone = {item.id for item in items}
            self.items = [item for item in self.items if item.id not in gone]

        async def depth(self) -> int:
            return len(self.items)

        async def start_anew(self) -> int:
            return 0

    class Index:
        def __init__(self) -> None:
            self.deleted: list[int] = []

        async def ensure(self, space: Space) -> None: ...
        async def upsert(self, points: Sequence[VectorPoint]) -> None: ...
        async def drop(self, space: str) -> None: ...
        async def delete(self, pks: Sequence[int]) -> None:
            self.deleted.extend(pks)

        async def search(self, vector: Vector, filters: SearchFilters, limit: int) -> list[Hit]:
            raise VectorIndexUnavailable("unused")

        async def spaces(self) -> list[Space]:
            return []

        async def count(self) -> int:
            return 0

        async def close(self) -> None: ...

    async def main() -> None:
        outbox, index = Flaky(), Index()
        indexer = Indexer(outbox, index, model, SystemClock(), batch=4)
        stop = asyncio.Event()
        task = asyncio.create_task(indexer.run(stop))
        await until(lambda: not outbox.items)
        stop.set()
        await task
        assert set(index.deleted) == set(range(1, 11))
        assert indexer.state.removed_total == 10

    asyncio.run(main())


def test_without_a_model_the_items_wait(database_url: str) -> None:
    async def scenario(world: World) -> None:
        indexer = Indexer(world.outbox, QdrantIndex(IN_MEMORY), None, SystemClock())
        stop = asyncio.Event()
        task = asyncio.create_task(indexer.run(stop))
        await asyncio.sleep(0)
        assert indexer.state.phase == "disabled"
        stop.set()
        await task
        assert await world.outbox.depth() == len(TEXTS)

    in_world(database_url, scenario)


def test_waking_it_indexes_at_once(database_url: str, model: StaticModel) -> None:
    class PatientClock(SystemClock):
        async def sleep(self, seconds: float) -> None:
            await asyncio.Event().wait()

    async def scenario(world: World) -> None:
        index = QdrantIndex(IN_MEMORY)
        indexer = Indexer(world.outbox, index, model, PatientClock())
        stop = asyncio.Event()
        task = asyncio.create_task(indexer.run(stop))
        await until(lambda: indexer.state.indexed_total == len(TEXTS))
        await world.add(50, "one more")
        indexer.wake()
        await until(lambda: indexer.state.indexed_total == len(TEXTS) + 1)
        stop.set()
        await task
        assert np.isclose(await index.count(), len(TEXTS) + 1)

    in_world(database_url, scenario)
