"""Writes the posts of any second: who, when, what, in reply to whom. A post is named by (second, lane, place)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from groundswell.adapters.simulator.chance import (
    Hashes,
    author_dids,
    cids,
    derive,
    mix,
    mix_all,
    throwaway_did,
    tids,
    unit,
    units,
    zipf_authors,
)
from groundswell.adapters.simulator.config import WorldConfig
from groundswell.adapters.simulator.phrases import Template
from groundswell.adapters.simulator.surges import Lane
from groundswell.adapters.simulator.vocabulary import BUCKETS, vocabulary
from groundswell.core.posts import MICROS_PER_SECOND, Micros

POST = "app.bsky.feed.post"

Ints: TypeAlias = npt.NDArray[np.int64]

_SECONDS_PER_BUCKET = 86_400 // BUCKETS
_ORDINARY = 0
_REPLY_REACH_S = 900
_STRIDE = 618_033
"""Coprime to a million, so that the record keys of one second never meet."""
_SLOTS, _WHO, _WHEN, _PARENT, _EDITED, _REACTS = (np.uint64(mix(n)) for n in range(6))
_RHYTHM_SWING = 0.35
_RHYTHM_PEAK_HOUR = 19
_TYPO_FIXED = "\\n\\n(edited for a typo)"
"""As JSON writes it."""
_LATE_AT_LEAST_S = 300
_LATE_AT_MOST_S = 3 * 86_400


class Refs(NamedTuple):
    """Which posts: three arrays of one length. Lane 0 is the ordinary stream."""

    seconds: Ints
    lanes: Ints
    places: Ints


class Draft(NamedTuple):
    """A post before it is put into a frame."""

    did: str
    rkey: str
    rev: str
    cid: str
    record: str
    entities: tuple[str, ...]


class Keys(NamedTuple):
    """What other records need to know to refer to a post."""

    dids: list[str]
    rkeys: list[str]
    cids: list[str]
    choices: list[int]
    """The twelve bits that chose the post's line."""


def day_rhythm(hour: float) -> float:
    """How the rate of an hour of the day (0 to 24, UTC) compares with the average of the day."""
    return 1 + _RHYTHM_SWING * math.cos(2 * math.pi * (hour - _RHYTHM_PEAK_HOUR) / 24)


