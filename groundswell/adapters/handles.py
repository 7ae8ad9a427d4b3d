"""The account behind a handle, as the network's public directory knows it."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

import httpx
import msgspec

from groundswell.errors import InvalidRequest, NotFound, SourceFailed

RESOLVER: Final = "https://public.api.bsky.app/xrpc/com.atproto.identity.resolveHandle"
WAIT_S: Final = 10.0
_DID = re.compile(r"did:[a-z]+:[A-Za-z0-9._:%-]{1,2000}")
_HANDLE = re.compile(
    r"(?=.{4,253}$)([a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)+[a-zA-Z](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
)


class _Resolved(msgspec.Struct):
    did: str


async def author_of(name: str, resolver: str = RESOLVER) -> str:
    """Return the DID that `name` is, or that a handle leads to. A handle is looked up now; nothing keeps it.

    Raises:
        InvalidRequest: it is neither a DID nor a handle.
        NotFound: no account has this handle.
        SourceFailed: the directory does not answer.
    """
    text = name.strip().removeprefix("@").removeprefix("at://")
    if _DID.fullmatch(text):
        return text
    if not _HANDLE.fullmatch(text):
        raise InvalidRequest(
            f"{name[:200]!r} is neither a DID (did:plc:…) nor a handle (somebody.bsky.social).", field="AUTHOR"
        )
    by_did = "Name the author by the DID instead: it stands in the id of each of their posts."
    try:
        async with httpx.AsyncClient(timeout=WAIT_S) as client:
            answer = await client.get(resolver, params={"handle": text})
    except httpx.HTTPError as error:
        raise SourceFailed(f"The handle {text} cannot be looked up: {type(error).__name__}. {by_did}") from error
    if answer.status_code == HTTPStatus.BAD_REQUEST:
        raise NotFound(f"No account has the handle {text} now. {by_did}")
    if answer.status_code != HTTPStatus.OK:
        raise SourceFailed(f"The handle {text} cannot be looked up: status {answer.status_code}. {by_did}")
    try:
        found = msgspec.json.decode(answer.content, type=_Resolved).did
    except msgspec.DecodeError as error:
        raise SourceFailed(f"What the directory answered for {text} cannot be read. {by_did}") from error
    if not _DID.fullmatch(found):
        raise SourceFailed(f"What the directory answered for {text} is no DID. {by_did}")
    return found
