"""A server that answers as a Qdrant in one kind of trouble does, or as what may stand at a Qdrant's address."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ABOUT = {"title": "qdrant - vector search engine", "version": "1.19.1"}
JSON = {"content-type": "application/json"}
HTML = {"content-type": "text/html"}
NEWER = {"added_in": "a later release"}
NO_ROOM = "Quota exceeded: storage"
INDEX_REQUIRED = 'Bad request: Index required but not found for "e" of one of the following types: [keyword]'

CANNED: dict[str, tuple[int, dict[str, str], bytes]] = {
    "ingress 404": (404, {"content-type": "text/plain"}, b"404 page not found\n"),
    "html": (200, HTML, b"<html><body>Please log in</body></html>"),
    "empty": (200, {}, b""),
    "null": (200, JSON, b'{"result": null, "status": "ok", "time": 0}'),
    "a list": (200, JSON, b"[]"),
    "not utf-8": (200, JSON, b'{"result": "\xff"}'),
    "redirect": (301, {"location": "https://127.0.0.1:9/"}, b""),
    "429": (429, {**JSON, "retry-after": "3"}, b'{"status": {"error": "Rate limiting exceeded"}, "time": 0}'),
    "429 date": (429, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, b"{}"),
    "429 alone": (429, {}, b""),
    "503": (503, {"content-type": "text/plain"}, b"upstream connect error"),
    "507": (507, JSON, json.dumps({"status": {"error": NO_ROOM}, "time": 0}).encode()),
    "strict mode": (400, JSON, json.dumps({"status": {"error": INDEX_REQUIRED}, "time": 0}).encode()),
}


class FakeQdrant(ThreadingHTTPServer):
    """Serves `mode`, one of `CANNED` or: fine, old, wait_timeout, acknowledged, extra fields, closes idle."""

    daemon_threads = True

    def __init__(self, mode: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.mode = mode
        self.asked: list[str] = []
        self.dropped = 0

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def answer(self, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        if self.mode in CANNED:
            return CANNED[self.mode]
        answer = {**ABOUT, "version": "1.17.1"} if self.mode == "old" else {**ABOUT, **NEWER}
        if path != "/":
            answer = {"result": self._result(method, path), "status": "ok", "time": 0, **NEWER}
        return 200, JSON, json.dumps(answer).encode()

    def _result(self, method: str, path: str) -> Any:
        more = NEWER if self.mode == "extra fields" else {}
        late = self.mode in {"wait_timeout", "acknowledged"}
        written = {"operation_id": 1, "status": self.mode if late else "completed"}
        if path == "/collections":
            return {"collections": [{"name": "posts.toy.u8", **more}]}
        if path.endswith(("/points/query", "/points/scroll")):
            return {"points": [{"id": 1, "version": 0, "score": 0.0, **more}], **more}
        if path.endswith("/points/count"):
            return {"count": 1, **more}
        if method == "GET":
            vector = {"size": 2, "distance": "Euclid", "datatype": "turbo2" if more else "uint8", **more}
            index = {"data_type": "emoji" if more else "keyword", "params": more, "points": 1}
            config = {"params": {"vectors": {"text": vector}, **more}, **more}
            schema = dict.fromkeys("ealstkf", index)
            return {"status": "purple" if more else "green", "config": config, "payload_schema": schema}
        return written if "/points" in path or path.endswith("/index") else True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeQdrant

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        path = self.path.partition("?")[0]
        if self.server.mode == "closes idle" and getattr(self, "served", False):
            self.server.dropped += 1  # it closes what has been idle at the moment at which the next request comes
            self.close_connection = True
            return
        self.served = True
        self.server.asked.append(f"{self.command} {path}")
        status, headers, body = self.server.answer(self.command, path)
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = answer  # noqa: N815 -- the names are http.server's

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def fake_qdrant(mode: str) -> Generator[FakeQdrant]:
    server = FakeQdrant(mode)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    try:
        yield server
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
