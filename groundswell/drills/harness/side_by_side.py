"""Runs several drills at once, each as a command of its own: most of a drill is waiting for a fault to last."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from groundswell.drills.harness.services import program_environment
from groundswell.drills.harness.verdict import Verdict

LAST_LINES = 15


async def run_side_by_side(
    names: Sequence[str], *, flags: Sequence[str], at_once: int, done: Callable[[Verdict], None]
) -> list[Verdict]:
    """The verdicts of `groundswell drill NAME FLAGS` for all names, in their order; `done` hears of each as it comes.

    A drill that ends without a verdict has failed, and its last words are the reason.
    """
    places = asyncio.Semaphore(at_once)
    with tempfile.TemporaryDirectory(prefix="groundswell-drills-") as folder:
        environment = program_environment(Path(folder))

        async def run(name: str) -> Verdict:
            async with places:
                verdict = await _verdict(name, flags, environment)
            done(verdict)
            return verdict

        return await asyncio.gather(*(run(name) for name in names))


async def _verdict(name: str, flags: Sequence[str], environment: Mapping[str, str]) -> Verdict:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "groundswell", "drill", name, "--json", *flags,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env=environment,
    )  # fmt: skip
    try:
        out, said = await process.communicate()
    finally:
        if process.returncode is None:  # we are being stopped: it takes its own platform down
            process.send_signal(signal.SIGINT)
            await process.wait()
    try:
        (verdict,) = msgspec.json.decode(out, type=list[Verdict])
    except (msgspec.DecodeError, ValueError):
        last = "\n".join(said.decode(errors="replace").splitlines()[-LAST_LINES:])
        return Verdict(
            drill=name, passed=False, seconds=0, checks=(), recoveries=(), answers=None, reconciliation=None,
            failed=f"it ended with exit code {process.returncode} and without a verdict:\n{last}",
        )  # fmt: skip
    return verdict
