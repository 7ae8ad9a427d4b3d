"""Bluesky's Jetstream (v1) over WebSocket, and anything else that speaks its wire format."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import SplitResult, urlencode, urlsplit, urlunsplit

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

from groundswell import __version__
from groundswell.core.cursor import resume_cursor
from groundswell.core.entities import EntityExtractor
from groundswell.core.jetstream import COLLECTIONS, MAX_FRAME_BYTES, decode
from groundswell.core.posts import Decoded
from groundswell.core.session import ConnectionLost, Fatal, Refused, verdict
from groundswell.errors import SourceFailed

QUIET_AFTER_S = 60.0
OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.0
"""A dead far end never answers the close, and nobody should wait for it."""
HARD_LIMIT = 16
"""Frames up to this many times the limit are received, counted and dropped. Only beyond does the connection close:
closing for less would meet the same frame again after every reconnect."""
QUEUE_FRAMES = 256
"""Frames that the library holds before it stops reading the socket."""

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class JetstreamSource:
    """A `Source` of Bluesky posts. Hosts are tried in turn; each is stayed with until it fails.

    Args:
        name: the value of `Post.source`; also the key of cursor, coverage and gaps.
        hosts: `ws://` or `wss://` addresses; one without a path means `/subscribe`.
        wanted_collections: what the host is asked for. Empty: everything.
        compress: ask for zstd frames, which need the dictionary that Jetstream publishes.
        zstd_dictionary: that dictionary, `pkg/models/zstd_dictionary` of the Jetstream repository.
        quiet_after_s: this long without a frame means that the connection is dead.
        max_frame_bytes: the host is asked to leave larger frames out; those that come anyway are counted and dropped.

    Raises:
        SourceFailed: the hosts or the dictionary cannot work; the message names each fault.
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
        zstd_dictionary: bytes | None = None,
        quiet_after_s: float | None = QUIET_AFTER_S,
        max_frame_bytes: int = MAX_FRAME_BYTES,
    ) -> None:
        self.name = name
        self.quiet_after_s = quiet_after_s
        self._hosts = [_parsed(host) for host in hosts]
        if not self._hosts:
            raise SourceFailed(f"Source {name} has no host: name at least one, such as wss://HOST/subscribe")
        self._wanted_collections = tuple(wanted_collections)
        self._decompressor = _decompressor(zstd_dictionary) if compress else None
        self._extractor = extractor
        self._max_frame_bytes = max_frame_bytes
        self._turn = 0
        self._refusing: set[int] = set()

    def decode(self, raw: bytes) -> Decoded:
        return decode(raw, source=self.name, extractor=self._extractor, max_bytes=self._max_frame_bytes)

    @asynccontextmanager
    async def connect(self, cursor: int | None) -> AsyncGenerator[JetstreamConnection]:
        """Open the host whose turn it is; any failure, also later, passes the turn on.

        The host is asked for a few seconds before `cursor`: see `core.cursor.resume_cursor`.

        Raises:
            Refused: no host lets us in, and waiting will not change that.
            ConnectionLost, OSError: network trouble.
        """
        index = self._turn
        host = self._hosts[index]
        endpoint = f"{host.scheme}://{host.netloc.rpartition('@')[2]}{host.path}"
        try:
            try:
                websocket = await connect(
                    self._address(host, cursor),
                    compression=None,
                    user_agent_header=f"groundswell/{__version__}",
                    proxy=None if host.hostname in _LOOPBACK else True,
                    open_timeout=OPEN_TIMEOUT_S,
                    close_timeout=CLOSE_TIMEOUT_S,
                    ping_interval=None,
                    max_size=self._max_frame_bytes * HARD_LIMIT,
                    max_queue=QUEUE_FRAMES,
                )
            except Exception as error:
                raise self._judged(error, endpoint, index) from error
            self._refusing.clear()
            try:
                yield JetstreamConnection(websocket, endpoint, self._decompressor, self._max_frame_bytes)
            finally:
                await websocket.close()
        except BaseException:
            self._turn = (index + 1) % len(self._hosts)
            raise

    def _address(self, host: SplitResult, cursor: int | None) -> str:
        query: list[tuple[str, str]] = [("wantedCollections", name) for name in self._wanted_collections]
        query.append(("maxMessageSizeBytes", str(self._max_frame_bytes)))
        if self._decompressor is not None:
            query.append(("compress", "true"))
        early = resume_cursor(cursor)
        if early is not None:
            query.append(("cursor", str(early)))
        given = f"{host.query}&" if host.query else ""
        return urlunsplit(host._replace(query=given + urlencode(query)))

    def _judged(self, error: Exception, endpoint: str, index: int) -> Exception:
        """One host's refusal is final only if all refuse."""
        reason = explained(error, endpoint)
        if isinstance(verdict(reason), Fatal):
            self._refusing.add(index)
            if len(self._refusing) < len(self._hosts):
                return ConnectionLost(f"{reason}; trying another host")
        return reason


