"""Rolled-up counts, stage changes, and what a surge is about.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

from importlib import resources

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(resources.files("groundswell.sql.migrations.versions").joinpath("0003_rollups.sql").read_text("utf-8"))


def downgrade() -> None:
    raise RuntimeError("counts that were rolled up cannot be taken apart again: restore a backup instead")
