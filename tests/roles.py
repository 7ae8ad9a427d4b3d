"""The database as the roles of a deployment see it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from groundswell.adapters.postgres_keys import PostgresKeys
from groundswell.adapters.postgres_pool import open_pool
from groundswell.core.database_roles import ROLES


def make_roles(url: str) -> None:
    """Let every role log in; the server of the tests asks for no password."""
    with psycopg.connect(url, autocommit=True) as conn:
        for role in ROLES.values():
            conn.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role.name)))


def as_role(url: str, role: str) -> str:
    """The URL of the same database for a role: `api`, `relay`, `jobs` or `operator`."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{ROLES[role].name}@{place}"))


@asynccontextmanager
async def keys_of(url: str) -> AsyncIterator[PostgresKeys]:
    """The API keys, as the operator reaches them."""
    pool = await open_pool(
        as_role(url, "operator"), size=1, wait_s=5, statement_timeout_s=5, application_name="test keys"
    )
    try:
        yield PostgresKeys(pool)
    finally:
        await pool.close()
