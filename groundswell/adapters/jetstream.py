"""Bluesky's Jetstream over WebSocket, in both of its versions, and anything else that speaks its wire formats."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import zstandard
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidProxy,
    InvalidProxyStatus,
    InvalidStatus,
    InvalidURI,
)
from websockets.frames import CloseCode
from websockets.typing import Subprotocol

from groundswell import __version__
from groundswell.adapters.jetstream_hosts import Asked, JetstreamHost, dictionary_id
from groundswell.core.entities import EntityExtractor
from groundswell.core.host_positions import HostCursor, HostPosition, cursor_for
from groundswell.core.jetstream import COLLECTIONS, MAX_FRAME_BYTES, ZSTD_MAGIC, decode
from groundswell.core.jetstream_messages import (
    MESSAGE_START,
    NSID,
    SUBPROTOCOL,
    Event,
    floor_of,
    peek_seq,
    read_message,
    read_refusal,
)
from groundswell.core.posts import MICROS_PER_SECOND, Decoded, Micros
from groundswell.core.session import STABLE_AFTER_S, ConnectionLost, Fatal, Refused, verdict
from groundswell.errors import SourceFailed

log = logging.getLogger(__name__)

QUIET_AFTER_S = 60.0
OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.0
"""A dead far end never answers the close, and nobody should wait for it."""
HARD_LIMIT = 16
"""Frames up to this many times the limit are received, counted and dropped. Only beyond does the connection close:
closing for less would meet the same frame again after every reconnect."""
QUEUE_FRAMES = 256
"""Frames that the library holds before it stops reading the socket."""

V1, V2 = "v1", "v2"
_ABSENT: Final = frozenset({404, 405, 501})
"""How a host of v1 answers at the address of v2."""
_RENUMBERED_S = 1.0


class JetstreamSource:
    """A `Source` of Bluesky posts, and a `HostedSource`: several hosts serve it.

    Every connection asks for v2 (`network.bsky.jetstream.subscribeEvents`) first, and for v1 (`/subscribe`) where the
    host does not have it or does not confirm its subprotocol: a host that is exchanged in place is noticed at the next
    connection. A host is stayed with until it fails; after a loss it is tried once more before the turn passes on.

    Args:
        name: the value of `Post.source`; also the key of cursor, coverage and gaps.
        hosts: `ws://` or `wss://` addresses. One without a path, or with `/subscribe`, leads to both versions.
        wanted_collections: what the host is asked for. Empty: everything.
        compress: ask v2 hosts for zstd frames, with the dictionary that they hand out.
        quiet_after_s: this long without a frame means that the connection is dead.
        max_frame_bytes: the host is asked to leave larger frames out; those that come anyway are counted and dropped.
        stable_after_s: a connection that stood this long makes its host the first to be tried again.

    Raises:
        SourceFailed: the hosts cannot work; the message names the fault.
    """

    can_replay = True

    def __init__(
        self,
        *,
        hosts: Sequence[str],
        extractor: EntityExtractor | None,
        name: str = "jetstream",
        wanted_collections: Sequence[str] = COLLECTIONS,
        compress: bool = False,
        quiet_after_s: float | None = QUIET_AFTER_S,
        max_frame_bytes: int = MAX_FRAME_BYTES,
        stable_after_s: float = STABLE_AFTER_S,
    ) -> None:
        self.name = name
        self._stable_after_s = stable_after_s
        self.quiet_after_s = quiet_after_s
        self._hosts = [JetstreamHost(host) for host in hosts]
        if not self._hosts:
            raise SourceFailed(f"Source {name} has no host: name at least one, such as wss://HOST/subscribe")
        self.hosts: Sequence[str] = tuple(host.name for host in self._hosts)
        self.host: str | None = None
        self.protocol: str | None = None
        self.version: str | None = None
        self._asked = Asked(tuple(wanted_collections), max_frame_bytes)
        self._compress = compress
        self._extractor = extractor
        self._max_frame_bytes = max_frame_bytes
        self._turn: int | None = None
        self._tried_again = False
        self._refusing: set[int] = set()
        self._positions: Sequence[HostPosition] = ()
        self._renumbered: dict[str, int] = {}

    @property
    def loses_at_cutover(self) -> bool:
        return self.version == V1

    def decode(self, raw: bytes) -> Decoded:
        return decode(raw, source=self.name, extractor=self._extractor, max_bytes=self._max_frame_bytes)

    def number(self, raw: bytes) -> int | None:
        return peek_seq(raw)

    def synced_author(self, raw: bytes) -> str | None:
        message = read_message(raw)
        event = None if message is None else message.payload
        return event.did if event is not None and event.kind == "sync" else None

    def resume_from(self, positions: Sequence[HostPosition]) -> None:
        self._positions = positions
        if self._turn is None:
            read = [position for position in positions if position.host in self.hosts]
            last = max(read, key=lambda position: position.at, default=None)
            self._turn = 0 if last is None else self.hosts.index(last.host)

    @asynccontextmanager
    async def connect(self, cursor: int | None) -> AsyncGenerator[JetstreamConnection]:
        """Open the host whose turn it is, where `cursor` and the positions of `resume_from` lead on that host.

        Raises:
            Refused: no host lets us in, and waiting will not change that.
            ConnectionLost, OSError: network trouble.
        """
        index = self._turn = self._turn or 0
        host = self._hosts[index]
        opened_at: float | None = None
        try:
            try:
                connection = await self._open(host, self._cursor_on(host, cursor))
            except Exception as error:
                raise self._judged(error, host, index) from error
            self._refusing.clear()
            opened_at = asyncio.get_running_loop().time()
            self.host, self.protocol, self.version = host.name, connection.protocol, connection.version
            try:
                yield connection
            finally:
                await connection.close()
        except BaseException:
            self._pass_on(opened_at)
            raise

    @asynccontextmanager
    async def connect_to(self, host: str, at: Micros) -> AsyncGenerator[JetstreamConnection]:
        """Open one more connection, to one host, from an instant on; nothing is remembered of it."""
        connection = await self._open(self._hosts[self.hosts.index(host)], HostCursor(at))
        try:
            yield connection
        finally:
            await connection.close()

    def _pass_on(self, opened_at: float | None) -> None:
        """The same host first after a loss; another one where it cannot be opened, or soon fails again."""
        stood = opened_at is not None and asyncio.get_running_loop().time() - opened_at >= self._stable_after_s
        if opened_at is not None and (stood or not self._tried_again):
            self._tried_again = not stood
            return
        self._turn = ((self._turn or 0) + 1) % len(self._hosts)
        self._tried_again = False

    def _cursor_on(self, host: JetstreamHost, cursor: Micros | None) -> HostCursor | None:
        asked = cursor_for(host.name, cursor, self._positions, alone=len(self._hosts) == 1)
        if asked is not None and self._renumbered.get(host.name) == self._number_on(host.name):
            return HostCursor(asked.at)
        return asked

    def _number_on(self, host: str) -> int | None:
        return next((position.seq for position in self._positions if position.host == host), None)

    # -------------------------------------------------------------- one host
    async def _open(self, host: JetstreamHost, cursor: HostCursor | None) -> JetstreamConnection:
        """Connect to v2, or to v1 where there is no v2.

        Raises:
            Exception: whatever the library raises; `explained` has the words for it.
        """
        if host.speaks_events:
            try:
                connection = await self._open_events(host, cursor)
            except InvalidStatus as error:
                if error.response.status_code not in _ABSENT:
                    raise
            else:
                if connection is not None:
                    return connection
        address = host.subscribe_address(self._asked, cursor)
        websocket = await self._dial(host, address)
        return JetstreamConnection(websocket, host.endpoint(address), self._max_frame_bytes)

    async def _open_events(self, host: JetstreamHost, cursor: HostCursor | None) -> EventsConnection | None:
        """Connect to v2; None where the host takes any address and does not name the format of v2."""
        asked: HostCursor | int | None = cursor
        number = await self._dictionary(host, anew=False)
        mended: list[str] = []
        while True:
            address = host.events_address(self._asked, asked, number)
            try:
                websocket = await self._dial(host, address, subprotocol=Subprotocol(SUBPROTOCOL))
                break
            except InvalidStatus as error:
                name, said = read_refusal(bytes(error.response.body or b""))
                tried = mended.count(name)
                mended.append(name)
                if error.response.status_code == 400 and name == "UnknownZstdDictionary" and not tried:
                    number = await self._dictionary(host, anew=True)
                elif error.response.status_code == 400 and name == "CursorTooOld" and cursor is not None and tried < 2:
                    # The oldest number moves on. An instant is never refused: the host begins at its oldest event.
                    floor = None if tried else floor_of(said)
                    asked = HostCursor(cursor.at) if floor is None else floor
                    log.warning("%s no longer has what was missed: %s", host.name, said)
                else:
                    raise
        if websocket.subprotocol != SUBPROTOCOL:
            await websocket.close()
            return None
        return EventsConnection(
            websocket,
            host.endpoint(address),
            self._max_frame_bytes,
            dictionary=host.dictionary if number is not None else None,
            looks_wrong=partial(self._note_renumbered, host.name, by_number=asked is cursor),
        )

    def _note_renumbered(self, host: str, event: Event, *, by_number: bool) -> str | None:
        """Return what is wrong with the numbers of a host, seen at the first event; None where nothing is."""
        known = next((position for position in self._positions if position.host == host), None)
        if known is None or known.seq is None or not by_number or self._renumbered.get(host) == known.seq:
            return None
        if event.kind == "info":
            wrong = event.name == "FutureCursor"
        else:
            at, seq = event.at, event.seq
            later = at is not None and at > known.at + _RENUMBERED_S * MICROS_PER_SECOND
            wrong = later and seq is not None and seq <= known.seq
        if not wrong:
            return None
        self._renumbered[host] = known.seq
        return f"{host} numbers its events anew: it is asked by time instead"

    async def _dictionary(self, host: JetstreamHost, *, anew: bool) -> int | None:
        """The number of the dictionary to ask for compressed frames with; None: frames come as they are."""
        if not self._compress or (host.no_dictionary and not anew):
            return None
        known = dictionary_id(host.dictionary)
        return known if known is not None and not anew else await host.fetch_dictionary()

    async def _dial(
        self, host: JetstreamHost, address: str, *, subprotocol: Subprotocol | None = None
    ) -> ClientConnection:
        return await connect(
            address,
            compression=None,
            subprotocols=None if subprotocol is None else [subprotocol],
            user_agent_header=f"groundswell/{__version__}",
            proxy=None if host.local else True,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            ping_interval=None,
            max_size=self._max_frame_bytes * HARD_LIMIT,
            max_queue=QUEUE_FRAMES,
        )

    def _judged(self, error: Exception, host: JetstreamHost, index: int) -> Exception:
        """One host's refusal is final only if all refuse."""
        reason = explained(error, host.endpoint(host.subscribe_address(self._asked, None)))
        if isinstance(verdict(reason), Fatal):
            self._refusing.add(index)
            if len(self._refusing) < len(self._hosts):
                return ConnectionLost(f"{reason}; trying another host")
        return reason


