"""Timestamp identifiers of the AT Protocol (TID): when something was made, by the clock of whoever made it.

13 characters of the base32-sortable alphabet: a zero bit, 53 bits of microseconds since 1970, 10 bits of a clock's
number.
"""

from __future__ import annotations

from typing import Final

from groundswell.core.cursor import is_plausible
from groundswell.core.posts import Micros

LENGTH: Final = 13
_VALUES = {letter: value for value, letter in enumerate("234567abcdefghijklmnopqrstuvwxyz")}


def tid_instant(text: str) -> Micros | None:
    """Return the instant in a TID; None where the text is none, or names an instant outside 2010 to 2100."""
    if len(text) != LENGTH:
        return None
    value = 0
    for letter in text:
        digit = _VALUES.get(letter)
        if digit is None:
            return None
        value = value << 5 | digit
    at = value >> 10
    return at if is_plausible(at) else None
