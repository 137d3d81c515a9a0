"""The tables. Times are integer milliseconds UTC, shares are doubles in [0, 1].

A row's primary key is a function of the input, so writing an event twice changes nothing. The eight
probabilities have eight columns, `p_neutral` .. `p_contempt`, in the order of EMOTIONS.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Double,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

from models.emotions import EMOTIONS, UNKNOWN

PROBABILITIES: tuple[str, ...] = tuple(f"p_{emotion}" for emotion in EMOTIONS)
"""Columns of the eight probabilities of an observation, or of their mean over a track."""

SUMS: tuple[str, ...] = tuple(f"sum_{emotion}" for emotion in EMOTIONS)
"""Columns of the eight probabilities, summed over the observations of a minute."""

LABELS: tuple[str, ...] = (*EMOTIONS, UNKNOWN)
COUNTS: tuple[str, ...] = tuple(f"n_{label}" for label in LABELS)
"""Columns with the number of observations of a minute, one per smoothed label."""

metadata = MetaData()


def _text(name: str, primary_key: bool = False) -> Column[str]:
    return Column(name, Text, primary_key=primary_key, nullable=False)


def _integer(name: str, primary_key: bool = False) -> Column[int]:
    # Without this, an integer in a primary key would be filled by the database itself.
    return Column(name, BigInteger, primary_key=primary_key, nullable=False, autoincrement=False)


def _doubles(*names: str) -> list[Column[float]]:
    return [Column(name, Double, nullable=False) for name in names]


cameras = Table(
    "cameras",
    metadata,
    _text("camera", primary_key=True),
    _integer("stored_ms"),
    Column("settings", Text),
    Column("origin", Text),
)
"""Every camera that ever sent an event or was registered; `stored_ms` is when first. A registered
one has settings, as JSON, and an origin: who registered it."""

camera_leases = Table(
    "camera_leases",
    metadata,
    _text("camera", primary_key=True),
    _text("holder"),
    _text("incarnation"),
    _integer("heartbeat"),
    _integer("lease_ms"),
)
"""Which command reads which camera: its description and its incarnation. Its heartbeat counter
grows while it lives; a counter that has stood still for lease_ms, measured by an observer's own
clock, frees the camera."""

runs = Table(
    "runs",
    metadata,
    _text("camera", primary_key=True),
    _text("run", primary_key=True),
    Column("clock", Text),
    Column("first_ms", BigInteger),
    Column("last_ms", BigInteger),
    _integer("stored_ms"),
)
"""One uninterrupted reading of a camera: first and last capture, and the alphabetically last clock
of its observations (`rtcp` where the camera sent its own time at all). Empty until a face is
seen."""

tracks = Table(
    "tracks",
    metadata,
    _text("id", primary_key=True),
    _text("camera"),
    _text("run"),
    _integer("track"),
    _text("phase"),
    _integer("seq"),
    _integer("started_ms"),
    _integer("ended_ms"),
    _integer("observations"),
    *_doubles(*PROBABILITIES),
    _integer("stored_ms"),
    Index("tracks_ended", "ended_ms", "started_ms"),
    Index("tracks_camera_ended", "camera", "ended_ms", "started_ms"),
)
"""The newest state of each track; the probabilities are means over its observations."""

TOTALS: tuple[str, ...] = tuple(
    f"sum_{name}" for name in ("confidence", "uncertainty", "blur", "luma", "size_px")
)
"""Columns of `track_totals`: smoothed confidence, uncertainty and quality, summed."""

track_totals = Table(
    "track_totals",
    metadata,
    _text("camera", primary_key=True),
    _text("run", primary_key=True),
    _integer("track", primary_key=True),
    _integer("first_ms"),
    _integer("last_ms"),
    *(_integer(name) for name in COUNTS),
    *_doubles(*TOTALS),
    _text("modes"),
    Index("track_totals_last", "last_ms"),
    Index("track_totals_camera_last", "camera", "last_ms"),
)
"""The roll-up that tracks are searched by: the stored observations of a track per smoothed label,
with sums of their quality. `modes` is every mode that classified one of them: `|fast|robust|`."""

observations = Table(
    "observations",
    metadata,
    _text("id", primary_key=True),
    _text("camera"),
    _text("run"),
    _integer("track"),
    _integer("frame"),
    _integer("pts_ms"),
    _integer("captured_ms"),
    _text("clock"),
    _integer("received_ms"),
    _integer("classified_ms"),
    _integer("published_ms"),
    *_doubles("x0", "y0", "x1", "y1", "detector_score", *PROBABILITIES),
    _text("label"),
    *_doubles("confidence"),
    _text("smoothed_label"),
    *_doubles("smoothed_confidence", "uncertainty"),
    *_doubles("quality_blur", "quality_luma", "quality_size_px"),
    _text("model"),
    _text("mode"),
    _text("reason"),
    _integer("stored_ms"),
    Index("observations_camera_captured", "camera", "captured_ms"),
    Index("observations_track", "camera", "run", "track", "captured_ms", "smoothed_label"),
    Index("observations_stored", "stored_ms"),
)
"""One classified face in one frame."""

emotion_minutes = Table(
    "emotion_minutes",
    metadata,
    _text("camera", primary_key=True),
    _integer("minute_ms", primary_key=True),
    _text("run", primary_key=True),
    *(_integer(name) for name in COUNTS),
    *_doubles(*SUMS),
    Index("emotion_minutes_minute", "minute_ms"),
)
"""The roll-up that pages read: observations per camera, minute of capture and smoothed label."""

camera_status = Table(
    "camera_status",
    metadata,
    _text("id", primary_key=True),
    _text("camera"),
    _text("run"),
    _integer("seq"),
    _text("state"),
    _integer("since_ms"),
    _text("reason"),
    *_doubles("fps"),
    _integer("lag_ms"),
    Column("shed", JSON, nullable=False),
    _integer("stored_ms"),
    Index("camera_status_newest", "camera", "stored_ms", "since_ms", "seq"),
    Index("camera_status_since", "camera", "since_ms", "stored_ms", "seq"),
)
"""Every status that a camera reported; `shed` maps a cause to a number of frames."""

gaps = Table(
    "gaps",
    metadata,
    _text("id", primary_key=True),
    _text("camera"),
    _text("run"),
    _integer("since_ms"),
    _integer("until_ms"),
    _integer("events"),
    _text("reason"),
    _integer("stored_ms"),
    Index("gaps_until", "until_ms"),
)
"""Events known to be lost: how many, from when to when, and why. Number 0 of a run: observations
and statuses on the disk of a lost machine; the row shrinks as they arrive, and goes at 0."""

dead_letters = Table(
    "dead_letters",
    metadata,
    _text("origin", primary_key=True),
    _text("reason"),
    Column("payload", LargeBinary, nullable=False),
    _integer("stored_ms"),
    Index("dead_letters_stored", "stored_ms"),
)
"""Records that could not be stored, byte for byte; `origin` is their position in the bus or outbox,
or their id where they could be read."""

erasures = Table(
    "erasures",
    metadata,
    _text("id", primary_key=True),
    Column("camera", Text),
    Column("run", Text),
    Column("track", Text),
    Column("before_ms", BigInteger),
    _integer("requested_ms"),
)
"""What was erased for ever: a track, a recording's run, or what was captured before a time. No row
is ever deleted."""

retention = Table(
    "retention",
    metadata,
    _text("camera", primary_key=True),
    _integer("kept_from_ms"),
)
"""Captures of a camera before this time were deleted by its age limit, and are not stored again."""

deleted_observations = Table(
    "deleted_observations",
    metadata,
    _text("camera", primary_key=True),
    _text("run", primary_key=True),
    _integer("number"),
)
"""Observations of a live run that were stored and deleted since: they are not lost, whatever the
gap of a lost machine is computed from."""
