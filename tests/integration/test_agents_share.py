"""The agents' share of the database: small, with a time limit of its own, and no loss to anybody who reads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from groundswell.adapters.postgres_pool import Pool, connection
from groundswell.adapters.postgres_reads import PostgresReads
from groundswell.errors import QueryTimeout, StoreUnavailable
from groundswell.settings import ApiSettings, load
from groundswell.wiring.parts import WAITING_FOR_EACH_CONNECTION, agents_pool, database_pool

SHARE = 2
LIMITS = {
    "GROUNDSWELL_AGENTS_POOL_SIZE": f"{SHARE}",
    "GROUNDSWELL_AGENTS_STATEMENT_TIMEOUT_S": "0.3",
    "GROUNDSWELL_DATABASE_POOL_SIZE": "1",
    "GROUNDSWELL_DATABASE_POOL_WAIT_S": "0.5",
    "GROUNDSWELL_DATABASE_STATEMENT_TIMEOUT_S": "30",
}


def beside_readers(url: str, scenario: Callable[[Pool, Pool], Awaitable[None]]) -> None:
    """Run `scenario` with the pool of agents and that of readers, as an API that was configured so has them."""

    async def run() -> None:
        settings = load(ApiSettings, {"GROUNDSWELL_DATABASE_URL": url, **LIMITS})
        async with AsyncExitStack() as stack:
            agents = await agents_pool(stack, settings, url)
            readers = await database_pool(stack, settings, url, size=settings.database_pool_size, name="api")
            await asyncio.wait_for(scenario(agents, readers), 60)

    asyncio.run(run())


async def one(pool: Pool, query: str = "SELECT 1") -> None:
    async with connection(pool) as conn:
        await conn.execute(query.encode())


def test_a_long_query_of_an_agent_is_cancelled_long_before_one_of_a_reader_would_be(database_url: str) -> None:
    async def scenario(agents: Pool, readers: Pool) -> None:
        with pytest.raises(QueryTimeout, match="GROUNDSWELL_AGENTS_STATEMENT_TIMEOUT_S"):
            await one(agents, "SELECT pg_sleep(20)")
        await one(readers, "SELECT pg_sleep(0.6)")
        await one(agents)

    beside_readers(database_url, scenario)


def test_agents_that_take_all_they_may_take_nothing_from_readers(database_url: str) -> None:
    async def scenario(agents: Pool, readers: Pool) -> None:
        async with connection(agents), connection(agents):
            with pytest.raises(StoreUnavailable, match=f"all {SHARE} are in use.*GROUNDSWELL_AGENTS_POOL_SIZE"):
                await one(agents)
            await PostgresReads(readers).status()
        await one(agents)

    beside_readers(database_url, scenario)


def test_agents_that_would_wait_beyond_their_queue_are_turned_away_at_once(database_url: str) -> None:
    async def scenario(agents: Pool, readers: Pool) -> None:
        async with connection(agents), connection(agents):
            places = SHARE * WAITING_FOR_EACH_CONNECTION
            ends = await asyncio.gather(*(one(agents) for _ in range(places + 3)), return_exceptions=True)
        said = [str(end) for end in ends if isinstance(end, StoreUnavailable)]
        assert len(said) == places + 3
        assert sum(f"{places} requests wait" in text for text in said) == 3

    beside_readers(database_url, scenario)
