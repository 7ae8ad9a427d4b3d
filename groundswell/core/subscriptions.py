"""What a WebSocket client says, and what that makes it receive. No I/O: the local hub and API Gateway share it.

Client frames are `{"action": "subscribe", "topics": ["momentum", "posts?entity=$BTC&lang=en"]}`, likewise
`unsubscribe`, and `ping`, `pause`, `resume` without topics.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Final, Literal
from urllib.parse import parse_qsl, urlencode

import msgspec

from groundswell.core.entities import parse_entity_key
from groundswell.core.frames import Frame
from groundswell.core.posts import ENTITY_KINDS, Post
from groundswell.core.text.languages import primary_language

CLIENT_FRAME_LIMIT_BYTES: Final = 32 * 1024
"""Larger client frames close the connection with 1009. Servers enforce it too: uvicorn's `ws_max_size`."""
MAX_TOPICS: Final = 32
MAX_TOPIC_CHARS: Final = 512

TopicName = Literal["posts", "momentum", "alerts", "insights", "status", "gaps"]
TOPIC_FILTERS: Final[Mapping[str, tuple[str, ...]]] = {
    "posts": ("entity", "author", "lang", "source"),
    "momentum": ("entity", "kind"),
    "alerts": ("entity", "kind"),
    "insights": (),
    "status": (),
    "gaps": (),
}
"""Every topic, and the filters that it takes."""

ACTIONS: Final = ("subscribe", "unsubscribe", "ping", "pause", "resume")


class BadTopic(ValueError):
    """A topic that names nothing; the message says what would be right."""


class Topic(msgspec.Struct, frozen=True):
    """One subscription. The filters that are set are combined with AND."""

    name: str
    entity: str | None = None
    author: str | None = None
    lang: str | None = None
    source: str | None = None
    kind: str | None = None
    signed_in: bool = False
    """Whether the client brought an API key. No part of what it writes."""

    @property
    def text(self) -> str:
        """The canonical writing: equal topics have equal texts, and `parse_topic` reads it back."""
        filters = [(key, getattr(self, key)) for key in TOPIC_FILTERS[self.name] if getattr(self, key) is not None]
        return f"{self.name}?{urlencode(filters)}" if filters else self.name

    def wants_post(self, post: Post) -> bool:
        return (
            (self.entity is None or self.entity in post.entities)
            and (self.lang is None or self.lang == post.lang)
            and (self.author is None or self.author == post.author)
            and (self.source is None or self.source == post.source)
            and (self.signed_in or not post.restricted)
        )

    def wants_entity(self, key: str) -> bool:
        """Whether something about the entity `key` is wanted."""
        return (self.entity is None or self.entity == key) and (self.kind is None or key.startswith(f"{self.kind}:"))


def parse_topic(text: str, *, signed_in: bool = False) -> Topic:
    """Raises `BadTopic`."""
    if len(text) > MAX_TOPIC_CHARS:
        raise BadTopic(f"a topic has at most {MAX_TOPIC_CHARS} characters")
    name, _, query = text.partition("?")
    if name not in TOPIC_FILTERS:
        raise BadTopic(f"there is no topic {name!r}{_nearest(name, TOPIC_FILTERS)}; topics: {', '.join(TOPIC_FILTERS)}")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, errors="strict") if query else []
    except ValueError as error:
        raise BadTopic(f"the filters of {text!r} cannot be read: write name?key=value&key=value") from error
    filters: dict[str, str] = {}
    for key, value in pairs:
        if key not in TOPIC_FILTERS[name]:
            known = ", ".join(TOPIC_FILTERS[name]) or "none"
            raise BadTopic(
                f"topic {name!r} has no filter {key!r}{_nearest(key, TOPIC_FILTERS[name])}; its filters: {known}"
            )
        if key in filters:
            raise BadTopic(f"filter {key!r} is given twice: subscribe to two topics to receive both")
        filters[key] = _filter_value(key, value)
    return Topic(name, signed_in=signed_in, **filters)


