"""The relay over hosts of both versions: nothing is lost and nothing counted twice, or a gap says what is missing."""

from __future__ import annotations

import asyncio
import json

import pytest

from groundswell.adapters.simulator import Host
from groundswell.adapters.simulator.subscribe_events import PATH
from groundswell.core.jetstream_messages import NSID
from groundswell.core.posts import MICROS_PER_SECOND
from tests.hosted_world import (
    BEGAN,
    Hosted,
    gaps,
    hosted,
    mentions,
    posts,
    true_posts,
    watched,
)
from tests.relay_world import rows

V2 = Host(version=2)
OTHER_V2 = Host(version=2, archive_began=V2.archive_began + 77 * MICROS_PER_SECOND)


async def lose(world: Hosted, *, away_s: float = 0, host: int = 0) -> None:
    """Cut the connection; refuse new ones for a while of the world's time; wait until the relay is live again."""
    faults = world.servers[host].faults
    before = world.relay.state.reconnects_total
    if away_s:
        faults.refuse(503)
    faults.drop()
    await world.until(lambda: world.relay.state.reconnects_total > before)
    if away_s:
        await world.pass_by(away_s)
        faults.accept()
    await world.live()


def test_a_v2_host_that_drops_is_resumed_by_its_number_and_nothing_is_lost_or_doubled(database_url: str) -> None:
    async def scenario() -> None:
        async with hosted(database_url, V2, OTHER_V2) as world:
            await world.live()
            for _ in range(3):
                await lose(world)
                await world.pass_by(70)
            told = await world.end()
            assert posts(database_url) == true_posts(told)
            assert mentions(database_url) == told.mentions()
            first, *later = world.servers[0].spans
            assert first.cursor is None
            assert [span.path for span in later] == [PATH] * 3
            assert all(span.cursor is not None and span.cursor < 10**15 for span in later), "by number"
            assert not world.servers[1].spans, "the same host first"
        assert gaps(database_url) == [("disconnect", True, True)] * 3
        ((positions,),) = rows(database_url, "SELECT positions FROM cursors")
        (name,) = positions
        ((cursor,),) = rows(database_url, "SELECT cursor FROM cursors")
        assert name == world.names[0]
        assert positions[name][1:3] == [cursor, cursor - V2.archive_began], "with the number of what was stored last"

    asyncio.run(scenario())


def test_status_names_host_protocol_and_version(database_url: str) -> None:
    async def scenario() -> None:
        for kind, protocol, version in ((V2, NSID, "v2"), (Host(), "subscribe", "v1")):
            async with hosted(database_url, kind) as world:
                await world.live()
                detail = json.loads(json.dumps(world.detail))
                assert detail["host"] == world.names[0]
                assert (detail["protocol"], detail["version"]) == (protocol, version)
                assert detail["endpoint"].startswith(f"ws://{world.names[0]}/")

    asyncio.run(scenario())


def test_a_host_that_ends_the_stream_with_a_reason_is_read_on_and_the_reason_is_recorded(database_url: str) -> None:
    async def scenario() -> None:
        async with hosted(database_url, V2) as world:
            await world.live()
            assert world.servers[0].faults.complain("ConsumerTooSlow", "reconnect with cursor=42") == 1
            await world.until(lambda: world.relay.state.reconnects_total == 1)
            await world.live()
            told = await world.end()
            assert posts(database_url) == true_posts(told)
        ((detail,),) = rows(database_url, "SELECT detail FROM gaps WHERE cause = 'disconnect'")
        assert "ConsumerTooSlow" in detail

    asyncio.run(scenario())


# ------------------------------------------------------------------ what a host no longer has
def test_what_the_only_host_no_longer_has_is_a_gap(database_url: str) -> None:
    async def scenario() -> None:
        async with hosted(database_url, V2, retention_s=(90,)) as world:
            await world.live()
            await lose(world, away_s=200)
            told = await world.end()
            stored = posts(database_url)
            missing = true_posts(told).keys() - stored.keys()
            assert len(missing) > 300
            assert stored.keys() - true_posts(told).keys() <= told.gone, "what was deleted meanwhile"
            ((since, until, cause, backfilled),) = rows(
                database_url,
                "SELECT (extract(epoch FROM started_at) * 1000000)::bigint,"
                " (extract(epoch FROM ended_at) * 1000000)::bigint, cause, backfilled FROM gaps",
            )
            assert (cause, backfilled) == ("disconnect", False)
            assert all(since <= told.posts[post_id].event_time <= until for post_id in missing)
            assert world.servers[0].spans[-1].cursor == world.servers[0].spans[-1].started_at - V2.archive_began
            assert sum(watched(database_url).values()) < (told.until - BEGAN) / MICROS_PER_SECOND - 60
            await world.until(lambda: world.detail["sent_again"]["missing"] == 1)

    asyncio.run(scenario())


# ------------------------------------------------------------------ faults of hosts
def test_what_a_v1_host_loses_at_the_cutover_is_asked_for_again(database_url: str) -> None:
    async def scenario() -> None:
        async with hosted(database_url, Host()) as world:
            await world.live()
            await world.pass_by(30)
            world.servers[0].faults.lose_at_cutover(60)
            await lose(world, away_s=20)
            await world.pass_by(100)
            told = await world.end(sent_again=1)
            assert posts(database_url) == true_posts(told)
            assert mentions(database_url) == told.mentions()
        # On a slow machine the wait for the next try counts as a stall of its own.
        assert {(ended, filled) for _, ended, filled in gaps(database_url)} == {(True, True)}

    asyncio.run(scenario())


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("lag_s", [30, 600])
def test_a_host_that_lags_hides_nothing_from_the_one_that_follows_it(
    database_url: str, version: int, lag_s: int
) -> None:
    """The first host sees everything later. The second one is asked from before what the first had not seen yet."""

    async def scenario() -> None:
        late = Host(version=version, lag_s=lag_s)  # pyright: ignore[reportArgumentType]
        prompt = Host(version=version, archive_began=OTHER_V2.archive_began)  # pyright: ignore[reportArgumentType]
        async with hosted(database_url, late, prompt, ahead_s=lag_s + 120) as world:
            await world.live()
            await world.pass_by(60)
            world.servers[0].faults.refuse(503)
            world.servers[0].faults.drop()
            await world.until(lambda: world.relay.state.host == world.names[1])
            await world.live()
            told = await world.end()
            assert posts(database_url).keys() == true_posts(told).keys()
            cursor = world.servers[1].spans[0].cursor
            assert cursor is not None
            assert cursor >= 10**15, "another host is asked by time"

    asyncio.run(scenario())
