"""A readable label for a surge, made from its posts: the phrases that set them apart from everything else.

Phrases are runs of one to six words, or of two to ten characters in scripts that are written without spaces. Each is
scored by its log-odds in the mover's posts against a background, with an informative Dirichlet prior, as a z-score
(Monroe, Colaresi, Quinn, "Fightin' Words", Political Analysis 16(4), 2008). So no list of stop words is needed: what is
common everywhere sets nothing apart, in any language. Counts are of *authors*: a phrase that fewer than `MIN_AUTHORS`
of them use, each in words of their own, never becomes part of a label.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache

import msgspec

from groundswell.core.entity_text import without_urls, word_class
from groundswell.core.terms import UNSPACED

MIN_AUTHORS = 3
MIN_SHARE = 0.08
"""A label speaks for at least this part of the authors."""
MIN_Z = 2.58
MIN_WORD_Z = 3.5
MIN_WORD_SHARE = 0.15
MIN_WORD_LETTERS = 4
"""A word alone has to say more than a phrase: further from chance, of more authors, and (in ASCII) not a short one."""
ENOUGH_IN_LANGUAGE = 100
"""Posts of a language to compare with; where there are fewer, posts of all languages serve."""
MIN_EDGE_Z = 1.0
MAX_EDGE_SHARE = 0.02
"""A phrase neither begins nor ends with a word that sets nothing apart, or that more of all posts have: no `of the`."""
KEEPS = 0.6
"""A longer phrase takes the place of a part of it that is used by hardly anybody else."""
MAX_WORDS = 6
MAX_CHARACTERS = 10
MAX_PHRASES = 3
MAX_TEXT = 600
"""Characters of a post that are read."""
MAX_PHRASE_CHARACTERS = 48
PRIOR_POSTS = 10.0
MIN_PRIOR = 0.5
"""How many posts' worth of belief a phrase starts with: at its frequency everywhere, half a post at the least."""

Phrase = tuple[str, ...]


class Said(msgspec.Struct, frozen=True):
    """A post as a label reads it."""

    author: str
    text: str
    lang: str | None = None


class LabelPhrase(msgspec.Struct, frozen=True):
    phrase: str
    """As most people write it."""
    authors: int
    z: float


class Label(msgspec.Struct, frozen=True):
    text: str
    """The phrases, joined by a middle dot."""
    phrases: tuple[LabelPhrase, ...]
    posts: int
    """That it was made from."""
    authors: int


class Background:
    """Posts about everything, taken apart once and compared with many movers."""

    def __init__(self, posts: Iterable[tuple[Said, Collection[str]]]) -> None:
        """`posts`: each with the entities it names."""
        self._posts: list[tuple[frozenset[Phrase], str | None, frozenset[str]]] = [
            (frozenset(_phrases(said.text)), _language(said), frozenset(entities)) for said, entities in posts
        ]
        self._counts: dict[str | None, Counter[Phrase]] = defaultdict(Counter)
        self._sizes: Counter[str | None] = Counter()
        for phrases, lang, _ in self._posts:
            for key in {None, lang}:
                self._counts[key].update(phrases)
                self._sizes[key] += 1

    def elsewhere(self, mover: str, lang: str | None, phrases: Iterable[Phrase]) -> tuple[dict[Phrase, int], int]:
        """How many posts that do not name the mover use each phrase, and how many there are; of those in `lang` where
        they are enough to go by."""
        key = lang if lang is not None and self._sizes[lang] >= ENOUGH_IN_LANGUAGE else None
        own = [said for said, spoken, named in self._posts if mover in named and key in (None, spoken)]
        counts = self._counts[key]
        found = {phrase: counts[phrase] - sum(phrase in said for said in own) for phrase in phrases}
        return found, self._sizes[key] - len(own)


def label_of(mover: str, name: str, posts: Sequence[Said], background: Background) -> Label | None:
    """A label for `mover`, whose name is not part of it; None where its posts have too little in common.

    `posts`: of the mover, copies left out.
    """
    authors = len({said.author for said in posts})
    if authors < MIN_AUTHORS:
        return None
    used: dict[Phrase, set[str]] = defaultdict(set)
    forms: dict[Phrase, Counter[str]] = defaultdict(Counter)
    for said in posts:
        for phrase, form in _phrases(said.text).items():
            used[phrase].add(said.author)
            forms[phrase][form] += 1
    lang = Counter(_language(said) for said in posts).most_common(1)[0][0]
    needed = max(MIN_AUTHORS, math.ceil(MIN_SHARE * authors))
    shared = {phrase for phrase, who in used.items() if len(who) >= needed}
    elsewhere, posts_elsewhere = background.elsewhere(mover, lang, shared)
    z = {phrase: _z(len(used[phrase]), authors, elsewhere[phrase], posts_elsewhere) for phrase in shared}
    own = _own_words(name)
    telling = {
        phrase[0]
        for phrase in shared
        if len(phrase) == 1
        and z[phrase] >= MIN_EDGE_Z
        and elsewhere[phrase] <= MAX_EDGE_SHARE * posts_elsewhere
        and not _slight(_most_common(forms[phrase]))
    }
    fit = {
        phrase
        for phrase in shared
        if z[phrase] >= MIN_Z
        and _fit(phrase, telling, own)
        and (len(phrase) != 1 or _fit_alone(phrase[0], z[phrase], len(used[phrase]) / authors))
    }
    chosen = _choose(_longest(fit, used), used, z)
    if not chosen:
        return None
    phrases = tuple(
        LabelPhrase(_most_common(forms[phrase]), len(used[phrase]), round(z[phrase], 2)) for phrase in chosen
    )
    return Label(" · ".join(each.phrase for each in phrases), phrases, len(posts), authors)


