"""What every vector index does: the embedded engine in a process of its own, and in the process of the test."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import numpy as np
import pytest

from groundswell.adapters.qdrant import QdrantIndex
from groundswell.adapters.qdrant_embedded import EmbeddedQdrant
from groundswell.errors import VectorIndexUnavailable
from groundswell.ports.vectors import SearchFilters, Space, Vector, VectorPoint, Vectors, Within
from tests.qdrant_openapi import Checked
from tests.vector_engine import URL

SPACE = Space("toy-4", 4)
OTHER = Space("toy-3", 3)
NO_FILTERS = SearchFilters()
T0 = 1_700_000_000_000_000
_names = itertools.count()


class Bench:
    """An index with an empty collection, and a way to call it from plain test functions."""

    def __init__(self, runner: asyncio.Runner, **server: Any) -> None:
        self.run = runner.run
        self.server = server
        self.index = QdrantIndex(**server, collection=f"posts_{next(_names)}")


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def engine(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedQdrant]:
    engine = EmbeddedQdrant(tmp_path_factory.mktemp("vectors"))
    runner.run(engine.start())
    yield engine
    runner.run(engine.stop())


@pytest.fixture(params=["own process", "this process"])
def bench(request: pytest.FixtureRequest, runner: asyncio.Runner) -> Iterator[Bench]:
    """In this process every exchange is held against Qdrant's description of its API, in strict mode."""
    checked = None if request.param == "own process" else Checked()
    if checked is None:
        engine: EmbeddedQdrant = request.getfixturevalue("engine")
        bench = Bench(runner, url=engine.url, api_key=engine.api_key)
    else:
        bench = Bench(runner, url=URL, transport=checked)
    bench.run(bench.index.ensure(SPACE))
    yield bench
    bench.run(bench.index.close())
    assert checked is None or checked.violations == []


def toward(*values: float) -> Vector:
    """In the space of its number of values."""
    return Vector(SPACE if len(values) == SPACE.dimensions else OTHER, np.array(values, np.float32))


def point(pk: int, /, *values: float, **payload: Any) -> VectorPoint:
    return VectorPoint(pk, toward(*values), {"entities": [], "author": "a", "source": "s", "event_time": T0, **payload})


def found(bench: Bench, vector: list[float], filters: SearchFilters = NO_FILTERS, limit: int = 10) -> list[int]:
    return [hit.pk for hit in bench.run(bench.index.search(toward(*vector), filters, limit))]


def test_the_nearest_points_come_first_with_their_cosine(bench: Bench) -> None:
    bench.run(bench.index.upsert([point(1, 1, 0, 0, 0), point(2, 0.8, 0.6, 0, 0), point(3, -1, 0, 0, 0)]))
    hits = bench.run(bench.index.search(toward(1, 0, 0, 0), NO_FILTERS, 10))
    assert [hit.pk for hit in hits] == [1, 2, 3]
    assert [hit.score for hit in hits] == pytest.approx([1, 0.8, -1], abs=0.02)


def test_no_more_hits_than_the_limit(bench: Bench) -> None:
    bench.run(bench.index.upsert([point(pk, 1, pk / 100, 0, 0) for pk in range(1, 30)]))
    assert found(bench, [1, 0, 0, 0], limit=3) == [1, 2, 3]


def test_an_empty_index_answers_nothing(bench: Bench) -> None:
    assert found(bench, [1, 0, 0, 0]) == []
    assert bench.run(bench.index.count()) == 0


def test_a_point_written_again_is_replaced_with_its_payload(bench: Bench) -> None:
    bench.run(bench.index.upsert([point(1, 1, 0, 0, 0, lang="en")]))
    bench.run(bench.index.upsert([point(1, 0, 1, 0, 0, lang="de")]))
    assert bench.run(bench.index.count()) == 1
    assert found(bench, [0, 1, 0, 0], SearchFilters(lang="de")) == [1]
    assert found(bench, [0, 1, 0, 0], SearchFilters(lang="en")) == []


def test_points_are_listed_ascending_and_page_by_page(bench: Bench) -> None:
    assert bench.run(bench.index.pks(-1, 10)) == []
    bench.run(bench.index.upsert([point(pk, 1, 0, 0, 0) for pk in (7, 2, 40, 31, 1)]))
    bench.run(bench.index.delete([31]))
    assert bench.run(bench.index.pks(-1, 3)) == [1, 2, 7]
    assert bench.run(bench.index.pks(2, 3)) == [7, 40]
    assert bench.run(bench.index.pks(40, 3)) == []


