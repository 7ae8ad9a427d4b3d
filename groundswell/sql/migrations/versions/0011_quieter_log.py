"""Momentum without an index over its scores, which filled the log.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

from importlib import resources

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        resources.files("groundswell.sql.migrations.versions").joinpath("0011_quieter_log.sql").read_text("utf-8")
    )


def downgrade() -> None:
    raise RuntimeError("not undone: the previous release works with it")
