"""Observations and tracks as CSV or Parquet, page by page, from the queries of the pages.

Times are milliseconds UTC, or of a recording milliseconds from its start.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, BinaryIO, Literal

from sqlalchemy import Engine

from pipeline.errors import ConfigError
from pipeline.store.queries import TrackFilter, TrackSummary, camera_overview, search_tracks
from pipeline.store.queries.observation_rows import COLUMNS, START, list_observations
from pipeline.store.schema import LABELS

Kind = Literal["observations", "tracks"]
KINDS: tuple[Kind, ...] = ("observations", "tracks")
FORMATS = ("csv", "parquet")
PAGE_ROWS = 5_000
"""Rows in memory at once."""
TRACK_COLUMNS = (
    *("id", "camera", "run", "track", "first_ms", "last_ms", "duration_ms", "observations"),
    *("label", "confidence", "uncertainty", "negative_ms", "blur", "luma", "size_px", "modes"),
    *(f"n_{label}" for label in LABELS),
)
Rows = list[list[Any]]


def list_columns(kind: Kind) -> Sequence[str]:
    """The names of the columns."""
    return COLUMNS if kind == "observations" else TRACK_COLUMNS


def read_pages(
    engine: Engine, kind: Kind, since_ms: int, until_ms: int, camera: str | None = None
) -> Iterator[Rows]:
    """The rows of [since_ms, until_ms), of one camera or of all, camera by camera.

    Observations come in order of capture, tracks by their last observation, the newest first.
    Raises ServiceError when the database cannot answer.
    """
    known = [one.camera for one in camera_overview(engine, until_ms, until_ms)]
    for name in known if camera is None else [camera]:
        pages = _observation_pages if kind == "observations" else _track_pages
        yield from pages(engine, name, since_ms, until_ms)


def to_csv(columns: Sequence[str], pages: Iterable[Rows]) -> Iterator[bytes]:
    """The pages as CSV (RFC 4180, UTF-8) with a line of names.

    A text that a spreadsheet would run as a formula gets an apostrophe: names and reasons come from
    cameras.
    """
    yield _encode([list(columns)])
    for page in pages:
        yield _encode([[_defuse(value) for value in row] for row in page])


def write_parquet(columns: Sequence[str], pages: Iterable[Rows], file: BinaryIO) -> None:
    """Write the pages as Parquet. Raises ConfigError without pyarrow."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        remedy = "pip install 'undercam[dashboard]', or export CSV"
        raise ConfigError("Parquet needs pyarrow", "pyarrow", remedy) from None
    kinds = {"text": pa.string(), "whole": pa.int64(), "number": pa.float64()}
    schema = pa.schema([(name, kinds[_kind_of(name)]) for name in columns])
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for page in pages:
            values = [list(column) for column in zip(*page, strict=True)]
            if values:
                writer.write_table(pa.table(values, schema=schema))


def to_track_rows(found: Sequence[TrackSummary]) -> Rows:
    """Tracks as rows of TRACK_COLUMNS."""
    return [
        [
            *(getattr(track, name) for name in TRACK_COLUMNS[:15]),
            " ".join(track.modes),
            *(track.counts.get(label, 0) for label in LABELS),
        ]
        for track in found
    ]


def _observation_pages(engine: Engine, camera: str, since_ms: int, until_ms: int) -> Iterator[Rows]:
    after = START
    while rows := list_observations(engine, camera, since_ms, until_ms, after, PAGE_ROWS):
        yield [[row[name] for name in COLUMNS] for row in rows]
        after = rows[-1]["captured_ms"], rows[-1]["id"]


def _track_pages(engine: Engine, camera: str, since_ms: int, until_ms: int) -> Iterator[Rows]:
    wanted, first = replace(TrackFilter(), camera=camera), 0
    while found := search_tracks(engine, since_ms, until_ms, wanted, limit=PAGE_ROWS, offset=first):
        yield to_track_rows(found)
        first += len(found)


def _encode(rows: Rows) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _defuse(value: Any) -> Any:
    is_formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if is_formula else value


_TEXTS = {
    *("id", "camera", "run", "clock", "label", "smoothed_label", "model", "mode", "reason"),
    "modes",
}
_WHOLE = {"track", "frame", "observations"}


def _kind_of(name: str) -> str:
    if name in _TEXTS:
        return "text"
    is_whole = name in _WHOLE or name.endswith("_ms") or name.startswith("n_")
    return "whole" if is_whole else "number"
