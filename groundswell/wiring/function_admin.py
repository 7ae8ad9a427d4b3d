"""The operator's commands as a Lambda function: each runs as a process of its own, and its output is the answer.

The process is `python -m groundswell` with the words that were permitted, so that a command does the same here as on a
laptop. Its output goes into the answer and nowhere else: no log gets it, and no file.
"""

from __future__ import annotations

import asyncio
import codecs
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from groundswell.core.operator_commands import Answer, choose
from groundswell.errors import EX_USAGE, InvalidRequest
from groundswell.wiring.function_runtime import runtime

ANSWER_MOST_BYTES = 5_500_000
"""Of both outputs together, as JSON. Lambda passes on 6,291,556 bytes."""
COLUMNS_MOST = 400
END_S = 90.0
"""Left to a command to end cleanly when its time is over: for the file of the archive that is under way."""
RESERVE_S = 15.0
"""Left of the function's time when the process is killed."""


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the function is invoked with."""

    command: tuple[str, ...]
    within_s: float = 3600.0
    """Seconds after which the command is asked to end. The function's own time is the limit in any case."""
    columns: int = 120
    """Width of tables."""


def run_command(event: Mapping[str, Any], left_s: float) -> tuple[str, Mapping[str, Any]]:
    """The name of the command that ran, and its answer as a mapping (`Answer`). What is not permitted does not run."""
    try:
        asked = msgspec.convert(dict(event), Event)
        chosen = choose(asked.command)
    except (InvalidRequest, msgspec.ValidationError) as error:
        return "refused", msgspec.to_builtins(Answer(EX_USAGE, stderr=f"{error}\n"))
    killed_in_s = max(1.0, left_s - RESERVE_S)
    within_s = max(0.5, min(asked.within_s, killed_in_s - END_S))
    answer = runtime().run(_run(chosen.words, within_s, killed_in_s, max(40, min(asked.columns, COLUMNS_MOST))))
    return chosen.name, msgspec.to_builtins(answer)


async def _run(words: Sequence[str], within_s: float, killed_in_s: float, columns: int) -> Answer:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "groundswell",
        *words,
        env=_environment(columns),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    room = _Room(ANSWER_MOST_BYTES, lambda: _send(process, signal.SIGKILL))
    output = asyncio.gather(room.read(process.stdout), room.read(process.stderr), process.wait())
    try:
        for signal_number, limit_s in (
            (signal.SIGTERM, within_s),
            (signal.SIGKILL, max(0.5, min(END_S, killed_in_s - within_s))),
        ):
            if await _ends(output, limit_s):
                break
            _send(process, signal_number)
        out, err, code = await output
    finally:
        # Reached before the end only where this function itself is given up.
        _send(process, signal.SIGKILL)
    if room.full:
        err += "\nThe answer is longer than a function can give. Name fewer days, or a lower --limit.\n"
        return Answer(EX_USAGE, out, err, cut=True)
    # A signal that ended the process is told as a shell tells it.
    return Answer(code if code >= 0 else 128 - code, out, err)


def _environment(columns: int) -> dict[str, str]:
    """This process's own, with the modules that it finds, and without colours."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONUNBUFFERED": "1",
        "COLUMNS": str(columns),
        "NO_COLOR": "1",
        "TERM": "dumb",
    }


async def _ends(output: asyncio.Future[Any], limit_s: float) -> bool:
    done, _ = await asyncio.wait({output}, timeout=limit_s)
    return bool(done)


def _send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    if process.returncode is None:
        process.send_signal(number)


class _Room:
    """What an answer has room for. `overflow` is called once, when more comes."""

    def __init__(self, most_bytes: int, overflow: Callable[[], None]) -> None:
        self._left = most_bytes
        self._overflow = overflow
        self.full = False

    async def read(self, stream: asyncio.StreamReader) -> str:
        """All that comes, as long as there is room for it."""
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        kept: list[str] = []
        while chunk := await stream.read(65_536):
            text = decode(chunk)
            if self.full:
                continue
            size = len(json.dumps(text)) - 2
            if size > self._left:
                self.full = True
                self._overflow()
                continue
            self._left -= size
            kept.append(text)
        return "".join([*kept, decode(b"", True)])
