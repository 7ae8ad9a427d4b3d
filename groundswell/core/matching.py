"""Where a text says what somebody looks for: the places to mark, by the same terms that search goes by."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from typing import TypeAlias

from groundswell.core.terms import Term, chain, link_term, terms

Span: TypeAlias = tuple[int, int]
"""Start and end (exclusive) in a text, in Unicode code points."""

Places: TypeAlias = dict[int, list[Term]]
"""The terms of a text by position."""


def places(text: str) -> Places:
    found: Places = defaultdict(list)
    for term in terms(text):
        found[term.position].append(term)
    return dict(found)


def find(text: str, said: str, *, as_beginning: bool = False) -> list[Span]:
    """Where `text` says the word, phrase or link `said`."""
    return find_in(places(text), said, as_beginning=as_beginning)


def find_in(text: Places, said: str, *, as_beginning: bool = False, links: bool = True) -> list[Span]:
    """As `find`. `as_beginning`: words of the text may go on where the last of `said` ends.

    Without `links`, what looks like a link is taken for words, as in a handle.
    """
    link = link_term(said) if links else None
    if link is not None:
        return _starts(text, link, whole="/" not in link and not as_beginning)
    wanted = chain(said)
    return [span for position in text if (span := _chain_at(text, position, wanted, as_beginning)) is not None]


def whole_characters(text: str, span: Span) -> Span:
    """The span with the marks, skin tones and joined pictures that belong to its last character."""
    start, end = span
    while end < len(text):
        if text[end] == "\u200d" and end + 1 < len(text):
            end += 2
        elif unicodedata.category(text[end])[0] == "M" or "\U0001f3fb" <= text[end] <= "\U0001f3ff":
            end += 1
        else:
            break
    return start, end


def merged(spans: Sequence[Span]) -> list[Span]:
    """In order, those that overlap or touch as one."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _chain_at(text: Places, position: int, wanted: Sequence[Term], as_beginning: bool) -> Span | None:
    start = end = None
    for number, term in enumerate(wanted):
        begins = as_beginning and number == len(wanted) - 1
        there = text.get(position + term.position - wanted[0].position, ())
        match = next((t for t in there if t.text == term.text or (begins and t.text.startswith(term.text))), None)
        if match is None:
            return None
        start, end = (match.start if start is None else start), match.end
    return None if start is None or end is None else (start, end)


def _starts(text: Places, link: str, *, whole: bool) -> list[Span]:
    return [
        (term.start, term.end)
        for found in text.values()
        for term in found
        if term.text == link or (not whole and term.text.startswith(link))
    ]
