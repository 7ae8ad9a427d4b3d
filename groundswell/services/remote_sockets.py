"""WebSocket clients whose sockets are held elsewhere: what happens when one connects, speaks and leaves.

Each call is one event of API Gateway, handled by whatever process it reaches; what has to be remembered is in the
registry. Frames for everybody are sent by the relay's broadcaster.
"""

from __future__ import annotations

import logging

import msgspec

from groundswell.core.frames import Frame, encode_frame
from groundswell.core.subscriptions import CLIENT_FRAME_LIMIT_BYTES, ClientSession, parse_topic
from groundswell.errors import StoreUnavailable, Unauthorized
from groundswell.ports.live import ConnectionRegistry, RemoteClient, RemoteGone, RemoteSender, RemoteThrottled
from groundswell.ports.reading import KeyStore, ReadStore
from groundswell.ports.time import Clock

log = logging.getLogger(__name__)

TRIES = 4
RETRY_S = 0.25


class RemoteSockets:
    """One for each process.

    Args:
        version, heartbeat_s: as the greeting tells them.
        token_required: whether a client must bring an API key. One that is brought has to be right in any case.
    """

    def __init__(
        self,
        registry: ConnectionRegistry,
        sender: RemoteSender,
        reads: ReadStore,
        keys: KeyStore,
        clock: Clock,
        *,
        version: str,
        heartbeat_s: float,
        token_required: bool = False,
    ) -> None:
        self._registry = registry
        self._sender = sender
        self._reads = reads
        self._keys = keys
        self._clock = clock
        self._version = version
        self._heartbeat_s = heartbeat_s
        self._token_required = token_required

    async def connect(self, connection_id: str, token: str | None) -> None:
        """Take a client in. It is greeted when it first speaks: before that nothing can be sent to it.

        Raises:
            Unauthorized: the token is not a known API key, or there is none where one is required.
            StoreUnavailable: Postgres cannot be reached.
        """
        if token is None and self._token_required:
            raise Unauthorized("This WebSocket needs an API key: add ?token=… to its address.")
        if token is not None and not await self._keys.knows(token):
            raise Unauthorized("The token is not a known API key. `groundswell keys list` shows those there are.")
        await self._registry.add(connection_id, signed_in=token is not None)

    async def disconnect(self, connection_id: str) -> None:
        """Forget a client. Raises `StoreUnavailable`."""
        await self._registry.remove([connection_id])

    async def hear(self, connection_id: str, text: str) -> None:
        """Take a client's frame and answer it; greet the client first if it was not. Never raises for what it sent.

        Raises:
            StoreUnavailable: Postgres cannot be reached; the client has been told.
            OSError: the answer could not be sent.
        """
        if len(text.encode()) > CLIENT_FRAME_LIMIT_BYTES:
            message = f"client frames have at most {CLIENT_FRAME_LIMIT_BYTES} bytes"
            await self._answer(connection_id, [Frame("error", {"code": "FrameTooBig", "message": message})], seq=None)
            await self._sender.disconnect(connection_id)
            return
        frames: list[Frame] = []
        newest, greeted = 0, False

        def change(client: RemoteClient, seq: int) -> RemoteClient:
            nonlocal newest, greeted
            newest, greeted = seq, client.greeted_at is not None
            topics = frozenset(parse_topic(topic, signed_in=client.signed_in) for topic in client.topics)
            session = ClientSession(topics, paused_at=client.paused_at, signed_in=client.signed_in)
            frames.extend(session.receive(text, seq=seq))
            return msgspec.structs.replace(
                client,
                topics=tuple(sorted(topic.text for topic in session.topics)),
                paused_at=session.paused_at,
                greeted_at=client.greeted_at if greeted else seq,
            )

        try:
            await self._registry.update(connection_id, change)
            hello = [] if greeted else [await self._hello(newest)]
        except StoreUnavailable as error:
            told = Frame("error", {"code": "Unavailable", "message": error.detail})
            await self._answer(connection_id, [told], seq=None)
            raise
        await self._answer(connection_id, [*hello, *frames], seq=newest)
        # What came in is billed like what goes out.
        await self._registry.spend(1 + len(hello) + len(frames))

    async def _hello(self, seq: int) -> Frame:
        status = await self._reads.status()
        return Frame(
            "hello",
            {
                "version": self._version,
                "seq": seq,
                "degraded": list(status.degraded),
                "heartbeat_interval_s": self._heartbeat_s,
            },
        )

    async def _answer(self, connection_id: str, frames: list[Frame], *, seq: int | None) -> None:
        now = self._clock.now()
        for frame in frames:
            try:
                await self._post(connection_id, encode_frame(frame, seq=seq, ts=now).decode())
            except RemoteGone:
                await self._registry.remove([connection_id])
                return

    async def _post(self, connection_id: str, text: str) -> None:
        for number in range(TRIES):
            try:
                await self._sender.post(connection_id, text)
            except RemoteThrottled as throttled:
                if number == TRIES - 1:
                    raise ConnectionError("API Gateway takes no more messages for now") from throttled
                await self._clock.sleep(throttled.retry_after_s or RETRY_S * 2**number)
            else:
                return