class Writer:
    """Draws and writes the posts of a world. All methods are functions of the configuration and their arguments."""

    def __init__(self, config: WorldConfig, seed_key: int) -> None:
        self._config = config
        self._key = seed_key
        self._dids = author_dids(config.authors)
        self._counts: dict[int, int] = {}
        self._began = -(-config.began_at // MICROS_PER_SECOND)
        self.reply_limit = round(config.reply_share * 65536)
        self._quote_limit = self.reply_limit + round(config.quote_share * 65536)
        self._image_limit = round(config.image_share * 65536)
        self._late_limit = round(config.late_share * 65536)
        self._skewed_limit = self._late_limit + round(config.skewed_share * 65536)

    def ordinary_posts(self, second: int) -> int:
        """How many posts outside surges a second has."""
        count = self._counts.get(second)
        if count is None:
            if len(self._counts) > 20_000:
                self._counts.clear()
            count = self._counts[second] = self._count(second)
        return count

    def second_key(self, second: int) -> int:
        return derive(self._key, second)

    def hash_of(self, second: int, lane: int, place: int) -> int:
        """The hash that decides most about one post."""
        return mix(self.second_key(second) ^ mix(lane << 32 | place))

    def authors(self, hashes: Hashes) -> list[str]:
        """An ordinary author for every hash."""
        dids = self._dids
        numbers: list[int] = zipf_authors(hashes, len(dids)).tolist()
        return [dids[number] for number in numbers]

    def positions(self, refs: Refs) -> npt.NDArray[np.float64]:
        """Where in its second each post stands, 0 to 1."""
        return units(mix_all(self._hashes(refs) ^ _WHEN))

    def keys(self, refs: Refs, lanes: Mapping[int, Lane]) -> Keys:
        hashes = self._hashes(refs)
        return Keys(
            self._authors(hashes, refs, lanes),
            tids(self._written_at(refs), refs.lanes),
            cids(hashes),
            (hashes & np.uint64(4095)).tolist(),
        )

    def write(self, refs: Refs, lanes: Mapping[int, Lane], *, edited: bool = False) -> list[Draft]:
        """The posts themselves; `edited` gives their second version, for updates of posts that are no replies."""
        hashes = self._hashes(refs)
        written_at = self._written_at(refs)
        dids = self._authors(hashes, refs, lanes)
        rkeys = tids(written_at, refs.lanes)
        noise = mix_all(hashes ^ _WHEN)
        revs = tids(
            written_at + 300_000 + (noise & np.uint64(0x3FFFF)).astype(np.int64),
            (noise >> np.uint64(20) & np.uint64(1023)).astype(np.int64),
        )
        content = cids(hashes ^ _EDITED if edited else hashes)
        slots: list[int] = mix_all(hashes ^ (_EDITED if edited else _SLOTS)).tolist()
        parents = {} if edited else self._parents(hashes, refs)
        words = vocabulary()
        drafts: list[Draft] = []
        values: list[int] = hashes.tolist()
        seconds: list[int] = refs.seconds.tolist()
        lane_numbers: list[int] = refs.lanes.tolist()
        instants: list[Micros] = written_at.tolist()
        columns = zip(values, slots, seconds, lane_numbers, instants, strict=True)
        for n, (value, bits, second, lane, micros) in enumerate(columns):
            quote = reply = reaction = ""
            if lane:
                lines = lanes[lane].lines
                template = lines[(value & 4095) * len(lines) >> 12]
                if lanes[lane].surge.kind != "spam":
                    reaction = self._reaction(template.lang, value)
            else:
                template = words.choices(second // _SECONDS_PER_BUCKET % BUCKETS)[value & 4095]
                parent = parents.get(n)
                if parent is not None:
                    quote, reply, template = self._refer(parent, value, template)
            typo_fixed = edited and bits & 1
            # A typo is fixed in the first version's words.
            text, facets, card, entities = template.render(mix(value ^ int(_SLOTS)) if typo_fixed else bits)
            text += reaction + (_TYPO_FIXED if typo_fixed else "")
            embed = quote or card
            if not embed and (value >> 44) & 0xFFFF < self._image_limit:
                embed = _image(content[n])
            record = (
                f'{{"$type":"app.bsky.feed.post","createdAt":"{self._claimed(micros, value)}",{embed}{facets}'
                f'"langs":["{template.lang}"],{reply}"text":"{text}"}}'
            )
            drafts.append(Draft(dids[n], rkeys[n], revs[n], content[n], record, entities))
        return drafts

    def _count(self, second: int) -> int:
        if second < self._began:
            return 0
        config = self._config
        rate = config.posts_per_second
        if config.daily_rhythm:
            rate *= day_rhythm(second // 60 % 1440 / 60)
        key = self.second_key(second)
        return int(rate * (0.8 + 0.4 * unit(mix(key + 1))) + unit(mix(key + 2)))

    def _hashes(self, refs: Refs) -> Hashes:
        keys = mix_all(np.uint64(self._key) ^ mix_all(refs.seconds.astype(np.uint64)))
        names = (refs.lanes.astype(np.uint64) << np.uint64(32)) | refs.places.astype(np.uint64)
        return mix_all(keys ^ mix_all(names))

    def _written_at(self, refs: Refs) -> Ints:
        """The author's moment of writing: in the second before the post is seen; unique within (second, lane)."""
        shift = mix_all(refs.seconds.astype(np.uint64) ^ np.uint64(self._key)) % np.uint64(MICROS_PER_SECOND)
        within = (refs.places * _STRIDE + shift.astype(np.int64)) % MICROS_PER_SECOND
        return (refs.seconds - 1) * MICROS_PER_SECOND + within

    def _authors(self, hashes: Hashes, refs: Refs, lanes: Mapping[int, Lane]) -> list[str]:
        chance = mix_all(hashes ^ _WHO)
        dids = self._dids
        authors = self.authors(chance)
        in_surges: list[int] = np.flatnonzero(refs.lanes).tolist()
        for n in in_surges:
            lane = lanes[int(refs.lanes[n])]
            number = int(lane.surge.authors * unit(int(chance[n])) ** 1.3)
            if lane.surge.kind == "spam":
                authors[n] = throwaway_did(lane.key, number)
            else:
                authors[n] = dids[(lane.key + number * 7919) % len(dids)]
        return authors

    def _parents(self, hashes: Hashes, refs: Refs) -> dict[int, tuple[bool, str, str, Template]]:
        """By position: (is a reply, uri, cid, line) of what a post answers or quotes. Nothing answers a reply."""
        kind = hashes >> np.uint64(12) & np.uint64(0xFFFF)
        asking = np.flatnonzero((kind < np.uint64(self._quote_limit)) & (refs.lanes == _ORDINARY))
        if not len(asking):
            return {}
        chance = mix_all(hashes[asking] ^ _PARENT)
        age = np.floor(float(_REPLY_REACH_S) ** units(chance)).astype(np.int64)
        seconds = refs.seconds[asking] - age
        counts = np.array([self.ordinary_posts(s) for s in seconds.tolist()], dtype=np.int64)
        index = np.floor(units(mix_all(chance)) * counts).astype(np.int64)
        target = Refs(seconds, np.zeros_like(seconds), index)
        target_kind = self._hashes(target) >> np.uint64(12) & np.uint64(0xFFFF)
        fit = np.flatnonzero((counts > 0) & (target_kind >= np.uint64(self.reply_limit)))
        target = Refs(*(column[fit] for column in target))
        keys = self.keys(target, {})
        asking = asking[fit]
        is_reply: list[bool] = (kind[asking] < np.uint64(self.reply_limit)).tolist()
        words = vocabulary()
        lines = [
            words.choices(second // _SECONDS_PER_BUCKET % BUCKETS)[choice]
            for second, choice in zip(target.seconds.tolist(), keys.choices, strict=True)
        ]
        return {
            n: (reply, f"at://{did}/{POST}/{rkey}", cid, line)
            for n, reply, did, rkey, cid, line in zip(
                asking.tolist(), is_reply, keys.dids, keys.rkeys, keys.cids, lines, strict=True
            )
        }

    def _refer(
        self, parent: tuple[bool, str, str, Template], value: int, template: Template
    ) -> tuple[str, str, Template]:
        is_reply, uri, cid, line = parent
        strong = f'{{"cid":"{cid}","uri":"{uri}"}}'
        if not is_reply:
            return f'"embed":{{"$type":"app.bsky.embed.record","record":{strong}}},', "", template
        answers = vocabulary().replies(line.lang)
        return "", f'"reply":{{"parent":{strong},"root":{strong}}},', answers[(value & 4095) * len(answers) >> 12]

    @staticmethod
    def _reaction(lang: str, value: int) -> str:
        """What every other author of a surge adds of their own: without it, a crowd would look like copies."""
        chance = mix(value ^ int(_REACTS))
        if chance >> 40 & 1:
            return ""
        answers = vocabulary().replies(lang)
        text, facets, card, entities = answers[(chance & 4095) * len(answers) >> 12].render(mix(chance))
        return "" if facets or card or entities else f" {text}"

    def _claimed(self, micros: Micros, value: int) -> str:
        second, within = divmod(micros, MICROS_PER_SECOND)
        roll = (value >> 28) & 0xFFFF
        if roll < self._skewed_limit:
            u = unit(mix(value))
            if roll < self._late_limit:
                second -= int(_LATE_AT_LEAST_S * (_LATE_AT_MOST_S / _LATE_AT_LEAST_S) ** u)
            else:
                second += 30 + int(7200 * u)
        return f"{_iso(second)}.{within // 1000:03d}Z"


def instant_text(micros: Micros) -> str:
    """RFC 3339 with milliseconds, as clients of the network write it."""
    second, within = divmod(micros, MICROS_PER_SECOND)
    return f"{_iso(second)}.{within // 1000:03d}Z"


@lru_cache(maxsize=1024)
def _iso(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _image(cid: str) -> str:
    return (
        '"embed":{"$type":"app.bsky.embed.images","images":[{"alt":"","aspectRatio":{"height":1200,"width":1600},'
        f'"image":{{"$type":"blob","ref":{{"$link":"bafkrei{cid[7:]}"}},"mimeType":"image/jpeg","size":481223}}}}]}},'
    )
