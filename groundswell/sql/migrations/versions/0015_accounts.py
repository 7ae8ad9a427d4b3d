"""Accounts have states, and posts of hidden accounts a place of their own.

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

from importlib import resources

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(resources.files("groundswell.sql.migrations.versions").joinpath("0015_accounts.sql").read_text("utf-8"))


def downgrade() -> None:
    raise RuntimeError("not undone: the previous release works with it")
