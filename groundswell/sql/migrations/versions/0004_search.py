"""Terms cut by Groundswell, fingerprints, and the progress of rebuilding the index.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from importlib import resources

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(resources.files("groundswell.sql.migrations.versions").joinpath("0004_search.sql").read_text("utf-8"))


def downgrade() -> None:
    raise RuntimeError("the column that Postgres filled is not brought back: restore a backup instead")
