"""The simulated stream of a drill: live, with faults on demand, and an end that the drill chooses."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

import msgspec

from groundswell.adapters.simulator import SimulatorServer, Truth, World, WorldConfig, truth
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.posts import MICROS_PER_SECOND, Micros

PAST_S = 15
"""The world begins this long before the drill, so that there is something to read at once."""
REACH_S = 600.0
"""How far back a reader without a cursor starts: before the world began."""


class Feed:
    """A world that began `PAST_S` ago and runs with the clock until `end`. Its servers tell one story.

    Args:
        age_s: how far that clock is behind the real one.
        world: laid over the settings of the world, by their names.
    """

    def __init__(
        self,
        *,
        posts_per_second: float,
        garbage_share: float,
        seed: int,
        retention_s: float = 7200,
        age_s: float = 0,
        world: Mapping[str, float] | None = None,
    ) -> None:
        self._clock = SystemClock(skew=f"{-int(age_s)}")
        self._ended_at: Micros | None = None
        self.began_at: Micros = (self._clock.now() // MICROS_PER_SECOND - PAST_S) * MICROS_PER_SECOND
        config = WorldConfig(
            seed=seed,
            began_at=self.began_at,
            posts_per_second=posts_per_second,
            daily_rhythm=False,
            garbage_share=garbage_share,
            surge_every_s=20,
            spam_every=3,
        )
        self.world = World(msgspec.structs.replace(config, **(world or {})))
        self._retention_s = retention_s
        self.hosts: list[SimulatorServer] = []

    async def open(self, stack: AsyncExitStack, hosts: int) -> None:
        for _ in range(hosts):
            # Once there is a cursor it decides; retention then says how much of the past is left.
            server = SimulatorServer(
                self.world, clock=self._clock, history_s=min(REACH_S, self._retention_s), retention_s=self._retention_s
            )
            self.hosts.append(await stack.enter_async_context(server))

    @property
    def host(self) -> SimulatorServer:
        return self.hosts[0]

    @property
    def urls(self) -> str:
        return ",".join(host.url for host in self.hosts)

    @property
    def ended(self) -> bool:
        return self._ended_at is not None

    def now(self) -> Micros:
        return self.host.now()

    def end(self) -> None:
        """Nothing happens in this world any more."""
        if self._ended_at is None:
            self._ended_at = self.host.end()
            for other in self.hosts:
                other.end(self._ended_at)

    async def last_frame_at(self) -> Micros:
        """The time of the world's last frame. Only after its end."""
        assert self._ended_at is not None, "a world that runs has no last frame"
        until = self._ended_at

        def find() -> Micros:
            for back in range(60):
                since = until - (back + 1) * MICROS_PER_SECOND
                times = [time for time, _ in self.world.frames(since, until - back * MICROS_PER_SECOND)]
                if times:
                    return times[-1]
            raise AssertionError("a minute of this world is empty")

        return await asyncio.to_thread(find)

    async def truth(self, unseen: Sequence[tuple[Micros, Micros]] = ()) -> Truth:
        """What a reader has stored who missed nothing but the stretches `unseen`, both ends excluded.

        It begins where the first connection did: nothing before was ever asked for.
        """
        assert self._ended_at is not None, "the truth is known when the world has ended"
        starts = [span.started_at for host in self.hosts for span in host.spans[:1]]
        since = max(self.began_at, min(starts, default=self.began_at))
        return await asyncio.to_thread(truth, self.world, since, self._ended_at, unseen=unseen)
