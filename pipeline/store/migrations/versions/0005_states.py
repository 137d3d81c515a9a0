"""The states of a camera, one after the other, are found without reading every status."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Find statuses by since when their state holds."""
    columns = ["camera", "since_ms", "stored_ms", "seq"]
    op.create_index("camera_status_since", "camera_status", columns)


def downgrade() -> None:
    """Without."""
    op.drop_index("camera_status_since", "camera_status")
