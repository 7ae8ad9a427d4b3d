"""What a session tells of its source, with a source that follows a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from random import Random

import pytest

from groundswell.core.posts import Ignored
from groundswell.core.session import ConnectionLost
from groundswell.errors import SourceFailed, StoreUnavailable
from groundswell.services.session import Connected, Frame, Lost, Session, SessionEvent
from tests.session_world import (
    FastClock,
    collect,
    count,
    frame,
    lost,
    run,
    send,
    server,
    session,
    source,
)


class Scripted:
    """A source whose connections do in turn what they are told: give these frames, then raise or fall silent."""

    name = "scripted"
    quiet_after_s = None

    def __init__(self, *acts: tuple[list[bytes], Exception | None], can_replay: bool = True) -> None:
        self.can_replay = can_replay
        self._acts = list(acts)

    @asynccontextmanager
    async def connect(self, cursor: int | None) -> AsyncGenerator[ScriptedConnection]:
        yield ScriptedConnection(*self._acts.pop(0))

    def decode(self, raw: bytes) -> Ignored:
        return Ignored("malformed")


class ScriptedConnection:
    endpoint = "script"

    def __init__(self, frames: list[bytes], end: Exception | None) -> None:
        self._frames = frames
        self._end = end
        self.silent = asyncio.Event()

    async def receive(self) -> bytes:
        if self._frames:
            return self._frames.pop(0)
        if self._end is not None:
            raise self._end
        await self.silent.wait()
        raise AssertionError

    async def ping(self) -> None:
        return


def test_what_was_read_before_a_loss_comes_before_it() -> None:
    async def main() -> None:
        over = Scripted(([b"1", b"2", b"3"], ConnectionLost("cut")), ([b"4"], None))
        events = await collect(session(over), lambda seen: count(seen, Frame) == 4)
        kinds = [type(event) for event in events]
        assert kinds == [Connected, Frame, Frame, Frame, Lost, Connected, Frame]

    run(main())


@pytest.mark.parametrize(("can_replay", "kept"), [(False, [b"1", b"2", b"3"]), (True, [b"1"])])
def test_a_stop_keeps_what_was_read_ahead_only_where_it_cannot_be_sent_again(
    can_replay: bool, kept: list[bytes]
) -> None:
    async def main() -> None:
        stop, raws = asyncio.Event(), []
        async for event in session(Scripted(([b"1", b"2", b"3"], None), can_replay=can_replay)).events(stop):
            if isinstance(event, Frame):
                raws.append(event.raw)
                stop.set()
        assert raws == kept

    run(main())


def test_a_consumer_can_end_the_connection_for_a_reason_of_its_own_and_keeps_what_was_read() -> None:
    async def main() -> None:
        over = session(Scripted(([b"1", b"2", b"3"], None), ([b"4"], None)))
        over.cut("spool-full", "before there is a connection, this does nothing")
        events: list[SessionEvent] = []
        async with aclosing(over.events(asyncio.Event())) as stream:
            async for event in stream:
                events.append(event)
                if event == Frame(b"1"):
                    over.cut("spool-full", "enough")
                if event == Frame(b"4"):
                    break
        assert [type(event) for event in events] == [Connected, Frame, Frame, Frame, Lost, Connected, Frame]
        assert (lost(events)[0].cause, lost(events)[0].detail) == ("spool-full", "enough")

    run(main())


def test_a_stable_connection_makes_the_next_wait_short_again() -> None:
    cut = ConnectionLost("cut")

    async def main() -> None:
        over = Scripted(*[([], cut)] * 6, ([], None), ([], None))
        held = session(over, stable_after_s=0.0)
        flaky = session(Scripted(*[([], cut)] * 6), stable_after_s=1e9)
        short = [loss.retry_in_s for loss in lost(await collect(held, lambda seen: count(seen, Lost) == 6))]
        long = [loss.retry_in_s for loss in lost(await collect(flaky, lambda seen: count(seen, Lost) == 6))]
        assert max(short) <= 0.5
        assert max(long) > 0.5

    run(main())


def test_a_store_that_is_away_delays_the_connection_and_does_not_end_it() -> None:
    answers: list[int | None] = [None, 7]

    async def resume() -> int | None:
        if (answer := answers.pop(0)) is None:
            raise StoreUnavailable("Postgres is away")
        return answer

    async def main() -> None:
        over = Session(Scripted(([b"1"], None)), FastClock(), resume=resume, rng=Random(1))
        events = await collect(over, lambda seen: count(seen, Frame) == 1)
        assert [type(event) for event in events] == [Lost, Connected, Frame]
        assert events[1] == Connected("script", 7)

    run(main())


def test_an_unforeseen_error_ends_the_session_loudly() -> None:
    async def main() -> None:
        over = Scripted(([b"1"], KeyError("a bug")))
        events: list[SessionEvent] = []
        with pytest.raises(SourceFailed, match="please report") as caught:
            async for event in session(over).events(asyncio.Event()):
                events.append(event)
        assert isinstance(caught.value.__cause__, KeyError)
        assert [type(event) for event in events] == [Connected, Frame]

    run(main())


def test_leaving_the_events_early_leaves_no_task_behind() -> None:
    async def main() -> None:
        async with server(send(frame(1))) as (address, _):
            before = asyncio.all_tasks()
            await collect(session(source(address)), lambda seen: count(seen, Frame) == 1)
            names = {task.get_coro().__qualname__ for task in asyncio.all_tasks() - before}
            assert not {name for name in names if name.startswith(("Session", "Event.wait"))}

    run(main())
