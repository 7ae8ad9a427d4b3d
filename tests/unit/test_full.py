"""What is full behaves as docs/invariants.md says: bounds that need no store to be filled."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import httpx
import msgspec
import numpy as np
import psutil
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from groundswell.adapters import sealed_door
from groundswell.adapters.apigateway.broadcaster import PENDING_EVENTS, ApiGatewayBroadcaster
from groundswell.adapters.encoder.process import EncoderProcess
from groundswell.adapters.encoder.wire import Probe
from groundswell.adapters.local_hub import MAX_REPLIES, LocalHub
from groundswell.adapters.qdrant_embedded import limits, server, wire
from groundswell.adapters.qdrant_embedded.refused import Refused
from groundswell.adapters.system_clock import SystemClock
from groundswell.core import count_window, entity_text, sealed
from groundswell.core.habit import no_habits
from groundswell.core.posts import Post, ProfileLabels
from groundswell.core.retention import ArchiveRow, Manifest, Tally, describe
from groundswell.core.session import ConnectionLost
from groundswell.core.text.languages import primary_language
from groundswell.errors import EmbeddingUnavailable, InvalidRequest, StoreUnavailable
from groundswell.metrics import Metrics
from groundswell.ports.momentum import StoredHabits
from groundswell.ports.storing import Batch, Event, ResumePoint
from groundswell.ports.vectors import SearchFilters
from groundswell.services import archive_reader, archived_files, habits, time_travel, writing
from groundswell.services.ranking import RANKINGS_KEPT, Question, Ranking, Rankings
from groundswell.services.relay_state import RelayState
from groundswell.services.writing import WAITING_BATCHES, Writer
from groundswell.wiring import archive_chores

T0 = 1_783_175_880_000_000


async def settle() -> None:
    """Let everything that can go on go on."""
    for _ in range(50):
        await asyncio.sleep(0)


def batch(number: int) -> Batch:
    return Batch(source="s", posts=[], deletes=[], cursor=T0 + number, covered_from=T0, covered_until=T0 + number)


class NeverAnswers:
    """A store that takes a batch and says nothing any more."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = asyncio.Event()

    async def resume_point(self, source: str) -> ResumePoint:
        return ResumePoint(None, None)

    async def restricted_authors(self, source: str, limit: int) -> list[str]:
        return []

    async def commit(self, work: Batch) -> Any:
        self.asked += 1
        await self.answers.wait()
        raise AssertionError("no test waits for that")


class NamedSource:
    name = "s"
    can_replay = True


def test_a_reader_waits_while_as_many_batches_as_may_wait_do() -> None:
    async def scenario() -> None:
        store: Any = NeverAnswers()
        source: Any = NamedSource()
        nobody: Any = None
        writer = Writer(
            source, store, None, nobody, SystemClock(), state=RelayState(), rng=Random(1), metrics=Metrics(),
            on_stored=lambda: None, on_full=lambda why: None, store_now=lambda: T0,
        )  # fmt: skip
        running = asyncio.create_task(writer.run())
        reader = [asyncio.create_task(writer.put(batch(number))) for number in range(WAITING_BATCHES + 3)]
        await settle()
        taken = sum(put.done() for put in reader)
        assert store.asked == 1
        assert taken == WAITING_BATCHES + 1, "one is being stored, and the others wait"
        for task in (*reader, running):
            task.cancel()
        await asyncio.gather(*reader, running, return_exceptions=True)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("remember", "spelling"),
    [
        (entity_text._fold_tag, "tag{}"),
        (entity_text._normalise_domain, "host{}.example"),
        (primary_language, "x-{}"),
    ],
)
def test_spellings_are_remembered_within_bounds(remember: Any, spelling: str) -> None:
    for number in range(10_000):
        remember(spelling.format(number))
    kept = remember.cache_info()
    assert kept.currsize == kept.maxsize <= 4096


