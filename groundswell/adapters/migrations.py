"""The schema's version: brought forward by `migrate`, waited for by everything else.

Migration files are named `NNNN_what_it_does`; the greatest number is the version this build needs. A newer schema
is accepted, since a deploy migrates before it replaces the services: a migration must keep the previous release
working.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from importlib import resources

import psycopg

from groundswell.adapters.postgres.session import CLIENT_ENCODING
from groundswell.adapters.postgres_address import certificate_refusal
from groundswell.adapters.postgres_pool import Pool, connection
from groundswell.adapters.postgres_roles import grant_rights
from groundswell.adapters.schema_history import check_history, record_history
from groundswell.errors import SchemaMismatch, StoreUnavailable

_LOCK_KEY = 0x67726F756E64  # "ground"
MIGRATE_LOCK_WAIT_S = 120
SCHEMA_POLL_S = 0.5


_DAMAGE = (
    psycopg.errors.DataCorrupted,
    psycopg.errors.IndexCorrupted,
    psycopg.errors.UndefinedFile,
    psycopg.errors.IoError,
)


def _required_version() -> str:
    names = [entry.name for entry in resources.files("groundswell.sql.migrations.versions").iterdir()]
    return max(match[1] for name in names if (match := re.fullmatch(r"(\d{4})_\w+\.py", name)))


REQUIRED_VERSION = _required_version()
"""Four digits; later is greater as text."""


async def migrate(url: str) -> tuple[str | None, str]:
    """Bring the schema to `REQUIRED_VERSION`, and give the roles that the server has their rights. Idempotent.

    Returns the version before and after.

    Two migrators at once run one after the other; each migration is one transaction; a newer schema stays as it is.

    Raises:
        StoreUnavailable: Postgres cannot be reached, or another migrator holds the lock for too long.
        SchemaMismatch: a migration failed, for example because its tables exist already, or the database ran others.
    """
    return await asyncio.to_thread(_migrate, url)


def _migrate(url: str) -> tuple[str | None, str]:
    try:
        with psycopg.connect(url, connect_timeout=10, application_name="groundswell migrate", autocommit=True) as guard:
            guard.execute("SELECT set_config('lock_timeout', %s, false)", (f"{MIGRATE_LOCK_WAIT_S}s",))
            guard.execute("SELECT pg_advisory_lock(%s)", (_LOCK_KEY,))
            before = _version(guard)
            check_history(guard)
            if before is not None and before > REQUIRED_VERSION:
                return before, before  # the rights of a newer release are that release's
            try:
                if before is None or before < REQUIRED_VERSION:
                    _upgrade(url)
            finally:
                reached = _version(guard)
                if reached is not None:
                    record_history(guard, reached)
            grant_rights(guard)
            return before, REQUIRED_VERSION
    except psycopg.errors.LockNotAvailable as error:
        raise StoreUnavailable(
            f"Another migration has been running for more than {MIGRATE_LOCK_WAIT_S} s; this one changed nothing. "
            "Let that one finish, or end its session in Postgres, and run this again."
        ) from error
    except _DAMAGE as error:
        raise StoreUnavailable(
            f"The database is damaged: {str(error).strip().splitlines()[0]}. Nothing was repaired. Restore it from a "
            "backup, or start with an empty one."
        ) from error
    except psycopg.ProgrammingError as error:
        if error.sqlstate is not None:
            raise
        # The library's message may quote the password.
        raise StoreUnavailable(
            "The database URL has an option that cannot be read. Check what follows the `?` in "
            "GROUNDSWELL_DATABASE_URL."
        ) from None
    except psycopg.OperationalError as error:
        raise StoreUnavailable(
            certificate_refusal(error)
            or f"The database cannot be reached to migrate it: {str(error).strip()}. "
            "Check GROUNDSWELL_DATABASE_URL and that Postgres runs."
        ) from error


def _upgrade(url: str) -> None:
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import NullPool, create_engine
    from sqlalchemy.exc import DBAPIError

    config = Config()
    config.set_main_option("script_location", "groundswell:sql/migrations")
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(url, connect_timeout=10, client_encoding=CLIENT_ENCODING),
        poolclass=NullPool,
    )
    try:
        with engine.connect() as work:
            config.attributes["connection"] = work
            command.upgrade(config, "head")
            work.commit()
    except DBAPIError as error:
        raise SchemaMismatch(
            f"The database could not be brought to schema version {REQUIRED_VERSION}: {str(error.orig).strip()}. "
            "The migration that failed changed nothing. If the database holds tables of another program, or of "
            "Groundswell without its version, point GROUNDSWELL_DATABASE_URL to an empty one."
        ) from error


def _version(guard: psycopg.Connection[tuple[object, ...]]) -> str | None:
    if guard.execute("SELECT to_regclass('alembic_version')").fetchone() == (None,):
        return None
    row = guard.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else None


async def schema_version(pool: Pool) -> str | None:
    """The version the database has; None for an empty one. Raises StoreUnavailable."""
    try:
        async with connection(pool) as borrowed:
            row = await (await borrowed.execute("SELECT version_num FROM alembic_version")).fetchone()
    except psycopg.errors.UndefinedTable:
        return None
    return str(row[0]) if row else None


async def require_schema(pool: Pool) -> str:
    """The schema version, which is at least `REQUIRED_VERSION`.

    Raises:
        SchemaMismatch: it is older.
        StoreUnavailable: Postgres cannot be reached.
    """
    return _enough(await schema_version(pool))


def _enough(version: str | None) -> str:
    if version is not None and version >= REQUIRED_VERSION:
        return version
    raise SchemaMismatch(
        f"The database has schema version {version or 'none'}; this build needs {REQUIRED_VERSION}. "
        "Run `groundswell migrate`, then start again."
    )


async def wait_for_schema(
    pool: Pool, timeout_s: float, say: Callable[[str], None], *, outwait_outages: bool = False
) -> str:
    """Return the schema version as soon as it is at least `REQUIRED_VERSION`.

    `say` hears what is being waited for, once for each reason.

    Args:
        outwait_outages: only the time counts in which Postgres could be reached.

    Raises:
        SchemaMismatch: still too old after `timeout_s`.
        StoreUnavailable: still unreachable after `timeout_s`.
    """
    failure: StoreUnavailable = SchemaMismatch("The schema version could not be read in time.")
    said: type[StoreUnavailable] | None = None
    try:
        async with asyncio.timeout(timeout_s) as limit:
            while True:
                version = None
                try:
                    version = await schema_version(pool)
                    return _enough(version)
                except SchemaMismatch as error:
                    failure = error
                    waiting = f"Waiting for schema version {REQUIRED_VERSION} (now {version or 'none'})"
                except StoreUnavailable as error:
                    failure, waiting = error, "Waiting for Postgres to answer"
                    if outwait_outages:
                        limit.reschedule(asyncio.get_running_loop().time() + timeout_s)
                # A migration on its way passes through versions: that is one reason still.
                if type(failure) is not said:
                    said = type(failure)
                    say(waiting)
                await asyncio.sleep(SCHEMA_POLL_S)
    except TimeoutError:
        raise failure from None