def test_deleted_points_are_gone_and_absent_ones_are_no_error(bench: Bench) -> None:
    bench.run(bench.index.upsert([point(1, 1, 0, 0, 0), point(2, 0, 1, 0, 0)]))
    bench.run(bench.index.delete([1, 99]))
    bench.run(bench.index.delete([]))
    assert found(bench, [1, 0, 0, 0]) == [2]
    assert bench.run(bench.index.count()) == 1


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (SearchFilters(entity="ticker:BTC"), {1, 3}),
        (SearchFilters(author="ann"), {1, 2}),
        (SearchFilters(lang="de"), {2}),
        (SearchFilters(source="replay"), {3}),
        (SearchFilters(since=T0 + 1), {2, 3}),
        (SearchFilters(until=T0 + 1), {1}),
        (SearchFilters(since=T0 + 1, until=T0 + 2), {2}),
        (SearchFilters(entity="ticker:BTC", author="ann"), {1}),
        (SearchFilters(entity="ticker:ETH", lang="de"), {2}),
        (SearchFilters(entity="ticker:NONE"), set()),
    ],
)
def test_filters_are_combined_with_and_and_times_include_since_but_not_until(
    bench: Bench, filters: SearchFilters, expected: set[int]
) -> None:
    points = [
        point(1, 1, 0, 0, 0, entities=["ticker:BTC"], author="ann", lang="en", event_time=T0),
        point(2, 1, 0, 0, 0, entities=["ticker:ETH"], author="ann", lang="de", event_time=T0 + 1),
        point(3, 1, 0, 0, 0, entities=["ticker:BTC", "hashtag:x"], author="bob", source="replay", event_time=T0 + 2),
    ]
    bench.run(bench.index.upsert(points))
    assert set(found(bench, [1, 0, 0, 0], filters)) == expected


@pytest.mark.parametrize(
    ("within", "expected"),
    [
        (Within(), {1, 2, 3}),
        (Within(up_to_pk=2), {1, 2}),
        (Within(entities=("ticker:BTC", "hashtag:x")), {3}),
        (Within(not_entities=("hashtag:x", "ticker:ETH")), {1}),
        (Within(not_fingerprints=(-5, 7)), {3}),
        (Within(up_to_pk=2, entities=("ticker:BTC",), not_fingerprints=(7,)), {1}),
    ],
)
def test_a_search_is_narrowed_down_inside_the_index(bench: Bench, within: Within, expected: set[int]) -> None:
    points = [
        point(1, 1, 0, 0, 0, pk=1, entities=["ticker:BTC"], fingerprint=-5),
        point(2, 1, 0, 0, 0, pk=2, entities=["ticker:ETH"], fingerprint=7),
        point(3, 1, 0, 0, 0, pk=3, entities=["ticker:BTC", "hashtag:x"], fingerprint=2**62 + 1),
    ]
    bench.run(bench.index.upsert(points))
    hits = bench.run(bench.index.search(toward(1, 0, 0, 0), NO_FILTERS, 10, within))
    assert {hit.pk for hit in hits} == expected


def test_points_of_an_earlier_release_pass_what_excludes(bench: Bench) -> None:
    bench.run(bench.index.upsert([point(1, 1, 0, 0, 0)]))
    within = Within(up_to_pk=5, not_entities=("ticker:BTC",), not_fingerprints=(7,))
    hits = bench.run(bench.index.search(toward(1, 0, 0, 0), NO_FILTERS, 10, within))
    assert [hit.pk for hit in hits] == [1]


def test_what_is_older_than_an_instant_is_removed_and_nothing_else(bench: Bench) -> None:
    bench.run(bench.index.upsert([point(pk, 1, 0, 0, 0, event_time=T0 + pk) for pk in range(1, 6)]))
    bench.run(bench.index.delete_before(T0 + 3))
    assert set(found(bench, [1, 0, 0, 0])) == {3, 4, 5}
    bench.run(bench.index.delete_before(T0))
    assert bench.run(bench.index.count()) == 3


def test_spaces_never_mix(bench: Bench) -> None:
    bench.run(bench.index.ensure(OTHER))
    bench.run(bench.index.upsert([point(1, 1, 0, 0, 0)]))
    bench.run(bench.index.upsert([point(2, 1, 0, 0)]))
    assert found(bench, [1, 0, 0, 0]) == [1]
    assert [hit.pk for hit in bench.run(bench.index.search(toward(1, 0, 0), NO_FILTERS, 10))] == [2]
    assert bench.run(bench.index.count()) == 2


def test_vectors_of_two_spaces_can_be_stored_at_once_and_each_goes_into_its_own(bench: Bench) -> None:
    bench.run(bench.index.ensure(OTHER))
    bench.run(bench.index.upsert([point(1, 1, 0, 0, 0), point(2, 1, 0, 0), point(3, 0, 1, 0, 0)]))
    assert found(bench, [0, 1, 0, 0]) == [3, 1]
    assert found(bench, [1, 0, 0]) == [2]


def test_a_point_that_moves_to_another_space_leaves_the_one_it_was_in(bench: Bench) -> None:
    bench.run(bench.index.ensure(OTHER))
    bench.run(bench.index.upsert([point(1, 1, 0, 0, 0), point(2, 0, 1, 0, 0)]))
    bench.run(bench.index.upsert([point(1, 1, 0, 0)]))
    assert found(bench, [1, 0, 0, 0]) == [2]
    assert found(bench, [1, 0, 0]) == [1]
    assert bench.run(bench.index.count()) == 2


