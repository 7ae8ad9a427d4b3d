"""A sealed feed: let in by a wallet's signature, every frame encrypted, numbered and checked. See docs/sealed.md."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from random import Random
from urllib.parse import urlsplit

import msgspec
from cryptography.exceptions import InvalidTag
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from groundswell import __version__
from groundswell.adapters.jetstream import CLOSE_TIMEOUT_S, OPEN_TIMEOUT_S, QUEUE_FRAMES, explained, why_closed
from groundswell.adapters.sealed_door import Door, KeyRing, SessionGiven
from groundswell.adapters.sealed_wallet import Wallet
from groundswell.core import sealed
from groundswell.core.entities import EntityExtractor
from groundswell.core.jetstream import MAX_FRAME_BYTES
from groundswell.core.posts import Decoded
from groundswell.core.sealed import HEAD, KEY, Hole, Sequencer
from groundswell.core.session import ConnectionLost, Fatal, Refused, full_jitter_backoff, verdict
from groundswell.errors import SourceFailed
from groundswell.ports.sources import FramesMissed

log = logging.getLogger(__name__)

SESSION_EXPIRED, WALLET_REFUSED = 4401, 4403
"""Codes that a feed closes a WebSocket with."""
ROUND_S = 0.25
"""How often missing frames are asked for."""
PATIENCE_ROUNDS = 12
"""Then a hole is given up: three seconds, where the feed can send again."""
PATIENCE_ROUNDS_WITHOUT_REPLAY = 2
"""All that can come then is a frame that was overtaken."""
HELD_FRAMES = 8192
HELD_BYTES = 16 * 1024 * 1024
"""What is held back behind a missing frame."""
ASKED_STRETCHES = 64
"""Stretches of missing frames that are asked for at once."""
UNOPENED_IN_A_ROW = 64
"""So many frames that do not open, and none that does: the keys are fetched anew, with a new session."""
PING_AGAIN_S = 2.0
"""A ping that has not been answered for so long is sent again."""
NEEDLESS_ANSWERS = 16
KEYS_AGAIN_S = 1.0
"""Sessions are asked for no more often, however many frames come with keys that are not known."""
RENEW_AFTER = 0.75
"""A session is renewed when this part of its time has passed."""
RENEW_EVERY_S = 0.25
"""And no more often, however short the feed's sessions are."""

_quiet = logging.getLogger(f"{__name__}.websocket")
"""The library narrates every header at `debug`, and one of ours carries the session's token."""
_quiet.setLevel(logging.INFO)


