"""What a post is about: tickers, hashtags, mentions, link domains, and names from a watch list.

An *entity key* is one canonical text per thing, `kind:name`:

    ticker:BTC           upper case
    hashtag:kcon         NFKC and case-folded, any script; `$BTC` in a tag is a ticker
    mention:did:plc:…    a DID or a handle, lower case
    domain:example.com   lower case, without `www.`, international names in their ASCII form (which look-alikes
                         cannot imitate)
    name:Bitcoin         the canonical name of a watch-list entry, as written there

Where a record says itself what its text links to (`Facet`), that wins over what a scan of the text would find.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import msgspec

from groundswell.core import entity_text
from groundswell.core.posts import ENTITY_KINDS, EntityKind
from groundswell.core.text.folding import without_invisible
from groundswell.core.watch_list import NameMatcher, parse_watch_list

MAX_ENTITIES = 32
"""Entities kept of one post; what its facets say goes first."""
MAX_KEY_CHARS = 128
"""A longer key is dropped, not cut: a cut key would be another entity."""

_HOW_TO_WRITE = "write $TICKER, #hashtag, @mention, example.com, or kind:name with a kind of " + ", ".join(ENTITY_KINDS)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)


class FacetIndex(msgspec.Struct, gc=False, rename="camel"):
    """Offsets into the UTF-8 form of the text; the end is exclusive."""

    byte_start: int
    byte_end: int


class Feature(msgspec.Struct, gc=False):
    """What a stretch of text is; one of the three is set."""

    tag: str | None = None
    did: str | None = None
    uri: str | None = None


class Facet(msgspec.Struct):
    """A stretch of text and what the author's client says it is (`app.bsky.richtext.facet`)."""

    index: FacetIndex
    features: list[Feature]


def entity_kind(key: str) -> EntityKind:
    """The kind of an entity key.

    Raises:
        ValueError: `key` is no entity key.
    """
    kind, separator, name = key.partition(":")
    for known in ENTITY_KINDS:
        if kind == known and separator and name:
            return known
    raise ValueError(f"{key!r} is no entity key: it has the form kind:name, for example ticker:BTC")


def entity_name(key: str) -> str:
    """What follows the kind in an entity key. Raises ValueError where `entity_kind` does."""
    return key[len(entity_kind(key)) + 1 :]


def display_entity(key: str) -> str:
    """An entity as people write it: `$BTC`, `#kcon`, `@someone`, `example.com`, and a name as it is."""
    return {"ticker": "$", "hashtag": "#", "mention": "@"}.get(entity_kind(key), "") + entity_name(key)


def parse_entity_key(text: str) -> str:
    """The entity key for what a person wrote.

    Raises:
        ValueError: says what is wrong with it and how to write one.
    """
    written = without_invisible(text).strip()
    kind, separator, name = written.partition(":")
    if written.startswith(("$", "＄")):
        return _checked(text, "ticker", entity_text.normalise_ticker(written.replace("＄", "$")))
    if written.startswith(("#", "＃")):
        return _parse_tag(text, written)
    if written.startswith(("@", "＠", "did:")):
        return _checked(text, "mention", entity_text.normalise_handle(written))
    if written.lower().startswith(("http://", "https://")):
        return _checked(text, "domain", entity_text.url_domain(written))
    if separator:
        return _parse_name(text, kind.strip().lower(), name.strip())
    if "." in written:
        return _checked(text, "domain", entity_text.url_domain(written))
    raise ValueError(f"{text!r} is no entity: {_HOW_TO_WRITE}")


def _parse_name(text: str, kind: str, name: str) -> str:
    match kind:
        case "ticker":
            return _checked(text, kind, entity_text.normalise_ticker(name.upper()))
        case "hashtag":
            return _parse_tag(text, name)
        case "mention":
            return _checked(text, kind, entity_text.normalise_handle(name))
        case "domain":
            return _checked(text, kind, entity_text.url_domain(name))
        case "name":
            return _checked(text, kind, " ".join(name.split()) if name.isprintable() else None)
        case _:
            raise ValueError(f"{text!r} has an unknown kind of entity, {kind!r}: {_HOW_TO_WRITE}")


def _parse_tag(text: str, tag: str) -> str:
    ticker = entity_text.cashtag(tag)
    if ticker is not None:
        return _checked(text, "ticker", ticker)
    return _checked(text, "hashtag", entity_text.normalise_tag(tag))


def _checked(text: str, kind: EntityKind, name: str | None) -> str:
    if not name:
        raise ValueError(f"{text!r} is no {kind}: {_HOW_TO_WRITE}")
    key = f"{kind}:{name}"
    if len(key) > MAX_KEY_CHARS:
        raise ValueError(f"{text[:40]!r}… is too long for a {kind}: {MAX_KEY_CHARS} characters are the limit")
    return key


