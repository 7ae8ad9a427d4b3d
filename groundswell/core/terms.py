"""How a text is cut into the terms that search by words knows: one way for posts, queries and highlights.

Postgres' own parser depends on the database's locale and takes “curly quotes”, dashes and emoji for letters, and a
Japanese sentence for one word. So texts are cut here, and Postgres stores and compares what it is given.

- Words of any script, folded: `Café`, `CAFE` and `ｃａｆｅ` are one term, and so are `Łódź` and `Lodz`. Characters
  without a shape, such as a soft hyphen, do not divide; an apostrophe or a hyphen does.
- Scripts written without spaces give every character and every pair of neighbours; looked for is the chain of pairs.
- Emoji are terms; skin tones and variation selectors are left out.
- A link is a term as a whole besides its words, without scheme and `www.`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import islice
from typing import NamedTuple

from groundswell.core.entity_text import word_class
from groundswell.core.text.folding import IGNORABLE, fold_case

MAX_POSITIONS = 4_000
"""Of one text. What comes later is not found by words."""
MAX_TERM_CHARACTERS = 200
"""A longer run of letters is cut: nobody types it."""

# Thai, Lao, Myanmar, Khmer, kana, bopomofo, Han.
UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3100-\u312f\u31f0-\u31ff\u3400-\u9fff"
    r"\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_LINK = r"https?://[^\s<>\"]+|(?<![\w@.])(?:[^\W_](?:[\w-]{0,62})\.)+[^\W\d_]{2,24}(?![\w@])(?:[/?#][^\s<>\"]*)?"
_LINK_ENDS = ".,;:!?)]}>'\"’”»…*"
_ASCII_WORD = re.compile(r"[a-z0-9]+")
_MAY_HOLD_LINK = re.compile(r"\.\w|://")
_LATIN_MARKS = re.compile(r"(?<![\u0400-\u052f])[\u0300-\u036f]+")
_LETTERS_WITH_STROKES = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ð": "d", "ħ": "h", "ŧ": "t", "ŋ": "n", "æ": "ae", "œ": "oe", "þ": "th", "ə": "e"}
)
"""Letters that Unicode does not take apart, and what people type who do not have them on their keyboard."""
_VOWEL_MARKS = re.compile(r"[\u0591-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670]+")
"""Hebrew and Arabic vowel points, which are mostly left out, and the stroke that only stretches a word."""


class Term(NamedTuple):
    """One term at its place. Several may stand at one position."""

    text: str
    position: int
    """From 1: neighbours are one apart."""
    start: int
    """Of the text it was cut from, in code points; `end` is exclusive."""
    end: int


def terms(text: str) -> list[Term]:
    """All terms of a text, in order. Total."""
    if _is_plain(text):
        words = islice(_ASCII_WORD.finditer(text.lower()), MAX_POSITIONS)
        return [
            Term(word[0][:MAX_TERM_CHARACTERS], position, word.start(), word.end())
            for position, word in enumerate(words, start=1)
        ]
    return list(_terms(text))


def chain(text: str) -> list[Term]:
    """The terms that stand in this order, as far apart, wherever `text` is said: one for a word, several for a phrase.

    Empty where `text` holds nothing that can be looked for. Scripts without spaces are looked for by pairs.
    """
    longest: dict[int, Term] = {}
    for term in _cut(text, 0, 1):
        known = longest.get(term.position)
        if known is None or len(term.text) > len(known.text):
            longest[term.position] = term
    # The last character of a run without spaces is in the pair before it.
    return [
        term
        for position, term in longest.items()
        if not ((before := longest.get(position - 1)) and before.end == term.end and before.start < term.start)
    ]


def link_term(text: str) -> str | None:
    """The term of a link that is `text` as a whole, such as `example.com/page`; None where it is no link."""
    match = _scanner().fullmatch(text)
    return _link(match[0]) if match is not None and match.lastgroup == "link" else None


def search_vector(text: str) -> str:
    """The terms as a literal of Postgres' type `tsvector`."""
    if _is_plain(text):
        found = _ASCII_WORD.findall(text.lower())[:MAX_POSITIONS]
        return " ".join(f"{word[:MAX_TERM_CHARACTERS]}:{place}" for place, word in enumerate(found, start=1))
    return " ".join(f"{quoted(term.text)}:{term.position}" for term in _terms(text))


def _is_plain(text: str) -> bool:
    """Whether its terms are its runs of ASCII letters and digits, which are cut in a fifth of the time."""
    return text.isascii() and not _MAY_HOLD_LINK.search(text)


def quoted(term: str) -> str:
    """A term as Postgres reads it in literals of `tsvector` and `tsquery`."""
    return "'" + term.replace("\\", "\\\\").replace("'", "''") + "'"


def is_spaced(term: str) -> bool:
    """Whether a term is a word of a script with spaces, so that its beginning can stand for it."""
    last = term[-1]
    return not _unspaced().match(last) and (last.isalnum() or unicodedata.category(last)[0] == "M")


