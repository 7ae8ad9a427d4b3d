"""No client holds the event loop up: every attack that is known, against the real API in a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from bench.attacks import ATTACKS
from bench.loop_lag import WatchedApi
from groundswell.adapters.intake import Intake, Pieces
from tests.attacked import attacked_api

LONGEST_TURN_S = 0.1
"""Processor time that one turn of the event loop may take, whatever clients do. That of other processes is no part."""
LOG_BYTES = 20_000
"""What one attack may add to the log."""


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def api(postgres_server: str, runner: asyncio.Runner) -> Iterator[WatchedApi]:
    with attacked_api(postgres_server, runner, "under_attack") as served:
        yield served


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_holds_up_nobody_and_forges_nothing(api: WatchedApi, runner: asyncio.Runner, name: str) -> None:
    outcome = runner.run(api.suffer(ATTACKS[name]))
    assert api.alive
    assert outcome.failed == 0
    assert outcome.cpu_s < LONGEST_TURN_S
    assert "Traceback" not in outcome.log
    assert "Exception in ASGI application" not in outcome.log
    assert "\x1b" not in outcome.log
    assert "FAKE" not in outcome.log
    assert len(outcome.log) < LOG_BYTES


class Transport(asyncio.Transport):
    """A socket that is left unread, or not."""

    def __init__(self) -> None:
        super().__init__()
        self.paused = False

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Taker(Pieces):
    """Notes the pieces that it parses; each begins something, so that five make a turn."""

    def __init__(self, name: str, intake: Intake, parsed: list[str]) -> None:
        self.name = name
        self.intake = intake
        self.transport = Transport()
        self._parsed = parsed

    def take_piece(self, piece: bytes) -> bool:
        self._parsed.append(f"{self.name}{piece[:1].decode()}")
        return True

    def wants_no_more(self) -> bool:
        return False


def test_connections_with_much_to_parse_take_turns_and_are_left_unread_meanwhile() -> None:
    async def scenario() -> None:
        parsed: list[str] = []
        intake = Intake(asyncio.get_running_loop())
        greedy, modest = Taker("greedy", intake, parsed), Taker("modest", intake, parsed)
        greedy.data_received(b"".join(bytes([number]) * 1024 for number in b"abcdefgh"))
        assert len(parsed) <= 5, "one turn parses no more"
        assert greedy.transport.paused  # pyright: ignore[reportAttributeAccessIssue]
        modest.data_received(b"z")
        assert "modestz" not in parsed
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(parsed) == 9
        assert parsed.index("modestz") < parsed.index("greedyh"), "who comes later is not put off to the end"
        assert [each for each in parsed if each.startswith("greedy")] == [f"greedy{letter}" for letter in "abcdefgh"]
        assert not greedy.transport.paused  # pyright: ignore[reportAttributeAccessIssue]

    asyncio.run(scenario())
