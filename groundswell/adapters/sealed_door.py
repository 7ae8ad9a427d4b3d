"""How a wallet is let in to a sealed feed: challenge, signature, session. Over HTTP; docs/sealed.md has the format."""

from __future__ import annotations

import base64
import binascii
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar
from urllib.parse import urlsplit

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from groundswell.adapters.sealed_wallet import Wallet
from groundswell.core.sealed import NONCE_BYTES, KeyNotice, challenge_message, wrap_context
from groundswell.core.session import ConnectionLost, Refused
from groundswell.errors import SourceFailed

if TYPE_CHECKING:
    import httpx

ANSWER_TIMEOUT_S = 10.0
MOST_ANSWER_BYTES = 256 * 1024
MOST_KEYS = 1024
"""Keys that a feed hands out at once: those of what it can send again."""
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_WEBSOCKET = {"http": ("ws", "wss"), "https": ("wss",)}
_AES_KEY_BYTES = 32

T = TypeVar("T")


class Challenge(msgspec.Struct, frozen=True):
    challenge: str


class SessionGiven(msgspec.Struct, frozen=True):
    """What a feed answers to a signature that it accepts."""

    token: str
    expires_in: float
    """Seconds."""
    stream: str
    """Where the WebSocket is."""
    can_replay: bool
    keys: list[KeyNotice]

    def __repr__(self) -> str:
        return f"SessionGiven({self.stream})"


class KeyRing:
    """The keys of a feed, opened with the feed key. Each cipher is made once and used again.

    Bounded: the newest `MOST_KEYS` stay.
    """

    def __init__(self, feed_key: bytes, feed: str) -> None:
        self._opens = AESGCM(feed_key)
        self._feed = feed
        self._ciphers: dict[int, AESGCM] = {}

    def get(self, key_id: int) -> AESGCM | None:
        return self._ciphers.get(key_id)

    def add(self, notice: KeyNotice) -> None:
        """Take a key in.

        Raises:
            SourceFailed: it does not open with the feed key, so nothing that is sealed with it will.
        """
        try:
            wrapped = base64.b64decode(notice.key, validate=True)
            key = self._opens.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], wrap_context(notice.id))
            if len(key) != _AES_KEY_BYTES:
                raise ValueError(f"a key of {len(key)} bytes")
        except (InvalidTag, ValueError, binascii.Error):
            # Without its cause: that has nothing to add, and might quote what must not be seen.
            raise SourceFailed(
                f"The feed key does not open what {self._feed} hands out, so nothing that it sends can be read: it is "
                "the key of another feed, or was replaced. Set GROUNDSWELL_SEALED_FEED_KEY to the present one and "
                "restart"
            ) from None
        self._ciphers[notice.id] = AESGCM(key)
        while len(self._ciphers) > MOST_KEYS:
            del self._ciphers[min(self._ciphers)]


class Door:
    """Asks a feed for sessions, while it is entered (`async with`).

    Args:
        url: `http://` or `https://`, below which `/challenge` and `/session` are.
    """

    def __init__(self, url: str, wallet: Wallet) -> None:
        self.url = url
        self._wallet = wallet
        parts = urlsplit(url)
        self._host = parts.netloc
        self._scheme = parts.scheme
        self.local = parts.hostname in _LOOPBACK

    async def __aenter__(self) -> Self:
        import httpx

        self._client: httpx.AsyncClient = httpx.AsyncClient(
            timeout=ANSWER_TIMEOUT_S, trust_env=not self.local, follow_redirects=False
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def session(self) -> SessionGiven:
        """A new session.

        Raises:
            Refused: the feed does not let this wallet in, or cannot be asked as configured.
            ConnectionLost: network trouble, or an answer that makes no sense.
        """
        wallet = {"wallet": self._wallet.address, "kind": self._wallet.kind}
        given = await self._ask("/challenge", wallet, Challenge)
        signature = self._wallet.sign(challenge_message(self._host, self._wallet.address, given.challenge))
        answer = {**wallet, "challenge": given.challenge, "signature": signature.hex()}
        session = await self._ask("/session", answer, SessionGiven)
        allowed = _WEBSOCKET[self._scheme]
        if urlsplit(session.stream).scheme not in allowed:
            raise Refused(
                None,
                f"{self.url} names a stream that is not at {allowed[-1]}://, so what is sent to it could be read on "
                "the way: report it to whoever runs the feed",
            )
        if not session.expires_in > 0 or len(session.keys) > MOST_KEYS:
            raise ConnectionLost(f"{self.url}/session gave a session that cannot be used")
        return session

    async def _ask(self, path: str, content: dict[str, str], kind: type[T]) -> T:
        import httpx

        where = f"{self.url}{path}"
        try:
            async with self._client.stream("POST", where, json=content) as response:
                status = response.status_code
                if status != 200:
                    raise Refused(status, self._refusal(where, status))
                body = await _read(response)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise Refused(None, f"{where} cannot be reached as configured: {error}") from error
        except httpx.TimeoutException as error:
            raise ConnectionLost(f"{where} did not answer within {ANSWER_TIMEOUT_S:.0f} s") from error
        except httpx.HTTPError as error:
            raise ConnectionLost(f"{where} cannot be reached: {error or type(error).__name__}") from error
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            # Without its cause, which quotes the answer: there may be a token in it.
            raise ConnectionLost(f"{where} answered something that is not of a sealed feed") from None

    def _refusal(self, where: str, status: int) -> str:
        who = f"the {self._wallet.kind} wallet {self._wallet.address}"
        if status == 401:
            return f"{where} does not accept the signature of {who} (GROUNDSWELL_SEALED_WALLET_KEY)"
        if status == 403:
            return f"{where} does not let {who} read (GROUNDSWELL_SEALED_WALLET_KEY)"
        return where


async def _read(response: httpx.Response) -> bytes:
    body = b""
    async for part in response.aiter_bytes():
        body += part
        if len(body) > MOST_ANSWER_BYTES:
            raise ConnectionLost(f"{response.url} answered more than {MOST_ANSWER_BYTES // 1024} KiB")
    return body
