"""Names to watch for in posts: people, companies, places that nobody writes with a `$` or a `#`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from groundswell.core.entity_text import word_class
from groundswell.core.text.folding import fold_case

# Scripts that put no space between words: names in them are found anywhere, not at word boundaries.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


def parse_watch_list(lines: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Read lines `Canonical | alias | alias`; empty lines and lines that start with `# ` are skipped.

    Returns:
        Aliases by canonical name, the canonical name first among them.

    Raises:
        ValueError: names every line that cannot work, and why.
    """
    names: dict[str, tuple[str, ...]] = {}
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith(("# ", "#\t")):
            continue
        parts = [" ".join(part.split()) for part in line.split("|")]
        canonical = parts[0]
        where = f"line {number} of the watch list ({line.strip()!r})"
        if not all(parts):
            problems.append(f"{where} has an empty name between its bars: write `Canonical | alias | alias`")
        elif canonical in names:
            problems.append(f"{where} names {canonical!r} again: put all its aliases in one line")
        elif any(len(alias) > 100 or not alias.isprintable() for alias in parts):
            problems.append(f"{where} has a name over 100 characters or with control characters in it")
        elif any(not any(ch.isalnum() for ch in alias) for alias in parts):
            problems.append(f"{where} has an alias without a letter or digit: it would be found everywhere")
        else:
            names[canonical] = tuple(dict.fromkeys(parts))
    if problems:
        raise ValueError("\n".join(problems))
    return names


class NameMatcher:
    """Finds the names of a watch list in a text, whatever its size: the cost is that of splitting the text into words.

    A name of one word is one look-up. A name of several is looked for only where its longest word occurs. Names in
    scripts without spaces are one pattern, compiled as a tree of common beginnings.
    """

    def __init__(self, names: dict[str, tuple[str, ...]]) -> None:
        self._words = re.compile(f"[{word_class()}]+")
        self._single: dict[str, list[str]] = {}
        self._several: dict[str, list[tuple[str, str]]] = {}
        self._unspaced: dict[str, list[str]] = {}
        for canonical, aliases in names.items():
            for alias in aliases:
                self._add(canonical, fold_case(alias))
        self._watched = frozenset(self._single) | frozenset(self._several)
        self._tree = re.compile(_tree_pattern(self._unspaced)) if self._unspaced else None

    def _add(self, canonical: str, alias: str) -> None:
        if _UNSPACED.search(alias):
            self._unspaced.setdefault(alias, []).append(canonical)
            return
        words: list[str] = self._words.findall(alias)
        if words == [alias]:
            self._single.setdefault(alias, []).append(canonical)
        else:
            self._several.setdefault(max(words, key=len), []).append((alias, canonical))

    def find(self, text: str) -> Iterator[str]:
        """Canonical names that occur in the text; one that has several aliases there may come more than once."""
        if not self._watched and self._tree is None:
            return
        folded = fold_case(text)
        if said := self._watched.intersection(self._words.findall(folded)):
            spaced = " ".join(folded.split())
            for word in sorted(said):
                yield from self._single.get(word, ())
                for alias, canonical in self._several.get(word, ()):
                    if self._occurs(alias, spaced):
                        yield canonical
        if self._tree is not None and not folded.isascii():
            for match in self._tree.finditer(folded):
                yield from self._unspaced[match[0]]

    def _occurs(self, alias: str, text: str) -> bool:
        """Whether the alias stands in the text with no word character on either side."""
        start = text.find(alias)
        while start >= 0:
            end = start + len(alias)
            if not self._words.match(text, start - 1, start) and not self._words.match(text, end, end + 1):
                return True
            start = text.find(alias, start + 1)
        return False


def _tree_pattern(words: Iterable[str]) -> str:
    """One pattern for many words, sharing their beginnings, the longest word first."""
    tree: dict[str, dict[str, object]] = {}
    for word in words:
        node: dict[str, object] = tree  # pyright: ignore[reportAssignmentType]
        for ch in word:
            node = node.setdefault(ch, {})  # pyright: ignore[reportAssignmentType]
        node[""] = {}
    return _branch(tree)


def _branch(node: dict[str, dict[str, object]]) -> str:
    choices = [re.escape(ch) + _branch(node[ch]) for ch in sorted(node) if ch]  # pyright: ignore[reportArgumentType]
    if not choices:
        return ""
    joined = choices[0] if len(choices) == 1 else f"(?:{'|'.join(choices)})"
    return f"(?:{joined})?" if "" in node else joined
