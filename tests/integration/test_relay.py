"""The relay over a real Postgres: whatever happens on the way, the same posts, counts and coverage are stored."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection, serve

from groundswell.adapters.jetstream import JetstreamSource
from groundswell.adapters.postgres_pool import open_pool
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.core.entities import EntityExtractor
from groundswell.core.learning import QUARTER, quarter_of
from groundswell.core.posts import MICROS_PER_SECOND, Post
from groundswell.errors import StoreUnavailable
from groundswell.ports.storing import Batch, Committed
from groundswell.services.relay import Relay
from tests.relay_world import T0, Screen, at, make_relay, rows, run_relay, stored, tape, wipe
from tests.tape import TapeConnection, TapeItem, TapeSource

SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "jetstream-v1-sample.jsonl"
"""152 frames exactly as production sent them."""


def test_an_undisturbed_tape_is_stored_whole(database_url: str) -> None:
    relay, screen = run_relay(database_url, TapeSource(tape()))
    assert relay.state.phase == "ended"
    assert relay.state.ignored_total == {"identity": 6}
    (totals,) = rows(database_url, "SELECT sum(posts) FROM minute_totals")
    assert totals == rows(database_url, "SELECT count(*) FROM posts")[0]
    assert [event.seq for event in screen.events] == sorted(event.seq for event in screen.events)
    carried = [post.id for event in screen.events for post in event.posts]
    assert len(carried) == len(set(carried))


def test_outages_anywhere_leave_the_same_posts_counts_and_coverage(database_url: str) -> None:
    run_relay(database_url, TapeSource(tape()))
    undisturbed = stored(database_url)

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.integers(min_value=0, max_value=75), max_size=6))
    def outages(breaks: list[int]) -> None:
        wipe(database_url)
        run_relay(database_url, TapeSource(tape(), breaks))
        assert stored(database_url) == undisturbed

    outages()


def test_a_relay_stopped_and_started_again_anywhere_leaves_the_same(database_url: str) -> None:
    run_relay(database_url, TapeSource(tape()))
    undisturbed = stored(database_url)
    for stop_after in (1, 3, 6):
        wipe(database_url)
        first, _ = run_relay(
            database_url, TapeSource(tape()), until=lambda relay, n=stop_after: relay.state.batches_total >= n
        )
        run_relay(database_url, TapeSource(tape()))
        assert stored(database_url) == undisturbed, (stop_after, first.state)


def test_a_lost_connection_is_a_gap_that_backfill_closes(database_url: str) -> None:
    run_relay(
        database_url,
        TapeSource(tape(), [20], ends=False),
        recording=False,
        until=lambda relay: relay.live and relay.state.created_total >= 40,
    )
    gaps = rows(database_url, "SELECT cause, backfilled, closed_at IS NOT NULL FROM gaps ORDER BY id")
    assert gaps == [("disconnect", True, True), ("shutdown", False, False)]
    assert rows(database_url, "SELECT count(*) FROM events WHERE type = 'gap'") == [(3,)]


def test_what_a_source_no_longer_has_stays_a_gap_and_out_of_the_coverage(database_url: str) -> None:
    def caught_up(relay: Relay) -> bool:
        return relay.live

    run_relay(database_url, TapeSource(tape(10), ends=False), recording=False, until=caught_up)
    later = TapeSource(tape(60), ends=False, keeps_from=at(120))
    run_relay(database_url, later, recording=False, until=caught_up)
    assert rows(
        database_url, "SELECT backfilled, extract(epoch FROM ended_at - started_at)::int >= 60 FROM gaps ORDER BY id"
    )[0] == (False, True)
    seconds = dict(rows(database_url, "SELECT minute::text, observed_seconds::int FROM coverage ORDER BY 1"))
    assert next(iter(seconds.values())) < 60
    assert sum(seconds.values()) < 3 * 60 - 60


def test_catching_up_is_announced_as_not_live(database_url: str) -> None:
    run_relay(database_url, TapeSource(tape(10)), until=lambda relay: False)
    _, screen = run_relay(
        database_url, TapeSource(tape(60), ends=False), recording=False, until=lambda relay: relay.live
    )
    posts = [event for event in screen.events if event.type == "posts.new"]
    assert posts
    assert not any(event.live for event in posts)


def test_a_store_that_fails_now_and_then_delays_and_loses_nothing(database_url: str) -> None:
    run_relay(database_url, TapeSource(tape()))
    undisturbed = stored(database_url)
    wipe(database_url)

    class Moody:
        """Fails every other commit; half of those after the commit was made, so that its answer is lost."""

        def __init__(self, store: PostgresStore) -> None:
            self._store = store
            self._calls = 0

        def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
            return getattr(self._store, name)

        async def commit(self, batch: Batch) -> Committed:
            self._calls += 1
            if self._calls % 4 == 1:
                raise StoreUnavailable("the database is away")
            done = await self._store.commit(batch)
            if self._calls % 4 == 3:
                raise StoreUnavailable("the answer was lost on the way")
            return done

    run_relay(database_url, TapeSource(tape()), wrap=Moody)
    assert stored(database_url) == undisturbed


def test_no_batch_goes_from_one_quarter_of_an_hour_into_the_next(database_url: str) -> None:
    boundary = (quarter_of(T0) + 1) * QUARTER
    moved = [msgspec.structs.replace(item, event_time=item.event_time + boundary - at(90)) for item in tape()]  # pyright: ignore[reportOptionalOperand]
    ends: list[int] = []

    class Watching:
        def __init__(self, store: PostgresStore) -> None:
            self._store = store

        def __getattr__(self, name: str) -> Any:
            return getattr(self._store, name)

        async def commit(self, batch: Batch) -> Committed:
            ends.append(batch.covered_until)
            said = [*batch.posts, *(gone for gone in batch.deletes if gone.id is not None)]
            assert {quarter_of(item.event_time) for item in said} <= {quarter_of(batch.covered_until)}
            return await self._store.commit(batch)

    run_relay(database_url, TapeSource(moved), wrap=Watching)
    assert {quarter_of(end) for end in ends} == {quarter_of(boundary) - 1, quarter_of(boundary)}


def test_a_post_from_the_future_is_kept_and_moves_neither_cursor_nor_coverage(database_url: str) -> None:
    items = tape(5)
    centuries = Post(
        id="at://did:plc:x/app.bsky.feed.post/future", source="jetstream", author="did:plc:x", text="hello from 2090",
        event_time=at(2_000_000_000), rev="a", cursor=at(2_000_000_000),
    )  # fmt: skip
    run_relay(database_url, TapeSource([*items[:3], centuries, *items[3:]]))
    ((cursor,),) = rows(database_url, "SELECT cursor FROM cursors")
    assert cursor == items[-1].cursor
    assert rows(
        database_url, "SELECT event_time < now() + interval '1 minute' FROM posts WHERE author = 'did:plc:x'"
    ) == [(True,)]


def test_production_frames_go_over_a_real_socket_through_the_real_relay_into_the_store(database_url: str) -> None:
    if not SAMPLE.exists():
        pytest.skip(f"{SAMPLE.name} is not here: it lies beside the repository, not in it")
    lines = SAMPLE.read_bytes().splitlines()

    async def handler(websocket: ServerConnection) -> None:
        for line in lines:
            await websocket.send(line, text=True)
        await websocket.wait_closed()

    async def scenario() -> Relay:
        async with serve(handler, "127.0.0.1", 0, compression=None) as listening:
            port = next(iter(listening.sockets)).getsockname()[1]
            source = JetstreamSource(hosts=[f"ws://127.0.0.1:{port}"], extractor=EntityExtractor())
            pool = await open_pool(database_url, size=3, wait_s=5, statement_timeout_s=10, application_name="test")
            relay, stop = make_relay(source, PostgresStore(pool), Screen(), recording=False), asyncio.Event()
            running = asyncio.create_task(relay.run(stop))
            try:
                async with asyncio.timeout(30):
                    while relay.state.frames_total < len(lines):  # noqa: ASYNC110 -- the relay's counters are no events
                        await asyncio.sleep(0.005)
                stop.set()
                await running
            finally:
                running.cancel()
                await pool.close()
            return relay

    relay = asyncio.run(scenario())
    assert relay.state.ignored_total == {"other-collection": 132, "identity": 1}
    assert rows(database_url, "SELECT count(*) FROM posts") == [(17,)]
    assert rows(database_url, "SELECT count(*) FROM tombstones") == [(1,)]
    last = max(json.loads(line)["time_us"] for line in lines)
    assert rows(database_url, "SELECT cursor FROM cursors") == [(last,)]


class RewindingSource(TapeSource):
    """A host that begins with the present, and with its whole past whenever it is asked to send again."""

    @asynccontextmanager
    async def connect(self, cursor: int | None) -> AsyncGenerator[TapeConnection]:
        self._keeps_from = at(405) if cursor is None else 0
        async with super().connect(None) as connection:
            yield connection


@pytest.mark.parametrize("breaks", [[10], [10, 150], [10, 5, 420]])
def test_a_host_that_rewinds_leaves_no_minute_with_more_than_was_said(database_url: str, breaks: list[int]) -> None:
    said: list[TapeItem] = [
        Post(
            id=f"at://did:plc:a/app.bsky.feed.post/{n}", source="jetstream", author=f"did:plc:{n % 7}", text="x",
            event_time=at(n), rev="1", cursor=at(n), entities=("hashtag:x",),
        )
        for n in range(1, 480)
    ]  # fmt: skip
    run_relay(database_url, RewindingSource(said, breaks), recording=False)
    assert rows(database_url, "SELECT count(*) FROM posts") == [(479,)]
    both = "minute_counts c JOIN coverage v USING (source, minute)"
    counted = rows(database_url, f"SELECT c.mentions, v.observed_seconds FROM {both} ORDER BY minute")
    assert len(counted) == 8
    assert all(mentions <= seconds + 1 for mentions, seconds in counted)
    assert [round(seconds) for _, seconds in counted[1:-1]] == [60] * 6
    late = "SELECT late_seconds > 50, late_quarter IS NOT NULL FROM coverage ORDER BY minute LIMIT 1"
    assert rows(database_url, late) == [(True, True)]


def test_a_host_whose_clock_is_ahead_piles_nothing_up(database_url: str) -> None:
    ((now,),) = rows(database_url, "SELECT (extract(epoch FROM now()) * 1000000)::bigint")
    ahead = now + 7200 * MICROS_PER_SECOND
    said: list[TapeItem] = [
        Post(
            id=f"at://did:plc:a/app.bsky.feed.post/{n}", source="jetstream", author="did:plc:a", text="x",
            event_time=ahead + n, rev="1", cursor=ahead + n, entities=("hashtag:x",),
        )
        for n in range(100)
    ]  # fmt: skip
    run_relay(database_url, TapeSource(said), recording=False)
    ((posts, distinct),) = rows(database_url, "SELECT count(*), count(DISTINCT event_time) FROM posts")
    assert (posts, distinct) == (100, 100)