class EntityExtractor:
    """Finds the entities of posts. Build it once: it compiles its watch list.

    Raises:
        ValueError: a line of the watch list cannot work; the message names all that cannot.
    """

    def __init__(self, watch_list: Iterable[str] = ()) -> None:
        """`watch_list`: lines `Canonical | alias | alias`."""
        names = parse_watch_list(watch_list)
        self._names = NameMatcher(names) if names else None

    def extract(
        self, text: str, facets: Sequence[Facet] = (), *, tags: Sequence[str] = (), links: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """Entity keys of a post: sorted, without repeats, at most `MAX_ENTITIES`. Never raises on any text.

        Args:
            facets: what the record says about stretches of its text. A facet whose offsets lie outside the text
                still says what it says; the scan then does not know what to leave out.
            tags: hashtags of the record that are not in its text.
            links: URLs attached to the post.
        """
        spoken = text
        stated: list[str] = []
        if facets:
            stated, spoken, text = _read_facets(text, facets)
        text, spoken = without_invisible(text).replace("＄", "$"), without_invisible(spoken)
        keys: dict[str, None] = {}
        for key in chain(stated, _record_keys(tags, links), self._text_keys(text, spoken)):
            if len(key) <= MAX_KEY_CHARS:
                keys[key] = None
                if len(keys) >= MAX_ENTITIES:
                    break
        return tuple(sorted(keys))

    def _text_keys(self, text: str, spoken: str) -> Iterator[str]:
        if "`" in text:
            text = _CODE.sub(" ", text)
        if "://" in text or "www." in text or "WWW." in text:
            for domain in entity_text.find_urls(text):
                yield f"domain:{domain}"
            text, spoken = entity_text.without_urls(text), entity_text.without_urls(spoken)
        if bare := entity_text.find_bare_domains(text):
            yield from (f"domain:{domain}" for domain in bare)
            spoken = entity_text.without_bare_domains(spoken)
        if "$" in text:
            for ticker in entity_text.find_cashtags(text):
                yield f"ticker:{ticker}"
        if "#" in text or "＃" in text:
            for tag in entity_text.find_hashtags(text):
                yield f"hashtag:{tag}"
        if "@" in text or "＠" in text:
            for handle in entity_text.find_mentions(text):
                yield f"mention:{handle}"
        if self._names is not None:
            for name in self._names.find(spoken):
                yield f"name:{name}"


def _record_keys(tags: Iterable[str], links: Iterable[str]) -> Iterator[str]:
    for tag in tags:
        if (key := _tag_key(tag)) is not None:
            yield key
    for link in links:
        if (domain := entity_text.url_domain(link)) is not None:
            yield f"domain:{domain}"


def _read_facets(text: str, facets: Iterable[Facet]) -> tuple[list[str], str, str]:
    """Return the keys of the facets, the text without links and mentions, and the text without all that has a key.

    A name in a hashtag is said, a name in a URL is not. A facet without a key (another vendor's, or a tag with a
    space in it) states nothing: the text under it is scanned.
    """
    keys: list[str] = []
    links: list[FacetIndex] = []
    ranges: list[FacetIndex] = []
    for facet in facets:
        found = [key for feature in facet.features if (key := _feature_key(feature)) is not None]
        if found:
            keys += found
            ranges.append(facet.index)
            if any(feature.uri is not None or feature.did is not None for feature in facet.features):
                links.append(facet.index)
    return keys, _blank(text, links), _blank(text, ranges)


def _feature_key(feature: Feature) -> str | None:
    if feature.tag is not None:
        return _tag_key(feature.tag)
    if feature.did is not None:
        did = entity_text.normalise_handle(feature.did)
        return None if did is None else f"mention:{did}"
    if feature.uri is not None:
        domain = entity_text.url_domain(feature.uri)
        return None if domain is None else f"domain:{domain}"
    return None


def _tag_key(tag: str) -> str | None:
    """Return the key of a tag that a record states: a ticker where it is written with a `$`."""
    ticker = entity_text.cashtag(tag)
    if ticker is not None:
        return f"ticker:{ticker}"
    name = entity_text.normalise_tag(tag)
    return None if name is None else f"hashtag:{name}"


def _blank(text: str, ranges: Sequence[FacetIndex]) -> str:
    if not ranges:
        return text
    encoded = text.encode("utf-8", "replace")
    kept: list[bytes] = []
    position = 0
    for index in sorted(ranges, key=lambda r: r.byte_start):
        if 0 <= index.byte_start < index.byte_end <= len(encoded) and index.byte_end > position:
            kept.append(encoded[position : max(position, index.byte_start)])
            position = index.byte_end
    kept.append(encoded[position:])
    return b" ".join(kept).decode("utf-8", "replace")
