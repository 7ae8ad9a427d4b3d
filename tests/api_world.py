"""A small, known world behind the real API: a real Postgres with some posts, a gap, momentum, alerts and events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import httpx
import psycopg
from fastapi import FastAPI
from psycopg.types.json import Jsonb

from functions.api.app import ApiServices, create_app
from groundswell.adapters.local_hub import LocalHub
from groundswell.adapters.migrations import REQUIRED_VERSION
from groundswell.adapters.postgres_keys import PostgresKeys
from groundswell.adapters.postgres_momentum import PostgresMomentum
from groundswell.adapters.postgres_pool import Pool, open_pool
from groundswell.adapters.postgres_reads import PostgresReads
from groundswell.adapters.postgres_rules import PostgresRules
from groundswell.adapters.postgres_search import PostgresSearch
from groundswell.adapters.system_clock import SystemClock
from groundswell.ports.search import Searcher
from groundswell.services.search import SearchService
from groundswell.services.time_travel import TimeTravel
from tests.roles import as_role

T = TypeVar("T")

VERSION = "1.2.3"
SCHEMA = REQUIRED_VERSION
AUTHORS = ("did:plc:ann", "did:plc:bob", "did:plc:cem")
TEXTS = (
    "to the moon $BTC",
    "안녕하세요 #kcon 🎉",
    '=HYPERLINK("x")',
    "read https://example.com",
    'plain words, "quoted"\nand more',
)
ENTITIES = (["ticker:BTC"], ["hashtag:kcon"], [], ["domain:example.com"], ["hashtag:kcon", "ticker:BTC"])
POSTS = 60


def post_id(number: int) -> str:
    return f"at://{AUTHORS[number % 3]}/app.bsky.feed.post/{number:04d}"


def fill(url: str) -> None:
    """Sixty posts, one every 20 seconds up to now, from a source that was not watched 9 to 7 minutes ago."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("CREATE TABLE IF NOT EXISTS alembic_version (version_num text)")
        conn.execute("DELETE FROM alembic_version")
        conn.execute("INSERT INTO alembic_version VALUES (%s)", (SCHEMA,))
        for n in range(POSTS):
            conn.execute(
                "INSERT INTO posts (id, source, author, text, lang, created_at, event_time, rev, entities) VALUES"
                " (%s, 'jetstream', %s, %s, %s, now(), now() - make_interval(secs => %s), 'a', %s)",
                (
                    post_id(n),
                    AUTHORS[n % 3],
                    TEXTS[n % 5],
                    ("en", "ko", None)[n % 3],
                    20 * (POSTS - n),
                    ENTITIES[n % 5],
                ),
            )
        conn.execute(
            "INSERT INTO minute_authors SELECT e, date_trunc('minute', event_time), source, author, count(*)"
            " FROM posts, unnest(entities) AS e GROUP BY 1, 2, 3, 4"
        )
        conn.execute(
            "INSERT INTO minute_counts SELECT entity, minute, source, sum(mentions), count(*) FROM minute_authors"
            " GROUP BY 1, 2, 3"
        )
        conn.execute(
            "INSERT INTO minute_totals SELECT source, date_trunc('minute', event_time), count(*)"
            " FROM posts GROUP BY 1, 2"
        )
        conn.execute(
            "INSERT INTO coverage SELECT 'jetstream', m, 60 FROM generate_series(date_trunc('minute', now()) -"
            " interval '20 minutes', date_trunc('minute', now()) - interval '1 minute', interval '1 minute') AS m"
            " WHERE m NOT BETWEEN now() - interval '10 minutes' AND now() - interval '7 minutes'"
        )
        conn.execute("INSERT INTO cursors VALUES ('jetstream', 1, now() - interval '1 second', now())")
        conn.execute(
            "INSERT INTO gaps (source, cause, detail, started_at, ended_at, closed_at) VALUES"
            " ('jetstream', 'disconnect', 'the far end hung up', now() - interval '9 minutes',"
            " now() - interval '7 minutes', now())"
        )
        for n, (kind, name, stage) in enumerate(
            [("ticker", "BTC", "rising"), ("hashtag", "kcon", "emerging"), ("domain", "example.com", "fading")]
        ):
            conn.execute(
                "INSERT INTO momentum VALUES (%s, %s, %s, now(), %s, now(), 20, 3, 2.5, 0.1, 4.2, %s, '{1,NULL,2.5}')",
                (f"{kind}:{name}", kind, name, stage, 0.9 - 0.2 * n),
            )
            conn.execute(
                "INSERT INTO alerts (rule_id, entity, stage, score, at, evidence) VALUES (1, %s, 'rising', 0.8,"
                " now() - make_interval(mins => %s), %s)",
                (f"{kind}:{name}", n, Jsonb({"mentions": 20})),
            )
            conn.execute(
                "INSERT INTO insights (kind, title, body, entities, post_ids)"
                " VALUES ('pulse', %s, 'It moved.', %s, %s)",
                (f"{name} moves", [f"{kind}:{name}"], [post_id(n)]),
            )
        conn.execute("INSERT INTO components (component, state, detail) VALUES ('relay', 'live', '{}')")
        conn.execute(
            "INSERT INTO events (type, live, data, pks)"
            " SELECT 'posts.new', true, '{}', ARRAY[pk] FROM posts ORDER BY pk"
        )
        conn.execute(
            "INSERT INTO events (type, live, data) VALUES ('posts.deleted', false, '{\"ids\": [\"at://gone\"]}')"
        )


