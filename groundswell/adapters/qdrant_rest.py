"""HTTP to a Qdrant server: one request at a time, and one name for everything that can go wrong with it."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from groundswell.errors import GroundswellError, VectorIndexUnavailable

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)
T = TypeVar("T")

DEFAULT_PORT = 6333
"""Of Qdrant's REST API, on a server and on Qdrant Cloud."""
MINIMUM_SERVER = (1, 19)
MAX_CONNECTIONS = 16
KEEP_ALIVE_S = 4.0
"""Shorter than the 5 s after which a Qdrant server closes an idle connection, so that no request meets that moment."""
REFUSED = frozenset({401, 403})
"""Statuses for a key that is not, or is no longer, the right one."""
RENEW_EVERY_S = 10.0
"""A key that stays refused is read again no more often than this."""
LONGEST_WAIT_S = 300.0
"""A longer Retry-After is cut to this."""
_SHOWN_BYTES = 300


class CollectionMissing(VectorIndexUnavailable):
    """The server answers as Qdrant does for a collection that does not exist."""


class _Envelope(msgspec.Struct):
    result: msgspec.Raw = msgspec.Raw(b"null")


class _Problem(msgspec.Struct):
    error: str


class _Refusal(msgspec.Struct):
    status: _Problem


class _About(msgspec.Struct):
    version: str