class JetstreamConnection:
    """An open WebSocket, as `ports.Connection`."""

    def __init__(
        self,
        websocket: ClientConnection,
        endpoint: str,
        decompressor: zstandard.ZstdDecompressor | None,
        max_frame_bytes: int,
    ) -> None:
        self.endpoint = endpoint
        self._websocket = websocket
        self._decompressor = decompressor
        self._max_frame_bytes = max_frame_bytes

    async def receive(self) -> bytes:
        """The next frame. A compressed one that cannot be decompressed is handed on as it is, for `decode` to count."""
        try:
            raw = await self._websocket.recv(decode=False)
        except ConnectionClosed as error:
            raise ConnectionLost(why_closed(error)) from error
        if self._decompressor is not None and raw.startswith(_ZSTD_MAGIC):
            return decompress(self._decompressor, raw, self._max_frame_bytes)
        return raw

    async def ping(self) -> None:
        try:
            answered = await self._websocket.ping()
            await answered
        except ConnectionClosed as error:
            raise ConnectionLost(why_closed(error)) from error


def decompress(decompressor: zstandard.ZstdDecompressor, raw: bytes, limit: int) -> bytes:
    """The content of a zstd frame; `raw` itself where it is broken, or would grow beyond `limit` bytes."""
    try:
        if zstandard.frame_content_size(raw) > limit:
            return raw
        return decompressor.decompress(raw, max_output_size=limit)
    except zstandard.ZstdError:
        return raw


def _decompressor(dictionary: bytes | None) -> zstandard.ZstdDecompressor:
    if dictionary is None:
        raise SourceFailed(
            "Jetstream compresses with a dictionary of its own, and none was given: "
            "give the file pkg/models/zstd_dictionary of the Jetstream repository, or turn compression off"
        )
    try:
        return zstandard.ZstdDecompressor(dict_data=zstandard.ZstdCompressionDict(dictionary))
    except zstandard.ZstdError as error:
        raise SourceFailed(
            f"The zstd dictionary for Jetstream cannot be used ({error}): is it the right file?"
        ) from error


def _parsed(host: str) -> SplitResult:
    try:
        parts = urlsplit(host)
        usable = parts.scheme in {"ws", "wss"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
        parts = urlsplit("")
    if not usable or parts.fragment:
        raise SourceFailed(f"{host!r} is no address of a Jetstream host: it has the form wss://HOST/subscribe")
    return parts if parts.path.strip("/") else parts._replace(path="/subscribe")


def explained(error: Exception, endpoint: str) -> Exception:
    """What `connect` of the library raised, in the words of `core.session`."""
    if isinstance(error, (InvalidStatus, InvalidProxyStatus)):
        which = endpoint if isinstance(error, InvalidStatus) else f"the proxy before {endpoint}"
        return Refused(error.response.status_code, which)
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
