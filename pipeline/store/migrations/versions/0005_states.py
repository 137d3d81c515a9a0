"""The history of a camera's states can be read without reading every status."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Index statuses by the time since which their state holds."""
    columns = ["camera", "since_ms", "stored_ms", "seq"]
    op.create_index("camera_status_since", "camera_status", columns)


def downgrade() -> None:
    """Drop the index."""
    op.drop_index("camera_status_since", "camera_status")
