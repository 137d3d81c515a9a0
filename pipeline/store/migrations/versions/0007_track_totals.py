"""Roll-ups of the observations of each track, so that tracks can be searched by what was seen."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

LABELS = (
    *("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"),
    "unknown",
)
SUMS = {
    "sum_confidence": "smoothed_confidence",
    "sum_uncertainty": "uncertainty",
    "sum_blur": "quality_blur",
    "sum_luma": "quality_luma",
    "sum_size_px": "quality_size_px",
}


def upgrade() -> None:
    """Made from the stored observations; of more than two modes of a track, the first and last."""
    op.create_table(
        "track_totals",
        sa.Column("camera", sa.Text(), primary_key=True, nullable=False),
        sa.Column("run", sa.Text(), primary_key=True, nullable=False),
        sa.Column("track", sa.BigInteger(), primary_key=True, autoincrement=False, nullable=False),
        sa.Column("first_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        *(sa.Column(f"n_{name}", sa.BigInteger(), nullable=False) for name in LABELS),
        *(sa.Column(name, sa.Double(), nullable=False) for name in SUMS),
        sa.Column("modes", sa.Text(), nullable=False),
    )
    op.create_index("track_totals_last", "track_totals", ["last_ms"])
    op.create_index("track_totals_camera_last", "track_totals", ["camera", "last_ms"])
    counts = ", ".join(f"count(*) FILTER (WHERE smoothed_label = '{name}')" for name in LABELS)
    sums = ", ".join(f"sum({name})" for name in SUMS.values())
    op.execute(
        "INSERT INTO track_totals SELECT camera, run, track, min(captured_ms), max(captured_ms),"
        f" {counts}, {sums}, '|' || min(mode) || '|' || max(mode) || '|'"
        " FROM observations GROUP BY camera, run, track"
    )


def downgrade() -> None:
    """The observations stay."""
    op.drop_table("track_totals")
