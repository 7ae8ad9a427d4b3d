"""The real relay on the sealed feed: whatever the feed does, a post is stored once or lies in a recorded gap."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from groundswell.adapters.simulator.sealed import SealedServer
from groundswell.services.relay import Relay
from groundswell.services.session import Missed
from tests.relay_world import wipe
from tests.sealed_world import (
    begun,
    rows,
    running_relay,
    sealed_server,
    sealed_source,
    settle,
    stored_cursor,
    unexplained,
    until,
)

Fault = Callable[[SealedServer], object]

TOO_MUCH = {"most frames are lost", "the key is announced to nobody", "frames are sealed with another key"}
"""What even a feed that sends again cannot make good."""

FAULTS: dict[str, Fault] = {
    "nothing": lambda server: None,
    "frames are lost": lambda server: server.faults.lose(0.1),
    "most frames are lost": lambda server: server.faults.lose(0.8),
    "frames are damaged": lambda server: server.faults.corrupt(0.1),
    "frames overtake each other": lambda server: server.faults.reorder(16),
    "frames come twice": lambda server: server.faults.duplicate(0.3),
    "old frames come again": lambda server: server.faults.replay(0.3),
    "garbage comes between": lambda server: server.faults.garbage(0.2),
    "everything at once": lambda server: (
        server.faults.lose(0.1),
        server.faults.corrupt(0.05),
        server.faults.reorder(8),
        server.faults.duplicate(0.1),
        server.faults.replay(0.1),
        server.faults.garbage(0.05),
    ),
    "the connection drops": lambda server: server.faults.drop(),
    "the connection is reset": lambda server: server.faults.drop(reset=True),
    "the connection flaps": lambda server: (server.faults.flap(3, after_frames=20), server.faults.drop()),
    "sessions end": lambda server: server.expire(),
    "the feed answers 503": lambda server: (server.faults.refuse(503, times=3), server.faults.drop()),
    "the feed forgets a session at once": lambda server: (
        server.faults.refuse(401, times=1, at="stream"),
        server.faults.drop(),
    ),
    "the key is announced to nobody": lambda server: setattr(server.faults, "silent_keys", True),
    "frames are sealed with another key": lambda server: setattr(server.faults, "wrong_key", True),
}


async def live_through(url: str, fault: Fault, *, can_replay: bool) -> Sequence[str]:
    """A moment of calm, a second of the fault, a moment of calm; answers what nobody can explain."""
    async with sealed_server(can_replay=can_replay, rotate_every=150) as server:
        async with running_relay(url, sealed_source(server.url)) as relay:
            watched = await begun(url, server)
            fault(server)
            await asyncio.sleep(1)  # how long the fault lasts
            ended = await settle(url, server, relay)
        return await unexplained(url, server, watched, ended)


BOTH_FEEDS = pytest.mark.parametrize("can_replay", [True, False], ids=["sends again", "cannot send again"])


@BOTH_FEEDS
@pytest.mark.parametrize("name", FAULTS)
def test_whatever_the_feed_does_a_post_is_stored_once_or_lies_in_a_gap(
    database_url: str, name: str, can_replay: bool
) -> None:
    assert not asyncio.run(live_through(database_url, FAULTS[name], can_replay=can_replay))
    lasting = asyncio.run(rows(database_url, "SELECT cause FROM gaps WHERE NOT backfilled AND cause <> 'shutdown'"))
    if can_replay and name not in TOO_MUCH:
        assert not lasting, "what can be sent again is no gap"


def test_these_tests_notice_a_hole_that_nobody_records(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def say_nothing(_relay: Relay, _event: Missed) -> None:
        """As if the stream had gone on."""

    monkeypatch.setattr(Relay, "_missed", say_nothing)
    assert asyncio.run(live_through(database_url, FAULTS["frames are lost"], can_replay=False))


def test_a_hole_is_a_gap_with_its_cause_and_its_numbers(database_url: str) -> None:
    asyncio.run(live_through(database_url, FAULTS["frames are lost"], can_replay=False))
    found = asyncio.run(
        rows(database_url, "SELECT detail, ended_at > started_at FROM gaps WHERE cause = 'sequence' AND NOT backfilled")
    )
    assert found
    assert all("did not come" in detail and lasted for detail, lasted in found)


async def fed(url: str, server: SealedServer, frames: int) -> None:
    """Wait until so many more frames are stored."""
    goal = await stored_cursor(url) + frames

    async def there() -> bool:
        return await stored_cursor(url) >= goal

    await until(there, f"{frames} more frames are stored")


def test_a_hole_while_catching_up_is_a_gap_of_its_own(database_url: str) -> None:
    """The outage around it is made good; the hole in it must not be closed along with that."""

    async def main() -> tuple[Sequence[str], Sequence[tuple[str, bool]]]:
        async with sealed_server() as server:
            async with running_relay(database_url, sealed_source(server.url)):
                watched = await begun(database_url, server)
                await fed(database_url, server, 50)
            await asyncio.sleep(1)  # the outage: two hundred frames
            server.forget_every = 40
            async with running_relay(database_url, sealed_source(server.url)) as relay:

                async def noticed() -> bool:
                    return bool(await rows(database_url, "SELECT 1 FROM gaps WHERE cause = 'sequence'"))

                await until(noticed, "the hole is a gap")
                server.forget_every = None  # the last frame is one that comes
                ended = await settle(database_url, server, relay)
            strange = await unexplained(database_url, server, watched, ended)
        return strange, await rows(database_url, "SELECT cause, backfilled FROM gaps ORDER BY id")

    strange, gaps = asyncio.run(main())
    assert not strange
    assert gaps[0] in [("shutdown", True), ("shutdown", False)]
    assert ("sequence", False) in gaps


@BOTH_FEEDS
def test_a_relay_that_was_stopped_goes_on_where_it_was_or_records_what_it_missed(
    database_url: str, can_replay: bool
) -> None:
    async def main() -> tuple[Sequence[str], int]:
        async with sealed_server(can_replay=can_replay, rotate_every=80) as server:
            server.faults.reorder(16)
            server.faults.duplicate(0.2)
            async with running_relay(database_url, sealed_source(server.url)):
                watched = await begun(database_url, server)
            for _ in range(3):
                async with running_relay(database_url, sealed_source(server.url)):
                    await fed(database_url, server, 40)
            async with running_relay(database_url, sealed_source(server.url)) as relay:
                ended = await settle(database_url, server, relay)
            strange = await unexplained(database_url, server, watched, ended)
            lasting = await rows(database_url, "SELECT 1 FROM gaps WHERE NOT backfilled AND closed_at IS NOT NULL")
            return strange, len(lasting)

    strange, lasting = asyncio.run(main())
    assert not strange
    assert (lasting == 0) == can_replay


def test_a_feed_that_was_started_anew_goes_on_at_greater_numbers_and_the_time_between_is_a_gap(
    database_url: str,
) -> None:
    async def main() -> tuple[Sequence[str], Sequence[tuple[bool]]]:
        async with AsyncExitStack() as first_run:
            first = await first_run.enter_async_context(sealed_server())
            ports = {"port": first.port, "door_port": int(first.url.rpartition(":")[2])}
            async with running_relay(database_url, sealed_source(first.url)) as relay:
                watched = await begun(database_url, first)
                await fed(database_url, first, 50)
                await first_run.aclose()
                async with sealed_server(began_at=first.world.config.began_at, **ports) as second:
                    assert second.world.config == first.world.config
                    ended = await settle(database_url, second, relay)
                    strange = await unexplained(database_url, second, watched, ended)
                    gaps = await rows(database_url, "SELECT backfilled FROM gaps WHERE cause = 'disconnect'")
        return strange, gaps

    strange, gaps = asyncio.run(main())
    assert not strange
    assert gaps == [(False,)]


def test_numbers_that_go_back_are_read_on_with_a_gap(database_url: str) -> None:
    """A feed that breaks the rule and counts from the beginning again: nothing hangs, nothing is passed off as seen."""

    async def main() -> tuple[Sequence[str], str]:
        async with sealed_server() as server:
            async with running_relay(database_url, sealed_source(server.url)):
                watched = await begun(database_url, server)
                await fed(database_url, server, 50)
            server.renumber(-1_000_000_000)
            async with running_relay(database_url, sealed_source(server.url)) as relay:
                resumed = await stored_posts(database_url)

                async def more() -> bool:
                    return await stored_posts(database_url) > resumed + 100 and relay.live

                await until(more, "posts under the new numbers are stored")
                ended = server.end()
                total = await stored_posts(database_url)

                async def still() -> bool:
                    nonlocal total
                    before, total = total, await stored_posts(database_url)
                    await asyncio.sleep(0.3)  # longer than a batch waits
                    return before == total

                await until(still, "the last posts are stored")
            strange = await unexplained(database_url, server, watched, ended)
        return strange, relay.state.phase

    strange, phase = asyncio.run(main())
    assert not strange
    assert phase == "stopped"


async def stored_posts(url: str) -> int:
    return (await rows(url, "SELECT count(*) FROM posts"))[0][0]


PLANS = st.lists(
    st.tuples(
        st.sampled_from([name for name in FAULTS if name not in ("nothing", "frames are sealed with another key")]),
        st.floats(0.05, 0.4),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("plans_tried", [5, pytest.param(40, marks=[pytest.mark.drill, pytest.mark.timeout(600)])])
def test_no_plan_of_faults_loses_a_post_outside_a_gap(database_url: str, plans_tried: int) -> None:
    """Faults of every kind in any order and overlap, on both kinds of feed, with the relay stopped on the way."""

    async def live(plan: list[tuple[str, float]], *, can_replay: bool, stop_after: int) -> None:
        async with sealed_server(can_replay=can_replay, rotate_every=100, session_s=1.5) as server:
            async with running_relay(database_url, sealed_source(server.url)):
                watched = await begun(database_url, server)
            steps = list(enumerate(plan))
            while steps:
                async with running_relay(database_url, sealed_source(server.url)):
                    while steps:
                        n, (name, lasts_s) = steps.pop(0)
                        FAULTS[name](server)
                        await asyncio.sleep(lasts_s)
                        if n == stop_after:
                            break
            async with running_relay(database_url, sealed_source(server.url)) as relay:
                ended = await settle(database_url, server, relay)
            assert not await unexplained(database_url, server, watched, ended)

    @settings(max_examples=plans_tried, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(PLANS, st.booleans(), st.integers(0, 3))
    def any_plan(plan: list[tuple[str, float]], can_replay: bool, stop_after: int) -> None:
        wipe(database_url)
        asyncio.run(asyncio.wait_for(live(plan, can_replay=can_replay, stop_after=stop_after), 60))

    any_plan()
