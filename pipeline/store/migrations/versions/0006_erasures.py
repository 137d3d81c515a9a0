"""What was erased, and since when each camera's rows are kept, so that nothing of it comes back."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """One row per erasure, per camera whose old rows are deleted, and per run that rows were deleted
    of."""
    op.create_table(
        "erasures",
        sa.Column("id", sa.Text(), primary_key=True, nullable=False),
        sa.Column("camera", sa.Text(), nullable=True),
        sa.Column("run", sa.Text(), nullable=True),
        sa.Column("track", sa.Text(), nullable=True),
        sa.Column("before_ms", sa.BigInteger(), nullable=True),
        sa.Column("requested_ms", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "retention",
        sa.Column("camera", sa.Text(), primary_key=True, nullable=False),
        sa.Column("kept_from_ms", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "deleted_observations",
        sa.Column("camera", sa.Text(), primary_key=True, nullable=False),
        sa.Column("run", sa.Text(), primary_key=True, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
    )


def downgrade() -> None:
    """Forget what was erased."""
    op.drop_table("deleted_observations")
    op.drop_table("retention")
    op.drop_table("erasures")
