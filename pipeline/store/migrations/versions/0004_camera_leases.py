"""Camera leases, so that two commands on one database never read the same camera."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """One row per camera that is read."""
    op.create_table(
        "camera_leases",
        sa.Column("camera", sa.Text(), primary_key=True, nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("incarnation", sa.Text(), nullable=False),
        sa.Column("heartbeat", sa.BigInteger(), nullable=False),
        sa.Column("lease_ms", sa.BigInteger(), nullable=False),
    )


def downgrade() -> None:
    """Forget who reads what."""
    op.drop_table("camera_leases")