def test_of_more_authors_that_restrict_their_posts_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MAX_RESTRICTED", 2)
    shown: list[tuple[str, bool]] = []

    class Away(NeverAnswers):
        async def restricted_authors(self, source: str, limit: int) -> list[str]:
            return ["a", "z"][:limit]

        async def commit(self, work: Batch) -> Any:
            raise StoreUnavailable("away")

    class Keeps:
        """A spool that takes everything."""

        depth, size, max_bytes, items, oldest = 0, 0, 1, 0, None

        async def append(self, spooled: Any) -> None:
            done.set()

    class Shows:
        async def preview(self, posts: Any, deleted: Any, ts: int) -> None:
            shown.extend((post.author, post.restricted) for post in posts)

    def said(author: str) -> ProfileLabels:
        return ProfileLabels("s", author, T0, T0, "a", ("!no-unauthenticated",))

    def posted(author: str) -> Post:
        return Post(id=f"at://{author}/p", source="s", author=author, text="", event_time=T0, rev="a", cursor=T0)

    async def scenario() -> None:
        nonlocal done
        done = asyncio.Event()
        store: Any = Away()
        parts: Any = (NamedSource(), store, Keeps(), Shows(), SystemClock())
        writer = Writer(
            *parts, state=RelayState(), rng=Random(1), metrics=Metrics(), on_stored=lambda: None,
            on_full=lambda why: None, store_now=lambda: T0,
        )  # fmt: skip
        running = asyncio.create_task(writer.run())
        work = msgspec.structs.replace(
            batch(1), profiles=[said("b"), said("c")], posts=[posted(name) for name in "abcz"]
        )
        await writer.put(work)
        await writer.join()
        running.cancel()

    done = asyncio.Event()
    asyncio.run(scenario())
    assert shown == [("a", False), ("b", True), ("c", True), ("z", False)]


def test_a_client_that_leaves_answers_to_its_own_frames_unread_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundswell.adapters.local_hub.CLIENT_FRAMES_BURST", float("inf"))

    class ReadsNothing:
        def __init__(self) -> None:
            self.said = 0

        async def receive(self) -> str:
            self.said += 1
            if self.said > MAX_REPLIES + 50:
                await asyncio.Event().wait()
            return '{"action":"ping"}'

        async def send(self, text: str) -> None:
            await asyncio.Event().wait()

        async def close(self, code: int, reason: str) -> None:
            raise AssertionError("it does not even read its goodbye")

    async def scenario() -> None:
        hub = LocalHub(SystemClock(), version="1")
        socket = ReadsNothing()
        await asyncio.wait_for(hub.attend(socket), 30)
        assert socket.said > MAX_REPLIES
        assert hub.clients == 0

    asyncio.run(scenario())


def test_of_events_that_the_budget_holds_back_the_oldest_go() -> None:
    nobody: Any = None
    broadcaster = ApiGatewayBroadcaster(nobody, nobody, SystemClock(), rng=Random(1))
    events = [Event(seq, T0, "gap", True, msgspec.Raw(b"{}")) for seq in range(PENDING_EVENTS + 7)]
    asyncio.run(broadcaster.publish(events))
    held = [event.seq for event in broadcaster._pending]
    assert held == list(range(7, PENDING_EVENTS + 7))


def test_only_the_latest_rankings_are_kept() -> None:
    rankings = Rankings()
    questions = [Question(f"q{number}", None, SearchFilters()) for number in range(RANKINGS_KEPT + 1)]
    ranking = Ranking([], [], [], complete=True)
    for question in questions[:-1]:
        rankings.keep(question, 1, T0, ranking)
    assert rankings.get(questions[0], 1, T0) is ranking, "and it is the one that was used last"
    rankings.keep(questions[-1], 1, T0, ranking)
    assert rankings.get(questions[1], 1, T0) is None
    assert sum(rankings.get(question, 1, T0) is not None for question in questions) == RANKINGS_KEPT


def test_an_engine_is_asked_for_no_more_points_than_it_may_be() -> None:
    wire.check_limit(limits.MAX_LIMIT)
    with pytest.raises(Refused, match=f"{limits.MAX_LIMIT}"):
        wire.check_limit(limits.MAX_LIMIT + 1)


