"""`python -m groundswell.adapters.simulator`: the simulated stream on its own, for a relay elsewhere."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from groundswell.adapters.simulator import SimulatorServer, World, WorldConfig
from groundswell.adapters.simulator.server import RETENTION_S
from groundswell.adapters.system_clock import SystemClock


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="python -m groundswell.adapters.simulator",
        description="A deterministic social stream in Jetstream's wire format over WebSocket.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=6008, help="port to listen on; 0 takes any free one")
    parser.add_argument("--seed", type=int, default=7, help="the same seed gives the same stream")
    parser.add_argument("--rate", type=float, default=25, help="posts a second on average")
    parser.add_argument("--speed", type=float, default=1, help="how much faster than the clock the world runs")
    parser.add_argument("--history", type=float, default=0, help="seconds of past for readers without a cursor")
    parser.add_argument("--retention", type=float, default=RETENTION_S, help="seconds that can be replayed")
    parser.add_argument("--garbage", type=float, default=0.0005, help="broken frames for every post")
    options = parser.parse_args()
    world = World(WorldConfig(seed=options.seed, posts_per_second=options.rate, garbage_share=options.garbage))
    asyncio.run(_serve(world, options))


async def _serve(world: World, options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = SimulatorServer(
        world,
        clock=SystemClock(),
        host=options.host,
        port=options.port,
        speed=options.speed,
        history_s=options.history,
        retention_s=options.retention,
    )
    async with server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    main()
