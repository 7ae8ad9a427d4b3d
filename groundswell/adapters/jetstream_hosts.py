"""The addresses of a Jetstream host, and the dictionary that a v2 host compresses with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import SplitResult, urlencode, urlsplit, urlunsplit

import zstandard

from groundswell.core.host_positions import HostCursor
from groundswell.core.jetstream_messages import NSID
from groundswell.errors import SourceFailed

log = logging.getLogger(__name__)

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
SUBSCRIBE = "/subscribe"
EVENTS = f"/xrpc/{NSID}"
DICTIONARY = "/xrpc/network.bsky.jetstream.getZstdDictionary"
KINDS = ("commit", "account", "sync")
"""Identity events change nothing here."""
DICTIONARY_TIMEOUT_S = 10.0
MOST_DICTIONARY_BYTES = 1024 * 1024
_DICTIONARY_MAGIC = b"\x37\xa4\x30\xec"


class Asked(NamedTuple):
    """What a reader wants of a host, in either version."""

    collections: Sequence[str]
    max_bytes: int


class JetstreamHost:
    """One configured host. Which version it speaks is found out with every connection.

    An address that ends in `/subscribe`, or has no path, leads to both versions; one with another path to what is
    there, and to nothing else.
    """

    def __init__(self, address: str) -> None:
        parts = _parsed(address)
        self.local = parts.hostname in LOOPBACK
        self.name = parts.netloc.rpartition("@")[2]
        self._parts = parts
        self._folder, self._both = _folder(parts.path)
        self.dictionary: bytes | None = None
        self.no_dictionary = False
        """Whether the host has answered that it has none."""

    @property
    def speaks_events(self) -> bool:
        """Whether v2 is asked for at all."""
        return self._both

    def events_address(self, asked: Asked, cursor: HostCursor | int | None, dictionary_id: int | None) -> str:
        """The address of v2. `cursor`: a number of the host where it is an int."""
        query: list[tuple[str, str]] = [("kinds", kind) for kind in KINDS]
        query += [("collections", name) for name in asked.collections]
        query.append(("maxMessageSizeBytes", str(asked.max_bytes)))
        if isinstance(cursor, HostCursor):
            query.append(("cursor", str(cursor.at if cursor.seq is None else cursor.seq)))
        elif cursor is not None:
            query.append(("cursor", str(cursor)))
        if dictionary_id is not None:
            query.append(("zstdDictionary", str(dictionary_id)))
        return self._address(self._folder + EVENTS, query)

    def subscribe_address(self, asked: Asked, cursor: HostCursor | None) -> str:
        """The address of v1."""
        query: list[tuple[str, str]] = [("wantedCollections", name) for name in asked.collections]
        query.append(("maxMessageSizeBytes", str(asked.max_bytes)))
        if cursor is not None:
            query.append(("cursor", str(cursor.at)))
        return self._address(self._folder + SUBSCRIBE if self._both else self._parts.path, query)

    def endpoint(self, address: str) -> str:
        """An address as it may be shown: without a user, a password or a query."""
        parts = urlsplit(address)
        return f"{parts.scheme}://{self.name}{parts.path}"

    def _address(self, path: str, query: Sequence[tuple[str, str]]) -> str:
        given = f"{self._parts.query}&" if self._parts.query else ""
        return urlunsplit(self._parts._replace(path=path, query=given + urlencode(query)))

    async def fetch_dictionary(self) -> int | None:
        """Ask the host for its dictionary; return the dictionary's number, or None where there is none to be had."""
        import httpx

        scheme = {"ws": "http", "wss": "https"}[self._parts.scheme]
        address = urlunsplit(self._parts._replace(scheme=scheme, path=self._folder + DICTIONARY))
        self.dictionary = None
        try:
            async with (
                httpx.AsyncClient(timeout=DICTIONARY_TIMEOUT_S, trust_env=not self.local) as client,
                client.stream("GET", address) as response,
            ):
                self.no_dictionary = response.status_code == 404
                body = b"" if response.status_code != 200 else await _read(response)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            log.warning("%s did not hand out its dictionary (%r): frames come uncompressed", self.name, error)
            return None
        number = dictionary_id(body)
        if number is None:
            log.warning("%s has no dictionary that can be used: frames come uncompressed", self.name)
            return None
        self.dictionary = body
        return number


def dictionary_id(dictionary: bytes | None) -> int | None:
    """Return the number in a zstd dictionary (RFC 8878, section 5); None where it is none."""
    if dictionary is None or len(dictionary) < 8 or dictionary[:4] != _DICTIONARY_MAGIC:
        return None
    try:
        zstandard.ZstdDecompressor(dict_data=zstandard.ZstdCompressionDict(dictionary))
    except zstandard.ZstdError:
        return None
    return int.from_bytes(dictionary[4:8], "little") or None


async def _read(response: object) -> bytes:
    import httpx

    assert isinstance(response, httpx.Response)
    body = b""
    async for part in response.aiter_bytes():
        body += part
        if len(body) > MOST_DICTIONARY_BYTES:
            return b""
    return body


def _folder(path: str) -> tuple[str, bool]:
    """What stands before the address of a version, and whether the path leads to both versions."""
    for ending in (SUBSCRIBE, EVENTS):
        if path.endswith(ending):
            return path.removesuffix(ending), True
    return "", not path.strip("/")


def _parsed(host: str) -> SplitResult:
    try:
        parts = urlsplit(host)
        usable = parts.scheme in {"ws", "wss"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
        parts = urlsplit("")
    if not usable or parts.fragment:
        raise SourceFailed(f"{host!r} is no address of a Jetstream host: it has the form wss://HOST/subscribe")
    return parts