def base_url(url: str) -> str:
    """Return the address that requests go to: port 6333 where `url` names none."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{parts.port or DEFAULT_PORT}{parts.path.rstrip('/')}"


def path(*segments: str) -> str:
    """Return the path of `segments`, each quoted: a space in a name never changes the request."""
    return "/" + "/".join(quote(segment, safe="") for segment in segments)


class QdrantRest:
    """Sends requests and decodes answers. Unknown fields of an answer are ignored.

    Every failure, whatever the HTTP library or the server makes of it, is raised as `VectorIndexUnavailable`.

    Args:
        url: `http://…` or `https://…`; port 6333 where none is given.
        timeout_s: for each request.
        renew: returns the key as it is now; called in a thread when the server refuses the known one. It raises
            ValueError where the key cannot be read. None for a key that never changes.
        transport: carries the requests in place of httpx's own connections.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None,
        timeout_s: float,
        renew: Callable[[], str] | None,
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        self.url = url
        self._base = base_url(url)
        self._api_key = api_key
        self._timeout_s = timeout_s
        self._renew = renew
        self._renewed_at = float("-inf")
        self._transport = transport
        self._client: httpx.AsyncClient | None = None
        self._not_before = float("-inf")
        self._version_checked = False
        self._encoder = msgspec.json.Encoder()

    async def ask(
        self,
        method: str,
        where: str,
        kind: type[T],
        *,
        body: object = None,
        params: Mapping[str, str] | None = None,
    ) -> T:
        """Send one request and return its `result`, decoded as `kind`.

        Raises:
            CollectionMissing: Qdrant has no such collection.
            VectorIndexUnavailable: any other failure.
        """
        answer = await self._send(method, where, body, params)
        if answer.status_code != 200:
            raise await self._refusal(answer, f"{method} {where}")
        try:
            return msgspec.json.decode(msgspec.json.decode(answer.content, type=_Envelope).result, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._not_qdrant(answer) from error

    async def version(self) -> str:
        """Return the version that the server reports.

        Raises:
            VectorIndexUnavailable: it does not answer, or not as Qdrant, or is older than `MINIMUM_SERVER`.
        """
        answer = await self._send("GET", "/", None, None)
        if answer.status_code != 200:
            raise await self._refusal(answer, "GET /")
        try:
            version = msgspec.json.decode(answer.content, type=_About).version
            numbers = tuple(int(part) for part in version.split(".")[:2])
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            raise self._not_qdrant(answer) from error
        if numbers < MINIMUM_SERVER:
            raise VectorIndexUnavailable(
                f"The vector index at {self.url} is Qdrant {version}, and Groundswell needs {_minimum()} or newer. "
                "Upgrade the server; until then search goes by words and vectors wait."
            )
        return version

    async def require_version(self) -> None:
        """As `version`, once: a server that was new enough is not asked again."""
        if not self._version_checked:
            await self.version()
            self._version_checked = True

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def prepare(self) -> None:
        """Load the HTTP library in a thread, so that the first request need not wait. Asks the server nothing."""
        await asyncio.to_thread(_httpx)

    # ------------------------------------------------------------------ requests
    async def _send(self, method: str, where: str, body: object, params: Mapping[str, str] | None) -> httpx.Response:
        self._hold_back()
        content = None
        headers: dict[str, str] = {}
        if body is not None:
            content = self._encoder.encode(body)
            headers["content-type"] = "application/json"
        if self._api_key is not None:
            headers["api-key"] = self._api_key
        try:
            client = self._client or await self._open()
            try:
                return await client.request(method, self._base + where, content=content, headers=headers, params=params)
            except _httpx().RemoteProtocolError:
                # The server closed an idle connection at this very moment. Every request here may be repeated.
                return await client.request(method, self._base + where, content=content, headers=headers, params=params)
        except GroundswellError:
            raise
        except Exception as error:  # whatever a library raises, it is this part's failure and nobody else's
            raise VectorIndexUnavailable(
                f"The vector index at {self.url} does not answer ({type(error).__name__}: {error}). "
                "Search by meaning pauses and vectors wait; check that Qdrant runs and can be reached."
            ) from error

    async def _open(self) -> httpx.AsyncClient:
        httpx = await asyncio.to_thread(_httpx)
        client = self._client
        if client is None:
            client = self._client = httpx.AsyncClient(
                timeout=self._timeout_s,
                limits=httpx.Limits(
                    max_connections=MAX_CONNECTIONS,
                    max_keepalive_connections=MAX_CONNECTIONS,
                    keepalive_expiry=KEEP_ALIVE_S,
                ),
                transport=self._transport,
                # A proxy of the environment is for what lies outside this machine.
                trust_env=not _is_loopback(self._base),
            )
        return client

    # ------------------------------------------------------------------ refusals
    def _hold_back(self) -> None:
        """Raise until the time that the server asked to be left alone for has passed."""
        remaining = self._not_before - asyncio.get_running_loop().time()
        if remaining > 0:
            raise self._busy(remaining)

    def _busy(self, seconds: float) -> VectorIndexUnavailable:
        return VectorIndexUnavailable(
            f"The vector index at {self.url} limits the rate of requests (HTTP 429) and is asked again in "
            f"{seconds:.0f} s. Nothing is lost meanwhile; raise its limit if this happens often.",
            retry_after_s=max(1, round(seconds)),
        )

    async def _refusal(self, answer: httpx.Response, asked: str) -> VectorIndexUnavailable:
        status = answer.status_code
        if status in REFUSED:
            await self._learn_key()
            return VectorIndexUnavailable(
                f"The vector index at {self.url} refuses the API key (HTTP {status}). "
                "Set the key of this cluster; nothing is lost meanwhile."
            )
        if status == 429:
            wait = _retry_after_s(answer.headers.get("retry-after"), answer.headers.get("date"))
            self._not_before = asyncio.get_running_loop().time() + wait
            return self._busy(wait)
        detail = _explanation(answer.content)
        if status == 404 and detail is not None and detail.startswith("Not found: Collection"):
            return CollectionMissing(
                f"The vector index at {self.url} has no collection {_collection_of(asked)} yet. "
                "It is made when the first post is indexed."
            )
        if status == 404 or 300 <= status < 400:
            return self._not_qdrant(answer, asked)
        shown = detail if detail is not None else _shown(answer.content)
        if status == 507:
            return VectorIndexUnavailable(
                f"The vector index at {self.url} is full (HTTP 507: {shown}). Vectors wait; choose a larger cluster, "
                "or keep posts for fewer days."
            )
        return VectorIndexUnavailable(f"The vector index at {self.url} refused a request (HTTP {status}): {shown}")

    def _not_qdrant(self, answer: httpx.Response, asked: str | None = None) -> VectorIndexUnavailable:
        to = "" if asked is None else f" to {asked}"
        kind = answer.headers.get("content-type", "no content type")
        return VectorIndexUnavailable(
            f"The vector index at {self.url} answers{to}, but not as Qdrant {_minimum()} or newer does "
            f"(HTTP {answer.status_code}, {kind}: {_shown(answer.content)}). "
            "Check the address, that the cluster is not suspended, and its version; vectors wait meanwhile."
        )

    async def _learn_key(self) -> None:
        """Read the key again after a refusal; the next request is sent with it."""
        now = asyncio.get_running_loop().time()
        if self._renew is None or now - self._renewed_at < RENEW_EVERY_S:
            return
        self._renewed_at = now
        try:
            key = await asyncio.to_thread(self._renew)
        except ValueError as error:
            log.warning("the vector index's key cannot be read anew: %s", error)
            return
        if key != self._api_key:
            log.info("the vector index has another key by now, and is asked with that")
            self._api_key = key


def _httpx() -> Any:
    import httpx

    return httpx


def _minimum() -> str:
    return ".".join(map(str, MINIMUM_SERVER))


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _explanation(content: bytes) -> str | None:
    """Return what Qdrant says of a refusal; None where the body is not Qdrant's."""
    try:
        return msgspec.json.decode(content, type=_Refusal).status.error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _shown(content: bytes) -> str:
    text = content[:_SHOWN_BYTES].decode(errors="replace")
    return repr(text) if text else "an empty body"


def _collection_of(asked: str) -> str:
    return asked.split("/")[2] if asked.count("/") > 1 else asked


def _retry_after_s(header: str | None, date: str | None) -> float:
    """Return the seconds of a Retry-After header, which holds seconds or a date; a second where it holds neither.

    A date is read by the clock that wrote it: the answer's own Date header.
    """
    try:
        seconds = float(header or "")
    except ValueError:
        try:
            until, now = parsedate_to_datetime(header or ""), parsedate_to_datetime(date or "")
            seconds = (
                until.replace(tzinfo=until.tzinfo or UTC) - now.replace(tzinfo=now.tzinfo or UTC)
            ).total_seconds()
        except ValueError:
            seconds = 1.0
    return min(max(seconds, 1.0), LONGEST_WAIT_S) if seconds == seconds else 1.0  # noqa: PLR0124 -- "nan" parses
