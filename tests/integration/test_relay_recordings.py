"""A relay that plays a recording, or reads a host that sends nothing readable."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from groundswell.adapters.postgres_pool import open_pool
from groundswell.adapters.postgres_reads import PostgresReads
from groundswell.adapters.postgres_store import PostgresStore
from groundswell.adapters.replay import ReplaySource, recording_name
from groundswell.core.posts import Ignored
from groundswell.ports.reading import Status
from groundswell.services.relay import Relay
from tests.relay_world import Screen, make_relay, rows, run_relay
from tests.tape import TapeSource

T0 = 1_764_400_000


def frame(n: int, *, at: int | None = None) -> bytes:
    commit = {"rev": f"{n:09}", "operation": "create", "collection": "app.bsky.feed.post", "rkey": f"{n}"}
    commit["record"] = {"text": f"post {n} #steady"}  # type: ignore[assignment]
    when = (T0 + n if at is None else at) * 1_000_000
    return json.dumps({"did": "did:plc:a", "time_us": when, "kind": "commit", "commit": commit}).encode()


def play(url: str, path: Path) -> tuple[Relay, Status]:
    """Play a recording as the platform does, and look at the status when it has ended."""

    async def run() -> tuple[Relay, Status]:
        pool = await open_pool(url, size=3, wait_s=5, statement_timeout_s=10, application_name="test")
        try:
            store, reads = PostgresStore(pool), PostgresReads(pool)
            name = recording_name(path, [source.source for source in (await reads.status()).sources])
            relay = make_relay(ReplaySource(path, extractor=None, name=name), store, Screen(), recording=True)
            await asyncio.wait_for(relay.run(asyncio.Event()), 30)
            await store.report("relay", *relay.status())
            return relay, await reads.status()
        finally:
            await pool.close()

    return asyncio.run(run())


def count(url: str, query: str = "SELECT count(*) FROM posts") -> Any:
    return rows(url, query)[0][0]


def write(folder: Path, name: str, *frames: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\n".join(frames) + b"\n")
    return path


def test_a_recording_that_was_played_has_ended_and_nothing_is_degraded(database_url: str, tmp_path: Path) -> None:
    path = write(tmp_path, "tape.jsonl", *(frame(n) for n in range(20)))
    relay, status = play(database_url, path)
    assert relay.status()[0] == "ended"
    assert [source.state for source in status.sources] == ["ended"]
    assert status.degraded == ()


def test_two_recordings_of_one_name_are_both_stored_and_one_that_was_renamed_is_not_played_twice(
    database_url: str, tmp_path: Path
) -> None:
    play(database_url, write(tmp_path, "tuesday/tape.jsonl", *(frame(n) for n in range(100, 110))))
    play(database_url, write(tmp_path, "monday/tape.jsonl", *(frame(n) for n in range(10))))
    assert count(database_url) == 20
    relay, status = play(database_url, write(tmp_path, "renamed", *(frame(n) for n in range(10))))
    assert relay.state.frames_total == 1
    assert (count(database_url), len(status.sources)) == (20, 2)


def test_a_recording_of_which_nothing_can_be_read_is_named_and_degraded(database_url: str, tmp_path: Path) -> None:
    relay, status = play(database_url, write(tmp_path, "notes.txt", b"hello", b"world"))
    state, detail = relay.status()
    assert state == "unreadable"
    assert '"hello"' in str(detail["why"])
    assert "relay" in status.degraded


def test_an_empty_recording_is_named(database_url: str, tmp_path: Path) -> None:
    relay, _ = play(database_url, write(tmp_path, "empty.jsonl"))
    assert "is empty" in str(relay.status()[1]["why"])


def test_a_host_that_sends_nothing_readable_is_named(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    source = TapeSource([Ignored("malformed")] * 30, ends=False)
    relay, _ = run_relay(database_url, source, until=lambda relay: relay.status()[0] == "unreadable", recording=False)
    assert caplog.text.count("None of the first 5 frames of tape can be read") == 1
    assert "Jetstream v1" in str(relay.status()[1]["why"])


def test_frames_of_other_years_are_stored_and_the_years_between_are_not_counted_as_watched(
    database_url: str, tmp_path: Path
) -> None:
    frames = [frame(900, at=1_300_000_000), *(frame(n) for n in range(20)), frame(901, at=4_070_908_800)]
    play(database_url, write(tmp_path, "tape.jsonl", *frames, *(frame(n) for n in range(20, 40))))
    assert count(database_url) == 42
    assert count(database_url, "SELECT count(*) FROM coverage") <= 3