def test_a_body_beyond_what_the_engine_takes_is_refused_while_it_comes() -> None:
    chunk, came = bytes(2**20), 0

    async def receive() -> dict[str, Any]:
        nonlocal came
        came += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": True}

    bodies = server.Bodies()
    with pytest.raises(Refused, match="larger than allowed"):
        asyncio.run(bodies.read(receive))
    assert came == limits.MAX_BODY_BYTES + len(chunk)
    assert bodies.held == 0


def test_the_bodies_of_all_requests_together_are_bounded() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": bytes(limits.MAX_BODY_BYTES // 2)}

    async def scenario() -> None:
        bodies = server.Bodies()
        held = [await bodies.read(receive) for _ in range(4)]
        with pytest.raises(Refused, match="other requests hold too many bytes"):
            await bodies.read(receive)
        bodies.let_go(len(held.pop()))
        assert await bodies.read(receive)

    asyncio.run(scenario())


def test_only_the_last_instants_of_time_travel_are_remembered() -> None:
    computed: list[int] = []

    class Computed(time_travel.TimeTravel):
        async def _check(self, as_of: int, instant: int) -> None:
            """Whatever instant is asked for can be answered."""

        async def _look(self, instant: int) -> list[Any]:
            computed.append(instant)
            return []

    async def scenario() -> None:
        nobody: Any = None
        past = Computed(nobody, nobody, SystemClock())
        minutes = [minute * 60_000_000 for minute in range(time_travel.REMEMBERED_INSTANTS + 1)]
        for instant in (*minutes, minutes[-1]):
            await past.moving(instant)
        assert computed == minutes, "the last one is remembered"
        await past.moving(minutes[0])
        assert computed[-1] == minutes[0], "the first one was forgotten"

    asyncio.run(scenario())


def test_only_so_many_archived_posts_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_reader, "POSTS_KEPT", 3)
    read: list[str] = []

    class Everything:
        """An archive of one file that has every post."""

        id = 1
        file = "posts/v1/one.parquet"

        @property
        def manifest(self) -> Any:
            return self

        async def file_of(self, post_id: str) -> Any:
            return self

        async def labels_of(self, post_id: str) -> Any:
            return (), False

        async def withdrawn(self, files: list[int]) -> Any:
            return {}, {}

        @asynccontextmanager
        async def held(self, manifest: Any) -> AsyncGenerator[Path]:
            yield Path(self.file)

        async def find(self, path: Path, post_id: str) -> ArchiveRow:
            read.append(post_id)
            return ArchiveRow(1, post_id, "s", "a", "x", None, None, T0, "r", (), None, None, T0)

    async def scenario() -> None:
        everything: Any = Everything()
        reader = archive_reader.ArchivedPosts(everything, everything, everything)
        for post_id in ("a", "b", "c", "a", "d", "a", "b"):
            found = await reader.post(post_id)
            assert found is not None
            assert found.post.id == post_id
        assert read == ["a", "b", "c", "d", "b"], "the one that was asked for least recently is read again"

    asyncio.run(scenario())


def test_a_model_process_that_answers_endlessly_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    babbles = "import sys; sys.stdout.buffer.write(b'\\xff' * 4096); sys.stdout.flush(); sys.stdin.buffer.read()"
    popen: Any = subprocess.Popen

    def start(command: list[str], **more: Any) -> Any:
        return popen([sys.executable, "-c", babbles], **more)

    monkeypatch.setattr(subprocess, "Popen", start)
    process = EncoderProcess()
    with pytest.raises(EmbeddingUnavailable, match="nonsense"):
        process.ask(Probe(), 20)
    assert not psutil.pid_exists(process.pid)


def manifest_of(path: Path) -> Manifest:
    data, tally = path.read_bytes(), Tally()
    tally.add([ArchiveRow(1, path.name, "s", "a", "x", None, None, T0, "r", (), None, None, T0)])
    return describe(
        path.name, day="2026-07-04", source="s", contents=tally.contents(), size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )  # fmt: skip


