"""Clients whose sockets API Gateway holds.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from importlib import resources

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        resources.files("groundswell.sql.migrations.versions").joinpath("0002_connections.sql").read_text("utf-8")
    )


def downgrade() -> None:
    op.execute("DROP TABLE ws_connections, message_spend")
    op.execute("DROP FUNCTION tell_of_ws_connection()")
