"""Notices when what a source sends cannot be read, and names what came and what is expected."""

from __future__ import annotations

from typing import Final

from groundswell.core.jetstream import BAD_TIME, COMPRESSED, IGNORED_REASONS, MALFORMED, OVERSIZED
from groundswell.core.posts import Decoded, Ignored

FIRST_FRAMES: Final = 5
"""So many frames of which none could be read, from the start on, are no accident."""
FRAMES_IN_A_ROW: Final = 20
"""The same later on."""
SHOWN_BYTES: Final = 60
EXPECTED: Final = (
    'Expected are frames of Jetstream v1 such as {"did":"did:plc:…","time_us":1764400000000000,"kind":"commit",'
    '"commit":{…}}; docs/recordings.md lists the forms that a recording may have'
)

_REASONS = frozenset({MALFORMED, OVERSIZED, COMPRESSED, BAD_TIME})


class UnreadableFrames:
    """Counts the frames of one source that could not be read."""

    def __init__(self) -> None:
        self.readable = 0
        self.unreadable = 0
        self._in_a_row = 0
        self._reason = MALFORMED
        self._first = b""

    def note(self, raw: bytes, decoded: Decoded) -> bool:
        """Count a frame; return whether it is the one with which `none_readable` becomes true."""
        if not isinstance(decoded, Ignored) or decoded.reason not in _REASONS:
            self.readable += 1
            self._in_a_row = 0
            return False
        if not self._first:
            self._first, self._reason = raw[:SHOWN_BYTES], decoded.reason
        self.unreadable += 1
        before = self.none_readable
        self._in_a_row += 1
        return self.none_readable and not before

    @property
    def none_readable(self) -> bool:
        """Whether nothing that came lately could be read."""
        return self._in_a_row >= (FRAMES_IN_A_ROW if self.readable else FIRST_FRAMES)

    def lately(self, source: str) -> str:
        """Return what `none_readable` means, as a sentence."""
        which = "the last" if self.readable else "the first"
        return f"None of {which} {self._in_a_row:,} frames of {source} can be read: {self._sample()}"

    def at_the_end(self, source: str) -> str | None:
        """Return what to say of a recording that was played; None where all is well."""
        total = self.readable + self.unreadable
        if total == 0:
            return f"{source} holds no frames: it is empty. {EXPECTED}"
        if self.unreadable == 0:
            return None
        return f"{self.unreadable:,} of the {total:,} frames of {source} cannot be read: {self._sample()}"

    def _sample(self) -> str:
        return f"{IGNORED_REASONS[self._reason]}. The first begins with {shown(self._first)}. {EXPECTED}"


def shown(raw: bytes) -> str:
    """Return bytes in quotes, of printable ASCII alone: fit for a log line whatever they are."""
    try:
        return '"' + ascii(raw.decode("utf-8"))[1:-1] + '"'
    except UnicodeDecodeError:
        return '"' + repr(raw)[2:-1] + '"'
