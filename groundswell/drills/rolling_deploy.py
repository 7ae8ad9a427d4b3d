"""`rolling-deploy`: a new relay starts beside the old one, which is then stopped, killed, or frozen for a while."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect

from groundswell.drills.harness.rig import Rig, Setup
from groundswell.drills.harness.running import Drill
from groundswell.drills.harness.services import Service
from groundswell.errors import EX_UNAVAILABLE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

OVERLAP_S, SHORT_OVERLAP_S = 60.0, 10.0
END_LIMIT_S = 30.0
WAITS = "another relay reads"
LEASE_SESSION = "groundswell relay lease"
NO_EVENTS = frozenset({"hello", "info", "heartbeat", "error"})
WRITTEN_BY_RELAYS = ("cursors", "events", "gaps", "momentum")

NOTE_WRITERS = """
CREATE TABLE drill_writes (id bigint GENERATED ALWAYS AS IDENTITY, relay text);
CREATE FUNCTION drill_note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO drill_writes (relay) VALUES (current_setting('drill.relay', true));
    RETURN NULL;
END $$;
"""
"""Each relay names itself in its sessions, and the database notes which of them wrote, in the order of their writes."""


async def course(rig: Rig) -> None:
    await rig.query(NOTE_WRITERS)
    for table in WRITTEN_BY_RELAYS:
        await rig.query(
            f"CREATE TRIGGER drill_note AFTER INSERT OR UPDATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION drill_note()"
        )
    overlap_s = OVERLAP_S if rig.full else SHORT_OVERLAP_S
    # The first relay has no name: it was there before the drill.
    async with _client(rig) as frames:
        for n in range(3 if rig.full else 1):
            await _stopped(rig, _next_relay(rig, f"stopped-{n + 1}"), overlap_s)
        await _killed(rig, _next_relay(rig, "killed"))
        await _frozen(rig, _next_relay(rig, "frozen"), overlap_s)
        await rig.more_posts(60)
    await _check_writers(rig)
    _check_frames(rig, frames)


async def _stopped(rig: Rig, new: Service, overlap_s: float) -> None:
    """What a deploy does: the new one is there before the old one is told to stop."""
    old, readers = rig.relay, _watch_readers(rig)
    rig.say(f"a new relay starts, and {overlap_s:g} s later the old one is stopped")
    await _start_beside(rig, new)
    await rig.pause(overlap_s)
    rig.check("the new relay waits while the old one reads", not new.said(" connected to "), "it does not connect")
    gaps = await rig.ask("SELECT count(*) FROM gaps WHERE closed_at IS NULL")
    rig.check("the old relay reads on undisturbed", gaps == [(0,)], f"open gaps: {gaps[0][0] if gaps else '?'}")
    code = await old.stop()
    rig.check("the old relay stops when it is told to", code == 0, f"exit code {code}", promised="0")
    _replace(rig, old, new)
    await rig.recover("a deploy")
    _check_readers(rig, "a deploy", readers)


async def _killed(rig: Rig, new: Service) -> None:
    old, readers = rig.relay, _watch_readers(rig)
    rig.say("a new relay starts, and the old one is killed with SIGKILL")
    await _start_beside(rig, new)
    await rig.more_posts(60)
    await old.kill()
    _replace(rig, old, new)
    await rig.recover("a kill of the old relay")
    _check_readers(rig, "a kill", readers)


async def _frozen(rig: Rig, new: Service, frozen_s: float) -> None:
    """A machine that is paused: its session ends, another relay goes on, and then it wakes up."""
    old = rig.relay
    rig.say("a new relay starts, and the old one is frozen until its session in the database has ended")
    await _start_beside(rig, new)
    await rig.more_posts(60)
    old.freeze()
    # The kernel of a frozen process goes on to answer keepalives; that of a paused machine does not.
    ended = await rig.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s", (LEASE_SESSION,)
    )
    rig.check("the lease was a session of its own", len(ended) == 1, f"{len(ended)} sessions", promised="1")
    _replace(rig, old, new)
    await rig.recover("a freeze of the old relay")
    await rig.pause(frozen_s)
    rig.say("the old relay wakes up")
    old.doom()
    old.thaw()
    try:
        code: object = await old.ended(END_LIMIT_S)
    except TimeoutError:
        code = f"none within {END_LIMIT_S:g} s"
    rig.check(
        "a relay that wakes up without its lease ends", code == EX_UNAVAILABLE, code, promised=f"{EX_UNAVAILABLE}"
    )
    rig.check("it says why", old.said("Another relay reads"), "another relay reads")

    async def alone() -> bool:
        return rig.feed.readers == 1

    await rig.until(alone, "one relay alone is connected to the source")
    await rig.recover("the old relay woke up")


def _next_relay(rig: Rig, name: str) -> Service:
    """A relay with a disk of its own, as a task of a cluster has it. Its sessions in the database have its name."""
    own = {
        "GROUNDSWELL_DATABASE_URL": f"{rig.database_url}&options={quote(f'-c drill.relay={name}')}",
        "GROUNDSWELL_DATA_DIR": str(rig.folder / f"disk-{name}"),
    }
    return Service(
        f"relay-{name}", folder=rig.folder, arguments=("relay",), environment={**rig.relay.environment, **own}
    )


async def _start_beside(rig: Rig, new: Service) -> None:
    """Start a relay beside the one that reads, and wait until it says that it waits."""
    rig.services.append(new)
    await new.start()

    async def waits() -> bool:
        return new.said(WAITS)

    await rig.until(waits, "the new relay says that it waits")


def _replace(rig: Rig, old: Service, new: Service) -> None:
    rig.services.remove(old)
    rig.commands.append(old)  # ended with the rest, where it still runs
    rig.relay = new


# ------------------------------------------------------------------ oracles
def _watch_readers(rig: Rig) -> int:
    rig.feed.host.faults.most_readers = 0
    return rig.feed.readers


def _check_readers(rig: Rig, what: str, before: int) -> None:
    most = max(before, rig.feed.host.faults.most_readers)
    rig.check(f"connections to the source at once during {what}", most == 1, most, promised="1")


async def _check_writers(rig: Rig) -> None:
    """Each relay begins to write after the last write of the one before."""
    rows = await rig.query("SELECT relay FROM drill_writes ORDER BY id")
    turns = [name for n, (name,) in enumerate(rows) if n == 0 or rows[n - 1][0] != name]
    rig.check(
        "relays write one after the other, and never again",
        len(turns) == len(set(turns)) and len(turns) > 1,
        f"{len(rows)} writes by {len(set(turns))} relays, in {len(turns)} turns",
        promised="a turn for each",
    )


def _check_frames(rig: Rig, frames: list[dict[str, Any]]) -> None:
    # Of an event that is sent in parts, the last one carries the number. What is no event carries the newest number.
    numbers = [frame["seq"] for frame in frames if frame["seq"] is not None and frame["type"] not in NO_EVENTS]
    posts = Counter(post["id"] for frame in frames if frame["type"] == "posts.new" for post in frame["data"]["posts"])
    twice = sum(n - 1 for n in Counter(numbers).values()) + sum(n - 1 for n in posts.values())
    rig.check(
        "frames that a WebSocket client receives twice",
        twice == 0 and len(posts) > 0,
        f"{twice} of {len(frames)} frames with {len(posts)} posts",
        promised="0",
    )


@asynccontextmanager
async def _client(rig: Rig) -> AsyncGenerator[list[dict[str, Any]]]:
    """A client of the API that subscribes to everything; what it receives is in the list."""
    frames: list[dict[str, Any]] = []
    async with connect(f"{rig.api_url.replace('http', 'ws')}/v1/ws", proxy=None, max_size=None) as client:
        await client.send(json.dumps({"action": "subscribe", "topics": ["posts", "momentum", "status"]}))
        listening = asyncio.create_task(_listen(client, frames))
        try:
            yield frames
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def _listen(client: ClientConnection, frames: list[dict[str, Any]]) -> None:
    async for text in client:
        frames.append(json.loads(text))


DRILL = Drill(
    name="rolling-deploy",
    breaks="a new relay starts beside the old one, which is stopped, killed, or frozen until its lease has ended",
    promises="one relay reads the source at a time, one writes, and no client receives a frame twice",
    setup=Setup(posts_per_second=30),
    course=course,
    short_s=75,
)
