"""`python -m groundswell.adapters.simulator`: the simulated stream on its own, for a relay elsewhere."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import signal
import sys
from typing import Any

from groundswell.adapters.simulator import Host, SimulatorServer, World, WorldConfig
from groundswell.adapters.simulator.server import RETENTION_S
from groundswell.adapters.system_clock import SystemClock
from groundswell.core.sealed_keys import WalletKind


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="python -m groundswell.adapters.simulator",
        description="A deterministic social stream over WebSocket, in Jetstream's wire formats or as a sealed feed.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=6008, help="port of the stream; 0 takes any free one")
    parser.add_argument("--seed", type=int, default=7, help="the same seed gives the same stream")
    parser.add_argument("--rate", type=float, default=25, help="posts a second on average")
    parser.add_argument("--speed", type=float, default=1, help="how much faster than the clock the world runs")
    parser.add_argument("--history", type=float, default=0, help="seconds of past for readers without a cursor")
    parser.add_argument("--retention", type=float, default=RETENTION_S, help="seconds that can be replayed")
    parser.add_argument("--garbage", type=float, default=0.0005, help="broken frames for every post")
    parser.add_argument("--version", type=int, choices=(1, 2), default=1, help="of Jetstream; 2 serves both formats")
    parser.add_argument("--lag", type=int, default=0, help="whole seconds by which this host sees everything later")
    parser.add_argument("--sealed", action="store_true", help="serve a sealed feed, and print what lets a reader in")
    parser.add_argument("--door-port", type=int, default=6009, help="sealed: port of /challenge and /session")
    parser.add_argument(
        "--wallet-kind", choices=("ed25519", "secp256k1"), default="ed25519", help="sealed: the reader's"
    )
    parser.add_argument("--no-replay", action="store_true", help="sealed: nothing is sent again")
    options = parser.parse_args()
    world = World(WorldConfig(seed=options.seed, posts_per_second=options.rate, garbage_share=options.garbage))
    asyncio.run(_serve(world, options))


async def _serve(world: World, options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    common: dict[str, Any] = {
        "clock": SystemClock(),
        "host": options.host,
        "port": options.port,
        "speed": options.speed,
        "history_s": options.history,
        "retention_s": options.retention,
    }
    if options.sealed:
        server, variables = _sealed(world, options, common)
    else:
        host = Host(version=options.version, lag_s=options.lag)
        server, variables = SimulatorServer(world, seen_by=host, **common), {}
    async with server:
        lines = [f"{name}={value}" for name, value in variables.items()]
        sys.stdout.write("\n".join([f"GROUNDSWELL_SEALED_URL={server.url}", *lines] if lines else [server.url]) + "\n")
        sys.stdout.flush()
        await stop.wait()


def _sealed(
    world: World, options: argparse.Namespace, common: dict[str, Any]
) -> tuple[SimulatorServer, dict[str, str]]:
    """A sealed feed with keys made for this run, and the variables that let a reader in."""
    from groundswell.adapters.sealed_wallet import wallet_of
    from groundswell.adapters.simulator.sealed import SealedServer

    kind: WalletKind = options.wallet_kind
    wallet_key, feed_key = secrets.token_bytes(32), secrets.token_bytes(32)
    server = SealedServer(
        world,
        feed_key=feed_key,
        wallets=[wallet_of(kind, wallet_key).address],
        can_replay=not options.no_replay,
        door_port=options.door_port,
        **common,
    )
    return server, {
        "GROUNDSWELL_SEALED_WALLET_KIND": kind,
        "GROUNDSWELL_SEALED_WALLET_KEY": wallet_key.hex(),
        "GROUNDSWELL_SEALED_FEED_KEY": feed_key.hex(),
    }


if __name__ == "__main__":
    main()
