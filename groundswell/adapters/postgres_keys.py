"""API keys in Postgres: only their hashes are stored."""

from __future__ import annotations

import secrets

from groundswell.adapters.postgres_pool import Pool, connection
from groundswell.core.api_keys import KEY_BYTES, KEY_PREFIX, hash_key
from groundswell.core.posts import MICROS_PER_SECOND, Micros
from groundswell.errors import InvalidRequest, NotFound


class PostgresKeys:
    """Every method raises `StoreUnavailable` when Postgres cannot be reached."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def create(self, name: str) -> str:
        """A new key, to be shown once. Raises InvalidRequest when the name is taken."""
        key = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
        async with connection(self._pool) as borrowed:
            made = await borrowed.execute(
                "INSERT INTO api_keys (name, hash) VALUES (%s, %s) ON CONFLICT (name) DO NOTHING RETURNING id",
                (name, hash_key(key)),
            )
            if await made.fetchone() is None:
                raise InvalidRequest(
                    f"There is a key named {name!r} already. Choose another name, or revoke that key first.",
                    field="name",
                )
        return key

    async def names(self) -> list[tuple[str, Micros]]:
        """Name and creation of every key, oldest first."""
        async with connection(self._pool) as borrowed:
            found = await borrowed.execute("SELECT name, extract(epoch FROM created_at) FROM api_keys ORDER BY id")
            return [(str(name), int(epoch * MICROS_PER_SECOND)) async for name, epoch in found]

    async def revoke(self, name: str) -> None:
        """Raises NotFound for a name that no key has."""
        async with connection(self._pool) as borrowed:
            gone = await borrowed.execute("DELETE FROM api_keys WHERE name = %s", (name,))
            if gone.rowcount == 0:
                raise NotFound(f"There is no key named {name!r}. `groundswell keys list` shows those there are.")

    async def knows(self, key: str) -> bool:
        """Whether `key` opens the writing routes. The comparison is of hashes, so its duration tells nothing."""
        async with connection(self._pool) as borrowed:
            found = await borrowed.execute("SELECT is_api_key(%s)", (hash_key(key),))
            return await found.fetchone() == (True,)
