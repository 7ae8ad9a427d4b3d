"""Coverage knows which parts of a minute were watched.

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

from importlib import resources

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        resources.files("groundswell.sql.migrations.versions").joinpath("0014_resent_coverage.sql").read_text("utf-8")
    )


def downgrade() -> None:
    raise RuntimeError("not undone: the previous release works with it")
