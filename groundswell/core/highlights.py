"""What to mark in a post that a query found. Offsets, never markup: a text stays a text."""

from __future__ import annotations

from groundswell.core.entities import display_entity, entity_kind, entity_name
from groundswell.core.matching import Span, find_in, merged, places, whole_characters
from groundswell.core.posts import Post
from groundswell.core.queries import ParsedQuery

MAX_HIGHLIGHTS = 50
"""Of one post: the first in its text."""

_SIGILS = {"ticker": "$", "hashtag": "#＃", "mention": "@＠"}


def highlights(post: Post, query: ParsedQuery) -> list[Span]:
    """Where the post says what the query asks for, in order, apart from each other, at most `MAX_HIGHLIGHTS`.

    A post found by its meaning alone may say none of it: an empty list.
    """
    if not query.has_terms:
        return []
    text = places(post.text)
    found: list[Span] = []
    for said in (*query.words, *query.phrases, *query.links):
        found += find_in(text, said)
    if query.prefix is not None:
        found += find_in(text, query.prefix, as_beginning=True)
    for term in query.entities:
        kind = entity_kind(term.key)
        said = display_entity(term.key) if kind == "domain" else entity_name(term.key)
        sigils = _SIGILS.get(kind, "")
        for start, end in find_in(text, said, links=kind == "domain"):
            with_sigil = start > 0 and post.text[start - 1] in sigils
            # A ticker or tag without its sign is a word that happens to read alike.
            if with_sigil or not sigils or kind == "mention":
                found.append((start - with_sigil, end))
    return merged([whole_characters(post.text, span) for span in found])[:MAX_HIGHLIGHTS]
