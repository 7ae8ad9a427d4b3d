"""Where work waits while the store is away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from groundswell.core.posts import Micros
from groundswell.ports.storing import ResumePoint, Work


class SpoolFull(Exception):
    """The spool takes nothing more for now; the text says whether its own limit or the disk is the reason."""


class Spooled(msgspec.Struct, frozen=True):
    """Work that waits for the store."""

    work: Work
    before: ResumePoint
    """How far the source was known when this work came: what comes before it in the spool leads up to here."""
    spooled_at: Micros
    """By the relay's idea of the store's clock."""


class SpoolItem(msgspec.Struct, frozen=True):
    """One step of draining. `spooled` is None where the spool is damaged: what stood there cannot be read."""

    spooled: Spooled | None
    segment: int
    end: int
    items: int = 0


class Spool(Protocol):
    """Work kept on disk, in order, until the store takes it: bounded, and whole again after any kill."""

    @property
    def max_bytes(self) -> int: ...

    @property
    def depth(self) -> int:
        """Records that wait."""
        ...

    @property
    def items(self) -> int:
        """Posts and deletes in them."""
        ...

    @property
    def size(self) -> int:
        """Bytes on disk."""
        ...

    @property
    def oldest(self) -> Micros | None:
        """`spooled_at` of the record that is next; None when nothing waits or it is not known yet."""
        ...

    @property
    def first(self) -> Spooled | None:
        """As found when the spool was opened: the oldest record that can be read."""
        ...

    @property
    def last(self) -> Spooled | None:
        """As found when the spool was opened: the newest one."""
        ...

    async def append(self, spooled: Spooled) -> None:
        """Return once it is on disk and survives a power cut. Raises `SpoolFull`, and has then kept nothing."""
        ...

    async def read(self) -> Sequence[SpoolItem]:
        """The next items, oldest first; none when nothing waits. Reading again gives what is not `done` again."""
        ...

    def done(self, item: SpoolItem) -> None:
        """The store has taken everything up to and with `item`."""
        ...

    def remember(self, point: ResumePoint, clock_ahead_us: int) -> None:
        """Note what the store has taken, for a start without it. `clock_ahead_us`: its clock before this machine's."""
        ...

    def remembered(self) -> tuple[ResumePoint, int] | None:
        """What was noted last, maybe by an earlier process."""
        ...
