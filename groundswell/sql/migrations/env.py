"""Alembic's entry point. The connection, and the lock on it, come from `groundswell.adapters.migrations`."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
