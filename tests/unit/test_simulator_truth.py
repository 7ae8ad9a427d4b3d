"""The truth about a simulated stretch, checked against a naive reader of its frames; and the surges planted in it."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from functools import cache
from typing import Any

from groundswell.adapters.simulator import Surge, World, WorldConfig, truth
from groundswell.adapters.simulator.truth import Truth

SECOND = 1_000_000
MINUTE = 60 * SECOND
START = 1_783_175_880 * SECOND
UNTIL = START + 3 * MINUTE
SPAM = Surge(
    "ticker:MOONX", START + 10 * SECOND, ramp_s=10, peak=60, duration_s=50, authors=3, kind="spam", takedown_after_s=1
)
STORY = Surge("ticker:AURM", START + 50 * SECOND, ramp_s=30, peak=40, duration_s=120, authors=300)
WORLD = World(
    WorldConfig(
        seed=5, posts_per_second=40, began_at=START, surges=(SPAM, STORY), surge_every_s=0,
        delete_share=0.05, update_share=0.03, duplicate_share=0.03, garbage_share=0.01,
    )
)  # fmt: skip


@cache
def whole() -> Truth:
    return truth(WORLD, START, UNTIL)


def naive_reader(world: World, since: int, until: int) -> dict[str, dict[str, Any]]:
    """Every post that stands after reading all frames, from nothing but JSON."""
    stands: dict[str, dict[str, Any]] = {}
    newest: dict[str, str] = {}
    for part in world.seconds(since, until):
        for raw, label in zip(part.frames, part.labels, strict=True):
            if label == "garbage":
                continue
            frame = json.loads(raw)
            if frame["kind"] == "account" and not frame["account"]["active"]:
                stands = {uri: post for uri, post in stands.items() if post["did"] != frame["did"]}
            if frame["kind"] != "commit":
                continue
            commit = frame["commit"]
            uri = f"at://{frame['did']}/{commit['collection']}/{commit['rkey']}"
            if commit["rev"] <= newest.get(uri, ""):
                continue
            newest[uri] = commit["rev"]
            if commit["operation"] == "delete":
                stands.pop(uri, None)
            else:
                seen = stands[uri]["seen"] if uri in stands else frame["time_us"]
                stands[uri] = {"did": frame["did"], "seen": seen, "text": commit["record"]["text"]}
    return stands


def total_of(told: Truth, entity: str) -> int:
    return sum(count for (name, _), count in told.mentions().items() if name == entity)


def test_the_posts_that_stand_are_those_a_naive_reader_is_left_with() -> None:
    told = whole()
    stands = naive_reader(WORLD, START, UNTIL)
    assert told.posts.keys() == stands.keys()
    assert len(told.posts) > 5_000
    assert {uri: (post.author, post.event_time) for uri, post in told.posts.items()} == {
        uri: (post["did"], post["seen"]) for uri, post in stands.items()
    }
    assert told.gone.isdisjoint(told.posts)


def test_mentions_and_authors_are_those_a_naive_count_finds() -> None:
    told = whole()
    mentions: Counter[int] = Counter()
    authors: defaultdict[int, set[str]] = defaultdict(set)
    totals: Counter[int] = Counter()
    for post in naive_reader(WORLD, START, UNTIL).values():
        minute = post["seen"] // MINUTE * MINUTE
        totals[minute] += 1
        if "$AURM" in post["text"]:
            mentions[minute] += 1
            authors[minute].add(post["did"])
    assert {m: n for (entity, m), n in told.mentions().items() if entity == "ticker:AURM"} == mentions
    assert {m: n for (entity, m), n in told.authors().items() if entity == "ticker:AURM"} == {
        minute: len(names) for minute, names in authors.items()
    }
    assert told.totals() == totals


def test_everything_that_can_happen_to_a_post_happens() -> None:
    told = whole()
    does = Counter(mark.does for part in WORLD.seconds(START, UNTIL) for mark in part.marks if mark)
    assert min(does["create"], does["update"], does["delete"], does["takedown"], told.duplicates) > 0
    assert len(told.takendown) == 3
    assert told.frames["garbage"] > 20
    assert sum(told.frames.values()) == sum(1 for _ in WORLD.frames(START, UNTIL))


def test_the_truth_needs_nothing_but_the_configuration() -> None:
    assert truth(WORLD.config, START, UNTIL) == whole()


def test_a_name_that_is_not_watched_is_no_entity() -> None:
    all_names = whole()
    none = truth(WORLD, START, UNTIL, names=())
    assert any(entity.startswith("name:") for entity, _ in all_names.mentions())
    assert not any(entity.startswith("name:") for entity, _ in none.mentions())
    assert none.totals() == all_names.totals()


def test_a_planted_surge_rises_to_its_peak_and_goes_away() -> None:
    surge = Surge("hashtag:kcon", START + 2 * MINUTE, ramp_s=60, peak=90, duration_s=300, authors=500)
    told = truth(WorldConfig(posts_per_second=5, surge_every_s=0, surges=(surge,)), START, START + 9 * MINUTE)
    by_minute = [told.mentions().get(("hashtag:kcon", START + n * MINUTE), 0) for n in range(9)]
    assert told.surges == (surge,)
    assert by_minute[:2] == [0, 0] and by_minute[7:] == [0, 0]
    assert 0 < by_minute[2] < by_minute[3]
    assert abs(by_minute[3] - 90) < 15, "the peak is 90 times once a minute"
    assert by_minute[6] < by_minute[3]
    assert told.authors()["hashtag:kcon", START + 3 * MINUTE] > 50


def test_a_surge_multiplies_what_is_usual_for_its_entity() -> None:
    quiet = WorldConfig(posts_per_second=200, surge_every_s=0, daily_rhythm=False)
    usual = total_of(truth(quiet, START, START + 2 * MINUTE), "ticker:BTC") / 120
    assert abs(World(quiet).usual_rate("ticker:BTC") / usual - 1) < 0.3
    surge = Surge("ticker:BTC", START, ramp_s=0, peak=10, duration_s=100_000)
    loud = WorldConfig(posts_per_second=200, surge_every_s=0, daily_rhythm=False, surges=(surge,))
    raised = total_of(truth(loud, START, START + 20 * SECOND), "ticker:BTC") / 20
    assert 8 < raised / usual < 14


def test_spam_is_loud_and_has_few_authors_and_ends_in_takedowns() -> None:
    before_takedown = SPAM.end
    during = truth(WORLD, START, before_takedown)
    assert total_of(during, "ticker:MOONX") > 25
    assert max(n for (entity, _), n in during.authors().items() if entity == "ticker:MOONX") <= 3
    assert total_of(whole(), "ticker:MOONX") == 0
    assert len(whole().takendown) == 3


def test_the_schedule_always_has_something_rising_soon() -> None:
    world = World(WorldConfig())
    for minute in range(0, 24 * 60, 7):
        now = START + minute * MINUTE
        starting = [s for s in world.surges(now, now + 2 * MINUTE) if now <= s.start]
        assert starting
        assert all(s.kind == "spam" or s.authors > 100 for s in starting)
    day = world.surges(START, START + 6 * 60 * MINUTE)
    assert len({surge.entity for surge in day if surge.kind == "story"}) > 15
    assert 0.1 < sum(surge.kind == "spam" for surge in day) / len(day) < 0.3


def test_scheduled_surges_stand_out_of_their_own_past() -> None:
    world = World(WorldConfig(posts_per_second=40))
    surge = next(
        s for s in world.surges(START, START + 30 * MINUTE) if s.kind == "story" and s.start > START + 9 * MINUTE
    )
    top = surge.start + round(surge.ramp_s * SECOND)
    before = total_of(truth(world, surge.start - 2 * MINUTE, surge.start), surge.entity)
    at_peak = total_of(truth(world, top, top + MINUTE), surge.entity)
    assert at_peak > 4 * (before / 2 + 1)
