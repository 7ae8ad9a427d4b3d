"""When the platform counts as degraded."""

from __future__ import annotations

import pytest

from groundswell.core.status import (
    FORGOTTEN_AFTER_S,
    SILENT_AFTER_S,
    STALE_AFTER_S,
    degraded_parts,
    recording_state,
    silent_after_s,
    source_state,
)


def test_a_quiet_platform_is_not_degraded() -> None:
    assert degraded_parts([("jetstream", "live", 30.0)], [("relay", "live", 2.0), ("momentum", "running", 5.0)]) == ()


@pytest.mark.parametrize("state", ["starting", "connecting", "catching-up"])
def test_a_relay_on_its_way_to_live_is_not_missing(state: str) -> None:
    assert degraded_parts([("simulator", "catching-up", 1.0)], [("relay", state, 1.0)]) == ("source:simulator",)


@pytest.mark.parametrize("state", ["storing-delayed", "disconnected", "failed", "stopped"])
def test_a_relay_that_does_not_store_is_missing(state: str) -> None:
    assert degraded_parts([], [("relay", state, 1.0)]) == ("relay",)


def test_a_part_that_falls_silent_is_missing_whatever_it_said_last() -> None:
    assert degraded_parts([], [("relay", "live", SILENT_AFTER_S + 1)]) == ("relay",)


def test_a_mover_that_a_schedule_calls_is_not_missing_between_its_runs() -> None:
    def missing(state: str, age_s: float, every_s: float) -> tuple[str, ...]:
        return degraded_parts([], [("relay", "live", 2.0), ("archive", state, age_s)], {"archive": every_s})

    assert missing("idle", 3599, every_s=3600) == ()
    assert missing("idle", 2 * 3600 + 60, every_s=3600) == (), "one run may fail"
    assert missing("idle", 3 * 3600 + 1, every_s=3600) == ("archive",)
    assert missing("idle", 3 * 3600 - 1, every_s=86_400) == ()
    assert missing("idle", 3 * 86_400 + 1, every_s=86_400) == ("archive",), "missed before it is taken to be retired"
    assert missing("waiting", 1, every_s=3600) == ("archive",), "what it said last counts at once"
    assert silent_after_s(None) == SILENT_AFTER_S


def test_a_part_that_has_been_silent_for_over_a_day_is_retired() -> None:
    assert degraded_parts([], [("relay", "live", FORGOTTEN_AFTER_S + 1)]) == ()


def test_a_source_that_was_shut_down_is_retired_once_another_is_live() -> None:
    stopped = ("simulator", "stopped", 100.0)
    assert degraded_parts([stopped], []) == ("source:simulator",)
    assert degraded_parts([stopped, ("jetstream", "live", 1.0)], []) == ()


def test_the_state_of_a_source_follows_from_gap_age_and_lag() -> None:
    assert source_state(1.0, 1.0, None) == "live"
    assert source_state(1.0, 1000.0, None) == "catching-up"
    assert source_state(STALE_AFTER_S + 1, 1.0, None) == "stale"
    assert source_state(None, None, None) == "stale"
    assert source_state(1.0, 1.0, "disconnect") == "disconnected"
    assert source_state(1.0, 1.0, "shutdown") == "stopped"


def test_a_recording_is_live_while_it_is_played_and_has_ended_after_that() -> None:
    assert recording_state("live", 1.0) == "live"
    assert recording_state("live", SILENT_AFTER_S + 1) == "ended"
    assert recording_state("ended", 1.0) == "ended"
    assert recording_state(None, 0.0) == "ended"
    assert degraded_parts([("replay:monday.jsonl@1f0c2ab4", "ended", 1e9)], [("relay", "ended", 1000.0)]) == ()
