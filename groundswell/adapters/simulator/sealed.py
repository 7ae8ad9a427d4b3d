"""Serves a world as a sealed feed: the same events, behind a wallet, encrypted and numbered. See docs/sealed.md."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from collections.abc import Collection, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response

from groundswell.adapters.sealed import SESSION_EXPIRED, WALLET_REFUSED
from groundswell.adapters.sealed_wallet import is_signed
from groundswell.adapters.simulator.faults import Link
from groundswell.adapters.simulator.sealed_door import Answer, HttpDoor, Question
from groundswell.adapters.simulator.sealed_faults import SealedFaults
from groundswell.adapters.simulator.sealed_log import SealedLog
from groundswell.adapters.simulator.server import TICK_S, SimulatorServer, Span, write
from groundswell.adapters.simulator.wire import wire_frame
from groundswell.adapters.simulator.world import World
from groundswell.core.posts import MICROS_PER_SECOND, Micros
from groundswell.core.sealed import EVENT, HEAD, KEY, NONCE_BYTES, challenge_message, header_of, wrap_context
from groundswell.ports.time import Clock

SESSION_S = 3600.0
KEY_LEAD_FRAMES = 32
"""A key is announced this many frames before it is used."""
_CHUNK_FRAMES = 256
_MOST_OPEN = 1024
"""Challenges and sessions that are remembered; the oldest go first."""
_MOST_KEYS = 512
_STREAM_PATH = "/stream"


class _Asked(msgspec.Struct):
    """What a reader sends: `hello`, `ping`, `resend` or `renew`."""

    type: str
    nonce: str = ""
    from_: int | None = msgspec.field(default=None, name="from")
    ranges: list[tuple[int, int]] = msgspec.field(default_factory=list[tuple[int, int]])
    token: str = ""


_ASKED = msgspec.json.Decoder(_Asked)


class _Session(msgspec.Struct, frozen=True):
    expires_at: float
    newest_key: int
    """The greatest id of the keys that were handed out with it."""


_NO_SESSION = _Session(float("-inf"), 1)


class _Reader(msgspec.Struct):
    """One reader's connection."""

    expires_at: float
    pings: list[str] = msgspec.field(default_factory=list[str])
    again: list[tuple[int, int]] = msgspec.field(default_factory=list[tuple[int, int]])


