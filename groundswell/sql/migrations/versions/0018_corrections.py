"""Alerts are corrected when posts that they rest on are withdrawn.

Revision ID: 0018
Revises: 0017
"""

from __future__ import annotations

from importlib import resources

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        resources.files("groundswell.sql.migrations.versions").joinpath("0018_corrections.sql").read_text("utf-8")
    )


def downgrade() -> None:
    raise RuntimeError("not undone: the previous release works with it")