def fold(text: str) -> str:
    """Case, width, compatibility forms and accents unified. Marks that make a letter (Indic, kana, Cyrillic) stay."""
    if text.isascii():
        return text.lower()
    return _fold(text) if len(text) <= MAX_TERM_CHARACTERS else _fold.__wrapped__(text)


@lru_cache(maxsize=8_192)
def _fold(text: str) -> str:
    apart = unicodedata.normalize("NFKD", fold_case(text).translate(_LETTERS_WITH_STROKES))
    bare = _VOWEL_MARKS.sub("", _LATIN_MARKS.sub("", apart))
    return unicodedata.normalize("NFC", bare).replace("ё", "е")


def _terms(text: str) -> Iterator[Term]:
    """Links as a whole, and everything else; a link's words follow it."""
    position = 1
    for match in _scanner().finditer(text):
        if match.lastgroup == "link":
            link = _link(match[0])
            start = match.start()
            if link is not None:
                yield Term(link, position, start, start + len(match[0].rstrip(_LINK_ENDS)))
                host = re.split(r"[/?#:]", link, maxsplit=1)[0]
                if host != link:
                    yield Term(host, position, start, start + len(match[0].rstrip(_LINK_ENDS)))
            words = list(_cut(match[0], start, position))
            yield from words
            position = words[-1].position + 1 if words else position + 1
        else:
            for term in _piece(match[0], match.lastgroup == "word", match.start(), position):
                yield term
                position = term.position + 1
        if position > MAX_POSITIONS:
            return


def _cut(text: str, offset: int, position: int) -> Iterator[Term]:
    """As `_terms`, but links are taken for words."""
    for match in _inner_scanner().finditer(text):
        for term in _piece(match[0], match.lastgroup == "word", offset + match.start(), position):
            yield term
            position = term.position + 1
        if position > MAX_POSITIONS:
            return


def _piece(text: str, is_word: bool, start: int, position: int) -> Iterator[Term]:
    if not is_word:
        yield Term(text, position, start, start + len(text))
        return
    for run in _runs().finditer(text):
        begin, end = start + run.start(), start + run.end()
        if run.lastgroup == "spaced":
            folded = fold(run[0]).replace(" ", "")[:MAX_TERM_CHARACTERS]
            if folded:
                yield Term(folded, position, begin, end)
                position += 1
            continue
        clusters = [(c.start(), c.end(), fold(c[0]).replace(" ", "")) for c in _clusters().finditer(run[0])]
        clusters = [cluster for cluster in clusters if cluster[2]]
        for here, after in zip(clusters, [*clusters[1:], None], strict=True):
            yield Term(here[2], position, begin + here[0], begin + here[1])
            if after is not None:
                yield Term(here[2] + after[2], position, begin + here[0], begin + after[1])
            position += 1


def _link(text: str) -> str | None:
    bare = re.sub(r"(?i)^https?://", "", text).rstrip(_LINK_ENDS).rstrip("/")
    folded = fold(bare).removeprefix("www.")[:MAX_TERM_CHARACTERS]
    return folded if "." in folded else None


# ------------------------------------------------------------------ patterns, compiled when first used
@cache
def _unspaced() -> re.Pattern[str]:
    return re.compile(f"[{UNSPACED}]")


@cache
def _symbols() -> str:
    """Emoji and other pictures: flags as pairs, everything else by the code point. Skin tones are no symbols."""
    ranges: list[list[int]] = []
    for code in range(0x2000, 0x1FB00):
        if unicodedata.category(chr(code)) != "So" or 0x1F1E6 <= code <= 0x1F1FF:
            continue
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    inside = "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)
    return f"[\U0001f1e6-\U0001f1ff]{{2}}|[{inside}]"


@cache
def _words() -> str:
    inside = word_class()
    return rf"[^\W_](?:(?!_)[{inside}\u200c\u200d{IGNORABLE}])*"


@cache
def _scanner() -> re.Pattern[str]:
    return re.compile(rf"(?P<link>{_LINK})|(?P<word>{_words()})|(?P<symbol>{_symbols()})", re.IGNORECASE)


@cache
def _inner_scanner() -> re.Pattern[str]:
    return re.compile(rf"(?P<word>{_words()})|(?P<symbol>{_symbols()})")


@cache
def _runs() -> re.Pattern[str]:
    return re.compile(rf"(?P<unspaced>[{UNSPACED}][{UNSPACED}{IGNORABLE}]*)|(?P<spaced>[^{UNSPACED}]+)")


@cache
def _clusters() -> re.Pattern[str]:
    """A character with the marks that belong to it."""
    marks = "".join(
        re.escape(chr(code)) for code in range(0x0E00, 0x30FF) if unicodedata.category(chr(code)) in {"Mn", "Mc"}
    )
    return re.compile(rf".[{marks}\uff9e\uff9f{IGNORABLE}]*", re.DOTALL)