class SealedSource:
    """A `Source` behind a wallet. Every connection has a session of its own, which is renewed while it lasts.

    `can_replay` is what the feed says of itself, and True until it was asked.

    Args:
        name: the value of `Post.source`; also the key of cursor, coverage and gaps.
        url: `https://` (or `http://`) address of the feed.
        feed_key: 32 bytes that open the keys which the feed hands out.
        round_s: how often missing frames are asked for.
    """

    quiet_after_s: float | None = None
    """A feed answers pings with how far it has come, so silence is told from loss without a watchdog."""

    def __init__(
        self,
        *,
        url: str,
        wallet: Wallet,
        feed_key: bytes,
        extractor: EntityExtractor | None,
        rng: Random,
        name: str = "sealed",
        round_s: float = ROUND_S,
        max_frame_bytes: int = MAX_FRAME_BYTES,
    ) -> None:
        self.name = name
        self.can_replay = True
        self._url = url
        self._wallet = wallet
        self._feed_key = feed_key
        self._extractor = extractor
        self._rng = rng
        self._round_s = round_s
        self._max_frame_bytes = max_frame_bytes
        self._turned_away = False

    def decode(self, raw: bytes) -> Decoded:
        return sealed.decode(raw, source=self.name, extractor=self._extractor, max_bytes=self._max_frame_bytes)

    @asynccontextmanager
    async def connect(self, cursor: int | None) -> AsyncGenerator[SealedConnection]:
        """Prove the wallet, open the stream, and say where to begin: a little before what `cursor` stands for.

        Raises:
            Refused, SourceFailed: the wallet or a key is not accepted, and waiting will not change that.
            ConnectionLost, OSError: network trouble.
        """
        async with Door(self._url, self._wallet) as door:
            given = await door.session()
            keys = KeyRing(self._feed_key, self._url)
            for notice in given.keys:
                keys.add(notice)
            self.can_replay = given.can_replay
            parts = urlsplit(given.stream)
            endpoint = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
            websocket = await self._open(given, endpoint, local=door.local)
            try:
                connection = SealedConnection(
                    websocket,
                    endpoint,
                    keys,
                    can_replay=given.can_replay,
                    round_s=self._round_s,
                    max_frame_bytes=self._max_frame_bytes,
                )
                await connection.begin(cursor)
                renewing = asyncio.create_task(connection.keep_renewed(door, given, self._rng))
                try:
                    yield connection
                finally:
                    renewing.cancel()
                    await asyncio.gather(renewing, return_exceptions=True)
            finally:
                await websocket.close()

    async def _open(self, given: SessionGiven, endpoint: str, *, local: bool) -> ClientConnection:
        try:
            websocket = await connect(
                given.stream,
                additional_headers={"Authorization": f"Bearer {given.token}"},
                logger=_quiet,
                compression=None,
                user_agent_header=f"groundswell/{__version__}",
                proxy=None if local else True,
                open_timeout=OPEN_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                ping_interval=None,
                max_size=self._max_frame_bytes * 2,
                max_queue=QUEUE_FRAMES,
            )
        except Exception as error:
            reason = explained(error, endpoint)
            if isinstance(reason, Refused) and reason.status == 401 and not self._turned_away:
                # The feed may have been restarted between session and stream, and have forgotten the session.
                self._turned_away = True
                raise ConnectionLost(f"{endpoint} does not know the session that was just given") from error
            raise reason from error
        self._turned_away = False
        return websocket


