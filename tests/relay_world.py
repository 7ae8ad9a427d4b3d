"""A tape of frames, a relay that reads it, and what is stored then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import psycopg

from groundswell.adapters.postgres_pool import open_pool
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.core.posts import MICROS_PER_MINUTE, MICROS_PER_SECOND, AccountChange, Deleted, Ignored, Post
from groundswell.metrics import Metrics
from groundswell.ports.sources import Source
from groundswell.ports.storing import Event
from groundswell.services.relay import Relay
from tests.roles import as_role
from tests.tape import TapeItem, TapeSource

T0 = 1_783_175_880_000_000 // MICROS_PER_MINUTE * MICROS_PER_MINUTE


class EagerClock:
    """A clock that runs twenty times as fast: five seconds of silence are not what these tests are about."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() * 20

    def now(self) -> int:
        return T0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds / 20, 0.02))


class Screen:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self.previewed: list[str] = []

    async def publish(self, events: Sequence[Event]) -> None:
        self.events.extend(events)

    async def preview(self, posts: Sequence[Post], deleted: Sequence[str], ts: int) -> None:
        self.previewed.extend(post.id for post in posts)


def at(seconds: float) -> int:
    return T0 + round(seconds * MICROS_PER_SECOND)


def tape(length: int = 60) -> list[TapeItem]:
    """Two minutes and more of posts, edits, deletes, a takedown, and frames that carry nothing."""
    items: list[TapeItem] = []
    for i in range(length):
        author = f"did:plc:{i % 7}"
        when = at(i * 3)
        post_id = f"at://{author}/app.bsky.feed.post/{i}"
        entities = ("hashtag:kcon",) if i % 3 else ("hashtag:kcon", "ticker:BTC")
        items.append(
            Post(
                id=post_id, source="jetstream", author=author, text=f"post {i}", event_time=when, rev=f"{i:04}",
                cursor=when, entities=entities,
            )
        )  # fmt: skip
        if i % 10 == 4:
            items.append(Ignored("identity", cursor=when + 1, event_time=when + 1))
        if i % 11 == 5:
            items.append(
                Deleted(
                    source="jetstream", author=author, event_time=when + 2, cursor=when + 2, id=post_id, rev=f"{i:04}z"
                )
            )  # fmt: skip
        if i % 13 == 7:
            edited = Post(
                id=post_id, source="jetstream", author=author, text="edited", event_time=when + 3, rev=f"{i:04}y",
                cursor=when + 3, entities=("ticker:ETH",), operation="update",
            )  # fmt: skip
            items.append(edited)
    for author, status, when in (
        ("did:plc:2", "suspended", length * 0.4),
        ("did:plc:5", "deactivated", length * 0.6),
        ("did:plc:2", "active", length * 0.9),
        ("did:plc:3", "deleted", length * 2),
    ):
        items.append(AccountChange("jetstream", author, at(when), at(when), status))
    items.sort(key=lambda item: item.cursor or 0)
    return items


def make_relay(source: Source, store: Any, screen: Screen, *, recording: bool) -> Relay:
    return Relay(
        source,
        store,
        screen,
        EagerClock(),
        batch_max_posts=8,
        batch_max_age_s=0.02,
        rng=Random(1),
        metrics=Metrics(),
        recording=recording,
    )


def run_relay(
    url: str,
    source: TapeSource,
    *,
    until: Callable[[Relay], bool] = lambda relay: False,
    recording: bool = True,
    wrap: Callable[[PostgresStore], Any] = lambda store: store,
) -> tuple[Relay, Screen]:
    """Run one relay to the end of its source, or until `until` says so after some commit."""

    async def run() -> tuple[Relay, Screen]:
        pool = await open_pool(as_role(url, "relay"), size=3, wait_s=5, statement_timeout_s=10, application_name="test")
        screen, stop = Screen(), asyncio.Event()
        relay = make_relay(source, wrap(PostgresStore(pool)), screen, recording=recording)

        async def watch() -> None:
            while not until(relay):  # noqa: ASYNC110 -- the relay's counters are no events
                await asyncio.sleep(0.005)
            stop.set()

        watching = asyncio.create_task(watch())
        try:
            await asyncio.wait_for(relay.run(stop), 30)
        finally:
            watching.cancel()
            await pool.close()
        return relay, screen

    return asyncio.run(run())


STORED = (
    "SELECT id, text, rev, entities, event_time::text FROM posts ORDER BY id",
    "SELECT entity, minute::text, mentions, authors FROM minute_counts ORDER BY 1, 2",
    "SELECT minute::text, posts FROM minute_totals ORDER BY 1",
    "SELECT minute::text, round(observed_seconds::numeric, 3)::text FROM coverage ORDER BY 1",
    "SELECT cursor, covered_until::text FROM cursors",
    "SELECT id, rev, entities FROM hidden_posts ORDER BY id",
    "SELECT author, status, hidden, at::text FROM account_states ORDER BY author",
)


def stored(url: str) -> list[list[tuple[Any, ...]]]:
    with psycopg.connect(url) as conn:
        return [conn.execute(query).fetchall() for query in STORED]


def undisturbed(url: str, items: list[TapeItem]) -> list[list[tuple[Any, ...]]]:
    """What is stored of a tape that nothing disturbs. The store is empty afterwards."""
    run_relay(url, TapeSource(items))
    found = stored(url)
    wipe(url)
    return found


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as conn:
        return conn.execute(query).fetchall()


def wipe(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(
            "TRUNCATE posts, hidden_posts, account_states, tombstones, author_tombstones, minute_authors,"
            " minute_counts, minute_totals, coverage,"
            " cursors, gaps, outbox, events RESTART IDENTITY"
        )
