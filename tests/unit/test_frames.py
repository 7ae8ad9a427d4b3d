"""Frames as they travel: one shape, never above the limit, nothing lost in between."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.fanout import Outgoing, Prepared, frames_for
from groundswell.core.frames import (
    FRAME_LIMIT_BYTES,
    Frame,
    encode_frame,
    event_frames,
    list_frames,
    momentum_json,
    post_json,
    split_event,
)
from groundswell.core.posts import Post
from groundswell.core.subscriptions import parse_topic
from groundswell.ports.storing import MomentumRow

T = 1_783_175_886_000_000
RAW = msgspec.Raw(b"{}")


def post(key: str = "k", *entities: str, text: str = "hello", **more: Any) -> Post:
    return Post(
        id=f"at://did:plc:ann/app.bsky.feed.post/{key}",
        source="jetstream",
        author="did:plc:ann",
        text=text,
        event_time=T,
        rev="a",
        cursor=0,
        entities=entities,
        **more,
    )


def new_posts(seq: int, *posts: Post, live: bool = True) -> Prepared:
    return Prepared("posts.new", seq=seq, ts=T, live=live, data=RAW, posts=posts)


def moved(seq: int, *rows: tuple[str, float]) -> Prepared:
    data = msgspec.json.encode({"entities": [{"entity": key, "score": score} for key, score in rows]})
    return Prepared("momentum.update", seq=seq, ts=T, live=True, data=msgspec.Raw(data))


def plain(type_: str, seq: int, data: dict[str, Any]) -> Prepared:
    return Prepared(type_, seq=seq, ts=T, live=True, data=msgspec.Raw(msgspec.json.encode(data)))


def read(frames: list[str]) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in frames]


def test_a_frame_has_the_agreed_shape() -> None:
    assert json.loads(encode_frame(Frame("hello", {"version": "1"}), seq=42, ts=T)) == {
        "v": 1,
        "type": "hello",
        "seq": 42,
        "ts": "2026-07-04T14:38:06Z",
        "live": True,
        "data": {"version": "1"},
    }


def test_a_post_carries_its_entities_as_people_write_them_and_a_link() -> None:
    body = post_json(
        post("3k", "hashtag:kcon", "mention:bob.example", "name:Elon Musk", "ticker:BTC", created_at=T - 1)
    )
    assert [entity["display"] for entity in body["entities"]] == ["#kcon", "@bob.example", "Elon Musk", "$BTC"]
    assert body["url"] == "https://bsky.app/profile/did:plc:ann/post/3k"
    assert body["created_at"] == "2026-07-04T14:38:05.999999Z"
    assert post_json(msgspec.structs.replace(post(), source="simulator"))["url"] is None
    assert post_json(msgspec.structs.replace(post(), id="at://x/app.bsky.feed.like/1"))["url"] is None


def test_a_momentum_row_keeps_what_was_not_observed_as_null() -> None:
    row = MomentumRow("ticker:BTC", "ticker", "BTC", T, "rising", T, 1, 1, 1.0, 0.0, 2.0, 0.5, (None, 1.0))
    body = momentum_json(row)
    assert body["sparkline"] == [None, 1.0]
    assert (body["entity"], body["kind"], body["name"], body["display"]) == ("ticker:BTC", "ticker", "BTC", "$BTC")


@given(st.lists(st.integers(1, 12_000), max_size=30), st.integers(0, 2**62))
def test_lists_are_split_into_frames_below_the_limit_and_lose_nothing(sizes: list[int], seq: int) -> None:
    items = [b'"%b"' % (b"x" * size) for size in sizes]
    frames = list(list_frames("posts.deleted", items, seq=seq, ts=T, live=True))
    assert all(len(frame) <= FRAME_LIMIT_BYTES for frame in frames)
    bodies = [json.loads(frame) for frame in frames]
    assert [len(key) for body in bodies for key in body["data"]["ids"]] == sizes
    assert [body["seq"] for body in bodies] == [None] * (len(bodies) - 1) + [seq] * bool(bodies)


def test_an_item_too_large_for_any_frame_does_not_silence_the_others() -> None:
    items = [b'"a"', b'"%b"' % (b"x" * FRAME_LIMIT_BYTES), b'"b"']
    (frame,) = list_frames("posts.deleted", items, seq=1, ts=T, live=True)
    assert json.loads(frame)["data"]["ids"] == ["a", "b"]


def test_an_event_whose_posts_are_all_deleted_still_moves_the_sequence_on() -> None:
    (frame,) = event_frames("posts.new", RAW, split_event("posts.new", RAW, ()), seq=7, ts=T, live=True)
    assert json.loads(frame) | {"ts": ""} == {
        "v": 1, "type": "posts.new", "seq": 7, "ts": "", "live": True, "data": {"posts": []},
    }  # fmt: skip


def test_data_too_large_for_a_frame_gives_way_to_a_note() -> None:
    data = msgspec.Raw(msgspec.json.encode({"body": "x" * 40_000}))
    (frame,) = event_frames("insight.new", data, [], seq=7, ts=T, live=True)
    assert json.loads(frame)["data"] == {"too_large": True}


def test_events_that_follow_one_another_become_one_frame_with_the_last_number() -> None:
    frames = read(frames_for([parse_topic("posts")], [new_posts(1, post("a")), new_posts(2, post("b"), post("c"))]))
    assert [(f["seq"], len(f["data"]["posts"])) for f in frames] == [(2, 3)]


def test_caught_up_events_are_never_mixed_with_live_ones() -> None:
    frames = read(frames_for([parse_topic("posts")], [new_posts(1, post("a"), live=False), new_posts(2, post("b"))]))
    assert [(f["seq"], f["live"]) for f in frames] == [(1, False), (2, True)]


def test_of_momentum_only_the_latest_of_each_entity_is_sent() -> None:
    events = [
        moved(1, ("ticker:BTC", 0.1), ("ticker:ETH", 0.2)),
        new_posts(2, post("a")),
        moved(3, ("ticker:BTC", 0.9)),
    ]
    frames = read(frames_for([parse_topic("momentum")], events))
    rows = [(row["entity"], row["score"]) for frame in frames for row in frame["data"]["entities"]]
    assert rows == [("ticker:ETH", 0.2), ("ticker:BTC", 0.9)]
    assert frames[-1]["seq"] == 3


def test_a_client_gets_what_any_of_its_topics_wants_once() -> None:
    events = [
        new_posts(1, post("a", "ticker:BTC", lang="en"), post("b", lang="ko"), post("c", lang="en")),
        moved(2, ("ticker:BTC", 1), ("hashtag:kcon", 1)),
        plain("alert.fired", 3, {"entity": "ticker:BTC"}),
        plain("alert.fired", 4, {"entity": "hashtag:kcon"}),
        plain("gap", 5, {"id": 1}),
        plain("posts.deleted", 6, {"ids": ["at://x"]}),
        plain("something.newer", 7, {}),
    ]

    def wanted(*topics: str) -> list[tuple[int, Any]]:
        frames = read(frames_for([parse_topic(topic) for topic in topics], events))
        return [
            (f["seq"], [p["id"][-1] for p in f["data"]["posts"]] if f["type"] == "posts.new" else f["type"])
            for f in frames
        ]

    assert wanted("posts?entity=$BTC") == [(1, ["a"]), (6, "posts.deleted")]
    assert wanted("posts?lang=en", "posts?entity=$BTC") == [(1, ["a", "c"]), (6, "posts.deleted")]
    assert wanted("posts?lang=en&entity=$ETH") == [(6, "posts.deleted")]
    assert wanted("momentum?kind=hashtag") == [(2, "momentum.update")]
    assert wanted("alerts?kind=ticker", "gaps") == [(3, "alert.fired"), (5, "gap")]
    assert wanted("insights", "status") == []


def test_clients_with_equal_topics_share_the_very_same_frames() -> None:
    batch = Outgoing([new_posts(1, post("a"))])
    topics = frozenset({parse_topic("posts")})
    assert batch.frames(topics)[0] is batch.frames(frozenset({parse_topic("posts")}))[0]
