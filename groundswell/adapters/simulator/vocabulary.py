"""The compiled vocabulary: which line a hash chooses at which time of day, and how common every entity is."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache

from groundswell.adapters.simulator.languages import LANGUAGES
from groundswell.adapters.simulator.phrases import (
    Filler,
    Template,
    compile_line,
    filler_table,
    hashtag_key,
    mark_of,
)
from groundswell.adapters.simulator.stories import GENERIC, SPAM, STORIES
from groundswell.adapters.simulator.topics import Language, Story, Topic

CHOICES = 4096
"""Entries of a choice table: twelve bits of the post's hash choose a line."""
BUCKETS = 144
"""The languages' shares change every ten minutes of the day."""
LANGUAGE_SWING = 0.6

WATCH_NAMES = (
    "Bitcoin",
    "Halden Bridge",
    "James Webb",
    "Luma Vale",
    "Northgate United",
    "Open Weave",
    "Port Meridian",
    "Raspberry Pi",
)
"""The names that posts of the world drop: what the demo's watch list should hold."""

_LIST_ITEM = re.compile(r"\{[^{}]+\}|\S+")


class Vocabulary:
    """All compiled lines. One serves every world of the process, since it does not depend on the seed."""

    def __init__(self) -> None:
        self._groups: list[tuple[Language, float, list[Template]]] = []
        self._replies: dict[str, list[Template]] = {}
        self._tails: dict[str, list[Filler]] = {}
        for language in LANGUAGES:
            tails = filler_table(language.tails)
            self._tails[language.code] = tails
            total = sum(topic.weight for topic in language.topics)
            for topic in language.topics:
                self._groups.append((language, topic.weight / total, _topic_lines(topic, language.code, tails)))
            self._replies[language.code] = [
                compile_line(line, language.code, {"tail": tails}) for line in language.replies
            ]
        self._tables: dict[int, list[Template]] = {}
        self._stories: dict[str, list[Template]] = {}
        self._spam: dict[str, list[Template]] = {}
        self._told = {story.entity: story for story in STORIES}

    def choices(self, bucket: int) -> list[Template]:
        """The 4096 equally likely lines of one ten-minute bucket of the UTC day (0 to 143)."""
        table = self._tables.get(bucket)
        if table is None:
            table = self._tables[bucket] = _choice_table(self._weighted(bucket))
        return table

    def replies(self, lang: str) -> list[Template]:
        return self._replies[lang]

    def story(self, entity: str) -> list[Template]:
        """The lines of a surge of `entity`: its own story, or generic ones.

        Raises:
            ValueError: not an entity that the world can write.
        """
        lines = self._stories.get(entity)
        if lines is None:
            lines = self._stories[entity] = self._story_lines(entity)
        return lines

    def spam(self, entity: str) -> list[Template]:
        """The lines that push `entity`."""
        lines = self._spam.get(entity)
        if lines is None:
            lines = self._spam[entity] = _marked(SPAM, mark_of(entity), "en", {})
        return lines

    @lru_cache(maxsize=1)  # noqa: B019  the vocabulary lives as long as the process
    def shares(self) -> Mapping[str, float]:
        """The expected share of all top-level posts that mention each entity, averaged over the day."""
        found: defaultdict[str, float] = defaultdict(float)
        for language, weight, lines in self._groups:
            for line in lines:
                for entity, chance in line.chances().items():
                    found[entity] += language.share * weight * chance / len(lines)
        return found

    def _weighted(self, bucket: int) -> list[tuple[Template, float]]:
        hour = bucket * 24 / BUCKETS
        weights: list[tuple[Template, float]] = []
        for language, weight, lines in self._groups:
            swing = 1 + LANGUAGE_SWING * math.cos(2 * math.pi * (hour - language.peak_hour) / 24)
            share = language.share * swing * weight / len(lines)
            weights.extend((line, share) for line in lines)
        return weights

    def _story_lines(self, entity: str) -> list[Template]:
        story = self._told.get(entity)
        if story is None:
            mark = mark_of(entity)
            if entity.startswith("domain:"):
                mark = mark[:-1] + "/live}"
            return _marked(GENERIC, mark, "en", {"tail": self._tails["en"]})
        lists = {name: filler_table(texts) for name, texts in story.phrases.items()}
        lists["tail"] = self._tails[story.lang]
        return _marked(story.lines, _written(story), story.lang, lists)


@lru_cache(maxsize=1)
def vocabulary() -> Vocabulary:
    """The vocabulary of this process, compiled on first use (some tens of milliseconds)."""
    return Vocabulary()


def _topic_lines(topic: Topic, lang: str, tails: list[Filler]) -> list[Template]:
    lists: dict[str, Sequence[Filler]] = {"tail": tails}
    for name, text in topic.lists.items():
        items = [item if item[0] == "{" else item.replace("_", " ") for item in _LIST_ITEM.findall(text)]
        lists[name] = filler_table(items, zipf=True)
    for name, texts in topic.phrases.items():
        lists[name] = filler_table(texts)
    return [compile_line(line + "{tail}", lang, lists) for line in topic.lines]


def _marked(lines: Sequence[str], mark: str, lang: str, lists: Mapping[str, Sequence[Filler]]) -> list[Template]:
    tail = "{tail}" if "tail" in lists else ""
    return [compile_line(line.replace("{e}", mark) + tail, lang, lists) for line in lines]


def _written(story: Story) -> str:
    mark = mark_of(story.entity)
    if not story.written:
        return mark
    if mark[1] == "#":
        assert hashtag_key(story.written) == story.entity, f"{story.written} is not {story.entity}"
    return mark[:2] + story.written + "}"


def _choice_table(weighted: Sequence[tuple[Template, float]]) -> list[Template]:
    total = sum(weight for _, weight in weighted)
    table: list[Template] = []
    reached = 0.0
    for template, weight in weighted:
        reached += weight
        table.extend([template] * (round(CHOICES * reached / total) - len(table)))
    return table