@dataclass
class World:
    app: FastAPI
    client: httpx.AsyncClient
    pool: Pool
    hub: LocalHub
    services: ApiServices
    url: str

    def owner(self) -> psycopg.Connection[Any]:
        """The database for its owner, who may do what the API may not."""
        return psycopg.connect(self.url, autocommit=True)

    async def get(self, path: str, **params: Any) -> dict[str, Any]:
        """The JSON of a 200 answer."""
        response = await self.client.get(path, params=params)
        assert response.status_code == 200, response.text
        return response.json()


@asynccontextmanager
async def relay_pool(url: str) -> AsyncGenerator[Pool]:
    """Connections of the relay: it writes what the API may only read."""
    pool = await open_pool(
        as_role(url, "relay"), size=2, wait_s=10, statement_timeout_s=30, application_name="test relay"
    )
    try:
        yield pool
    finally:
        await pool.close()


def in_world(
    url: str,
    scenario: Callable[[World], Awaitable[T]],
    *,
    pool_size: int = 4,
    wait_s: float = 5,
    statement_timeout_s: float = 5,
    search: Callable[[Pool], Awaitable[Searcher]] | None = None,
    **options: Any,
) -> T:
    """Run `scenario` against the API over the database at `url`; `options` go to `create_app`.

    Args:
        search: makes what takes the place of search by words alone.
    """

    async def run() -> T:
        pool = await open_pool(
            as_role(url, "api"),
            size=pool_size,
            wait_s=wait_s,
            statement_timeout_s=statement_timeout_s,
            application_name="test",
        )
        try:
            services, hub = parts(pool)
            if search is not None:
                services = replace(services, search=await search(pool))
            app = create_app(services, **{"version": VERSION, "rate_limit_per_minute": 0, **options})
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await scenario(World(app, client, pool, hub, services, url))
        finally:
            await pool.close()

    return asyncio.run(run())


def parts(pool: Pool) -> tuple[ApiServices, LocalHub]:
    clock = SystemClock()
    reads = PostgresReads(pool)
    hub = LocalHub(clock, version=VERSION, window_s=0.02)
    services = ApiServices(
        reads=reads,
        search=SearchService(PostgresSearch(pool), None, None, clock),
        past=TimeTravel(PostgresMomentum(pool), reads, clock),
        rules=PostgresRules(pool),
        keys=PostgresKeys(pool),
        clock=clock,
        schema_version=SCHEMA,
        hub=hub,
    )
    return services, hub


def problem(response: httpx.Response, status: int, **expected: Any) -> Mapping[str, Any]:
    """The problem document of an answer, after its shape was checked."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == status
    assert {"type", "title", "status", "detail", "instance"} <= body.keys()
    assert body["type"].startswith("/docs/problems#")
    for name, value in expected.items():
        assert body[name] == value, body
    return body


def ids(listing: Mapping[str, Any]) -> Sequence[str]:
    return [item["id"] for item in listing["data"]]
