"""What tests of the sealed feed share: a small world behind a wallet, and a relay that watches it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import Any

import psycopg

from groundswell.adapters.postgres_pool import open_pool
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.adapters.sealed import SealedSource
from groundswell.adapters.sealed_wallet import Wallet, wallet_of
from groundswell.adapters.simulator import World, WorldConfig, truth
from groundswell.adapters.simulator.sealed import SealedServer
from groundswell.adapters.simulator.world import POST
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.posts import MICROS_PER_SECOND, Micros
from groundswell.core.sealed_keys import WalletKind
from groundswell.metrics import Metrics
from groundswell.services.relay import Relay

FEED_KEY = hashlib.sha256(b"feed key of the tests").digest()
WALLET_KEY = hashlib.sha256(b"wallet key of the tests").digest()
ROUND_S = 0.05
"""Missing frames are given up within a second, so that a test need not last."""


class NoScreen:
    async def publish(self, events: object) -> None:
        """Nobody looks."""

    async def preview(self, posts: object, deleted: object, ts: object) -> None:
        """Nobody looks."""


class HastyClock(SystemClock):
    """The real clock, with short waits: how long to wait before a reconnect is not what these tests are about."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.05))


def wallet(kind: WalletKind = "ed25519") -> Wallet:
    return wallet_of(kind, WALLET_KEY)


def sealed_server(*, posts_per_second: float = 200, began_at: Micros | None = None, **options: Any) -> SealedServer:
    """A feed whose world begins with it, unless it is to be older."""
    clock = SystemClock()
    started = clock.now() if began_at is None else began_at
    config = WorldConfig(seed=11, posts_per_second=posts_per_second, began_at=started, garbage_share=0.01)
    options = {"feed_key": FEED_KEY, "wallets": [wallet("ed25519").address, wallet("secp256k1").address], **options}
    return SealedServer(World(config), clock=clock, **options)


def sealed_source(
    url: str, *, kind: WalletKind = "ed25519", feed_key: bytes = FEED_KEY, round_s: float = ROUND_S
) -> SealedSource:
    return SealedSource(url=url, wallet=wallet(kind), feed_key=feed_key, extractor=None, rng=Random(3), round_s=round_s)


@asynccontextmanager
async def running_relay(url: str, source: SealedSource) -> AsyncGenerator[Relay]:
    """A relay that stores what the source says, stopped in good order at the end."""
    async with AsyncExitStack() as stack:
        pool = await open_pool(url, size=3, wait_s=5, statement_timeout_s=10, application_name="test")
        stack.push_async_callback(pool.close)
        relay = Relay(
            source,
            PostgresStore(pool),
            NoScreen(),  # pyright: ignore[reportArgumentType] -- nobody looks
            HastyClock(),
            batch_max_posts=64,
            batch_max_age_s=0.05,
            rng=Random(5),
            metrics=Metrics(),
        )
        stop = asyncio.Event()
        running = asyncio.create_task(relay.run(stop))
        try:
            yield relay
        finally:
            stop.set()
            try:
                await asyncio.wait_for(running, 20)
            finally:
                running.cancel()


async def until(condition: Callable[[], Awaitable[bool]], what: str, *, limit_s: float = 20) -> None:
    """Wait for what shows only in a database or a counter. Raises TimeoutError with `what` it was."""
    try:
        async with asyncio.timeout(limit_s):
            while not await condition():  # noqa: ASYNC110 -- other programs' states are no events
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise TimeoutError(f"not within {limit_s:g} s: {what}") from None


async def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        return await (await conn.execute(query.encode())).fetchall()


async def stored_cursor(url: str) -> int:
    found = await rows(url, "SELECT cursor FROM cursors")
    return found[0][0] or 0 if found else 0


async def begun(url: str, server: SealedServer) -> Micros:
    """Wait until something is stored. Answers since when, at the latest, the feed has been watched.

    A connection that ended before anything of it was stored promised nothing.
    """

    async def some() -> bool:
        return await stored_cursor(url) > 0

    await until(some, "the first frames are stored")
    return server.spans[-1].started_at


async def settle(url: str, server: SealedServer, relay: Relay) -> Micros:
    """Let the feed go on undisturbed for a moment, end it, and wait until its last frame is stored or known to be lost.

    Answers the instant of the end.
    """
    server.faults.calm()
    calm = await server.head()

    async def passed() -> bool:
        return await stored_cursor(url) > calm

    await until(passed, f"a frame after {calm} is stored ({relay.state.phase}: {relay.state.why})", limit_s=30)
    ended = server.end()
    last = await server.head()

    async def stored() -> bool:
        return relay.live and (await stored_cursor(url) >= last or await missed_for_good())

    async def missed_for_good() -> bool:
        closed = f"SELECT 1 FROM gaps WHERE NOT backfilled AND ended_at > to_timestamp({ended / MICROS_PER_SECOND})"
        return not server.can_replay and bool(await rows(url, closed))

    await until(stored, f"frame {last} is stored ({relay.state.phase}: {relay.state.why})")
    return ended


async def unexplained(url: str, server: SealedServer, watched: Micros, until: Micros) -> list[str]:
    """Every post up to `until` that is stored though it should not be, or is missing since `watched`, and is in no gap.

    A gap that was backfilled explains nothing: all that was missed is said to have come. What happened before `watched`
    may be stored: a reader asks for a little more than it lacks.
    """
    since = server.world.config.began_at
    told = truth(server.world, since, until)
    touched: dict[str, list[Micros]] = {}
    gone: dict[str, list[Micros]] = {}
    for second in server.world.seconds(since, until):
        for time, mark in zip(second.times, second.marks, strict=True):
            if mark is not None and mark.does == "takedown":
                gone.setdefault(mark.did, []).append(time)
            elif mark is not None:
                touched.setdefault(f"at://{mark.did}/{POST}/{mark.rkey}", []).append(time)
    gaps = await rows(
        url,
        "SELECT (extract(epoch FROM started_at) * 1000000)::bigint,"
        " coalesce((extract(epoch FROM ended_at) * 1000000)::bigint, 9000000000000000) FROM gaps WHERE NOT backfilled",
    )
    kept = dict(await rows(url, "SELECT id, rev FROM posts"))

    def in_a_gap(post_id: str) -> bool:
        author = post_id.split("/")[2]
        instants = [*touched.get(post_id, ()), *gone.get(author, ())]
        explained = [(0, watched), *gaps]
        return any(start <= instant <= end for instant in instants for start, end in explained)

    return [
        f"{post_id}: {'missing' if post_id not in kept else f'stored as {kept[post_id]}'},"
        f" and should be {told.posts[post_id].rev if post_id in told.posts else 'gone'};"
        f" happened at {touched.get(post_id)}, gaps are {gaps}"
        for post_id in sorted({*kept, *told.posts})
        if kept.get(post_id) != (told.posts[post_id].rev if post_id in told.posts else None) and not in_a_gap(post_id)
    ]


def seconds_before(instant: Micros, seconds: float) -> Micros:
    return instant - round(seconds * MICROS_PER_SECOND)
