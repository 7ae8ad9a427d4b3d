"""Old posts move to files of an archive.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

from importlib import resources

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(resources.files("groundswell.sql.migrations.versions").joinpath("0006_archive.sql").read_text("utf-8"))


def downgrade() -> None:
    raise RuntimeError("archived posts cannot be reached without it: `groundswell archive restore` them first")
