"""Unify what readers take for the same text: case, width, composition, and characters without a shape.

Sources: Unicode Standard Annex 15 (normalisation forms), Annex 31 (identifiers, section 2.3 on joiners), and the
property Default_Ignorable_Code_Point of the Unicode Character Database.
"""

from __future__ import annotations

import re
import unicodedata

IGNORABLE = (
    r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Inside of a character class: characters that have no shape of their own. Joiners (U+200C, U+200D) are not in it."""

_IGNORED = re.compile(f"[{IGNORABLE}]+")
# Arabic, Indic and other scripts whose letters change beside a joiner.
_JOINING = r"\u0590-\u109f\u1780-\u18af"
_PICTURES = r"\u2190-\u2bff\U0001f000-\U0001fbff"
_IDLE_JOINERS = re.compile(rf"(?<![{_JOINING}{_PICTURES}])[\u200c\u200d]+|[\u200c\u200d]+(?![{_JOINING}{_PICTURES}])")


def without_invisible(text: str) -> str:
    """Return the text without characters that nobody sees; joiners stay where they shape the letters beside them."""
    if text.isascii():
        return text
    text = _IGNORED.sub("", text)
    return _IDLE_JOINERS.sub("", text) if "\u200c" in text or "\u200d" in text else text


def fold_case(text: str) -> str:
    """Return one writing for all that differ in case, width, composition, or in what nobody sees. Accents stay.

    The Turkish and Azerbaijani pairs I/ı and İ/i are one letter: which of them a capital stands for depends on the
    language, and posts do not say theirs reliably.
    """
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", without_invisible(text)).casefold())
    # İ is folded to i and a combining dot (Unicode, CaseFolding.txt, status F).
    return folded.replace("i\u0307", "i").replace("ı", "i")