class SealedServer(SimulatorServer):
    """Serves `world` live as a sealed feed while it is entered. The stream runs from `history_s` before the start.

    Numbers begin at the instant where the stream does, in microseconds, and go up by one: a feed that was started
    anew, and has forgotten its numbers, never gives one again.

    Args:
        feed_key: what the keys are handed out under.
        wallets: addresses that are let in.
        can_replay: whether a reader may begin before the present, and have frames sent again.
        session_s: how long a session lasts.
        rotate_every: frames after which a new key is announced; None: the first one stays.
        door_port: of the HTTP server; 0 takes any free one.
    """

    faults: SealedFaults

    def __init__(
        self,
        world: World,
        *,
        clock: Clock,
        feed_key: bytes,
        wallets: Collection[str],
        can_replay: bool = True,
        session_s: float = SESSION_S,
        rotate_every: int | None = None,
        door_port: int = 0,
        history_s: float = 0,
        **more: Any,
    ) -> None:
        super().__init__(world, clock=clock, history_s=history_s, **more)
        self.faults = SealedFaults(world.config.seed)
        self._feed_key = AESGCM(feed_key)
        self._wallets = frozenset(wallets)
        self.can_replay = can_replay
        self._session_s = session_s
        self._rotate_every = rotate_every
        self._door_port = door_port
        self._begins = self._origin - round(history_s * MICROS_PER_SECOND)
        self._log = SealedLog(world, self._begins)
        self._secret = secrets.token_bytes(32)
        self._ciphers: dict[int, AESGCM] = {}
        self._notices: dict[int, dict[str, object]] = {}
        self._challenges: dict[str, str] = {}
        self._sessions: dict[str, _Session] = {}
        self._readers: dict[Link, _Reader] = {}
        self.forget_every: int | None = None
        """One in so many frames is lost for good, also once this is taken back: it has a number, and is never sent."""
        self._gone: set[int] = set()
        self._nonces = secrets.randbits(63)
        self._door = HttpDoor(self._answer)

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        await self._door.open(self._host, self._door_port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._door.close()
        await super().__aexit__(kind, error, trace)

    @property
    def url(self) -> str:
        """What a reader is configured with."""
        return f"http://{self._host}:{self._door.port}"

    async def head(self) -> int:
        """The last number given by now."""
        return self._begins + await self._now_entries() - 1

    @property
    def tokens(self) -> list[str]:
        """Of all sessions that it remembers."""
        return list(self._sessions)

    def renumber(self, by: int) -> None:
        """Give other numbers from now on, against the rules where `by` is negative, and end every connection."""
        self._begins += by
        self.expire()

    def expire(self) -> None:
        """End every session now, and every connection that rests on one."""
        self._sessions.clear()
        for reader in self._readers.values():
            reader.expires_at = float("-inf")

    # ------------------------------------------------------------------ the door
    async def _answer(self, path: str, host: str, question: Question) -> Answer:
        await self.faults.flowing()
        known = {"/challenge": "challenge", "/session": "session"}.get(path)
        if known is None:
            return 404, {"detail": "There is /challenge and /session."}
        refused = self.faults.refused_at("challenge" if known == "challenge" else "session")
        if refused is not None:
            return refused, {"detail": "The simulator was told to refuse."}
        if question.kind not in ("ed25519", "secp256k1"):
            return 400, {"detail": "kind: ed25519 or secp256k1"}
        if self.faults.revoked:
            return 403, {"detail": "This wallet may not read."}
        if known == "challenge":
            challenge = secrets.token_hex(16)
            self._challenges[challenge] = question.wallet
            _bound(self._challenges, _MOST_OPEN)
            return 200, {"challenge": challenge}
        return await self._let_in(host, question)

    async def _let_in(self, host: str, question: Question) -> Answer:
        if self._challenges.pop(question.challenge, None) != question.wallet:
            return 409, {"detail": "This challenge was not given to this wallet, or was answered before."}
        message = challenge_message(host, question.wallet, question.challenge)
        try:
            signature = bytes.fromhex(question.signature)
        except ValueError:
            return 400, {"detail": "signature: hex"}
        kind = "ed25519" if question.kind == "ed25519" else "secp256k1"
        if not is_signed(kind, question.wallet, message, signature):
            return 401, {"detail": "The signature is not that of this wallet."}
        if question.wallet not in self._wallets:
            return 403, {"detail": "This wallet may not read."}
        token = secrets.token_urlsafe(24)
        newest = self._announced(await self._now_entries())
        self._sessions[token] = _Session(self._clock.monotonic() + self._session_s, newest)
        _bound(self._sessions, _MOST_OPEN)
        return 200, {
            "token": token,
            "expires_in": self._session_s,
            "stream": f"ws://{self._host}:{self._port}{_STREAM_PATH}",
            "can_replay": self.can_replay,
            "keys": [self._notice(n) for n in range(max(1, newest - _MOST_KEYS + 1), newest + 1)],
        }

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        status = self.faults.refused_at("stream")
        if status is not None:
            return connection.respond(HTTPStatus(status), "The simulator was told to refuse.\n")
        if urlsplit(request.path).path != _STREAM_PATH:
            return connection.respond(HTTPStatus.NOT_FOUND, f"The stream is at {_STREAM_PATH}.\n")
        if self._session(_token_of(request)).expires_at <= self._clock.monotonic():
            return connection.respond(HTTPStatus.UNAUTHORIZED, "There is no such session.\n")
        return None

    def _session(self, token: str) -> _Session:
        return self._sessions.get(token, _NO_SESSION)

    # ------------------------------------------------------------------ the stream
    async def _speak(self, link: Link) -> None:
        websocket = link.websocket
        assert websocket.request is not None, "admitted by its request"
        session = self._session(_token_of(websocket.request))
        reader = _Reader(session.expires_at)
        try:
            asked = _ASKED.decode(await websocket.recv(decode=False))
        except msgspec.MsgspecError:
            return await websocket.close(CloseCode.PROTOCOL_ERROR)
        since = self.now()
        if asked.from_ is None and self.can_replay:
            since -= round(self._history_s * MICROS_PER_SECOND)
        position = await self._position(asked.from_, since)
        head = position if asked.from_ is None else await self._now_entries()
        self.spans.append(Span(link.number, asked.from_, since))
        # Keys may have changed since the session was given: what is said first is said in one that the reader has.
        new = [self._notice(n) for n in range(session.newest_key + 1, self._announced(position) + 1)]
        said = {"nonce": asked.nonce, "head": self._begins + head - 1, "next": self._begins + position, "keys": new}
        await self._say_head(link, min(session.newest_key, self._key_id(max(position - 1, 0))), said)
        self._readers[link] = reader
        listening = asyncio.create_task(self._listen(websocket, reader))
        try:
            while True:
                await self.faults.flowing()
                if self.faults.revoked:
                    return await websocket.close(WALLET_REFUSED)
                if reader.expires_at <= self._clock.monotonic():
                    return await websocket.close(SESSION_EXPIRED)
                await self._send_again(link, reader, position)
                pings, reader.pings = reader.pings, []
                sent = await self._send_on(link, position)
                position += sent
                if sent >= _CHUNK_FRAMES:
                    reader.pings = pings + reader.pings
                    continue
                # All that had happened when they arrived has been sent. What has happened since must not hold them up:
                # on a slow machine something always has.
                for nonce in pings:
                    await self._say_head(
                        link, self._key_id(max(position - 1, 0)), {"nonce": nonce, "head": self._begins + position - 1}
                    )
                if not sent:
                    await self._clock.sleep(TICK_S)
        finally:
            self._readers.pop(link, None)
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _listen(self, websocket: ServerConnection, reader: _Reader) -> None:
        try:
            async for raw in websocket:
                asked = _ASKED.decode(raw)
                if asked.type == "ping":
                    reader.pings = [*reader.pings[-8:], asked.nonce]
                elif asked.type == "resend":
                    reader.again = asked.ranges[:64]
                elif asked.type == "renew":
                    reader.expires_at = max(reader.expires_at, self._session(asked.token).expires_at)
        except (ConnectionClosed, msgspec.MsgspecError):
            await websocket.close()

    async def _position(self, asked: int | None, since: Micros) -> int:
        """Where a reader begins, from 0: at `since`, or at the number that they ask for, as far as that is kept."""
        if asked is None or not self.can_replay:
            return self._entries(await self._log.count_before(since))
        wanted = min(asked - self._begins, await self._now_entries())
        kept_from = self.now() - round(self._retention_s * MICROS_PER_SECOND)
        return max(wanted, self._entries(await self._log.count_before(kept_from)))

    async def _send_on(self, link: Link, position: int) -> int:
        """Send the next frames; answers how many those were, 0 when nothing new has happened."""
        frames = await self._log.read(self._events_before(position), self.now(), _CHUNK_FRAMES)
        wires: list[bytes] = []
        for frame in frames:
            if self._is_notice(position + len(wires)):
                wires.append(self._sealed_notice(position + len(wires)))
            wires.append(self._sealed(EVENT, position + len(wires), frame))
        kept = [wire for n, wire in enumerate(wires, position) if not self._forgotten(n)]
        if kept:
            await self._pass_on(link, kept)
        return len(wires)

    async def _send_again(self, link: Link, reader: _Reader, position: int) -> None:
        ranges, reader.again = reader.again, []
        for first, last in ranges if self.can_replay else ():
            place, end = max(first - self._begins, 0), min(last - self._begins + 1, position)
            end = min(end, place + _CHUNK_FRAMES)
            wires: list[bytes] = []
            while place < end:
                if self._is_notice(place):
                    wires.append(self._sealed_notice(place))
                    place += 1
                    continue
                frames = (
                    [] if self._forgotten(place) else await self._log.read(self._events_before(place), self.now(), 1)
                )
                wires += [self._sealed(EVENT, place, frame) for frame in frames]
                place += 1
            await self._pass_on(link, wires)

    async def _say_head(self, link: Link, key_id: int, said: Mapping[str, object]) -> None:
        self._nonces += 1
        nonce = b"head" + self._nonces.to_bytes(8)
        await write(link, (self._seal(HEAD, key_id, 0, nonce, msgspec.json.encode(said)),))

    # ------------------------------------------------------------------ numbers and keys
    async def _now_entries(self) -> int:
        """How many numbers have been given by now."""
        return self._entries(await self._log.count_before(self.now()))

    def _entries(self, events: int) -> int:
        """How many numbers were given once so many events had happened: notices of keys have numbers too."""
        every = self._rotate_every
        return events if every is None or events == 0 else events + (events - 1) // (every - 1)

    def _events_before(self, place: int) -> int:
        return place if self._rotate_every is None else place - place // self._rotate_every

    def _is_notice(self, place: int) -> bool:
        return self._rotate_every is not None and (place + 1) % self._rotate_every == 0

    def _forgotten(self, place: int) -> bool:
        if self.forget_every is not None and place % self.forget_every == 0:
            self._gone.add(place)
        return place in self._gone

    def _key_id(self, place: int) -> int:
        every = self._rotate_every
        return 1 if every is None else 1 + max(place - KEY_LEAD_FRAMES, 0) // every

    def _announced(self, place: int) -> int:
        """The newest key that was announced before this place."""
        return 1 if self._rotate_every is None else 1 + place // self._rotate_every

    def _sealed_notice(self, place: int) -> bytes:
        if self.faults.silent_keys:
            return self._sealed(KEY, place, b"{}", nonce=b"none")
        return self._sealed(KEY, place, msgspec.json.encode(self._notice(self._announced(place + 1))))

    def _sealed(self, kind: int, place: int, content: bytes, *, nonce: bytes = b"even") -> bytes:
        """A frame with a number. Sent again it is the same, byte for byte: no nonce ever seals two contents."""
        sequence = self._begins + place
        return self._seal(kind, self._key_id(place), sequence, nonce + sequence.to_bytes(8), content)

    def _seal(self, kind: int, key_id: int, sequence: int, nonce: bytes, content: bytes) -> bytes:
        header = header_of(kind, key_id, sequence, nonce)
        cipher = self._cipher(0 if self.faults.wrong_key else key_id)
        return wire_frame(header + cipher.encrypt(nonce, content, header))

    def _notice(self, key_id: int) -> dict[str, object]:
        """A key as it is handed out: the same every time."""
        found = self._notices.get(key_id)
        if found is None:
            found = self._notices[key_id] = self._wrapped(key_id)
            _bound(self._notices, _MOST_KEYS)
        return found

    def _wrapped(self, key_id: int) -> dict[str, object]:
        nonce = secrets.token_bytes(NONCE_BYTES)
        wrapped = nonce + self._feed_key.encrypt(nonce, self._key(key_id), wrap_context(key_id))
        return {"id": key_id, "key": base64.b64encode(wrapped).decode()}

    def _cipher(self, key_id: int) -> AESGCM:
        found = self._ciphers.get(key_id)
        if found is None:
            found = self._ciphers[key_id] = AESGCM(self._key(key_id))
            _bound(self._ciphers, _MOST_KEYS)
        return found

    def _key(self, key_id: int) -> bytes:
        return hashlib.sha256(self._secret + key_id.to_bytes(4)).digest()


def _token_of(request: Request) -> str:
    return request.headers.get("Authorization", "").removeprefix("Bearer ")


def _bound(known: dict[Any, Any], most: int) -> None:
    """The oldest go first."""
    while len(known) > most:
        del known[next(iter(known))]