class JetstreamConnection:
    """An open WebSocket of v1, as `ports.Connection`."""

    protocol = "subscribe"
    version = V1

    def __init__(self, websocket: ClientConnection, endpoint: str, max_frame_bytes: int) -> None:
        self.endpoint = endpoint
        self._websocket = websocket
        self._max_frame_bytes = max_frame_bytes

    async def receive(self) -> bytes:
        """The next frame."""
        try:
            return await self._websocket.recv(decode=False)
        except ConnectionClosed as error:
            raise ConnectionLost(why_closed(error)) from error

    async def ping(self) -> None:
        try:
            answered = await self._websocket.ping()
            await answered
        except ConnectionClosed as error:
            raise ConnectionLost(why_closed(error)) from error

    async def close(self) -> None:
        await self._websocket.close()


class EventsConnection(JetstreamConnection):
    """An open WebSocket of v2. Nothing is ever sent on it: the host would close it."""

    protocol = NSID
    version = V2

    def __init__(
        self,
        websocket: ClientConnection,
        endpoint: str,
        max_frame_bytes: int,
        *,
        dictionary: bytes | None,
        looks_wrong: Callable[[Event], str | None],
    ) -> None:
        super().__init__(websocket, endpoint, max_frame_bytes)
        self._decompressor = (
            None
            if dictionary is None
            else zstandard.ZstdDecompressor(dict_data=zstandard.ZstdCompressionDict(dictionary))
        )
        self._looks_wrong = looks_wrong
        self._begun = False

    async def receive(self) -> bytes:
        """The next frame. A compressed one that cannot be decompressed is handed on as it is, for `decode` to count.

        Raises:
            ConnectionLost: also where the host says that it ends the stream, or that it does not know its numbers.
        """
        raw = await super().receive()
        if self._decompressor is not None and raw.startswith(ZSTD_MAGIC):
            raw = decompress(self._decompressor, raw, self._max_frame_bytes)
        if not self._begun or not raw.startswith(MESSAGE_START):
            self._look(raw)
        return raw

    def _look(self, raw: bytes) -> None:
        """Look into a frame for what is about the stream: its end, or a cursor that the host moved."""
        message = read_message(raw)
        if message is None:
            return
        event = message.payload
        if event is None:
            raise ConnectionLost(f"the host ended the stream ({message.error[:64]}): {message.message[:300]}")
        if event.kind == "info":
            log.warning("%s: %s: %s", self.endpoint, event.name[:64], event.message[:300])
        wrong = None if self._begun else self._looks_wrong(event)
        self._begun = self._begun or event.kind != "info"
        if wrong is not None:
            raise ConnectionLost(wrong)


