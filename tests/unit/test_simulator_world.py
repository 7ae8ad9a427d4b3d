"""The simulated network: the same for everyone who asks, whole, and in the shape that production has."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from groundswell.adapters.simulator import WATCH_NAMES, Surge, World, WorldConfig
from groundswell.adapters.simulator.stories import STORIES
from groundswell.core.entities import EntityExtractor
from groundswell.core.instants import parse_rfc3339
from groundswell.core.jetstream import decode
from groundswell.core.posts import Ignored, Post

SECOND = 1_000_000
START = 1_783_175_880 * SECOND
SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "jetstream-v1-sample.jsonl"
EVENTFUL = World(WorldConfig(seed=4, posts_per_second=60, update_share=0.1, delete_share=0.1, duplicate_share=0.1))
BUSY = WorldConfig(seed=11, posts_per_second=120, surge_every_s=20, garbage_share=0.01)

_PRINT_DIGEST = """
import hashlib
from groundswell.adapters.simulator import World, WorldConfig
world = World(WorldConfig(seed=11, posts_per_second=120, surge_every_s=20, garbage_share=0.01))
frames = world.frames({since}, {until}, everything=True)
print(hashlib.sha256(b"\\n".join(frame for _, frame in frames)).hexdigest())
"""


def frames(world: World, seconds: int, *, everything: bool = False) -> list[tuple[int, bytes]]:
    return list(world.frames(START, START + seconds * SECOND, everything=everything))


def posts_of(world: World, seconds: int) -> list[dict[str, Any]]:
    """The commit frames of all new posts."""
    told = [
        json.loads(frame)
        for part in world.seconds(START, START + seconds * SECOND)
        for frame, mark in zip(part.frames, part.marks, strict=True)
        if mark is not None and mark.does == "create"
    ]
    assert told
    return told


def test_another_process_tells_the_same_world_to_the_byte() -> None:
    until = START + 6 * SECOND
    here = hashlib.sha256(b"\n".join(f for _, f in World(BUSY).frames(START, until, everything=True))).hexdigest()
    there = subprocess.run(
        [sys.executable, "-c", _PRINT_DIGEST.format(since=START, until=until)],
        capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "12345"},
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert there.stdout.strip() == here


def test_another_seed_tells_another_world() -> None:
    other = World(WorldConfig(seed=12, posts_per_second=120))
    assert {f for _, f in frames(World(BUSY), 3)}.isdisjoint(f for _, f in frames(other, 3))


def test_seconds_can_be_asked_for_in_any_order() -> None:
    first, last = START // SECOND, START // SECOND + 12
    forwards, backwards = World(BUSY), World(BUSY)
    told = [forwards.second(second) for second in range(first, last)]
    again = [backwards.second(second) for second in reversed(range(first, last))]
    assert told == again[::-1]


def test_a_stretch_is_cut_at_the_microsecond() -> None:
    world = World(BUSY)
    whole = frames(world, 3)
    since, until = whole[40][0], whole[250][0]
    assert list(world.frames(since, until)) == whole[40:250]
    assert list(world.frames(since, since)) == []


def test_time_moves_strictly_forwards() -> None:
    times = [time for time, _ in frames(World(BUSY), 10, everything=True)]
    assert all(earlier < later for earlier, later in pairwise(times))
    assert times[0] >= START
    assert times[-1] < START + 10 * SECOND


def test_asking_for_everything_changes_no_post() -> None:
    world = World(BUSY)
    everything = set(frames(world, 10, everything=True))
    assert set(frames(world, 10)) <= everything
    kinds = Counter(
        label for part in world.seconds(START, START + 10 * SECOND, everything=True) for label in part.labels
    )
    assert kinds["app.bsky.feed.like"] > kinds["app.bsky.feed.repost"] > kinds["app.bsky.graph.block"] > 0


def test_every_frame_has_a_shape_that_production_sends() -> None:
    if not SAMPLE.exists():
        pytest.skip("the recorded production sample is not part of this repository")
    collections = ("app.bsky.feed.", "app.bsky.graph.")
    real = {shape(json.loads(line)) for line in SAMPLE.read_text("utf-8").splitlines()}
    # Rare in production, so not in a sample of a moment: edits, deletes of likes, bans.
    real |= {
        (kind, "update", collection, fields) for kind, operation, collection, fields in real if operation == "create"
    }
    known = {(kind, operation, collection) for kind, operation, collection, _ in real}
    known |= {
        ("commit", "delete", name) for name in ("app.bsky.feed.like", "app.bsky.feed.repost", "app.bsky.graph.block")
    }
    optional = {"facets", "embed", "reply", "langs"}
    required = {collection: fields - optional for _, operation, collection, fields in real if operation == "create"}
    told = 0
    for part in World(WorldConfig(posts_per_second=200)).seconds(START, START + 8 * SECOND, everything=True):
        for frame, label in zip(part.frames, part.labels, strict=True):
            if label == "garbage":
                continue
            kind, operation, collection, fields = shape(json.loads(frame))
            assert (kind, operation, collection) in known, frame
            if collection.startswith(collections) and operation == "create":
                assert required[collection] <= fields <= required[collection] | optional, frame
            told += 1
    assert told > 3000


def shape(frame: dict[str, Any]) -> tuple[str, str, str, frozenset[str]]:
    commit = frame.get("commit", {})
    fields = frozenset(commit.get("record", {})) - {"via"}
    return frame["kind"], commit.get("operation", ""), commit.get("collection", ""), fields


def test_what_decoding_finds_in_a_post_is_what_the_world_put_into_it() -> None:
    extractor = EntityExtractor(WATCH_NAMES)
    stories = World(WorldConfig(seed=2, posts_per_second=5, surge_every_s=0, surges=every_story()))
    compared = 0
    for world, since in ((World(BUSY), START), (World(BUSY), START + 9 * 3600 * SECOND), (stories, START)):
        for part in world.seconds(since, since + 25 * SECOND):
            for frame, mark in zip(part.frames, part.marks, strict=True):
                if mark is None or mark.does not in {"create", "update"}:
                    continue
                post = decode(frame, source="simulator", extractor=extractor)
                assert isinstance(post, Post), frame
                assert (post.author, post.rev, post.operation) == (mark.did, mark.rev, mark.does)
                assert post.entities == mark.entities, post.text
                compared += 1
    assert compared > 8_000


def every_story() -> tuple[Surge, ...]:
    entities = [story.entity for story in STORIES] + ["hashtag:neverheard", "domain:unheard.example", "name:Bitcoin"]
    surges = [Surge(entity, START - SECOND, ramp_s=1, peak=900, duration_s=600) for entity in entities]
    return (*surges, Surge("ticker:MOONX", START, ramp_s=1, peak=2000, authors=3, kind="spam"))


def test_garbage_is_garbage_to_the_decoder_and_never_more_than_a_count() -> None:
    broken = [
        frame
        for part in World(WorldConfig(posts_per_second=200, garbage_share=0.2)).seconds(START, START + 6 * SECOND)
        for frame, label in zip(part.frames, part.labels, strict=True)
        if label == "garbage"
    ]
    assert len(broken) > 200
    assert max(map(len, broken)) > 250_000
    assert all(isinstance(decode(frame, source="simulator", extractor=None), Ignored) for frame in broken)


def test_revisions_of_a_post_grow_in_the_order_they_are_sent() -> None:
    revisions: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for part in EVENTFUL.seconds(START, START + 60 * SECOND):
        for mark in part.marks:
            if mark is not None and mark.rkey:
                revisions.setdefault((mark.did, mark.rkey), []).append((mark.does, mark.rev))
    several = [history for history in revisions.values() if len(history) > 1]
    assert several
    for history in several:
        first_seen = list(dict.fromkeys(rev for _, rev in history))
        created = {rev for does, rev in history if does == "create"}
        assert len(created) <= 1
        changes = [rev for rev in first_seen if rev not in created]
        assert changes == sorted(changes)
        assert all(rev > min(created, default="") for rev in changes)


def test_nobody_edits_what_is_deleted() -> None:
    deleted: set[tuple[str, str]] = set()
    for part in EVENTFUL.seconds(START, START + 60 * SECOND):
        for mark in part.marks:
            if mark is not None and mark.does == "delete":
                deleted.add((mark.did, mark.rkey))
            elif mark is not None and mark.does == "update":
                assert (mark.did, mark.rkey) not in deleted
    assert deleted


def test_replies_answer_posts_that_exist() -> None:
    told = posts_of(World(WorldConfig(posts_per_second=60, began_at=START, surge_every_s=0)), 60)
    written = {f"at://{p['did']}/app.bsky.feed.post/{p['commit']['rkey']}": p["commit"]["cid"] for p in told}
    parents = [p["commit"]["record"]["reply"]["parent"] for p in told if "reply" in p["commit"]["record"]]
    assert 0.05 < len(parents) / len(told) < 0.35
    assert all(written.get(parent["uri"]) == parent["cid"] for parent in parents)


def test_authors_follow_zipf_and_nobody_is_half_the_network() -> None:
    authors = Counter(post["did"] for post in posts_of(World(WorldConfig(posts_per_second=200, surge_every_s=0)), 30))
    ranked = [count for _, count in authors.most_common()]
    total = sum(ranked)
    assert len(authors) > total / 5
    assert 0.001 < ranked[0] / total < 0.02
    assert sum(ranked[: len(ranked) // 10]) > total / 4


def test_many_languages_and_scripts_are_written() -> None:
    langs = Counter(post["commit"]["record"]["langs"][0] for post in posts_of(World(BUSY), 20))
    assert langs.most_common(1)[0][0] == "en"
    assert {"en", "ja", "pt", "es", "de", "fr", "ko", "ar", "hi"} <= set(langs)


def test_facets_cover_what_they_name() -> None:
    seen: Counter[str] = Counter()
    for post in posts_of(World(BUSY), 30):
        record = post["commit"]["record"]
        text = record["text"].encode()
        for facet in record.get("facets", ()):
            covered = text[facet["index"]["byteStart"] : facet["index"]["byteEnd"]].decode()
            (feature,) = facet["features"]
            seen[feature["$type"].rpartition("#")[2]] += 1
            match feature:
                case {"tag": tag}:
                    assert covered == f"#{tag}"
                case {"uri": uri}:
                    assert uri.removeprefix("https://").startswith(covered.removesuffix("..."))
                case _:
                    assert covered.startswith("@")
    assert min(seen["tag"], seen["link"], seen["mention"]) > 10


def test_authors_clocks_are_not_to_be_trusted() -> None:
    lags = [
        post["time_us"] - parse_rfc3339(post["commit"]["record"]["createdAt"]) for post in posts_of(World(BUSY), 100)
    ]
    late = sum(lag > 240 * SECOND for lag in lags) / len(lags)
    ahead = sum(lag < 0 for lag in lags) / len(lags)
    assert 0.002 < late < 0.01
    assert 0 < ahead < 0.005
    assert sum(0 < lag < 3 * SECOND for lag in lags) / len(lags) > 0.98


def test_the_rate_follows_the_day() -> None:
    def rate(config: WorldConfig, hour: int) -> float:
        since = START - START % (86_400 * SECOND) + hour * 3600 * SECOND
        posts = [
            m
            for part in World(config).seconds(since, since + 20 * SECOND)
            for m in part.marks
            if m and m.does == "create"
        ]
        return len(posts) / 20

    moving = WorldConfig(posts_per_second=100, surge_every_s=0)
    assert rate(moving, 19) > 1.5 * rate(moving, 7)
    steady = WorldConfig(posts_per_second=100, surge_every_s=0, daily_rhythm=False)
    assert rate(steady, 19) == pytest.approx(rate(steady, 7), rel=0.1)
    assert rate(steady, 7) == pytest.approx(100, rel=0.1)


def test_nothing_exists_before_the_world_began() -> None:
    world = World(WorldConfig(seed=3, posts_per_second=100, began_at=START))
    assert list(world.frames(START - 60 * SECOND, START)) == []
    known: set[tuple[str, str]] = set()
    for part in world.seconds(START, START + 30 * SECOND):
        for mark in part.marks:
            if mark is not None and mark.does == "create":
                known.add((mark.did, mark.rkey))
            elif mark is not None and mark.rkey:
                assert (mark.did, mark.rkey) in known


@pytest.mark.parametrize("entity", ["mention:someone", "BTC", "ticker:"])
def test_an_entity_that_cannot_be_written_is_refused_with_advice(entity: str) -> None:
    with pytest.raises(ValueError, match="for example ticker:BTC"):
        World(WorldConfig(surges=(Surge(entity, START),)))
