"""Named places between two durable steps where a drill can make this process die, as if it had been killed there.

Nothing dies unless `arm` was called with a name, which only GROUNDSWELL_CRASH_POINT does. Every place is a member of
`CrashPoint`, so that tests and drills walk all of them: whatever is added here is crashed at.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from enum import Enum, unique
from typing import ClassVar

EXIT_CODE = 137
"""What a shell reports for SIGKILL, which is what a crash point stands for."""


@unique
class CrashPoint(Enum):
    """The value is `service:place`. Each says what is durable there and what is not yet."""

    MOVER_AFTER_CLAIM = "mover:after-claim"
    """The claim is committed; nothing is written."""
    MOVER_AFTER_FILE = "mover:after-file"
    """The Parquet file is in the archive; its manifest is not."""
    MOVER_AFTER_MANIFEST = "mover:after-manifest"
    """File and manifest are in the archive; nothing has been read back, and every post is still in Postgres."""
    MOVER_BEFORE_RELEASE = "mover:before-release"
    """The file is verified, and the transaction that takes its posts out of Postgres is open."""
    MOVER_AFTER_RELEASE = "mover:after-release"
    """The posts have left Postgres; the next file is not begun."""
    MOVER_AFTER_DISCARD = "mover:after-discard"
    """A file that nobody needs is deleted from the archive; Postgres still knows of it."""
    MOVER_BEFORE_SETTLE = "mover:before-settle"
    """Withdrawn posts are read from their file; they are still counted."""
    MOVER_AFTER_SETTLE = "mover:after-settle"
    """They are subtracted, and that is remembered; the next file is not begun."""
    RESTORE_AFTER_FILE = "restore:after-file"
    """The posts of one file are back in Postgres; the file is still in the archive."""

    FORGET_REMEMBERED = "forget:remembered"
    """Nothing of the author is stored any more; all that was is still there."""
    FORGET_SOME_POSTS = "forget:some-posts"
    """Some posts have left Postgres with their counts; the vector index still has them."""
    FORGET_FILE_WRITTEN = "forget:file-written"
    """A file without the author's posts is in the archive; the one with them is still in use."""
    FORGET_FILE_REPLACED = "forget:file-replaced"
    """The new file is in use; the old one is still in the archive."""
    FORGET_VECTORS_REMOVED = "forget:vectors-removed"
    """The index has none of the posts; the outbox still says that they are to go."""

    RELAY_AFTER_COMMIT = "relay:after-commit"
    """Work is stored; whoever handed it over does not know yet."""
    RELAY_SPOOL_WRITTEN = "relay:spool-written"
    """A record is in a segment of the spool, and not synced to the disk."""
    RELAY_SPOOL_SYNCED = "relay:spool-synced"
    """A record of the spool is durable; whoever handed it over does not know yet."""
    RELAY_DRAIN_STORED = "relay:drain-stored"
    """Work from the spool is stored; the spool's position has not moved past it."""
    RELAY_DRAIN_MOVED = "relay:drain-moved"
    """The spool's position has moved; a segment that is drained by that is still there."""

    @property
    def service(self) -> str:
        """Which service reaches it: `mover`, `relay`, ..."""
        return self.value.partition(":")[0]


class _Armed:
    """What this process was told to die at. One for each process, as its death is."""

    point: ClassVar[CrashPoint | None] = None
    time: ClassVar[int] = 1
    reached: ClassVar[Counter[CrashPoint]] = Counter()


def parse(text: str) -> tuple[CrashPoint, int]:
    """`mover:after-manifest`, or `mover:after-manifest@3` for the third time that it is reached.

    Raises:
        ValueError: there is no such place; the text lists those that there are.
    """
    name, _, time = text.partition("@")
    known = {point.value: point for point in CrashPoint}
    if name not in known or (time != "" and not re.fullmatch(r"[1-9]\d{0,8}", time)) or text.endswith("@"):
        raise ValueError(
            f"{text!r} is no crash point. Set one of {', '.join(sorted(known))}; "
            "add @3 for the third time that it is reached."
        )
    return known[name], int(time or 1)


def arm(text: str | None) -> None:
    """Die at the place that `text` names; None disarms. Raises ValueError as `parse` does."""
    _Armed.point, _Armed.time = parse(text) if text else (None, 1)
    _Armed.reached.clear()


def reach(point: CrashPoint) -> None:
    """Say that this place is reached. Costs a comparison, unless it is where this process was told to die.

    Dying skips everything that a killed process skips: no `finally`, no flush, no farewell to the database.
    """
    if point is not _Armed.point:
        return
    _Armed.reached[point] += 1
    if _Armed.reached[point] == _Armed.time:
        os.write(2, f"Dying at the crash point {point.value}, as told by GROUNDSWELL_CRASH_POINT.\n".encode())
        os._exit(EXIT_CODE)
