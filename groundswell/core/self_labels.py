"""What authors say of their own posts and profiles: `com.atproto.label.defs#selfLabels`.

`!no-unauthenticated` asks to be shown to signed-in readers only. What is adult or graphic is shown behind a choice.
Labels that others put on posts (labelers, moderators) come by another stream, which is not read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

NO_UNAUTHENTICATED: Final = "!no-unauthenticated"
FOLDED: Final = frozenset({"porn", "sexual", "nudity", "graphic-media"})
"""Labels of what a page folds."""
MAX_LABELS: Final = 10
"""Of one record, as the lexicon has it."""
MAX_LABEL_CHARS: Final = 128


def labels_of(values: Iterable[str | None]) -> tuple[str, ...]:
    """Return the labels among `values`, sorted, each once. What cannot be one is left out; so is what goes beyond
    `MAX_LABELS`, except a request to be kept from readers who are not signed in.
    """
    found = {value for value in values if value and len(value) <= MAX_LABEL_CHARS and _is_label(value)}
    first = sorted(found, key=lambda label: (label != NO_UNAUTHENTICATED, label))[:MAX_LABELS]
    return tuple(sorted(first))


def is_restricted(labels: Iterable[str]) -> bool:
    """Whether these labels ask to be kept from readers who are not signed in."""
    return NO_UNAUTHENTICATED in labels


def _is_label(value: str) -> bool:
    return value.isascii() and value.isprintable() and " " not in value
