"""How long hostile clients hold up the event loop of the API, and whether everybody else is answered meanwhile.

    python -m bench.loop_lag [--posts 50000] [--only WORD]

The API is `groundswell api`, in a process of its own, over a real Postgres; requests are not limited by address, as if
each came from another. *Lag* is the longest turn of the loop: processor time of its thread, and wall time beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import psycopg

from bench.api import COUNT, FILL
from bench.attacks import ATTACKS, Attack
from bench.processes import end
from bench.report import publish
from groundswell.adapters.embedded_postgres import EmbeddedPostgres
from groundswell.adapters.migrations import migrate
from groundswell.drills.harness.services import program_environment

GOAL_S = 0.1
ASK_EVERY_S = 0.05
START_LIMIT_S = 60.0
OPTIONS = {
    "GROUNDSWELL_RATE_LIMIT_PER_MINUTE": "0",
    "GROUNDSWELL_WS_MAX_CONNECTIONS_PER_ADDRESS": "1000",
    "GROUNDSWELL_EMBEDDING_CHAIN": "none",
    "GROUNDSWELL_LOG_LEVEL": "warning",
}


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one attack did."""

    cpu_s: float
    """Processor time of the loop's longest turn."""
    wall_s: float
    collecting_s: float
    """Processor time of the longest collection of garbage."""
    asked: int
    """Requests of somebody else during the attack."""
    failed: int
    """Those of them that were not answered with 200."""
    log: str
    """What the API logged."""


class WatchedApi:
    """The API in a process of its own, and the instrument in its loop."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, log: Path) -> None:
        self._process = process
        self._log = log
        self.port = port

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def turns(self) -> dict[str, float]:
        """The longest turn since the last call."""
        assert self._process.stdout is not None
        self._process.send_signal(signal.SIGUSR1)
        return json.loads(await self._process.stdout.readline())

    def logged(self) -> str:
        """All that it logged up to now."""
        return self._log.read_text("utf-8", "replace")

    async def suffer(self, attack: Attack) -> Outcome:
        """Run `attack`, and ask as somebody else meanwhile and once more afterwards."""
        before = len(self.logged())
        await self.turns()
        asked, failed = 0, 0
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=20, trust_env=False) as client:
            attacking = asyncio.create_task(attack(self.port))
            last = False
            while not last:
                last = attacking.done()
                asked += 1
                try:
                    failed += (await client.get("/healthz")).status_code != 200
                except httpx.TransportError:
                    failed += 1
                await asyncio.wait({attacking}, timeout=ASK_EVERY_S)
            await attacking
        return Outcome(**await self.turns(), asked=asked, failed=failed, log=self.logged()[before:])


@asynccontextmanager
async def watched_api(database_url: str, folder: Path, **options: str) -> AsyncGenerator[WatchedApi]:
    """Serve the API over the database, until the block ends; `options` are variables."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "api.log"
    environment = {
        **program_environment(folder),
        **OPTIONS,
        "GROUNDSWELL_DATABASE_URL": database_url,
        "GROUNDSWELL_API_PORT": str(port),
        "GROUNDSWELL_DATA_DIR": str(folder),
        **options,
    }
    with log.open("wb") as writes:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.watched_api", env=environment, stdout=asyncio.subprocess.PIPE, stderr=writes
        )
    try:
        api = WatchedApi(process, port, log)
        await _answers(api)
        yield api
    finally:
        await end(process)


async def _answers(api: WatchedApi) -> None:
    async with asyncio.timeout(START_LIMIT_S), httpx.AsyncClient(trust_env=False) as client:
        while True:
            assert api.alive, f"the API ended:\n{api.logged()}"
            try:
                if (await client.get(f"http://127.0.0.1:{api.port}/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass  # it does not listen yet
            await asyncio.sleep(0.05)


def fill(url: str, posts: int) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(FILL, {"posts": posts})
        conn.execute(COUNT)


async def measure(posts: int, only: str) -> None:
    outcomes: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="groundswell-bench-") as folder:
        server = EmbeddedPostgres(Path(folder), tuning={"fsync": "off"})
        url = await server.start()
        try:
            await migrate(url)
            await asyncio.to_thread(fill, url, posts)
            async with watched_api(url, Path(folder)) as api:
                for name, attack in ATTACKS.items():
                    if only in name:
                        outcomes[name] = outcome = await api.suffer(attack)
                        print(
                            f"{name}: {outcome.cpu_s * 1000:.0f} ms, {outcome.collecting_s * 1000:.0f} of them gc",
                            file=sys.stderr,
                        )
        finally:
            await server.stop()
    rows = [
        (
            name,
            f"{each.cpu_s * 1000:.0f} ms processor, {each.wall_s * 1000:.0f} ms wall; "
            f"{each.asked - each.failed} of {each.asked} answered; {len(each.log)} bytes logged",
            f"< {GOAL_S * 1000:.0f} ms processor",
        )
        for name, each in outcomes.items()
    ]
    publish(
        "loop_lag",
        "The API's event loop under attack: its longest turn, and what somebody else was answered",
        rows,
        {name: msgspec.to_builtins(each) for name, each in outcomes.items()},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=50_000)
    parser.add_argument("--only", default="", help="attacks whose name has this in it")
    options = parser.parse_args()
    asyncio.run(measure(options.posts, options.only))


if __name__ == "__main__":
    main()
