"""The real relay on the sealed feed: whatever the feed does, a post is stored once or lies in a recorded gap."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from groundswell.adapters.simulator.sealed import SealedServer
from tests.sealed_world import (
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

            async def more() -> bool:
                return await stored_cursor(url) > 0

            await until(more, "the first frames are stored")
            fault(server)
            await asyncio.sleep(1)  # how long the fault lasts
            ended = await settle(url, server, relay)
        return await unexplained(url, server, server.spans[0].started_at, ended)


@pytest.mark.parametrize("can_replay", [True, False], ids=["sends again", "cannot send again"])
@pytest.mark.parametrize("name", FAULTS)
def test_whatever_the_feed_does_a_post_is_stored_once_or_lies_in_a_gap(
    database_url: str, name: str, can_replay: bool
) -> None:
    assert not asyncio.run(live_through(database_url, FAULTS[name], can_replay=can_replay))
    lasting = asyncio.run(rows(database_url, "SELECT cause FROM gaps WHERE NOT backfilled AND cause <> 'shutdown'"))
    if can_replay and name not in TOO_MUCH:
        assert not lasting, "what can be sent again is no gap"


def test_a_hole_is_a_gap_with_its_cause_and_its_numbers(database_url: str) -> None:
    asyncio.run(live_through(database_url, FAULTS["frames are lost"], can_replay=False))
    found = asyncio.run(
        rows(database_url, "SELECT detail, ended_at > started_at FROM gaps WHERE cause = 'sequence' AND NOT backfilled")
    )
    assert found
    assert all("did not come" in detail and lasted for detail, lasted in found)