class SealedConnection:
    """An open stream, as `ports.Connection`: frames opened, each once, in the order of their numbers."""

    def __init__(
        self,
        websocket: ClientConnection,
        endpoint: str,
        keys: KeyRing,
        *,
        can_replay: bool,
        round_s: float,
        max_frame_bytes: int,
    ) -> None:
        self.endpoint = endpoint
        self._websocket = websocket
        self._keys = keys
        self._can_replay = can_replay
        self._round_s = round_s
        self._max_frame_bytes = max_frame_bytes
        self._sequencer = self._sequencer_from(1)
        self._ready: deque[bytes | FramesMissed] = deque()
        self._pings: dict[str, asyncio.Future[None]] = {}
        self._answered: list[tuple[int, asyncio.Future[None]]] = []
        self._needless: deque[str] = deque(maxlen=NEEDLESS_ANSWERS)
        """Nonces of pings that are not waited for any more."""
        self._keys_wanted = asyncio.Event()
        self._unopened = 0
        self._round_at: float | None = None
        self._failure: Exception | None = None
        """Why the session could not be renewed, for good."""
        self._end: Exception | None = None
        self._loop = asyncio.get_running_loop()

    # -------------------------------------------------------------- as a Connection
    async def receive(self) -> bytes:
        while not self._ready:
            self._answer_pings()
            if self._end is not None:
                raise self._end
            try:
                raw = await self._next_raw()
                if raw is not None:
                    self._take_in(raw)
                await self._look_for_holes()
            except (ConnectionLost, Refused) as end:
                self._end = end
                if not self._can_replay:
                    self._hand_out(self._sequencer.rest())  # it will not come again
        item = self._ready.popleft()
        if isinstance(item, FramesMissed):
            raise item
        return item

    async def ping(self) -> None:
        """Return once the feed has said how far it has come, and all up to there was received or given up.

        It is asked again meanwhile: an answer that was lost or damaged is no reason to give the connection up.
        """
        answered = self._loop.create_future()
        nonces: list[str] = []
        try:
            while not answered.done():
                nonces.append(secrets.token_hex(8))
                self._pings[nonces[-1]] = answered
                await self._send({"type": "ping", "nonce": nonces[-1]})
                await asyncio.wait({answered}, timeout=PING_AGAIN_S)
        finally:
            # What is still answered of these is no replay.
            self._needless.extend(nonce for nonce in nonces if self._pings.pop(nonce, None) is not None)

    async def keep_renewed(self, door: Door, given: SessionGiven, rng: Random) -> None:
        """Ask for a new session before the present one ends, and tell the feed; the stream is not interrupted.

        A session brings the keys: one is asked for early where a frame came with a key that is not known.

        What cannot be asked for goes on being tried until the feed ends the stream. A refusal ends it at once.
        """
        while True:
            await self._due_or_keys_wanted(max(given.expires_in * RENEW_AFTER, RENEW_EVERY_S))
            delays = full_jitter_backoff(rng)
            while True:
                try:
                    given = await door.session()
                    for notice in given.keys:
                        self._keys.add(notice)
                    await self._send({"type": "renew", "token": given.token})
                    break
                except Exception as error:  # noqa: BLE001 -- judged, and raised where the stream is read
                    judged = verdict(error)
                    if isinstance(judged, Fatal):
                        self._failure = error
                        await self._websocket.close()
                        return
                    log.warning("the session at %s could not be renewed: %s", door.url, judged.detail)
                    await asyncio.sleep(next(delays))

    async def _due_or_keys_wanted(self, due_s: float) -> None:
        """Until a session is to be renewed, or earlier where a frame came with a key that was never announced here."""
        soon_s = min(due_s, KEYS_AGAIN_S)
        await asyncio.sleep(soon_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(due_s - soon_s):
                await self._keys_wanted.wait()
        self._keys_wanted.clear()

    # -------------------------------------------------------------- beginning
    async def begin(self, cursor: int | None) -> None:
        """Say hello, and wait for the answer that says where the stream begins.

        Raises:
            ConnectionLost: it does not come, or does not open.
        """
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                head, first = await self._hello(cursor)
        except TimeoutError as error:
            raise ConnectionLost(f"{self.endpoint} let us in and did not begin") from error
        self._sequencer = self._sequencer_from(first)
        if cursor is not None and first > cursor + 1:
            self._ready.append(FramesMissed(str(Hole(cursor + 1, first - 1))))
        elif cursor is not None and head < cursor:
            self._ready.append(
                FramesMissed(f"the feed counts from {first} again after {cursor}: what came between is not known")
            )
        if self._ready:
            log.warning("%s does not go on where it was left: %s", self.endpoint, self._ready[0])

    async def _hello(self, cursor: int | None) -> tuple[int, int]:
        """The last sequence number that there is, and the first one that will come."""
        nonce = secrets.token_hex(8)
        asked = sealed.first_asked(cursor) if self._can_replay else None
        await self._send({"type": "hello", "nonce": nonce, "from": asked})
        while True:
            frame = sealed.parse(await self._recv(), self._max_frame_bytes)
            plain = None if frame is None or frame.kind != HEAD else self._opened(frame)
            if isinstance(plain, str):
                raise ConnectionLost(
                    f"{self.endpoint} let us in, and what it sends does not open with the keys that it hands out"
                )
            if plain is not None:
                said = sealed.parse_head(plain)
                if said is not None and said.nonce == nonce and said.next is not None:
                    for notice in said.keys:
                        self._add_key(notice)
                    return said.head, said.next

    def _sequencer_from(self, first: int) -> Sequencer:
        patience = PATIENCE_ROUNDS if self._can_replay else PATIENCE_ROUNDS_WITHOUT_REPLAY
        return Sequencer(first, patience=patience, max_frames=HELD_FRAMES, max_bytes=HELD_BYTES)

    # -------------------------------------------------------------- frames
    def _take_in(self, raw: bytes) -> None:
        frame = sealed.parse(raw, self._max_frame_bytes)
        if frame is None:
            self._ready.append(sealed.rejected(sealed.SEALED_MALFORMED))
            return
        plain = self._opened(frame)
        if isinstance(plain, str):
            self._unopened += 1
            if self._unopened >= UNOPENED_IN_A_ROW:
                raise ConnectionLost(f"{self._unopened} frames in a row did not open ({plain}): keys are fetched anew")
            self._ready.append(sealed.rejected(plain))
            return
        self._unopened = 0
        if frame.kind == HEAD:
            self._note_head(plain)
            return
        given = self._sequencer.offer(frame.sequence, sealed.opened(frame.kind, frame.sequence, plain))
        if given is None:
            self._ready.append(sealed.rejected(sealed.SEALED_REPLAYED))
            return
        if frame.kind == KEY:
            self._note_key(plain)
        self._hand_out(given)

    def _opened(self, frame: sealed.Sealed) -> bytes | sealed.Rejection:
        cipher = self._keys.get(frame.key_id)
        if cipher is None:
            self._keys_wanted.set()
            return sealed.SEALED_UNKNOWN_KEY
        try:
            return cipher.decrypt(frame.nonce, frame.sealed, frame.header)
        except InvalidTag:
            return sealed.SEALED_UNAUTHENTIC

    def _note_key(self, plain: bytes) -> None:
        notice = sealed.parse_key_notice(plain)
        if notice is None:
            log.warning("%s announced a key in a form that is not known", self.endpoint)
            return
        self._add_key(notice)

    def _add_key(self, notice: sealed.KeyNotice) -> None:
        try:
            self._keys.add(notice)
        except SourceFailed:
            # A person has to look only if a session hands out the same.
            raise ConnectionLost("the feed announced a key that does not open: keys are fetched anew") from None

    def _note_head(self, plain: bytes) -> None:
        head = sealed.parse_head(plain)
        answered = None if head is None else self._pings.pop(head.nonce, None)
        if head is not None and head.nonce in self._needless:
            self._needless.remove(head.nonce)
            return
        if head is None or answered is None:
            self._ready.append(sealed.rejected(sealed.SEALED_REPLAYED))
            return
        self._sequencer.expect(head.head)
        self._answered.append((head.head, answered))

    def _answer_pings(self) -> None:
        """Not before all that a head promises was handed out: silence up to it is only then known to be silence."""
        if self._answered:
            rest: list[tuple[int, asyncio.Future[None]]] = []
            for head, answered in self._answered:
                if head >= self._sequencer.next:
                    rest.append((head, answered))
                elif not answered.done():
                    answered.set_result(None)
            self._answered = rest

    # -------------------------------------------------------------- holes
    async def _look_for_holes(self) -> None:
        """Once a round while something is missing: ask for it, and give up what was asked for long enough."""
        if not self._sequencer.waiting:
            self._round_at = None
            return
        now = self._loop.time()
        if self._round_at is None:
            self._round_at = now + self._round_s
        elif now >= self._round_at:
            self._round_at = now + self._round_s
            self._hand_out(self._sequencer.round())
            if self._can_replay and self._sequencer.waiting:
                wanted = [[hole.first, hole.last] for hole in self._sequencer.missing(ASKED_STRETCHES)]
                await self._send({"type": "resend", "ranges": wanted})

    def _hand_out(self, given: list[sealed.Given]) -> None:
        for item in given:
            self._ready.append(FramesMissed(str(item)) if isinstance(item, Hole) else item)

    # -------------------------------------------------------------- the socket
    async def _next_raw(self) -> bytes | None:
        """The next frame, or None when it is time to look for holes."""
        if self._round_at is None:
            return await self._recv()
        try:
            async with asyncio.timeout_at(self._round_at):
                return await self._recv()
        except TimeoutError:
            return None

    async def _recv(self) -> bytes:
        try:
            return await self._websocket.recv(decode=False)
        except ConnectionClosed as error:
            raise self._reason(error) from error

    async def _send(self, message: dict[str, object]) -> None:
        try:
            await self._websocket.send(msgspec.json.encode(message), text=True)
        except ConnectionClosed as error:
            raise self._reason(error) from error

    def _reason(self, error: ConnectionClosed) -> Exception:
        if self._failure is not None:
            return self._failure
        code = None if error.rcvd is None else error.rcvd.code
        if code == WALLET_REFUSED:
            return Refused(403, f"{self.endpoint} does not let this wallet read any more")
        if code == SESSION_EXPIRED:
            return ConnectionLost("the session has expired")
        return ConnectionLost(why_closed(error))
