"""What came when of the changes in older minutes: an hour is learnt as it stood when it was settled.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

from importlib import resources

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        resources.files("groundswell.sql.migrations.versions").joinpath("0009_settled_habits.sql").read_text("utf-8")
    )


def downgrade() -> None:
    raise RuntimeError("not undone: the previous release works with it")
