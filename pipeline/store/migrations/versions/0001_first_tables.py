"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Every table and index of the first version."""
    op.create_table(
        "cameras",
        sa.Column("camera", sa.Text(), nullable=False),
        sa.Column("stored_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("camera"),
    )
    op.create_table(
        "runs",
        sa.Column("camera", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("clock", sa.Text(), nullable=True),
        sa.Column("first_ms", sa.BigInteger(), nullable=True),
        sa.Column("last_ms", sa.BigInteger(), nullable=True),
        sa.Column("stored_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("camera", "run"),
    )
    op.create_table(
        "tracks",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("camera", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("track", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("started_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("observations", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("p_neutral", sa.Double(), nullable=False),
        sa.Column("p_happiness", sa.Double(), nullable=False),
        sa.Column("p_surprise", sa.Double(), nullable=False),
        sa.Column("p_sadness", sa.Double(), nullable=False),
        sa.Column("p_anger", sa.Double(), nullable=False),
        sa.Column("p_disgust", sa.Double(), nullable=False),
        sa.Column("p_fear", sa.Double(), nullable=False),
        sa.Column("p_contempt", sa.Double(), nullable=False),
        sa.Column("stored_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "tracks_camera_ended", "tracks", ["camera", "ended_ms", "started_ms"], unique=False
    )
    op.create_index("tracks_ended", "tracks", ["ended_ms", "started_ms"], unique=False)
    op.create_table(
        "observations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("camera", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("track", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("frame", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("pts_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("captured_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("clock", sa.Text(), nullable=False),
        sa.Column("received_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("classified_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("published_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("x0", sa.Double(), nullable=False),
        sa.Column("y0", sa.Double(), nullable=False),
        sa.Column("x1", sa.Double(), nullable=False),
        sa.Column("y1", sa.Double(), nullable=False),
        sa.Column("detector_score", sa.Double(), nullable=False),
        sa.Column("p_neutral", sa.Double(), nullable=False),
        sa.Column("p_happiness", sa.Double(), nullable=False),
        sa.Column("p_surprise", sa.Double(), nullable=False),
        sa.Column("p_sadness", sa.Double(), nullable=False),
        sa.Column("p_anger", sa.Double(), nullable=False),
        sa.Column("p_disgust", sa.Double(), nullable=False),
        sa.Column("p_fear", sa.Double(), nullable=False),
        sa.Column("p_contempt", sa.Double(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=False),
        sa.Column("smoothed_label", sa.Text(), nullable=False),
        sa.Column("smoothed_confidence", sa.Double(), nullable=False),
        sa.Column("uncertainty", sa.Double(), nullable=False),
        sa.Column("quality_blur", sa.Double(), nullable=False),
        sa.Column("quality_luma", sa.Double(), nullable=False),
        sa.Column("quality_size_px", sa.Double(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("stored_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "observations_camera_captured", "observations", ["camera", "captured_ms"], unique=False
    )
    op.create_index("observations_stored", "observations", ["stored_ms"], unique=False)
    op.create_index(
        "observations_track",
        "observations",
        ["camera", "run", "track", "captured_ms", "smoothed_label"],
        unique=False,
    )
    op.create_table(
        "emotion_minutes",
        sa.Column("camera", sa.Text(), nullable=False),
        sa.Column("minute_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("n_neutral", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("n_happiness", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("n_surprise", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("n_sadness", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("n_anger", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("n_disgust", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("n_fear", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("n_contempt", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("n_unknown", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sum_neutral", sa.Double(), nullable=False),
        sa.Column("sum_happiness", sa.Double(), nullable=False),
        sa.Column("sum_surprise", sa.Double(), nullable=False),
        sa.Column("sum_sadness", sa.Double(), nullable=False),
        sa.Column("sum_anger", sa.Double(), nullable=False),
        sa.Column("sum_disgust", sa.Double(), nullable=False),
        sa.Column("sum_fear", sa.Double(), nullable=False),
        sa.Column("sum_contempt", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("camera", "minute_ms", "run"),
    )
    op.create_index("emotion_minutes_minute", "emotion_minutes", ["minute_ms"], unique=False)
    op.create_table(
        "camera_status",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("camera", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("fps", sa.Double(), nullable=False),
        sa.Column("lag_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("shed", sa.JSON(), nullable=False),
        sa.Column("stored_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "camera_status_latest", "camera_status", ["camera", "since_ms", "seq"], unique=False
    )
    op.create_table(
        "gaps",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("camera", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("until_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("events", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("stored_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("gaps_until", "gaps", ["until_ms"], unique=False)
    op.create_table(
        "dead_letters",
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("stored_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("origin"),
    )
    op.create_index("dead_letters_stored", "dead_letters", ["stored_ms"], unique=False)


def downgrade() -> None:
    """Back to an empty database."""
    op.drop_table("dead_letters")
    op.drop_table("gaps")
    op.drop_table("camera_status")
    op.drop_table("emotion_minutes")
    op.drop_table("observations")
    op.drop_table("tracks")
    op.drop_table("runs")
    op.drop_table("cameras")
