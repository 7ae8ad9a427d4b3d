"""The limit that API Gateway has on a single frame of a client, which aiohttp's server does not have."""

from __future__ import annotations

from typing import Any

from aiohttp import WebSocketError, WSCloseCode, web

_LENGTH_BYTES = {126: 2, 127: 8}
_MASKED = 0x80
_MASK_BYTES = 4


class FrameSizes:
    """Follows a stream of frames and finds the length of each."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = 0
        """Bytes of the current frame that are still to come."""

    def feed(self, data: bytes) -> int:
        """Return the length of the longest frame that begins in `data`."""
        longest, at = 0, 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            self._head.append(data[at])
            at += 1
            length = self._length()
            if length is not None:
                longest = max(longest, length)
                self._left = length
                self._head.clear()
        return longest

    def _length(self) -> int | None:
        """Return the length that the head names, or None while the head is not whole."""
        head = self._head
        if len(head) < 2:
            return None
        short = head[1] & ~_MASKED
        extended = _LENGTH_BYTES.get(short, 0)
        whole = 2 + extended + (_MASK_BYTES if head[1] & _MASKED else 0)
        if len(head) < whole:
            return None
        return int.from_bytes(head[2 : 2 + extended]) if extended else short


class _Limited:
    """Stands between a connection and the parser of its frames."""

    def __init__(self, parser: Any, queue: Any, most_bytes: int) -> None:
        self._parser, self._queue, self._most_bytes = parser, queue, most_bytes
        self._sizes = FrameSizes()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        length = self._sizes.feed(data)
        if length > self._most_bytes:
            text = f"a frame of {length} bytes, and {self._most_bytes} are allowed"
            self._queue.set_exception(WebSocketError(WSCloseCode.MESSAGE_TOO_BIG, text))
            return True, b""
        return self._parser.feed_data(data)

    def feed_eof(self) -> None:
        self._parser.feed_eof()


def limit_frames(request: web.Request, socket: web.WebSocketResponse, most_bytes: int) -> None:
    """Close `socket` with 1009 as soon as its client begins a longer frame. `socket` has to be prepared."""
    protocol: Any = request.protocol
    queue: Any = socket._reader  # pyright: ignore[reportPrivateUsage]
    protocol._payload_parser = _Limited(protocol._payload_parser, queue, most_bytes)