def _filter_value(key: str, value: str) -> str:
    if not value or not value.isprintable():
        raise BadTopic(f"filter {key!r} needs a value that can be printed")
    if key == "entity":
        try:
            return parse_entity_key(value)
        except ValueError as error:
            raise BadTopic(f"filter 'entity': {error}") from error
    if key == "lang":
        language = primary_language(value)
        if language is None:
            raise BadTopic(f"filter 'lang' is a language tag, such as en or pt-BR: {value[:40]!r} is none")
        return language
    if key == "kind" and value not in ENTITY_KINDS:
        raise BadTopic(f"there is no kind {value!r}{_nearest(value, ENTITY_KINDS)}; kinds: {', '.join(ENTITY_KINDS)}")
    return value


def _nearest(word: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    close = get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


class _ClientFrame(msgspec.Struct):
    action: str
    topics: list[str] = []


_decoder = msgspec.json.Decoder(_ClientFrame)


class ClientSession:
    """One connection's side of the protocol: what it subscribed to and whether it is paused."""

    def __init__(
        self, topics: frozenset[Topic] = frozenset(), *, paused_at: int | None = None, signed_in: bool = False
    ) -> None:
        self.topics = topics
        self.signed_in = signed_in
        self.paused_at = paused_at
        """The `seq` up to which everything had been sent when the client paused; None while it is not paused."""

    @property
    def listening(self) -> bool:
        """Whether there is anything to send it at all."""
        return self.paused_at is None and bool(self.topics)

    def receive(self, text: str, *, seq: int) -> list[Frame]:
        """Take a client frame and answer it. Never raises on what a client sends.

        `seq` is the event up to which everything that the client wanted has been sent.
        """
        try:
            frame = _decoder.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            return [_error("bad-frame", f"a frame is a JSON object with an action: {error}")]
        match frame.action:
            case "subscribe":
                answer = self._subscribe(frame.topics, seq)
            case "unsubscribe":
                answer = self._unsubscribe(frame.topics)
            case "ping":
                answer = [Frame("pong", {})]
            case "pause":
                self.paused_at = seq if self.paused_at is None else self.paused_at
                answer = [_info("paused", seq=self.paused_at)]
            case "resume":
                since, self.paused_at = (seq if self.paused_at is None else self.paused_at), None
                answer = [_info("resumed", catch_up_from=since)]
            case action:
                nearest = _nearest(action[:64], ACTIONS)
                message = f"there is no action {action[:64]!r}{nearest}; actions: {', '.join(ACTIONS)}"
                answer = [_error("unknown-action", message)]
        return answer

    def _subscribe(self, texts: list[str], seq: int) -> list[Frame]:
        topics, errors = _parse_all(texts, signed_in=self.signed_in)
        wanted = self.topics | topics
        if len(wanted) > MAX_TOPICS:
            return [_error("too-many-topics", f"at most {MAX_TOPICS} topics a connection: unsubscribe from some first")]
        self.topics = wanted
        return [*errors, self._subscribed(after=seq)]

    def _unsubscribe(self, texts: list[str]) -> list[Frame]:
        topics, errors = _parse_all(texts, signed_in=self.signed_in)
        self.topics -= topics
        return [*errors, self._subscribed()]

    def _subscribed(self, **more: object) -> Frame:
        return _info("subscribed", topics=sorted(topic.text for topic in self.topics), **more)


def _parse_all(texts: list[str], *, signed_in: bool) -> tuple[frozenset[Topic], list[Frame]]:
    if not texts:
        return frozenset(), [_error("bad-frame", 'name the topics: {"action": "subscribe", "topics": ["momentum"]}')]
    if len(texts) > MAX_TOPICS:
        return frozenset(), [_error("too-many-topics", f"at most {MAX_TOPICS} topics a frame")]
    topics: set[Topic] = set()
    errors: list[Frame] = []
    for text in texts:
        try:
            topics.add(parse_topic(text, signed_in=signed_in))
        except BadTopic as error:
            errors.append(_error("bad-topic", str(error), topic=text[:MAX_TOPIC_CHARS]))
    return frozenset(topics), errors


def _info(code: str, **more: object) -> Frame:
    return Frame("info", {"code": code, **more})


def _error(code: str, message: str, **more: object) -> Frame:
    return Frame("error", {"code": code, "message": message, **more})
