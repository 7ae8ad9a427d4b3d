"""Which migrations a database has run, by the checksum of each: a version number alone does not say what was done."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import TypeAlias

import psycopg

from groundswell.errors import SchemaMismatch

Connection: TypeAlias = psycopg.Connection[tuple[object, ...]]

TABLE = "schema_checksums"
"""Made by whoever migrates, like `alembic_version`, and for nobody else."""


@cache
def checksums() -> Mapping[str, str]:
    """Return the checksum of each migration of this build, by version."""
    folder = resources.files("groundswell.sql.migrations.versions")
    files = {match[1]: entry for entry in folder.iterdir() if (match := re.fullmatch(r"(\d{4})_\w+\.sql", entry.name))}
    return {version: checksum(files[version].read_text("utf-8")) for version in sorted(files)}


def checksum(statements: str) -> str:
    """Return the SHA-256 of SQL text without its comments and its layout."""
    text = " ".join(re.sub(r"--[^\n]*", "", statements).split())
    return hashlib.sha256(text.encode()).hexdigest()


def check_history(conn: Connection) -> None:
    """Compare the migrations that the database has run with those of this build.

    Raises:
        SchemaMismatch: one of the same number was another.
    """
    if conn.execute("SELECT to_regclass(%s)", (TABLE,)).fetchone() == (None,):
        return
    ours = checksums()
    rows = conn.execute(f"SELECT version, checksum FROM {TABLE}")  # noqa: S608 -- a constant
    ran = {str(version): str(found) for version, found in rows}
    others = sorted(version for version, found in ran.items() if ours.get(version, found) != found)
    if others:
        raise SchemaMismatch(
            f"The database has a schema of another history: migration {', '.join(others)} that it ran is not the one "
            "of this build, so the same version number means other tables. Nothing was changed. Go on with the build "
            "that made this schema, or start with an empty database: move the data directory away, or point "
            "GROUNDSWELL_DATABASE_URL to another database."
        )


def record_history(conn: Connection, version: str) -> None:
    """Note the migrations up to `version` that are not noted yet. A user who may make no tables notes nothing."""
    if conn.execute("SELECT has_schema_privilege('public', 'CREATE')").fetchone() != (True,):
        return
    with conn.transaction():
        conn.execute(f"CREATE TABLE IF NOT EXISTS {TABLE} (version text PRIMARY KEY, checksum text NOT NULL)")
        with conn.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {TABLE} VALUES (%s, %s) ON CONFLICT (version) DO NOTHING",  # noqa: S608 -- a constant
                [(known, found) for known, found in checksums().items() if known <= version],
            )
