"""Who may write what in the database: one role for each kind of service.

A role reads every table but the API keys, and writes those that stand here. A table of a later version is readable at
once, and writable for nobody until it is added: the tests then name the statement that is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

OWNER_ONLY = frozenset({"alembic_version", "schema_checksums"})
"""Written by whoever migrates, and by no role."""
KEYS = "api_keys"
"""Read by nobody but the operator: `is_api_key` answers whether a key is one."""

API_WRITES = frozenset({"alert_rules", "message_spend", "ws_connections"})
RELAY_WRITES = API_WRITES | {
    "account_states",
    "alerts",
    "archive_takedowns",
    "archive_withdrawals",
    "archived_posts",
    "author_labels",
    "author_tombstones",
    "co_mentions",
    "components",
    "coverage",
    "cursors",
    "events",
    "gaps",
    "habits",
    "hidden_posts",
    "index_rebuilds",
    "late_counts",
    "minute_authors",
    "minute_counts",
    "minute_totals",
    "momentum",
    "outbox",
    "post_vectors",
    "posts",
    "spaces",
    "stage_changes",
    "surge_labels",
    "tombstones",
    "watched",
}
JOBS_WRITES = frozenset(
    {
        "account_states",
        "alerts",
        "archive_claims",
        "archive_files",
        "archive_takedowns",
        "archive_withdrawals",
        "archived_posts",
        "author_labels",
        "author_tombstones",
        "components",
        "coverage",
        "events",
        "hidden_posts",
        "late_counts",
        "minute_authors",
        "minute_counts",
        "minute_totals",
        "momentum",
        "outbox",
        "post_vectors",
        "posts",
        "resolutions",
        "rollups",
        "source_rollups",
        "spaces",
        "stage_changes",
        "tombstones",
        "ws_connections",
    }
)


class Role(msgspec.Struct, frozen=True):
    """One login of the database."""

    name: str
    """As Postgres has it."""
    writes: frozenset[str] | None
    """Tables that it inserts into, updates and deletes from; None for all but OWNER_ONLY."""
    reads_keys: bool = False
    settings: Mapping[str, str] = {}
    """What its sessions begin with; a service may set its own."""


ROLES: Mapping[str, Role] = {
    # A function that is stopped in the middle of a transaction leaves its locks for no longer than this.
    "api": Role(
        "groundswell_api", API_WRITES, settings={"idle_in_transaction_session_timeout": "60s", "lock_timeout": "30s"}
    ),
    "relay": Role("groundswell_relay", RELAY_WRITES, settings={"idle_in_transaction_session_timeout": "15min"}),
    "jobs": Role("groundswell_jobs", JOBS_WRITES, settings={"idle_in_transaction_session_timeout": "15min"}),
    "operator": Role("groundswell_operator", None, reads_keys=True),
}
"""By what a deployment calls it. The relay may do what the API may: in the combined topology it is both."""
