"""Where frames come from."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from groundswell.core.posts import Decoded


class SourceEnded(Exception):
    """A finite source (a recording) has no more frames."""


class FramesMissed(Exception):
    """Something that the source had sent never came, and will not: a hole between two frames of one connection.

    The connection goes on. The text says what is missing.
    """


class Connection(Protocol):
    """One open connection to a source."""

    endpoint: str
    """Where it leads, fit for a log line: never with a secret in it."""

    async def receive(self) -> bytes:
        """The next frame, decompressed.

        Raises:
            SourceEnded: the source is finite and done.
            FramesMissed: something is missing between the frame before and the next one; call again for that.
            Exception: anything else; `core.session.verdict` decides what it means.
        """
        ...

    async def ping(self) -> None:
        """Return once the far end has answered, and all that it had sent before has been received.

        Sources without pings return at once.
        """
        ...


class Source(Protocol):
    """A stream of posts. `decode` is pure and total; `connect` does the I/O."""

    name: str
    """The value of `Post.source`; also the key of cursor, coverage and gaps."""
    can_replay: bool
    """Whether `connect(cursor)` re-sends what came since `cursor`. Final once a connection stands."""
    quiet_after_s: float | None
    """The receive watchdog: this long without a frame means the connection is dead. None where silence is normal."""

    def connect(self, cursor: int | None) -> AbstractAsyncContextManager[Connection]: ...

    def decode(self, raw: bytes) -> Decoded:
        """Never raises on upstream bytes."""
        ...
