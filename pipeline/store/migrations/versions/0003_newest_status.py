"""The newest status of a camera is the one stored last: a file's own times are not times of day."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Index statuses by the time when they were stored."""
    columns = ["camera", "stored_ms", "since_ms", "seq"]
    op.create_index("camera_status_newest", "camera_status", columns)
    op.drop_index("camera_status_latest", "camera_status")


def downgrade() -> None:
    """Index statuses by the time since which they hold."""
    op.create_index("camera_status_latest", "camera_status", ["camera", "since_ms", "seq"])
    op.drop_index("camera_status_newest", "camera_status")
