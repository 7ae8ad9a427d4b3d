"""What a client says, and what comes of it, without any socket."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundswell.core.frames import Frame
from groundswell.core.subscriptions import MAX_TOPICS, BadTopic, ClientSession, Topic, parse_topic


def say(session: ClientSession, *, seq: int = 0, **frame: Any) -> list[Frame]:
    return session.receive(json.dumps(frame), seq=seq)


def codes(frames: list[Frame]) -> list[str]:
    return [f"{frame.type}:{frame.data['code']}" for frame in frames]


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("momentum", Topic("momentum")),
        ("posts?entity=$BTC&lang=en", Topic("posts", entity="ticker:BTC", lang="en")),
        ("posts?lang=pt-BR", Topic("posts", lang="pt")),
        ("posts?lang=POR", Topic("posts", lang="pt")),
        ("posts?entity=hashtag%3A%24nvda", Topic("posts", entity="ticker:NVDA")),
        ("posts?lang=en&entity=%24btc", Topic("posts", entity="ticker:BTC", lang="en")),
        ("posts?entity=#KCON", Topic("posts", entity="hashtag:kcon")),
        ("posts?entity=name:Elon+Musk", Topic("posts", entity="name:Elon Musk")),
        ("alerts?kind=ticker", Topic("alerts", kind="ticker")),
    ],
)
def test_a_topic_is_read_as_people_write_it_and_back_from_its_canonical_form(text: str, topic: Topic) -> None:
    assert parse_topic(text) == topic
    assert parse_topic(topic.text) == topic


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("post", "did you mean 'posts'"),
        ("", "topics: posts"),
        ("posts?entitty=$BTC", "did you mean 'entity'"),
        ("posts?entity", "cannot be read"),
        ("posts?entity=BTC", "entity"),
        ("posts?lang=", "value"),
        ("posts?lang=e", "language tag"),
        ("posts?lang=english please", "language tag"),
        ("posts?lang=en&lang=ko", "twice"),
        ("posts?author=%00", "printed"),
        ("momentum?kind=tickr", "did you mean 'ticker'"),
        ("status?lang=en", "its filters: none"),
        ("posts?author=" + "x" * 600, "512"),
    ],
)
def test_a_topic_that_names_nothing_is_refused_with_what_would_be_right(text: str, says: str) -> None:
    with pytest.raises(BadTopic, match=says.replace("?", r"\?")):
        parse_topic(text)


def test_subscribing_adds_and_unsubscribing_takes_away() -> None:
    session = ClientSession()
    assert not session.listening
    (info,) = say(session, seq=7, action="subscribe", topics=["momentum", "posts?entity=$btc"])
    assert info.data == {"code": "subscribed", "topics": ["momentum", "posts?entity=ticker%3ABTC"], "after": 7}
    assert session.listening
    say(session, action="unsubscribe", topics=["posts?entity=$BTC"])
    assert session.topics == {parse_topic("momentum")}


def test_good_topics_are_taken_although_others_are_bad() -> None:
    session = ClientSession()
    frames = say(session, action="subscribe", topics=["momentum", "nonsense"])
    assert codes(frames) == ["error:bad-topic", "info:subscribed"]
    assert frames[0].data["topic"] == "nonsense"
    assert session.topics == {parse_topic("momentum")}


def test_no_connection_has_more_topics_than_the_limit() -> None:
    session = ClientSession()
    most = [f"posts?author=a{n}" for n in range(MAX_TOPICS)]
    say(session, action="subscribe", topics=most)
    assert codes(say(session, action="subscribe", topics=["momentum"])) == ["error:too-many-topics"]
    assert codes(say(session, action="subscribe", topics=[*most, "momentum"]))[0] == "error:too-many-topics"
    assert len(session.topics) == MAX_TOPICS
    assert codes(say(session, action="subscribe", topics=most[:3])) == ["info:subscribed"]


def test_a_paused_client_learns_on_resuming_where_to_catch_up_from() -> None:
    session = ClientSession()
    say(session, action="subscribe", topics=["momentum"])
    assert codes(say(session, seq=5, action="pause")) == ["info:paused"]
    say(session, seq=9, action="pause")
    assert not session.listening
    (resumed,) = say(session, seq=9, action="resume")
    assert resumed.data == {"code": "resumed", "catch_up_from": 5}
    assert session.listening


def test_a_ping_is_answered() -> None:
    assert [frame.type for frame in say(ClientSession(), action="ping")] == ["pong"]


def test_an_unknown_action_is_an_error_that_names_the_nearest() -> None:
    (error,) = say(ClientSession(), action="subscrib", topics=[])
    assert (error.type, error.data["code"]) == ("error", "unknown-action")
    assert "did you mean 'subscribe'" in error.data["message"]


@given(
    st.one_of(
        st.text(),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
        ).map(json.dumps),
        st.builds(
            lambda action, topics: json.dumps({"action": action, "topics": topics}),
            st.sampled_from(["subscribe", "unsubscribe", "ping", "pause", "resume"]) | st.text(),
            st.lists(st.text() | st.sampled_from(["momentum", "posts?entity=$BTC"]), max_size=40) | st.integers(),
        ),
    )
)
def test_nothing_that_a_client_sends_breaks_the_session(text: str) -> None:
    session = ClientSession()
    for _ in range(2):
        frames = session.receive(text, seq=1)
        assert frames
        assert all(frame.type in {"info", "error", "pong"} for frame in frames)
    assert len(session.topics) <= MAX_TOPICS
