"""From events to messages taken by a local @connections endpoint: how much one core of the relay can broadcast.

The endpoint is a process of its own, so that what is measured is the broadcaster: fan-out, encoding, signing, posting.
The baseline in the same run is the same number of requests by the same HTTP client, without signature and fan-out.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from random import Random

import aiohttp
import msgspec
from botocore.credentials import Credentials

from bench.processes import program
from bench.report import publish
from groundswell.adapters.apigateway.broadcaster import WORKERS, ApiGatewayBroadcaster
from groundswell.adapters.apigateway.management import ConnectionsApi
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.message_budget import Allowance
from groundswell.core.posts import Post
from groundswell.ports.live import RemoteClient
from groundswell.ports.storing import Event

GOAL_POSTS_S = 1000
POSTS_AN_EVENT = 10


class Registry:
    """Clients that are there from the start. The real one is in Postgres, and is not what is measured here."""

    def __init__(self, clients: int) -> None:
        self._clients = [RemoteClient(f"client{n}=", ("posts",), None, 0) for n in range(clients)]

    async def changes(self, stop: asyncio.Event):
        yield frozenset()
        await stop.wait()

    async def greeted(self, limit: int) -> list[RemoteClient]:
        return self._clients[:limit]

    async def spend(self, messages: int) -> Allowance:
        return Allowance(messages, 1.0)

    async def remove(self, connection_ids: object) -> None:
        raise AssertionError(f"nobody leaves, but {connection_ids} did")


def event(seq: int) -> Event:
    posts = tuple(
        Post(
            id=f"at://did:plc:x/app.bsky.feed.post/{seq}-{n}",
            source="jetstream",
            author="did:plc:x",
            text="a post of ordinary length, about nothing in particular, with a #tag in it",
            event_time=1_783_175_886_000_000,
            rev="a",
            cursor=seq,
            entities=("hashtag:tag",),
        )
        for n in range(POSTS_AN_EVENT)
    )
    return Event(seq, 1_783_175_886_000_000, "posts.new", True, msgspec.Raw(b"{}"), posts)


async def round_of(url: str, clients: int, events: int) -> tuple[float, float]:
    """Messages a second of wall time, and a second of this process's own time."""
    async with ConnectionsApi(url, credentials=Credentials("AKIDEXAMPLE", "not-a-real-secret")) as sender:
        broadcaster = ApiGatewayBroadcaster(
            Registry(clients),  # pyright: ignore[reportArgumentType]
            sender,
            SystemClock(),
            rng=Random(1),
            window_s=0.0,
        )
        stop = asyncio.Event()
        running = asyncio.create_task(broadcaster.run(stop))
        while broadcaster.clients < clients:  # noqa: ASYNC110 -- nobody is told
            await asyncio.sleep(0.01)
        started, cpu = time.perf_counter(), time.process_time()
        for seq in range(1, events + 1):
            await broadcaster.publish([event(seq)])
            while broadcaster._sent < seq * clients:  # noqa: ASYNC110 -- as above
                await asyncio.sleep(0.001)
        wall, own = time.perf_counter() - started, time.process_time() - cpu
        stop.set()
        await running
    messages = clients * events
    return messages / wall, messages / own


async def plain(url: str, messages: int) -> float:
    """Requests a second of the same client without anything around them."""
    body = b"x" * 4000
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=WORKERS)) as session:

        async def some(count: int) -> None:
            for _ in range(count):
                async with session.post(f"{url}/@connections/c", data=body) as answer:
                    await answer.read()

        started = time.perf_counter()
        await asyncio.gather(*(some(messages // WORKERS) for _ in range(WORKERS)))
        return messages / (time.perf_counter() - started)


async def measure(clients: int, events: int, rounds: int) -> None:
    async with program("bench.connections_sink", reads_line=True) as (_, url):
        await round_of(url, clients, 3)
        measured = [await round_of(url, clients, events) for _ in range(rounds)]
        baseline = await plain(url, clients * events)
    wall = statistics.median(each[0] for each in measured)
    own = statistics.median(each[1] for each in measured)
    rows = [
        ("messages a second", f"{wall:.0f}", f">= {GOAL_POSTS_S}"),
        ("messages a second of one core", f"{own:.0f}", f">= {GOAL_POSTS_S}"),
        ("posts a second in them", f"{wall * POSTS_AN_EVENT:.0f}", ""),
        ("the HTTP client alone, requests a second", f"{baseline:.0f}", ""),
        ("ratio to that", f"{wall / baseline:.2f}", ""),
    ]
    publish(
        "broadcast",
        f"Broadcasting to {clients} clients behind a local @connections endpoint",
        rows,
        {"messages_per_s": wall, "messages_per_core_s": own, "client_alone_per_s": baseline, "clients": clients},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--events", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    asyncio.run(measure(options.clients, options.events, options.rounds))


if __name__ == "__main__":
    main()
