"""Who asks: everybody may read; an API key lets its holder change things and see what authors keep from others."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import Depends, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from functions.api.parameters import PostFilters
from functions.api.services import Api, Given
from groundswell.errors import Unauthorized
from groundswell.ports.vectors import SearchFilters

_bearer = HTTPBearer(auto_error=False, description="A key from `groundswell keys create NAME`.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]


async def need_key(api: Given, credentials: Credentials) -> None:
    """Raises `Unauthorized` without a key that is known."""
    if credentials is None:
        raise Unauthorized("Send a key as `Authorization: Bearer …`; `groundswell keys create NAME` makes one.")
    await require_known(api, credentials.credentials)


async def require_known(api: Api, key: str) -> None:
    """Raises `Unauthorized` for a key that nobody holds."""
    if not await api.services.keys.knows(key):
        raise Unauthorized("Nobody holds this key: it was mistyped or has been revoked.")


async def signed_in(api: Given, credentials: Credentials) -> bool:
    """Return whether the reader has a key. One that is brought has to be right: raises `Unauthorized`."""
    if credentials is None:
        return False
    await require_known(api, credentials.credentials)
    return True


SignedIn = Annotated[bool, Depends(signed_in)]


async def reader_filters(filters: PostFilters, signed_in: SignedIn) -> SearchFilters:
    """The filters of the request, and what its reader may see."""
    return msgspec.structs.replace(filters, signed_in=signed_in)


ReaderFilters = Annotated[SearchFilters, Depends(reader_filters)]
