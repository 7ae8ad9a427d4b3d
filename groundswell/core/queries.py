"""What people type into a search box, taken apart. Total: every text is a query, if only an empty one.

rate cut            both words, the last one as the beginning of a word
"rate cut"          the phrase
-crypto             without it; also -"a phrase" and -$BTC
$BTC #kcon @who     entities, as posts carry them; also ticker:BTC, name:"New York"
example.com         the link domain, or the text
bitc*               words that begin so

A query that is nothing but a post's id, or its address on its network, names that post.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote

import msgspec

from groundswell.core.entities import display_entity, entity_kind, parse_entity_key
from groundswell.core.matching import find
from groundswell.core.posts import ENTITY_KINDS, Post
from groundswell.core.terms import chain, is_spaced, link_term

MAX_CHARACTERS = 1_000
MAX_TERMS = 24
"""Terms beyond this are dropped: posts are shorter than a query that needs them."""
MIN_PREFIX_CHARACTERS = 3
"""A last word this short is taken as a whole word: as a beginning it would match nearly everything."""

_SMART_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "＂": '"'})
_TERM = re.compile(
    rf'(?P<minus>-)?(?:(?P<kind>{"|".join(ENTITY_KINDS)}):)?"(?P<phrase>[^"]*)"?|(?P<word>\S+)', re.IGNORECASE
)
_KIND = re.compile(rf"(?:{'|'.join(ENTITY_KINDS)}):\S", re.IGNORECASE)
_DOMAIN = re.compile(r"(?:https?://\S+|(?:[\w-]+\.)+[^\W\d_]{2,}(?:[/:?#]\S*)?)", re.IGNORECASE)
_POST_ID = re.compile(r"at://[^\s/]+/[\w.]+/[^\s/]+")
_POST_URL = re.compile(
    r"https?://bsky\.app/profile/(?P<author>did(?::|%3A)[^\s/]+)/post/(?P<key>[^\s/?#]+)/?", re.IGNORECASE
)
_SIGILS = "$#@＃＠"
_AROUND = "\"'.,;:!?()[]{}<>"
_EDGES = "\"'`.,;:!?()[]{}<>|&*~^\\=+…"


class EntityTerm(msgspec.Struct, frozen=True):
    """An entity in a query."""

    key: str
    text: str | None
    """Set where a post may say it in its text without carrying the entity: mentions and domains."""


class ParsedQuery(msgspec.Struct, frozen=True):
    """The terms of a query, all of which a post must satisfy; those named `not_` none."""

    words: tuple[str, ...] = ()
    """Whole words, without operators. Each holds something that `terms.chain` finds, and may be a chain itself."""
    prefix: str | None = None
    """A word of which only the beginning is said."""
    phrases: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    """Links with a path, as `terms.link_term` writes them."""
    entities: tuple[EntityTerm, ...] = ()
    not_words: tuple[str, ...] = ()
    """Words and phrases."""
    not_entities: tuple[str, ...] = ()
    nothing: bool = False
    """The text had something in it, but nothing that can be looked for: no post matches."""

    @property
    def has_terms(self) -> bool:
        """Whether a post must have anything at all; a query of exclusions has nothing to rank by."""
        return bool(self.words or self.prefix or self.phrases or self.links or self.entities)

    @property
    def meaning(self) -> str:
        """The text to embed: what is asked for, without what is excluded."""
        parts = [*self.words, *([self.prefix] if self.prefix else []), *self.phrases, *self.links]
        return " ".join([*parts, *(display_entity(term.key) for term in self.entities)])

    @property
    def required_entities(self) -> tuple[str, ...]:
        """Entities that every answer must carry, so that answers found by meaning can be held to them."""
        return tuple(term.key for term in self.entities if term.text is None)

    def excludes(self, post: Post) -> bool:
        """Whether `post` has what the query excludes. For answers that were found by meaning."""
        if any(key in post.entities for key in self.not_entities):
            return True
        return any(find(post.text, word) for word in self.not_words)


def post_named(text: str) -> str | None:
    """The id of the post that a query names, if it does nothing else: the reverse of `core.frames.post_url`."""
    bare = text.strip()
    if _POST_ID.fullmatch(bare):
        return bare
    address = _POST_URL.fullmatch(bare)
    return address and f"at://{unquote(address['author'])}/app.bsky.feed.post/{unquote(address['key'])}"


def parse_query(text: str) -> ParsedQuery:
    """Take a query apart. Never raises; an empty text gives a query without terms."""
    cleaned = _clean(text)
    terms = _Terms()
    last_word = False
    for match in list(_TERM.finditer(cleaned))[:MAX_TERMS]:
        word = match["word"]
        last_word = word is not None and terms.take_word(word)
        if word is None:
            terms.take_phrase(match["phrase"], match["kind"], negated=match["minus"] is not None)
    prefix = None
    if terms.words and (terms.starred or (last_word and not cleaned[-1:].isspace())):
        last = chain(terms.words[-1])[-1]
        if len(last.text) >= MIN_PREFIX_CHARACTERS and is_spaced(last.text):
            prefix = terms.words.pop()
    return ParsedQuery(
        words=tuple(terms.words),
        prefix=prefix,
        phrases=tuple(terms.phrases),
        links=tuple(terms.links),
        entities=tuple(terms.entities),
        not_words=tuple(terms.not_words),
        not_entities=tuple(terms.not_entities),
        nothing=bool(text.strip()) and terms.empty and prefix is None,
    )


class _Terms:
    def __init__(self) -> None:
        self.words: list[str] = []
        self.phrases: list[str] = []
        self.links: list[str] = []
        self.entities: list[EntityTerm] = []
        self.not_words: list[str] = []
        self.not_entities: list[str] = []
        self.starred = False

    @property
    def empty(self) -> bool:
        found = (self.words, self.phrases, self.links, self.entities, self.not_words, self.not_entities)
        return not any(found)

    def take_word(self, raw: str) -> bool:
        """True where it became the last of the plain words."""
        negated = raw.startswith("-") and len(raw) > 1
        token = raw[1:] if negated else raw
        link = link_term(token.strip(_AROUND))
        if link is not None and re.search(r"[/?#]", link):
            (self.not_words if negated else self.links).append(link)
            return False
        entity = _entity(token)
        if entity is not None:
            if negated:
                self.not_entities.append(entity.key)
            else:
                self.entities.append(entity)
            return False
        word = token.strip(_EDGES + _SIGILS + "-_")
        if not chain(word):
            return False
        if negated:
            self.not_words.append(word)
            return False
        self.words.append(word)
        self.starred = token.endswith("*")
        return True

    def take_phrase(self, raw: str, kind: str | None, *, negated: bool) -> None:
        phrase = " ".join(raw.split())
        if kind is not None:
            entity = _entity(f"{kind}:{phrase}")
            if entity is not None and negated:
                self.not_entities.append(entity.key)
            elif entity is not None:
                self.entities.append(entity)
        elif chain(phrase):
            (self.not_words if negated else self.phrases).append(phrase)


def _entity(token: str) -> EntityTerm | None:
    bare = token.strip(_AROUND)
    if not (bare[:1] in _SIGILS or _KIND.match(bare) or _DOMAIN.fullmatch(bare)):
        return None
    try:
        key = parse_entity_key(bare)
    except ValueError:
        return None
    said_in_text = entity_kind(key) in {"mention", "domain"}
    return EntityTerm(key, bare.lstrip(_SIGILS) if said_in_text else None)


def _clean(text: str) -> str:
    """Cut to length; control characters, NUL and lone surrogates become spaces, direction marks vanish."""
    kept: list[str] = []
    for character in text[:MAX_CHARACTERS].translate(_SMART_QUOTES):
        category = unicodedata.category(character)
        if category == "Cf" and character not in "\u200c\u200d":
            continue
        kept.append(" " if category in {"Cc", "Cs", "Zl", "Zp"} else character)
    return "".join(kept)
