"""Authors can be forgotten.

Revision ID: 0016
Revises: 0015
"""

from __future__ import annotations

from importlib import resources

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(resources.files("groundswell.sql.migrations.versions").joinpath("0016_forgotten.sql").read_text("utf-8"))


def downgrade() -> None:
    raise RuntimeError("not undone: the previous release works with it")
