"""Variables of other programs that must not reach what Groundswell brings along."""

from __future__ import annotations

import os
import re

_OF_POSTGRES = re.compile(r"PG[A-Z0-9_]+")


def forget_postgres_variables() -> None:
    """Remove libpq's and the server's variables (`PGHOSTADDR`, `PGSERVICE`, `PGDATA`, …) from this process.

    libpq fills in from them whatever a connection does not name, so that the embedded database is not found, or posts
    go to another server. `GROUNDSWELL_DATABASE_URL` is the one place that says where the database is. What this
    process starts does not see them either.
    """
    for name in [name for name in os.environ if _OF_POSTGRES.fullmatch(name)]:
        del os.environ[name]
