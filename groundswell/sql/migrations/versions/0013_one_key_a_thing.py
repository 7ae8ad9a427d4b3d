"""Bring stored entity keys and search terms to the form that new posts are stored in.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

from importlib import resources

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        resources.files("groundswell.sql.migrations.versions").joinpath("0013_one_key_a_thing.sql").read_text("utf-8")
    )


def downgrade() -> None:
    raise RuntimeError("not undone: the previous release works with it")
