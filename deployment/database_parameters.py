"""Parameters of the database that decide how much log a post costs: RDS gets them, and `python -m bench wal` measures.

Postgres writes a whole page to the log when it changes the page for the first time after a checkpoint. A post changes a
page of its own in each index whose order is that of chance, so the fewer checkpoints there are, the more posts share
what is written. The price is a longer recovery after a crash: up to two gigabytes of log are replayed.
"""

from __future__ import annotations

from collections.abc import Mapping

LOG_PARAMETERS: Mapping[str, str] = {
    # Of whole pages. `on` is a value that every version takes.
    "wal_compression": "on",
    "checkpoint_timeout": "14400",
    "max_wal_size": "4096",
}
"""In RDS's units: seconds and megabytes."""

_UNITS: Mapping[str, str] = {"checkpoint_timeout": "s", "max_wal_size": "MB"}


def in_postgres(parameters: Mapping[str, str]) -> dict[str, str]:
    """The same for postgresql.conf, with their units."""
    return {name: f"{value}{_UNITS.get(name, '')}" for name, value in parameters.items()}
