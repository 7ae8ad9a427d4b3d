"""Where the database is, and why it was not believed to be there.

A connection that fails asks for the address anew: its password may have been rotated.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import psycopg

log = logging.getLogger(__name__)

C = TypeVar("C")

RENEW_EVERY_S = 10.0
"""A database that is away fails every connection: it is not asked for more often than this."""


_NOT_TRUSTED = (
    ("certificate verify failed", "is not signed by an authority that is trusted"),
    ("does not match host name", "is for another host name"),
    ("root certificate file", "cannot be verified: the file of the authority is not there"),
    ("could not read root certificate", "cannot be verified: the file of the authority cannot be read"),
    ("server does not support SSL", "is missing: the server speaks no TLS"),
)
"""What libpq says, and what that means of the database's certificate."""


def certificate_refusal(error: psycopg.OperationalError) -> str:
    """Why the certificate of whoever answered was refused, with what to do; empty where it was not."""
    said = str(error)
    for words, meaning in _NOT_TRUSTED:
        if words in said:
            return (
                f"The database's certificate {meaning}, so nothing was sent there. Check that GROUNDSWELL_DATABASE_URL "
                "names the right host, and set GROUNDSWELL_DATABASE_CA to the authority that signs its certificate "
                "(a file in PEM, `rds`, or `system`)."
            )
    return ""


class DatabaseAddress:
    """A connection URL, and where to learn it anew.

    Args:
        renew: answers the URL as it is now, from wherever it is kept; called in a thread. It raises ValueError where it
            cannot be read. None for an address that never changes.
    """

    def __init__(self, url: str, renew: Callable[[], str] | None = None) -> None:
        self.url = url
        self.refusal = ""
        """Why the last connection did not trust the database's certificate; empty where it did."""
        self._renew = renew
        self._renewed_at = float("-inf")
        self._renewing = asyncio.Lock()

    async def connect(self, connect: Callable[[str], Awaitable[C]]) -> C:
        """What `connect` answers for the address; a failure is tried once more where the address is another by now.

        Raises what `connect` raises.
        """
        try:
            connected = await self._try(connect)
        except psycopg.OperationalError as error:
            refusal = certificate_refusal(error)
            if refusal and refusal != self.refusal:
                log.error("%s", refusal)  # noqa: TRY400 -- the sentence says all that the trace would
            self.refusal = refusal
            raise
        self.refusal = ""
        return connected

    async def _try(self, connect: Callable[[str], Awaitable[C]]) -> C:
        tried = self.url
        try:
            return await connect(tried)
        except psycopg.OperationalError:
            if not await self._is_another_than(tried):
                raise
            return await connect(self.url)

    async def _is_another_than(self, tried: str) -> bool:
        async with self._renewing:
            now = asyncio.get_running_loop().time()
            if self._renew is not None and self.url == tried and now - self._renewed_at >= RENEW_EVERY_S:
                self._renewed_at = now
                try:
                    self.url = await asyncio.to_thread(self._renew)
                except ValueError as error:
                    log.warning("the database's secret cannot be read anew: %s", error)
        if self.url != tried:
            log.info("the database has another address or password by now, and is reached with that")
        return self.url != tried