def decompress(decompressor: zstandard.ZstdDecompressor, raw: bytes, limit: int) -> bytes:
    """The content of a zstd frame; `raw` itself where it is broken, or would grow beyond `limit` bytes."""
    try:
        if zstandard.frame_content_size(raw) > limit:
            return raw
        return decompressor.decompress(raw, max_output_size=limit)
    except zstandard.ZstdError:
        return raw


def explained(error: Exception, endpoint: str) -> Exception:
    """What `connect` of the library raised, in the words of `core.session`."""
    if isinstance(error, (InvalidStatus, InvalidProxyStatus)):
        which = endpoint if isinstance(error, InvalidStatus) else f"the proxy before {endpoint}"
        name, said = read_refusal(bytes(error.response.body or b""))
        return Refused(error.response.status_code, f"{which} ({name}: {said})" if name else which)
    if isinstance(error, (InvalidURI, InvalidProxy)):
        return Refused(None, f"{endpoint} cannot be reached as configured: {error}")
    if isinstance(error, InvalidHandshake):
        return ConnectionLost(f"{endpoint} did not answer as a WebSocket server: {error}")
    if isinstance(error, TimeoutError):
        return ConnectionLost(f"{endpoint} did not answer within {OPEN_TIMEOUT_S:.0f} s")
    if isinstance(error, OSError):
        return ConnectionLost(f"{endpoint} cannot be reached: {error}")
    return error


def why_closed(error: ConnectionClosed) -> str:
    """The end of a WebSocket, as a sentence."""
    if error.rcvd is None and error.sent is not None and error.sent.code == CloseCode.MESSAGE_TOO_BIG:
        return f"the host sent a frame beyond every limit ({error.sent.reason})"
    if error.rcvd is None:
        return "the connection broke without a goodbye"
    reason = f": {error.rcvd.reason}" if error.rcvd.reason else ""
    return f"the host closed the connection (code {error.rcvd.code}{reason})"
