"""The simulated stream of a drill: live, with faults on demand, and an end that the drill chooses."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

import msgspec

from groundswell.adapters.sealed_wallet import wallet_of
from groundswell.adapters.simulator import SimulatorServer, Truth, World, WorldConfig, truth
from groundswell.adapters.simulator.sealed import SealedServer
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.posts import MICROS_PER_SECOND, Micros
from groundswell.core.sealed_keys import WalletKind

PAST_S = 15
"""The world begins this long before the drill, so that there is something to read at once."""
REACH_S = 600.0
"""How far back a reader without a cursor starts: before the world began."""
SESSION_S = 8.0
"""Of a sealed feed: short, so that sessions are renewed within a drill."""
ROTATE_EVERY = 200
"""Frames for which a sealed feed keeps a key."""
WALLET_KIND: WalletKind = "secp256k1"


class Feed:
    """A world that began `PAST_S` ago and runs with the clock until `end`. Its servers tell one story.

    Args:
        age_s: how far that clock is behind the real one.
        world: laid over the settings of the world, by their names.
        sealed: it is a sealed feed, and not Jetstream's.
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
        sealed: bool = False,
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
        self._sealed = sealed
        self._wallet_key, self._feed_key = secrets.token_bytes(32), secrets.token_bytes(32)
        self.hosts: list[SimulatorServer] = []

    async def open(self, stack: AsyncExitStack, hosts: int) -> None:
        for _ in range(hosts):
            # Once there is a cursor it decides; retention then says how much of the past is left.
            self.hosts.append(await stack.enter_async_context(self._server(min(REACH_S, self._retention_s))))

    def _server(self, history_s: float) -> SimulatorServer:
        if not self._sealed:
            return SimulatorServer(self.world, clock=self._clock, history_s=history_s, retention_s=self._retention_s)
        return SealedServer(
            self.world,
            clock=self._clock,
            history_s=history_s,
            retention_s=self._retention_s,
            feed_key=self._feed_key,
            wallets=[wallet_of(WALLET_KIND, self._wallet_key).address],
            session_s=SESSION_S,
            rotate_every=ROTATE_EVERY,
        )

    @property
    def variables(self) -> dict[str, str]:
        """What lets a relay in."""
        if not self._sealed:
            return {"GROUNDSWELL_SOURCE": "jetstream", "GROUNDSWELL_JETSTREAM_HOSTS": self.urls}
        return {"GROUNDSWELL_SOURCE": "sealed", "GROUNDSWELL_SEALED_URL": self.host.url,
                "GROUNDSWELL_SEALED_WALLET_KIND": WALLET_KIND, **self.secrets}  # fmt: skip

    @property
    def secrets(self) -> dict[str, str]:
        """The variables that must never be seen."""
        return {
            "GROUNDSWELL_SEALED_WALLET_KEY": self._wallet_key.hex(),
            "GROUNDSWELL_SEALED_FEED_KEY": self._feed_key.hex(),
        }

    @property
    def host(self) -> SimulatorServer:
        return self.hosts[0]

    @property
    def readers(self) -> int:
        """How many connections read the stream now."""
        return sum(host.faults.readers for host in self.hosts)

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
