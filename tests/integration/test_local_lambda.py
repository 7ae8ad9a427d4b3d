"""The rehearsal's Lambda: what it refuses, and how it starts a function."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from rehearsal.cpu_share import CpuShare, NoCpuShare, cores_of, cpu_share
from rehearsal.local_lambda import (
    REQUEST_LIMIT_BYTES,
    RESPONSE_LIMIT_BYTES,
    FunctionFailed,
    LocalFunction,
    PayloadTooLarge,
    ResponseTooLarge,
)

QUOTES = 2
"""Bytes that a text has more as JSON."""


def played(
    folder: Path,
    code: str,
    scenario: Callable[[LocalFunction], Awaitable[None]],
    *,
    cpu: CpuShare | None = None,
    init_limit_s: float = 60.0,
    timeout_s: float = 60.0,
) -> None:
    (folder / "made.py").write_text(code, "utf-8")

    async def run() -> None:
        async with LocalFunction(
            "made", "made.handler", {}, code=folder, cpu=cpu, init_limit_s=init_limit_s, timeout_s=timeout_s
        ) as function:
            await scenario(function)

    asyncio.run(run())


def test_a_result_above_the_limit_fails_after_the_function_has_succeeded(tmp_path: Path) -> None:
    async def scenario(function: LocalFunction) -> None:
        largest = RESPONSE_LIMIT_BYTES - QUOTES
        assert len(await function.invoke({"bytes": largest})) == largest
        with pytest.raises(ResponseTooLarge, match=r"ResponseSizeTooLarge.*6291556 bytes"):
            await function.invoke({"bytes": largest + 1})
        assert f"returned {largest + 1}" in function.log
        assert len(await function.invoke({"bytes": 3})) == 3, "the next event is answered"

    code = (
        "def handler(event, _):\n    print('returned', event['bytes'], flush=True)\n    return 'x' * event['bytes']\n"
    )
    played(tmp_path, code, scenario)


def test_an_event_above_the_limit_does_not_reach_the_function(tmp_path: Path) -> None:
    async def scenario(function: LocalFunction) -> None:
        around = len(json.dumps({"text": ""}))
        text = "x" * (REQUEST_LIMIT_BYTES - around)
        assert await function.invoke({"text": text}) == len(text)
        with pytest.raises(PayloadTooLarge, match="must be smaller than 6291456 bytes"):
            await function.invoke({"text": text + "x"})

    played(tmp_path, "def handler(event, _):\n    return len(event['text'])\n", scenario)


def test_what_a_module_does_at_import_is_init_and_not_the_time_of_an_event(tmp_path: Path) -> None:
    code = """
import pathlib, time
done = pathlib.Path(__file__).with_name("slept")
if not done.exists():
    time.sleep(3)
def handler(event, _):
    return 1
"""

    async def scenario(function: LocalFunction) -> None:
        assert await function.invoke({}) == 1
        assert function.init_s >= 3
        assert function.inits_too_long == 0

    played(tmp_path, code, scenario, timeout_s=2.0)


def test_an_init_that_takes_too_long_is_begun_anew_in_the_time_of_the_event(tmp_path: Path) -> None:
    code = """
import pathlib, time
begun = pathlib.Path(__file__).with_name("begun")
if not begun.exists():
    begun.touch()
    time.sleep(3600)
def handler(event, _):
    return 1
"""

    async def scenario(function: LocalFunction) -> None:
        assert await function.invoke({}) == 1
        assert function.inits_too_long == 1
        assert any("Phase: init Status: timeout" in line for line in function.log)

    played(tmp_path, code, scenario, init_limit_s=5.0)


def test_a_module_that_cannot_be_imported_fails_every_event(tmp_path: Path) -> None:
    async def scenario(function: LocalFunction) -> None:
        for _ in range(2):
            with pytest.raises(FunctionFailed, match="no_such_module"):
                await function.invoke({})

    played(tmp_path, "import no_such_module\n", scenario)


def test_a_function_has_the_part_of_a_core_that_its_memory_buys_and_a_whole_one_in_init(tmp_path: Path) -> None:
    share, reason = cpu_share("made", cores_of(177))
    if share is None:
        pytest.skip(reason)
    code = """
import time
def work(seconds):
    while time.process_time() < seconds:
        pass
    return time.process_time()
work(0.3)
def handler(event, _):
    return work(time.process_time() + 0.3)
"""
    throttled: list[float] = []

    async def scenario(function: LocalFunction) -> None:
        original = function._ready  # pyright: ignore[reportPrivateUsage]

        async def ready() -> float:
            ends = await original()
            throttled.append(share.throttled_s())
            return ends

        function._ready = ready  # pyright: ignore[reportPrivateUsage]
        await function.invoke({})
        throttled.append(share.throttled_s())

    played(tmp_path, code, scenario, cpu=share)
    during_init, after = throttled
    # A whole core: one thread hardly waits.
    assert during_init < 0.3
    # A tenth of a core: 0.3 s of work wait about nine times as long. Half of that shows that the limit holds.
    assert after > 0.3 * 9 / 2


def test_whoever_has_as_much_as_the_machine_is_not_limited() -> None:
    assert cpu_share("made", os.cpu_count() or 1) == (None, "")
    assert cores_of(512) == pytest.approx(0.289, abs=0.001)


def test_a_limit_may_hold_in_init_as_well(tmp_path: Path) -> None:
    try:
        share = CpuShare("made", cores_of(177), in_init=cores_of(177))
    except NoCpuShare as reason:
        pytest.skip(str(reason))
    throttled: list[float] = []

    async def scenario(function: LocalFunction) -> None:
        await function.invoke({})
        throttled.append(share.throttled_s())

    code = "import time\nwhile time.process_time() < 0.3:\n    pass\ndef handler(event, _):\n    return 1\n"
    played(tmp_path, code, scenario, cpu=share)
    assert throttled[0] > 0.3 * 9 / 2


def test_nothing_that_is_compiled_is_kept_beside_the_code(tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("VALUE = 1\n", "utf-8")

    async def scenario(function: LocalFunction) -> None:
        assert await function.invoke({}) == 1

    played(tmp_path, "import other\ndef handler(event, _):\n    return other.VALUE\n", scenario)
    assert not list(tmp_path.rglob("*.pyc"))
