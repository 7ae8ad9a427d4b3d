"""What entities usually do, and why a score is what it is.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

from importlib import resources

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(resources.files("groundswell.sql.migrations.versions").joinpath("0005_habits.sql").read_text("utf-8"))


def downgrade() -> None:
    raise RuntimeError("what was learnt would be lost: restore a backup instead")
