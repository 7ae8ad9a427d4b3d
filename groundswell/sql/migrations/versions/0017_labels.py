"""Posts and profiles have labels of their own.

Revision ID: 0017
Revises: 0016
"""

from __future__ import annotations

from importlib import resources

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(resources.files("groundswell.sql.migrations.versions").joinpath("0017_labels.sql").read_text("utf-8"))


def downgrade() -> None:
    raise RuntimeError("not undone: the previous release works with it")
