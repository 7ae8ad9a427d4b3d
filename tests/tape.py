"""A source whose whole past is known, that drops its connection exactly where a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager

import msgspec

from groundswell.core.posts import AccountChange, Decoded, Deleted, Ignored, Post
from groundswell.core.session import ConnectionLost
from groundswell.ports.sources import SourceEnded

TapeItem = Post | Deleted | AccountChange | Ignored


class TapeConnection:
    endpoint = "tape"

    def __init__(self, items: Iterable[TapeItem], breaks_after: int | None, *, ends: bool) -> None:
        self._items = iter(items)
        self._left = breaks_after
        self._ends = ends

    async def receive(self) -> bytes:
        if self._left is not None:
            if self._left == 0:
                raise ConnectionLost("the tape was cut here")
            self._left -= 1
        for item in self._items:
            return _ENCODE(item)
        if self._ends:
            raise SourceEnded
        await asyncio.get_running_loop().create_future()  # live, and nothing more to say
        raise AssertionError

    async def ping(self) -> None:
        return None


class TapeSource:
    """`breaks`: for each connection in turn, after how many frames it is cut; connections beyond them hold."""

    quiet_after_s = None

    def __init__(
        self,
        items: Sequence[TapeItem],
        breaks: Sequence[int] = (),
        *,
        name: str = "jetstream",
        ends: bool = True,
        can_replay: bool = True,
        keeps_from: int = 0,
    ) -> None:
        self.name = name
        self.can_replay = can_replay
        self._items = items
        self._breaks = list(breaks)
        self._ends = ends
        self._keeps_from = keeps_from
        self.connections: list[int | None] = []

    @asynccontextmanager
    async def connect(self, cursor: int | None) -> AsyncGenerator[TapeConnection]:
        self.connections.append(cursor)
        since = max(cursor or 0, self._keeps_from)
        items = [item for item in self._items if item.cursor is None or item.cursor >= since]
        cut = self._breaks.pop(0) if self._breaks else None
        yield TapeConnection(items, cut, ends=self._ends)

    def decode(self, raw: bytes) -> Decoded:
        return _DECODE(raw)


class _Box(msgspec.Struct):
    post: Post | None = None
    deleted: Deleted | None = None
    account: AccountChange | None = None
    ignored: Ignored | None = None


def _ENCODE(item: TapeItem) -> bytes:
    kind = {Post: "post", Deleted: "deleted", AccountChange: "account", Ignored: "ignored"}[type(item)]
    return msgspec.msgpack.encode(_Box(**{kind: item}))


def _DECODE(raw: bytes) -> Decoded:
    box = msgspec.msgpack.decode(raw, type=_Box)
    found = box.post or box.deleted or box.account or box.ignored
    assert found is not None
    return found