def _z(here: int, here_total: int, there: int, there_total: int) -> float:
    """z-score of the log-odds-ratio of a phrase, here against there."""
    frequency = (here + there) / max(here_total + there_total, 1)
    prior = max(PRIOR_POSTS * frequency, MIN_PRIOR)
    here_odds = math.log((here + prior) / max(here_total + PRIOR_POSTS - here - prior, 0.5))
    there_odds = math.log((there + prior) / max(there_total + PRIOR_POSTS - there - prior, 0.5))
    return (here_odds - there_odds) / math.sqrt(1 / (here + prior) + 1 / (there + prior))


def _fit(phrase: Phrase, telling: Collection[str], own: Collection[str]) -> bool:
    """Whether a phrase reads as one. The mover's own name stands beside the label already."""
    if _is_unspaced(phrase):
        written = "".join(phrase)
        return len(phrase) >= 2 and not any(written in word or word in written for word in own if word)
    if not any(len(word) > 1 and not word.isdigit() for word in phrase):
        return False
    if any(word in own and word in telling for word in phrase):
        return False
    return phrase[0] in telling and phrase[-1] in telling


def _slight(word: str) -> bool:
    """`by`, `y`, `de`, but not `UK`, `G7`, or what is short in other scripts."""
    return word.isascii() and len(word) < 3 and word.islower()


def _fit_alone(word: str, z: float, share: float) -> bool:
    return z >= MIN_WORD_Z and share >= MIN_WORD_SHARE and (len(word) >= MIN_WORD_LETTERS or not word.isascii())


def _longest(fit: set[Phrase], used: Mapping[Phrase, set[str]]) -> set[Phrase]:
    """Without what is part of a longer phrase that nearly the same authors use."""
    covered: set[Phrase] = set()
    for phrase in fit:
        for part in _parts(phrase):
            if part in fit and len(used[phrase]) >= KEEPS * len(used[part]):
                covered.add(part)
    return fit - covered


def _choose(fit: set[Phrase], used: Mapping[Phrase, set[str]], z: Mapping[Phrase, float]) -> list[Phrase]:
    """The most telling ones that share no word: a long phrase counts for more than a word of the same z."""
    chosen: list[Phrase] = []
    for phrase in sorted(fit, key=lambda p: (-z[p] * (1 + 0.25 * _weight(p)), -len(used[p]), p)):
        if not any(_overlap(phrase, other) for other in chosen):
            chosen.append(phrase)
            if len(chosen) == MAX_PHRASES:
                break
    return chosen


def _weight(phrase: Phrase) -> float:
    return min(len(phrase) - 1, 3) if not _is_unspaced(phrase) else min(len(phrase) / 2 - 1, 3)


def _overlap(one: Phrase, two: Phrase) -> bool:
    if _is_unspaced(one) and _is_unspaced(two):
        return bool({one[i : i + 2] for i in range(len(one) - 1)} & {two[i : i + 2] for i in range(len(two) - 1)})
    return bool(set(one) & set(two))


def _parts(phrase: Phrase) -> Iterator[Phrase]:
    for length in range(1, len(phrase)):
        for start in range(len(phrase) - length + 1):
            yield phrase[start : start + length]


def _is_unspaced(phrase: Phrase) -> bool:
    return all(len(part) == 1 and _unspaced().match(part) for part in phrase)


def _most_common(forms: Counter[str]) -> str:
    return min(forms, key=lambda form: (-forms[form], form))


def _language(said: Said) -> str | None:
    return None if said.lang is None else said.lang.partition("-")[0].lower()


def _own_words(name: str) -> frozenset[str]:
    words = [word for run in _runs(name) for word, _ in run]
    return frozenset({*words, name.casefold()})


# ------------------------------------------------------------------ taking a text apart
@cache
def _tokens() -> re.Pattern[str]:
    word = f"[{word_class()}]"
    return re.compile(rf"[$]?[^\W_]{word}*(?:['’\-\u200c\u200d]{word}+)*|(?P<gap>[^\s{word_class()}#＃$'\"“”‘’*_]+|\n)")


@cache
def _unspaced() -> re.Pattern[str]:
    return re.compile(f"[{UNSPACED}]")


_MENTION = re.compile(r"(?<!\w)[@＠]\w[\w.@-]*")


def _phrases(text: str) -> dict[Phrase, str]:
    """Every phrase of a text, folded for comparison, and how it is written there."""
    found: dict[Phrase, str] = {}
    for run in _runs(_MENTION.sub(" \n ", without_urls(text[:MAX_TEXT]))):
        unspaced = len(run) > 0 and all(len(word) == 1 and _unspaced().match(word) for word, _ in run)
        longest, between = (MAX_CHARACTERS, "") if unspaced else (MAX_WORDS, " ")
        for start in range(len(run)):
            for end in range(start + 1, min(start + longest, len(run)) + 1):
                phrase = tuple(word for word, _ in run[start:end])
                if phrase not in found:
                    form = between.join(form for _, form in run[start:end])
                    if len(form) > MAX_PHRASE_CHARACTERS:
                        break
                    found[phrase] = form
    return found


def _runs(text: str) -> Iterator[list[tuple[str, str]]]:
    """Stretches of words without punctuation between them; scripts without spaces in stretches of characters."""
    run: list[tuple[str, str]] = []
    for match in _tokens().finditer(text):
        if match["gap"] is not None:
            if run:
                yield run
            run = []
            continue
        form = match[0]
        if _unspaced().search(form):
            if run:
                yield run
            run = []
            yield [(character.casefold(), character) for character in form]
            continue
        run.append((form.casefold().lstrip("$"), form))
    if run:
        yield run
