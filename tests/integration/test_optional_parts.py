"""Whatever an optional part does, it ends nothing but itself: it waits, says why, and goes on when it can."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, cast

import pytest

from groundswell.adapters.qdrant import QdrantIndex
from groundswell.adapters.static_model import StaticModel
from groundswell.errors import DataDirectoryLost, LeaseLost
from groundswell.ports.storing import PostStore
from groundswell.services.indexer import Indexer
from groundswell.services.reporting import Reporter
from groundswell.services.search import SearchService
from groundswell.services.upkeep.optional_part import STABLE_AFTER_S, OptionalPart
from tests.search_world import NO_FILTERS, SystemClock, World, empty, in_world, indexed, until
from tests.vector_engine import index_in_process

UNFORESEEN: Sequence[Exception] = (
    KeyError("result"),
    AssertionError(),
    json.JSONDecodeError("Expecting value", "<html>", 0),
    RecursionError("maximum recursion depth exceeded"),
    MemoryError(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    OSError(28, "No space left on device"),
    TypeError("'NoneType' object is not iterable"),
    StopAsyncIteration(),
)


class JumpedClock:
    """A clock that waits for nobody, and goes where it is told."""

    def __init__(self) -> None:
        self.at = 0.0
        self.waited: list[float] = []

    def monotonic(self) -> float:
        return self.at

    def now(self) -> int:
        return 0

    async def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.at += seconds
        await asyncio.sleep(0)


class Misbehaving:
    """Stands for a part: everything asked of it goes through `answer`, until that is None."""

    def __init__(self, part: object, answer: Callable[[], object] | None) -> None:
        self.part = part
        self.answer = answer
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.part, name)
        if not callable(real):
            return real
        if asyncio.iscoroutinefunction(real):

            async def misbehave(*args: Any, **kwargs: Any) -> Any:
                self.asked += 1
                return await real(*args, **kwargs) if self.answer is None else self.answer()

            return misbehave

        def misbehave_at_once(*args: Any, **kwargs: Any) -> Any:
            self.asked += 1
            return real(*args, **kwargs) if self.answer is None else self.answer()

        return misbehave_at_once


def raising(error: Exception) -> Callable[[], object]:
    def answer() -> object:
        raise error

    return answer


NONSENSE: Sequence[tuple[str, Callable[[], object]]] = (
    *((type(error).__name__, raising(error)) for error in UNFORESEEN),
    ("nothing", lambda: None),
    ("a text", lambda: "<html>Please log in</html>"),
    ("texts", lambda: ["a", "b"]),
    ("a number", lambda: 7),
    ("itself", lambda: object),
)


@pytest.mark.parametrize("error", UNFORESEEN, ids=lambda error: type(error).__name__)
def test_a_part_that_fails_waits_says_why_and_goes_on(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        clock, stop, well = JumpedClock(), asyncio.Event(), asyncio.Event()
        runs = 0

        async def service(stop: asyncio.Event) -> None:
            nonlocal runs
            runs += 1
            if runs <= 5:
                raise error
            well.set()
            await stop.wait()

        part = OptionalPart("vectors", service, clock, rng=Random(7))
        running = asyncio.create_task(part.run(stop))
        await well.wait()
        state, detail = part.report("ok", {"depth": 3})
        assert state == "waiting"
        assert type(error).__name__ in str(detail["why"]) and detail["depth"] == 3
        assert part.failures == 5
        clock.at += STABLE_AFTER_S
        assert part.report("ok", {"depth": 0}) == ("ok", {"depth": 0})
        stop.set()
        await running

    with caplog.at_level(logging.ERROR):
        asyncio.run(scenario())
    assert [record.exc_info is not None and record.exc_info is not False for record in caplog.records] == [
        True, *[False] * 4,
    ], "one traceback for five failures of one kind"  # fmt: skip


def test_a_part_that_keeps_failing_is_started_ever_more_rarely_and_ends_when_it_is_told_to() -> None:
    async def scenario() -> None:
        clock, stop = JumpedClock(), asyncio.Event()

        async def service(stop: asyncio.Event) -> None:
            if part.failures == 200:
                stop.set()
            raise KeyError("result")

        part = OptionalPart("vectors", service, clock, rng=Random(7))
        await part.run(stop)
        assert max(clock.waited) > 30
        assert part.failures == 201
        assert clock.at > 3600

    asyncio.run(scenario())


def test_why_a_part_failed_quotes_nothing_that_it_was_given() -> None:
    async def scenario() -> None:
        async def service(stop: asyncio.Event) -> None:
            stop.set()
            raise ValueError("https://key:hunter2@vectors.example is no address")

        part = OptionalPart("vectors", service, JumpedClock(), rng=Random(7))
        await part.run(asyncio.Event())
        assert "hunter2" not in str(part.report("ok", {}))

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "error", [LeaseLost.of("jetstream"), DataDirectoryLost("gone")], ids=lambda e: type(e).__name__
)
def test_what_concerns_the_whole_process_still_ends_it(error: Exception) -> None:
    async def service(stop: asyncio.Event) -> None:
        raise error

    part = OptionalPart("broadcast", service, JumpedClock(), rng=Random(7))
    with pytest.raises(type(error)):
        asyncio.run(part.run(asyncio.Event()))


@pytest.mark.parametrize("answer", [answer for _, answer in NONSENSE], ids=[name for name, _ in NONSENSE])
@pytest.mark.parametrize("broken", ["index", "model"])
def test_search_answers_by_words_whatever_the_index_or_the_model_answers(
    database_url: str, model: StaticModel, broken: str, answer: Callable[[], object]
) -> None:
    async def scenario(world: World) -> None:
        index = index_in_process()
        await indexed(world, index, model)
        part = Misbehaving(index if broken == "index" else model, answer)
        service = SearchService(
            world.lexical,
            cast("QdrantIndex", part if broken == "index" else index),
            cast("StaticModel", part if broken == "model" else model),
            SystemClock(),
        )
        found = await service.search("bitcoin", NO_FILTERS, 10)
        assert part.asked > 0
        assert found.degraded in (["vector-index"], ["embeddings"])
        assert {hit.pk for hit in found.hits} >= {1, 2}
        part.answer = None
        assert (await service.search("bitcoin", NO_FILTERS, 10)).degraded == []

    in_world(database_url, scenario)


@pytest.mark.parametrize("answer", [answer for _, answer in NONSENSE[:9]], ids=[name for name, _ in NONSENSE[:9]])
@pytest.mark.parametrize("broken", ["index", "model"])
def test_posts_wait_for_an_index_or_a_model_that_fails_and_are_indexed_when_it_is_back(
    database_url: str, model: StaticModel, broken: str, answer: Callable[[], object]
) -> None:
    async def scenario(world: World) -> None:
        index = index_in_process()
        part = Misbehaving(index if broken == "index" else model, answer)
        clock = SystemClock()
        indexer = Indexer(
            world.outbox,
            cast("QdrantIndex", part if broken == "index" else index),
            cast("StaticModel", part if broken == "model" else model),
            clock,
        )
        optional = OptionalPart("vectors", indexer.run, clock, rng=Random(7))
        stop = asyncio.Event()
        running = asyncio.create_task(optional.run(stop))
        await until(lambda: part.asked >= 3)
        assert not running.done()
        assert await world.outbox.depth() == 8
        part.answer = None
        await until(lambda: empty(world.outbox))
        stop.set()
        await running

    in_world(database_url, scenario)


def test_a_report_that_fails_hides_no_other_one() -> None:
    stored: dict[str, tuple[str, Any]] = {}

    class Store:
        async def report(self, component: str, state: str, detail: object) -> None:
            stored[component] = state, detail

    async def scenario() -> None:
        reporter = Reporter(
            cast("PostStore", Store()),
            {"vectors": raising(ZeroDivisionError()), "relay": lambda: ("live", {})},  # type: ignore[dict-item]
        )
        await reporter.report()
        await reporter.report()

    asyncio.run(scenario())
    assert stored["relay"] == ("live", {})
    assert stored["vectors"][0] == "waiting" and "ZeroDivisionError" in stored["vectors"][1]["why"]
