"""Search over a real Postgres, a real index and the real model: both legs, copies, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from groundswell.adapters.postgres_pool import connection
from groundswell.adapters.postgres_search import MAX_COPIES, PostgresSearch
from groundswell.adapters.qdrant import QdrantIndex
from groundswell.adapters.static_model import StaticModel
from groundswell.core.near_duplicates import fingerprint
from groundswell.core.queries import ParsedQuery
from groundswell.core.terms import search_vector
from groundswell.errors import NotFound, StoreUnavailable
from groundswell.ports.vectors import EVERYTHING, Hit, SearchFilters, Vector, Vectors, Within
from groundswell.services.search import SearchService
from tests.search_world import (
    NO_FILTERS,
    TEXTS,
    SystemClock,
    World,
    in_world,
    indexed,
    pages,
)
from tests.vector_engine import index_in_process


def test_both_legs_are_fused_and_each_hit_says_which_found_it(database_url: str, model: StaticModel) -> None:
    async def scenario(world: World) -> None:
        index = index_in_process()
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
        index = index_in_process()
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
        index = index_in_process()
        await indexed(world, index, model)
        service = SearchService(world.lexical, index, model, SystemClock(), min_similarity=-1)
        whole = [hit.pk for hit in (await service.search("bitcoin -rate ", NO_FILTERS, 6)).hits]
        assert await pages(service, "bitcoin -rate ", 2) == [whole[:2], whole[2:4], whole[4:]]

    in_world(database_url, scenario)


def test_pages_stay_as_they_were_while_posts_arrive_and_leave(database_url: str, model: StaticModel) -> None:
    async def scenario(world: World) -> None:
        index = index_in_process()
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
        index = index_in_process()
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
        index = index_in_process() if with_vectors else None
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
        index = index_in_process()
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
        index = index_in_process()
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
        index = index_in_process()
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
        index, counting = index_in_process(), Counting()
        await index.ensure(model.space)
        service = SearchService(world.lexical, index, counting, SystemClock())
        for text in ["bitcoin", "bitcoin", "cats", "bitcoin"]:
            await service.search(text, NO_FILTERS, 5)
        assert counting.calls == 2

    in_world(database_url, scenario)