def test_a_space_can_be_dropped_and_leaves_the_others_as_they_are(bench: Bench) -> None:
    bench.run(bench.index.ensure(OTHER))
    bench.run(bench.index.upsert([point(1, 1, 0, 0, 0), point(2, 1, 0, 0)]))
    assert bench.run(bench.index.spaces()) == [OTHER, SPACE]
    bench.run(bench.index.drop(SPACE.name))
    bench.run(bench.index.drop(SPACE.name))
    assert bench.run(bench.index.spaces()) == [OTHER]
    assert found(bench, [1, 0, 0]) == [2]
    bench.run(bench.index.ensure(SPACE))
    assert found(bench, [1, 0, 0, 0]) == []
    bench.run(bench.index.upsert([point(1, 1, 0, 0, 0)]))
    assert found(bench, [1, 0, 0, 0]) == [1]


@pytest.fixture
def never_made(bench: Bench) -> Iterator[QdrantIndex]:
    """An index whose collection nobody made."""
    index = QdrantIndex(**bench.server, collection="never_made")
    yield index
    bench.run(index.close())


def test_an_index_without_a_collection_has_no_spaces(bench: Bench, never_made: QdrantIndex) -> None:
    assert bench.run(never_made.spaces()) == []


def test_an_index_without_a_collection_has_no_points_to_list(bench: Bench, never_made: QdrantIndex) -> None:
    assert bench.run(never_made.pks(-1, 10)) == []


def test_a_space_that_is_not_there_is_refused_by_name(bench: Bench) -> None:
    with pytest.raises(VectorIndexUnavailable, match=OTHER.name):
        bench.run(bench.index.search(toward(1, 0, 0), NO_FILTERS, 1))
    with pytest.raises(VectorIndexUnavailable, match=OTHER.name):
        bench.run(bench.index.upsert([point(1, 1, 0, 0)]))


def test_there_is_no_vector_of_another_size_than_its_space() -> None:
    with pytest.raises(ValueError, match="cannot have the shape"):
        Vector(SPACE, np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="cannot have the shape"):
        Vectors(SPACE, np.zeros((2, 3), np.float32))


def test_making_sure_twice_keeps_what_is_stored(bench: Bench) -> None:
    bench.run(bench.index.upsert([point(1, 1, 0, 0, 0)]))
    bench.run(bench.index.ensure(SPACE))
    bench.run(bench.index.ensure(OTHER))
    assert found(bench, [1, 0, 0, 0]) == [1]


def test_a_model_of_another_size_is_refused_by_name(bench: Bench) -> None:
    with pytest.raises(VectorIndexUnavailable, match="4 dimensions, and this model makes 5"):
        bench.run(bench.index.ensure(Space(SPACE.name, 5)))


def test_more_points_than_one_request_takes_are_all_stored(bench: Bench) -> None:
    bench.run(bench.index.upsert([point(pk, 1, 0, 0, pk / 9_000) for pk in range(2_500)]))
    assert bench.run(bench.index.count()) == 2_500


def test_an_index_that_nobody_serves_is_unavailable_and_says_where(runner: asyncio.Runner) -> None:
    index = QdrantIndex("http://127.0.0.1:9", timeout_s=1)
    with pytest.raises(VectorIndexUnavailable, match=r"127\.0\.0\.1:9 does not answer"):
        runner.run(index.search(toward(1, 0, 0, 0), NO_FILTERS, 1))
    runner.run(index.close())


USES: dict[str, Callable[[QdrantIndex], Awaitable[object]]] = {
    "count": lambda index: index.count(),
    "search": lambda index: index.search(toward(1, 0, 0, 0), NO_FILTERS, 1),
    "upsert": lambda index: index.upsert([point(1, 1, 0, 0, 0)]),
}
REMOVALS: dict[str, Callable[[QdrantIndex], Awaitable[object]]] = {
    "delete": lambda index: index.delete([1]),
    "delete_before": lambda index: index.delete_before(T0),
    "drop": lambda index: index.drop(SPACE.name),
    "clear": lambda index: index.clear(),
}


@pytest.mark.parametrize("use", USES)
def test_a_collection_that_is_not_there_yet_is_named(bench: Bench, never_made: QdrantIndex, use: str) -> None:
    async def used() -> None:
        await USES[use](never_made)

    with pytest.raises(VectorIndexUnavailable, match=r"no collection never_made\S* yet"):
        bench.run(used())


@pytest.mark.parametrize("removal", REMOVALS)
def test_removing_from_an_index_without_a_collection_is_no_error(
    bench: Bench, never_made: QdrantIndex, removal: str
) -> None:
    async def removed() -> None:
        await REMOVALS[removal](never_made)

    bench.run(removed())
