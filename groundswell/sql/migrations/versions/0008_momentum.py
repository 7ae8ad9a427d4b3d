"""Which counts were changed after their minute was over, and what kinds of entities have taught.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

from importlib import resources

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(resources.files("groundswell.sql.migrations.versions").joinpath("0008_momentum.sql").read_text("utf-8"))


def downgrade() -> None:
    raise RuntimeError("not undone: the previous release works with it")
