"""Everything the platform needs to run.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

from importlib import resources

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(resources.files("groundswell.sql.migrations.versions").joinpath("0001_initial.sql").read_text("utf-8"))


def downgrade() -> None:
    raise RuntimeError("the first migration is not undone: drop the database instead")
