"""The one question about API keys that the API asks without reading them.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

from importlib import resources

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(resources.files("groundswell.sql.migrations.versions").joinpath("0010_roles.sql").read_text("utf-8"))


def downgrade() -> None:
    raise RuntimeError("not undone: the previous release works with it")
