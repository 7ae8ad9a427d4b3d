"""Where frames come from."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

from groundswell.core.host_positions import HostPosition
from groundswell.core.posts import Decoded, Micros


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


@runtime_checkable
class HostedSource(Protocol):
    """A `Source` that several hosts serve, each with a clock and numbers of its own.

    Its cursors are instants: when the host saw an event.
    """

    hosts: Sequence[str]
    """The hosts by name, in the order in which they are tried."""
    host: str | None
    """The host of the connection that stands, or stood last."""
    protocol: str | None
    """What that host speaks."""
    version: str | None
    """Of what it speaks."""
    loses_at_cutover: bool
    """Whether that host is known to lose events where a replay meets the present."""

    def resume_from(self, positions: Sequence[HostPosition]) -> None:
        """Take how far each host was read: `connect` chooses the host, and what it is asked for, by that."""
        ...

    def number(self, raw: bytes) -> int | None:
        """The number that the host gave the event in a frame; None where there is none."""
        ...

    def synced_author(self, raw: bytes) -> str | None:
        """The author whose repository the host has read anew, where the frame says so."""
        ...

    def connect_to(self, host: str, at: Micros) -> AbstractAsyncContextManager[Connection]:
        """Open one more connection, to one host, from an instant of its own clock on."""
        ...
