"""The camera registry: columns of the cameras table."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add two columns, NULL for cameras that are not registered."""
    op.add_column("cameras", sa.Column("settings", sa.Text(), nullable=True))
    op.add_column("cameras", sa.Column("origin", sa.Text(), nullable=True))


def downgrade() -> None:
    """Drop both columns: no camera is registered any more."""
    op.drop_column("cameras", "origin")
    op.drop_column("cameras", "settings")
