"""Clients that are told as it happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

import msgspec

from groundswell.core.message_budget import Allowance
from groundswell.core.posts import Micros, Post
from groundswell.ports.storing import Event


class Broadcaster(Protocol):
    """Where frames leave for the screens: the local hub, or API Gateway."""

    async def publish(self, events: Sequence[Event]) -> None:
        """Hand the events over. Never blocks on a slow client and never raises for one."""
        ...

    async def preview(self, posts: Sequence[Post], deleted: Sequence[str], ts: Micros) -> None:
        """Show what is not stored yet, because the store is away. It is published again once it is stored."""
        ...


class ClientGone(Exception):
    """The client closed its socket or lost its connection."""


class ClientSocket(Protocol):
    """One accepted WebSocket, whatever server holds it."""

    async def receive(self) -> str:
        """The next text frame. Raises `ClientGone`."""
        ...

    async def send(self, text: str) -> None:
        """Returns once the transport has taken it, so a slow client makes it wait. Raises `ClientGone`."""
        ...

    async def close(self, code: int, reason: str) -> None: ...


class RemoteClient(msgspec.Struct, frozen=True):
    """A client whose socket is held elsewhere, as the registry knows it."""

    connection_id: str
    topics: tuple[str, ...] = ()
    paused_at: int | None = None
    """The `seq` up to which everything had been sent when it paused; None while it is not paused."""
    greeted_at: int | None = None
    """The newest `seq` when it was greeted; None before its first frame."""
    signed_in: bool = False
    """Whether it brought an API key."""


class ConnectionRegistry(Protocol):
    """Who is connected where sockets are held elsewhere. Every method raises `StoreUnavailable`."""

    async def add(self, connection_id: str, *, signed_in: bool = False) -> None: ...

    async def remove(self, connection_ids: Sequence[str]) -> None: ...

    async def update(self, connection_id: str, change: Callable[[RemoteClient, int], RemoteClient]) -> None:
        """Store what `change` makes of the client, given the newest `seq`. Frames of one client come one by one.

        A client that is not known yet is added: its connecting may have been lost.
        """
        ...

    async def greeted(self, limit: int) -> Sequence[RemoteClient]:
        """Everybody who has been greeted, the longest connected first."""
        ...

    async def look_up(self, connection_ids: Sequence[str]) -> Sequence[RemoteClient]:
        """Those of the given who are there and have been greeted."""
        ...

    def changes(self, stop: asyncio.Event) -> AsyncIterator[frozenset[str]]:
        """The ids of clients that have changed, as soon as they do, until `stop`. An empty set asks to read all.

        Begins with an empty set, and yields one again after every interruption: changes may have been missed.
        """
        ...

    async def spend(self, messages: int) -> Allowance:
        """Add to what this month has cost; answers the sum and how long the month lasts."""
        ...


class RemoteGone(Exception):
    """The far end says that there is no such connection any more."""


class RemoteThrottled(Exception):
    """The far end takes no more for now. `retry_after_s` is None where it does not say for how long."""

    def __init__(self, retry_after_s: float | None = None) -> None:
        super().__init__("too many messages for the moment")
        self.retry_after_s = retry_after_s


class RemoteSender(Protocol):
    """Sends to sockets that are held elsewhere, over connections that are kept alive."""

    async def post(self, connection_id: str, frame: str) -> None:
        """Return once the far end has taken the frame.

        Raises:
            RemoteGone: nobody is there any more.
            RemoteThrottled: too many messages.
            OSError: it could not be reached, or answered with a failure of its own.
        """
        ...

    async def disconnect(self, connection_id: str) -> None:
        """Close the client's socket. Raises as `post` does."""
        ...


class Hub(Broadcaster, Protocol):
    """A broadcaster that holds the clients' sockets itself."""

    @property
    def full(self) -> bool:
        """Whether it takes no more clients for now."""
        ...

    async def attend(self, socket: ClientSocket, *, signed_in: bool = False) -> None:
        """Serve one client until it leaves or is sent away. Never raises for what the client does.

        `signed_in`: it brought an API key, and is sent what authors keep from all others.
        """
        ...
