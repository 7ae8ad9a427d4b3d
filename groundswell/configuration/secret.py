"""A value that must not be seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from groundswell.configuration.redaction import hide


class Secret:
    """Holds a text that never shows in a log, a traceback or a serialised struct. `reveal` hands it out.

    Where it gets into a message all the same, `redaction.redact` takes it out.

    `again` reads it anew from where it is kept, and raises ValueError where that fails.
    """

    __slots__ = ("_again", "_text")

    def __init__(self, text: str, again: Callable[[], str] | None = None) -> None:
        self._text = text
        hide(text)
        self._again = again

    def reveal(self) -> str:
        return self._text

    def reveal_anew(self) -> str:
        """The secret as it is now, which may have been rotated; as it was where it is kept nowhere else.

        Blocks: it may ask over the network. Raises ValueError where it cannot be read.
        """
        return self._text if self._again is None else self._again()

    def changed(self, change: Callable[[str], str]) -> Secret:
        """The secret that `change` makes of this one, now and whenever it is read anew. Raises what `change` raises."""
        again = self._again
        return Secret(change(self._text), None if again is None else lambda: change(again()))

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret is not pickled: hand it over in the environment.")
