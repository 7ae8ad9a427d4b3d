"""Posts to search, in both stores."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from groundswell.adapters.postgres_outbox import PostgresOutbox
from groundswell.adapters.postgres_pool import Pool, connection, open_pool
from groundswell.adapters.postgres_search import PostgresSearch
from groundswell.adapters.qdrant import QdrantIndex
from groundswell.adapters.static_model import StaticModel
from groundswell.core.near_duplicates import fingerprint
from groundswell.core.queries import parse_query
from groundswell.core.terms import search_vector
from groundswell.ports.vectors import SearchFilters
from groundswell.services.indexer import Indexer
from groundswell.services.search import SearchService
from tests.roles import as_role

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
        pool = await open_pool(
            as_role(database_url, "relay"), size=4, wait_s=5, statement_timeout_s=10, application_name="test-search"
        )
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
