"""How an act says that it did not see what it has to."""

from __future__ import annotations


class Failed(Exception):
    """An act did not see what it has to; the text says what it saw."""


def expect(holds: object, otherwise: object) -> None:
    """Raise Failed with the second argument's text unless the first holds."""
    if not holds:
        raise Failed(str(otherwise))
