"""Add what a build with another migration 0008 left out.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

from importlib import resources

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        resources.files("groundswell.sql.migrations.versions").joinpath("0012_repaired_watched.sql").read_text("utf-8")
    )


def downgrade() -> None:
    raise RuntimeError("not undone: the previous release works with it")
