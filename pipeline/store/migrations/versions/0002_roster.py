"""The cameras table says what is to be read, and how."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Two columns, empty for cameras that were only heard of."""
    op.add_column("cameras", sa.Column("settings", sa.Text(), nullable=True))
    op.add_column("cameras", sa.Column("origin", sa.Text(), nullable=True))


def downgrade() -> None:
    """Forget what is to be read."""
    op.drop_column("cameras", "origin")
    op.drop_column("cameras", "settings")
