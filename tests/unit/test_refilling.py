"""What was missed is asked of other hosts, on a connection of its own, and a gap that is filled is marked as such."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest

from groundswell.core.host_positions import HostPosition
from groundswell.core.posts import MICROS_PER_SECOND, Decoded, Post
from groundswell.core.session import ConnectionLost
from groundswell.ports.storing import Batch, GapsFilled, Work
from groundswell.services.host_following import HostFollowing
from groundswell.services.refilling import MAX_WAITING, Refiller, Stretch

T0 = 1_783_175_880_000_000


def at(seconds: float) -> int:
    return T0 + round(seconds * MICROS_PER_SECOND)


class EagerClock:
    def monotonic(self) -> float:
        return 0.0

    def now(self) -> int:
        return at(1000)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0.002)


class Tape:
    """A connection that sends a post a second from an instant on, and then is silent."""

    endpoint = "tape"

    def __init__(self, since: int, until: int, *, breaks: bool = False) -> None:
        self._next = since
        self._until = until
        self._breaks = breaks

    async def receive(self) -> bytes:
        if self._next < self._until:
            self._next += MICROS_PER_SECOND
            return str(self._next - MICROS_PER_SECOND).encode()
        if self._breaks:
            raise ConnectionLost("cut")
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def ping(self) -> None:
        return None


class Hosts:
    """Hosts that each have the posts from an instant on; None: one that cannot be reached."""

    protocol = version = None
    loses_at_cutover = True

    def __init__(self, host: str, **keeps_from: float | None) -> None:
        self.host: str | None = host
        self.hosts: Sequence[str] = tuple(keeps_from)
        self._keeps_from = keeps_from
        self.asked: list[str] = []

    def resume_from(self, positions: Sequence[HostPosition]) -> None: ...

    def number(self, raw: bytes) -> int | None: ...

    def synced_author(self, raw: bytes) -> str | None: ...

    @asynccontextmanager
    async def connect_to(self, host: str, at_: int) -> AsyncGenerator[Tape]:
        self.asked.append(host)
        keeps_from = self._keeps_from[host]
        if keeps_from is None:
            raise ConnectionLost("away")
        yield Tape(max(at_, at(keeps_from)), at(900))


def decode(raw: bytes) -> Decoded:
    when = int(raw)
    return Post(id=f"at://a/{when}", source="s", author="a", text="", event_time=when, rev="1", cursor=when)


async def fill(hosts: Hosts, *stretches: Stretch) -> tuple[Refiller, list[Work]]:
    """Have the stretches asked for; return what is stored then."""
    stored: list[Work] = []

    async def put(work: Work) -> None:
        stored.append(work)

    refiller = Refiller(
        "s", HostFollowing(hosts, ()), decode, EagerClock(), put=put, covered_until=lambda: at(950),
        store_now=lambda: at(1000), batch_max_posts=50,
    )  # fmt: skip
    for stretch in stretches:
        refiller.ask(stretch)
    running = asyncio.create_task(refiller.run())
    async with asyncio.timeout(10):
        while refiller.filled + refiller.missing < min(len(stretches), MAX_WAITING):  # noqa: ASYNC110 -- counters
            await asyncio.sleep(0.002)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return refiller, stored


def posts(stored: list[Work]) -> set[int]:
    return {post.event_time for work in stored if isinstance(work, Batch) for post in work.posts}


def resent(stored: list[Work]) -> list[tuple[int, int]]:
    return [stretch for work in stored if isinstance(work, Batch) for stretch in work.resent]


HOLE = Stretch(at(100), at(200), avoid="a")


def test_a_hole_is_filled_from_another_host_and_its_gap_is_marked() -> None:
    async def scenario() -> None:
        hosts = Hosts("a", a=200, b=0)
        refiller, stored = await fill(hosts, HOLE)
        assert hosts.asked == ["b"], "the host that no longer has it is not asked"
        assert {at(n) for n in range(100, 201)} <= posts(stored)
        assert resent(stored) == [(at(100), at(200))]
        assert stored[-1] == GapsFilled(at(99), at(201))
        assert (refiller.filled, refiller.missing) == (1, 0)
        for work in stored[:-1]:
            assert isinstance(work, Batch)
            assert (work.cursor, work.live, work.position) == (None, False, None), "the stream itself does not move"
            assert work.covered_from == work.covered_until

    asyncio.run(scenario())


@pytest.mark.parametrize("other", [150, None])
def test_a_hole_that_no_host_has_whole_stays_a_gap(other: float | None) -> None:
    async def scenario() -> None:
        refiller, stored = await fill(Hosts("a", a=200, b=other), HOLE)
        assert not any(isinstance(work, GapsFilled) for work in stored)
        assert resent(stored) == ([(at(150), at(200))] if other else []), "what came is watched"
        assert (refiller.filled, refiller.missing) == (0, 1)

    asyncio.run(scenario())


def test_what_one_host_has_no_more_is_asked_of_the_next_one() -> None:
    async def scenario() -> None:
        hosts = Hosts("a", a=200, b=None, c=150, d=0)
        refiller, stored = await fill(hosts, HOLE)
        assert hosts.asked == ["b", "c", "d"]
        assert resent(stored) == [(at(150), at(200)), (at(100), at(150))]
        assert refiller.filled == 1

    asyncio.run(scenario())


def test_a_seam_is_asked_of_the_host_that_is_read_and_marks_no_gap() -> None:
    async def scenario() -> None:
        hosts = Hosts("b", a=0, b=0)
        _, stored = await fill(hosts, Stretch(at(100), at(190)))
        assert hosts.asked == ["b"]
        assert {at(n) for n in range(100, 191)} <= posts(stored)
        assert not any(isinstance(work, GapsFilled) for work in stored)

    asyncio.run(scenario())


def test_more_stretches_than_can_wait_are_left_out() -> None:
    async def scenario() -> None:
        stretches = [Stretch(at(n), at(n + 1)) for n in range(MAX_WAITING + 3)]
        refiller, _ = await fill(Hosts("a", a=0), *stretches)
        assert refiller.filled == MAX_WAITING

    asyncio.run(scenario())
