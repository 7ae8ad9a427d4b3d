"""The door of the simulated sealed feed: two questions over HTTP, each answered with JSON and the connection's end."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from http.client import HTTPException, parse_headers
from typing import TypeAlias

import msgspec

MOST_BYTES = 16 * 1024
_READ_TIMEOUT_S = 10.0

Answer: TypeAlias = tuple[int, object]
"""HTTP status and what becomes the JSON body."""


class Question(msgspec.Struct, frozen=True):
    """Both questions; the last two are for `/session`."""

    wallet: str
    kind: str
    challenge: str = ""
    signature: str = ""


class HttpDoor:
    """A server of POST requests; `answer` gets the path, the `Host` and the body of each."""

    def __init__(self, answer: Callable[[str, str, Question], Awaitable[Answer]]) -> None:
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._conversations: set[asyncio.Task[None]] = set()
        self.port = 0

    async def open(self, host: str, port: int) -> None:
        self._server = await asyncio.start_server(self._handle, host, port, limit=MOST_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            for conversation in self._conversations:
                conversation.cancel()
            await asyncio.gather(*self._conversations, return_exceptions=True)
            await self._server.wait_closed()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = asyncio.current_task()
        assert conversation is not None, "a server's handler is a task"
        self._conversations.add(conversation)
        conversation.add_done_callback(self._conversations.discard)
        try:
            status, content = await self._converse(reader)
            body = msgspec.json.encode(content)
            head = (
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            )
            writer.write(head.encode() + body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the reader has gone, and with it whoever would be told
        finally:
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader) -> Answer:
        try:
            async with asyncio.timeout(_READ_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                line, _, rest = head.partition(b"\r\n")
                method, path, _ = line.decode("latin-1").split(" ", 2)
                headers = parse_headers(io.BytesIO(rest))
                size = int(headers.get("Content-Length", "0"))
                if method != "POST" or not 0 < size <= MOST_BYTES:
                    return 400, {"detail": "POST a JSON object."}
                question = msgspec.json.decode(await reader.readexactly(size), type=Question)
        except TimeoutError:
            return 408, {"detail": "The request did not come to its end."}
        except (ValueError, HTTPException, msgspec.MsgspecError, asyncio.LimitOverrunError):
            return 400, {"detail": "This is no request of a sealed feed."}
        return await self._answer(path, headers.get("Host", ""), question)
