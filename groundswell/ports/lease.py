"""The right to read a source, which one relay has at a time."""

from __future__ import annotations

from typing import Protocol


class SourceLease(Protocol):
    async def take(self) -> bool:
        """Whether this process holds the lease now. Takes it where nobody does, and confirms it where this one does.

        Raises:
            StoreUnavailable: whoever grants it cannot be reached, and may have granted it to another meanwhile.
        """
        ...

    async def release(self) -> None:
        """Let another have it. Does nothing where it is not held."""
        ...
