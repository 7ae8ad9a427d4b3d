"""How the world writes: lines with slots, compiled so that a post costs a few microseconds.

A line is text with marks in braces. The first letter of a mark says what it is:
`{#Tag}` hashtag, `{$BTC}` cashtag, `{@handle}` mention of a known account, `{=Name}` watch-list name,
`{~host/path}` link; anything else names a list of fillers. Nothing else in a line may look like an entity: what a
post mentions is known from its marks alone, which is what makes the world an oracle for extractors.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from groundswell.adapters.simulator.chance import author_dids

TABLE_SIZE = 256
"""Entries of a slot's table: eight bits of the post's hash choose one."""

Filler: TypeAlias = tuple[str, int, str | None, str | None, str | None]
"""(text as JSON, its UTF-8 bytes, entity key or None, facet feature as JSON or None, link card as JSON or None)"""
Slot: TypeAlias = tuple[str, int, list[Filler], int]
"""(literal before it as JSON, its UTF-8 bytes, table, shift into the hash)"""
Rendered: TypeAlias = tuple[str, str, str, tuple[str, ...]]
"""(text as JSON, `"facets":[…],` or nothing, link card or nothing, sorted entity keys)"""

HANDLES = (
    "harborledger.example", "meridianmetro.example", "tidewatch.bsky.social", "lumavale.bsky.social",
    "northgateutd.bsky.social", "openweave.bsky.social", "skywardobs.bsky.social", "mara-writes.bsky.social",
    "quietcharts.bsky.social", "kitchenkofi.bsky.social", "saturnine.bsky.social", "yuki-tabi.bsky.social",
    "profdelgado.bsky.social", "gridnerd.bsky.social", "ana-ciencia.bsky.social", "rooftopgarden.bsky.social",
)  # fmt: skip
"""The best-known accounts: author number n has the n-th handle."""

_MARK = re.compile(r"\{([^{}]+)\}")
_WITH_FACET = 176
"""Entries of 256 whose hashtag, link or mention comes with a facet; the rest is bare text."""


class Template(msgspec.Struct, frozen=True):
    """A compiled line."""

    slots: tuple[Slot, ...]
    tail: str
    lang: str

    def render(self, bits: int) -> Rendered:
        """Fill the slots by the bits of one 64-bit hash."""
        out: list[str] = []
        facets: list[str] = []
        entities: list[str] = []
        card = ""
        at = 0
        for literal, size, table, shift in self.slots:
            text, length, entity, feature, link = table[(bits >> shift) & 255]
            out.append(literal)
            out.append(text)
            if entity is not None:
                entities.append(entity)
                if feature is not None:
                    start = at + size
                    facets.append(
                        f'{{"features":[{feature}],"index":{{"byteEnd":{start + length},"byteStart":{start}}}}}'
                    )
                    if link is not None:
                        card = link
            at += size + length
        out.append(self.tail)
        if not entities:
            return "".join(out), "", "", ()
        keys = tuple(sorted(set(entities))) if len(entities) > 1 else (entities[0],)
        return "".join(out), f'"facets":[{",".join(facets)}],' if facets else "", card, keys

    def chances(self) -> Mapping[str, float]:
        """How likely each entity is in one post from this line, to first order."""
        found: Counter[str] = Counter()
        for _, _, table, _ in self.slots:
            found.update(filler[2] for filler in table if filler[2] is not None)
        return {entity: n / TABLE_SIZE for entity, n in found.items()}


def compile_line(line: str, lang: str, lists: Mapping[str, Sequence[Filler]]) -> Template:
    """Compile one line. `lists` maps a filler list's name to its table of 256.

    Raises:
        KeyError: the line names a list that does not exist.
    """
    slots: list[Slot] = []
    pieces = _MARK.split(line)
    for number, (literal, mark) in enumerate(zip(pieces[0::2], pieces[1::2], strict=False)):
        kind = _MARKS.get(mark[0])
        table = lists[mark] if kind is None else kind(mark[1:])
        slots.append((_escaped(literal), len(literal.encode()), list(table), 8 * number))
    assert len(slots) <= 8, f"a hash has bits for eight slots: {line}"
    return Template(tuple(slots), _escaped(pieces[-1]), lang)


def filler_table(texts: Sequence[str], *, zipf: bool = False) -> list[Filler]:
    """A table of 256 from filler texts: evenly, or the first ones more often. A text may be one whole mark."""
    weights = [1 / (n + 2) if zipf else 1.0 for n in range(len(texts))]
    total = sum(weights)
    table: list[Filler] = []
    reached = 0.0
    for text, weight in zip(texts, weights, strict=True):
        reached += weight
        count = round(TABLE_SIZE * reached / total) - len(table)
        table.extend(_variants(text, count))
    return table


def hashtag_key(tag: str) -> str:
    """The entity key of a hashtag without its sign."""
    return "hashtag:" + unicodedata.normalize("NFKC", tag).casefold()


def mark_of(entity: str) -> str:
    """The mark that writes an entity key.

    Raises:
        ValueError: not an entity that the world can write.
    """
    kind, _, name = entity.partition(":")
    sign = {"ticker": "$", "hashtag": "#", "domain": "~", "name": "="}.get(kind)
    if sign is None or not name:
        raise ValueError(
            f"the world cannot write {entity!r}: name a ticker, hashtag, domain or watch-list name, "
            "for example ticker:BTC"
        )
    return "{" + sign + name + "}"


def _variants(text: str, count: int) -> list[Filler]:
    mark = _MARK.fullmatch(text)
    if mark is None:
        return [(_escaped(text), len(text.encode()), None, None, None)] * count
    table = _MARKS[mark[1][0]](mark[1][1:])
    return [table[n * TABLE_SIZE // count] for n in range(count)]


def _hashtag(tag: str) -> list[Filler]:
    feature = f'{{"$type":"app.bsky.richtext.facet#tag","tag":"{_escaped(tag)}"}}'
    return _two_ways(f"#{tag}", f"#{tag}", hashtag_key(tag), feature)


def _cashtag(ticker: str) -> list[Filler]:
    return [(f"${ticker}", len(ticker) + 1, f"ticker:{ticker.upper()}", None, None)] * TABLE_SIZE


def _name(name: str) -> list[Filler]:
    return [(_escaped(name), len(name.encode()), f"name:{name}", None, None)] * TABLE_SIZE


def _mention(handle: str) -> list[Filler]:
    did = author_dids(len(HANDLES))[HANDLES.index(handle)]
    feature = f'{{"$type":"app.bsky.richtext.facet#mention","did":"{did}"}}'
    text = f"@{handle}"
    with_facet = (text, len(text), f"mention:{did}", feature, None)
    return _mixed(with_facet, (text, len(text), f"mention:{handle}", None, None))


def _link(address: str) -> list[Filler]:
    host, _, path = address.partition("/")
    url = f"https://{address}"
    shown = address if len(path) <= 13 else f"{host}/{path[:12]}..."
    feature = f'{{"$type":"app.bsky.richtext.facet#link","uri":"{url}"}}'
    title = path.rsplit("/", 1)[-1].replace("-", " ").capitalize() or host
    card = (
        f'"embed":{{"$type":"app.bsky.embed.external","external":{{"description":"","title":"{title}",'
        f'"uri":"{url}"}}}},'
    )
    return _two_ways(shown, url, "domain:" + host.removeprefix("www."), feature, card)


def _two_ways(shown: str, bare: str, entity: str, feature: str, card: str | None = None) -> list[Filler]:
    with_facet = (_escaped(shown), len(shown.encode()), entity, feature, card)
    return _mixed(with_facet, (_escaped(bare), len(bare.encode()), entity, None, None))


def _mixed(with_facet: Filler, bare: Filler) -> list[Filler]:
    return [with_facet] * _WITH_FACET + [bare] * (TABLE_SIZE - _WITH_FACET)


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


_MARKS: Mapping[str, Callable[[str], list[Filler]]] = {
    "#": _hashtag,
    "$": _cashtag,
    "@": _mention,
    "=": _name,
    "~": _link,
}
