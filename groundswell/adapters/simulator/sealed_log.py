"""The world's frames by sequence number: counted once, told again whenever they are asked for."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import OrderedDict

from groundswell.adapters.simulator.world import Second, World
from groundswell.core.posts import MICROS_PER_SECOND, Micros

_INLINE_POSTS = 200
_KEPT_SECONDS = 16


class SealedLog:
    """Frames of `world` from `begins` on, numbered from 0. Kept are the counts and the last seconds."""

    def __init__(self, world: World, begins: Micros) -> None:
        self._world = world
        self._begins = begins
        self._first_second = begins // MICROS_PER_SECOND
        self._starts = [0]
        """For each second since the first: how many frames came before it."""
        self._told: OrderedDict[int, Second] = OrderedDict()
        self._counting = asyncio.Lock()

    @property
    def counted(self) -> int:
        """How many frames are known to be there; there may be more."""
        return self._starts[-1]

    async def count_before(self, instant: Micros) -> int:
        """How many frames happened before `instant`."""
        if instant <= self._begins:
            return 0
        place = instant // MICROS_PER_SECOND - self._first_second
        await self._count_to(place)
        return self._starts[place] + bisect_left((await self._second(place)).times, instant)

    async def read(self, number: int, now: Micros, limit: int) -> list[bytes]:
        """Frames from `number` on that happened before `now`: at least one if there is one, at most `limit`."""
        last = now // MICROS_PER_SECOND - self._first_second
        while self.counted <= number and len(self._starts) - 1 <= last:
            await self._count_to(len(self._starts))
        place = bisect_left(self._starts, number + 1) - 1
        while place <= last:
            second = await self._second(place)
            start = max(number - self._starts[place], 0)
            end = min(bisect_left(second.times, now), start + limit)
            if start < end:
                return second.frames[start:end]
            place += 1
            await self._count_to(place)
        return []

    async def _count_to(self, place: int) -> None:
        async with self._counting:
            while len(self._starts) <= place:
                second = await self._second(len(self._starts) - 1)
                self._starts.append(self._starts[-1] + len(second.frames))
                await asyncio.sleep(0)

    async def _second(self, place: int) -> Second:
        found = self._told.get(place)
        if found is None:
            found = await self._tell(place)
            self._told[place] = found
            while len(self._told) > _KEPT_SECONDS:
                self._told.popitem(last=False)
        return found

    async def _tell(self, place: int) -> Second:
        second = self._first_second + place
        if place == 0:
            return next(self._world.seconds(self._begins, (second + 1) * MICROS_PER_SECOND))
        if self._world.config.posts_per_second < _INLINE_POSTS:
            return self._world.second(second)
        return await asyncio.to_thread(self._world.second, second)
