"""Any bytes on any path: the server answers without a 500, logs no traceback and no forged line, and goes on.

schemathesis knows the documented requests alone. Here requests are bytes on a socket, made of parts that are right,
nearly right, and wrong. The API is a process of its own, so that all that it logs is seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from bench.attacks import connected, frame
from bench.loop_lag import WatchedApi
from groundswell.adapters.intake import PIECE_BYTES
from tests.attacked import attacked_api

EXAMPLES = 400
IDLE_S = 0.05
"""How long an answer is waited for. What comes later is seen in the log alone."""
STATUS = re.compile(rb"(?:^|\n|\}|>)HTTP/1\.1 (\d{3}) ")
LOG_KEYS = {"ts", "level", "logger", "message"}
FORGED = b"%0a%0d{%22ts%22:%22FORGED%22}%0a18:00:00 ERROR FORGED%1b[2J%1b]0;x%07"

PATHS = (
    b"/", b"/healthz", b"/readyz", b"/metrics", b"/docs", b"/docs/problems", b"/openapi.json", b"/v1/openapi.json",
    b"/v1/posts", b"/v1/posts/", b"/v1/posts/at://did:plc:ann/x/0001", b"/v1/posts/%00", b"/v1/search?q=x",
    b"/v1/search", b"/v1/momentum", b"/v1/momentum/ticker/BTC", b"/v1/momentum/x/%2e%2e", b"/v1/events?cursor=0",
    b"/v1/alerts", b"/v1/alerts/rules", b"/v1/alerts/rules/1", b"/v1/export", b"/v1/gaps", b"/v1/stats",
    b"/v1/status", b"/v1/insights", b"/v1/ws", b"/v1", b"/v2", b"/assets/", b"/assets/x.js",
    b"/assets/../../etc/passwd", b"//", b"/.", b"/..;/", b"*", b"http://localhost/healthz", b"http://evil.test/",
    b"localhost:80", b"/favicon.ico", b"/index.html/x",
)  # fmt: skip
METHODS = (
    b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT", b"PRI", b"get", b"QUERY",
    b"M-SEARCH",
)  # fmt: skip
HEADERS = (
    b"Host: localhost", b"Host: 127.0.0.1", b"Host: evil.test", b"Host:", b"Host: [::1", b"Host: a\x01b",
    b"Host: localhost:99999999", b"Origin: null", b"Origin: http://localhost", b"Connection: close",
    b"Connection: upgrade, keep-alive", b"Connection: \xff", b"Upgrade: websocket", b"Upgrade: h2c", b"Upgrade: \x7f",
    b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 0", b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    b"Sec-WebSocket-Key: x", b"Sec-WebSocket-Protocol: \xe9,,",
    b"Sec-WebSocket-Extensions: permessage-deflate; x=\xe9", b"Content-Length: 5", b"Content-Length: 0",
    b"Content-Length: -1", b"Content-Length: 99999999999999999999", b"Content-Length: 5, 6",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Expect: 100-continue", b"Expect: x",
    b"Content-Type: application/json", b"Content-Type: \xff/\xff; charset=\xff", b"Authorization: Bearer x",
    b"Authorization: Bearer \xff\xfe", b"Authorization: Basic =", b"Accept: */*;q=x", b"Accept: text/csv",
    b"If-None-Match: W/\"\xff\"", b"Range: bytes=0-1,5-", b"Range: bytes=9-1", b"If-Range: x", b"Cookie: a=\xff",
    b"X-Forwarded-For: \xff, ::1%lo", b"Forwarded: for=\"[\"", b"Access-Control-Request-Method: \xff", b" folded",
    b"no colon", b": empty",
)  # fmt: skip

some_bytes = st.binary(max_size=40)
encoded = st.binary(min_size=1, max_size=12).map(lambda raw: b"".join(b"%%%02x" % byte for byte in raw))
targets = st.one_of(
    st.sampled_from(PATHS),
    st.tuples(st.sampled_from(PATHS), st.one_of(encoded, some_bytes, st.just(FORGED))).map(b"".join),
    st.tuples(st.just(b"/"), st.one_of(encoded, some_bytes)).map(b"".join),
    st.tuples(
        st.sampled_from(PATHS),
        st.sampled_from(
            (b"?cursor=", b"?limit=", b"?entity=", b"?as_of=", b"?q=", b"?format=", b"?since=", b"?", b"#")
        ),
        st.one_of(encoded, some_bytes, st.just(FORGED), st.just(b"9" * 400)),
    ).map(b"".join),
    st.integers(250, 20_000).map(lambda length: b"/" + b"a" * length),
)
headers = st.one_of(
    st.sampled_from(HEADERS),
    st.sampled_from(HEADERS),
    st.tuples(st.binary(min_size=1, max_size=8), some_bytes).map(b": ".join),
    st.integers(600, PIECE_BYTES).map(lambda length: b"X-Fill: " + b"x" * length),  # the body is a piece of its own
)
bodies = st.one_of(
    st.just(b""),
    some_bytes,
    st.sampled_from(
        (
            b"{}",
            b"[1",
            b'{"a":"\\ud800"}',
            b"5\r\nhello\r\n0\r\n\r\n",
            b"ffffffffff\r\n",
            b"-1\r\n",
            b"0\r\nX: y\r\n\r\n",
        )
    ),
    st.tuples(st.integers(0, 15), some_bytes, st.booleans()).map(lambda it: frame(it[0], it[1], fin=it[2])),
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    method = draw(st.one_of(st.sampled_from(METHODS), some_bytes))
    version = draw(
        st.sampled_from((b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b"", b"\xff"))
    )
    lines = [b" ".join((method, draw(targets), version)), *draw(st.lists(headers, max_size=8))]
    if draw(st.booleans()):
        lines.insert(1, b"Host: localhost")
    end = draw(st.sampled_from((b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\x00\r\n")))
    return end.join([*lines, b"", b""]) + draw(bodies)


HANDSHAKE = b"\r\n".join(
    (
        b"GET /v1/ws HTTP/1.1", b"Host: localhost", b"Upgrade: websocket", b"Connection: Upgrade",
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", b"Sec-WebSocket-Version: 13", b"", b"",
    )
)  # fmt: skip
conversations = st.one_of(
    st.lists(requests(), min_size=1, max_size=4),
    st.lists(requests(), min_size=1, max_size=4),
    st.lists(bodies, min_size=1, max_size=4).map(lambda frames: [HANDSHAKE, *frames]),
)
"""What one connection sends, in parts that are sent apart or together."""


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def api(postgres_server: str, runner: asyncio.Runner) -> Iterator[WatchedApi]:
    with attacked_api(postgres_server, runner, "raw_requests", GROUNDSWELL_LOG_FORMAT="json") as served:
        yield served


async def converse(port: int, parts: list[bytes], cut: int | None, together: bool) -> bytes:
    """Send `parts`, of the last one only `cut` bytes. Return what was answered."""
    *first, last = parts
    sent = [*first, last if cut is None else last[:cut]]
    said = bytearray()
    async with connected(port) as client:
        for part in [b"".join(sent)] if together else sent:
            await client.send(part)
        with contextlib.suppress(TimeoutError, ConnectionError):
            while piece := await asyncio.wait_for(client.reader.read(65_536), IDLE_S):
                said += piece
    return bytes(said)


@seed(20261130)
@settings(max_examples=EXAMPLES, deadline=None, database=None)
@given(parts=conversations, cut=st.one_of(st.none(), st.integers(0, 200)), together=st.booleans())
def test_no_bytes_are_a_server_error_or_stop_it(
    api: WatchedApi, runner: asyncio.Runner, parts: list[bytes], cut: int | None, together: bool
) -> None:
    before = len(api.logged())
    said = runner.run(converse(api.port, parts, cut, together))
    # A server error has a status line of its own; an echo in a body has its line ends escaped.
    assert all(int(status) < 500 for status in STATUS.findall(said)), said[:300]
    assert api.alive
    check_log(api.logged()[before:])


def check_log(text: str) -> None:
    """Assert that each line is an entry of the server's own, and that none is about an exception."""
    for line in text.splitlines():
        entry = json.loads(line)
        assert entry.keys() >= LOG_KEYS, line
        assert "error" not in entry, line
        assert entry["level"] != "error", line


def test_it_answers_everybody_else_afterwards(api: WatchedApi, runner: asyncio.Runner) -> None:
    async def ask() -> list[int]:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{api.port}", trust_env=False) as client:
            return [(await client.get(path)).status_code for path in ("/healthz", "/readyz", "/v1/posts", "/v1/status")]

    assert runner.run(ask()) == [200] * 4
    check_log(api.logged())
