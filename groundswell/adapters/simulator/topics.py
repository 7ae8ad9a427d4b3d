"""The shape of a topic: its lines and the lists its slots draw from."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Topic(msgspec.Struct, frozen=True):
    """What people write about in one language, with `weight` among the topics of that language.

    `lists` are weighted by position (Zipf) and written as one text of marks and words, `_` for a space inside a
    word; `phrases` are drawn evenly. Both name slots of `lines`.
    """

    name: str
    lines: tuple[str, ...]
    weight: float = 1
    lists: Mapping[str, str] = {}
    phrases: Mapping[str, tuple[str, ...]] = {}


class Language(msgspec.Struct, frozen=True):
    """One language: how much is written in it, when it peaks, its topics, line tails and replies."""

    code: str
    share: float
    peak_hour: float
    """UTC."""
    topics: tuple[Topic, ...]
    tails: tuple[str, ...]
    replies: tuple[str, ...]


class Story(msgspec.Struct, frozen=True):
    """Why many people suddenly mention `entity`. Every line carries it as the mark `{e}`."""

    entity: str
    lines: tuple[str, ...]
    lang: str = "en"
    written: str = ""
    """How people write the entity where that differs from its key, for example the capitals of a hashtag."""
    phrases: Mapping[str, tuple[str, ...]] = {}