def test_a_file_that_was_compared_long_ago_is_compared_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archived_files, "CHECKED_FILES", 2)
    compared: list[str] = []
    checksum = archived_files.checksum

    async def noted(path: Path) -> tuple[int, str]:
        compared.append(path.name)
        return await checksum(path)

    monkeypatch.setattr(archived_files, "checksum", noted)
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(name.encode())

    class Local:
        def local(self, name: str) -> Path:
            return tmp_path / Path(name).name

    async def scenario() -> None:
        here: Any = Local()
        files = archived_files.ArchivedFiles(here, tmp_path / "cache")
        for name in ("a", "b", "a", "c", "a", "b"):
            async with files.held(manifest_of(tmp_path / name)) as path:
                assert path.read_text() == name
        assert compared == ["a", "b", "c", "b"]

    asyncio.run(scenario())


def test_a_query_that_would_fetch_too_much_is_refused_before_it_fetches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(archive_chores, "QUERY_MAX_FETCH_BYTES", 1000)

    class Elsewhere:
        """An archive that has nothing on this machine."""

        @property
        def archive(self) -> Any:
            return self

        def local(self, name: str) -> None:
            return None

    class File:
        """Of a file of the archive, what the question is about."""

        file, bytes = "posts/v1/one.parquet", 600

        @property
        def manifest(self) -> Any:
            return self

    nobody: Any = None
    parts: Any = Elsewhere()
    files: Any = [File(), File()]
    desk = archive_chores.Desk(parts, nobody, nobody, tmp_path)
    with pytest.raises(InvalidRequest, match="Name fewer days"):
        asyncio.run(desk.query("SELECT 1", files, lambda file: None, limit=1, timeout_s=1))


def test_habits_of_what_no_tick_looks_at_any_more_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(habits, "MAX_REMEMBERED", 10)
    asked: list[list[str]] = []

    class NoHabits:
        """A store that nothing was ever learnt in."""

        async def habits(self, entities: list[str]) -> StoredHabits:
            asked.append(list(entities))
            return StoredHabits([], [], no_habits(0))

    async def scenario() -> None:
        store: Any = NoHabits()
        keeper = habits.HabitKeeper(store)
        ticks = [[f"hashtag:{tick}-{n}" for n in range(4)] for tick in range(4)]
        for entities in ticks:
            assert (await keeper.of(entities)).shape[0] == 4
        assert len(keeper._places) <= 10
        await keeper.of(ticks[3])
        await keeper.of(ticks[0])
        assert asked == [*ticks, ticks[0]], (
            "what was looked at last is remembered, and what long ago is asked for again"
        )

    asyncio.run(scenario())


def test_of_more_keys_of_a_sealed_feed_than_are_kept_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_door, "MOST_KEYS", 3)
    feed_key, nonce = bytes(32), bytes(sealed.NONCE_BYTES)
    ring = sealed_door.KeyRing(feed_key, "https://feed.example")
    for number in range(1, 6):
        wrapped = nonce + AESGCM(feed_key).encrypt(nonce, bytes(32), sealed.wrap_context(number))
        ring.add(sealed.KeyNotice(number, base64.b64encode(wrapped).decode()))
    assert [number for number in range(1, 6) if ring.get(number) is not None] == [3, 4, 5]


def test_an_answer_of_a_sealed_feed_that_does_not_end_is_not_read_on() -> None:
    came = 0

    async def endless() -> AsyncGenerator[bytes]:
        nonlocal came
        while True:
            came += 1024
            yield bytes(1024)

    response = httpx.Response(200, content=endless(), request=httpx.Request("POST", "https://feed.example/challenge"))
    with pytest.raises(ConnectionLost, match="answered more than"):
        asyncio.run(sealed_door._read(response))
    assert came <= sealed_door.MOST_ANSWER_BYTES + 2048


def test_more_mentions_of_a_minute_than_can_be_told_apart_are_so_many() -> None:
    minute = 29_720_160
    window = count_window.CountWindow(minute)
    window.hold(["hashtag:a", "hashtag:b"])
    many = np.array([10 * count_window.MOST, 7])
    window.tell(
        count_window.StoredCounts(["hashtag:a", "hashtag:b"], ["s", "s"], np.array([minute, minute]), many, many)
    )
    counted = window.buckets(window.positions(["hashtag:a", "hashtag:b"]), voices=False)["s"].sum(axis=1)
    assert list(counted) == [count_window.MOST, 7]
