"""Finds tracks by what was seen of them: label, confidence, duration, mode and quality.

Everything is answered by the roll-up `track_totals`, one row per track.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Double, Engine, and_, cast, func, literal, or_, select

from pipeline.records import TrackUpdated
from pipeline.store.engine import begin_read
from pipeline.store.schema import COUNTS, LABELS, track_totals, tracks

NEGATIVE = ("sadness", "anger", "disgust", "fear", "contempt")
"""The labels that are called negative; surprise is neither."""
BLURRED, DARK, SMALL_PX = 0.5, 0.2, 48.0
"""From this mean blur on, below this mean light, below this mean size an image is called poor."""
COUNT_LIMIT = 10_000
"""Tracks are counted up to here."""
MODE_ROWS = 2_000
"""The modes are those of at most this many tracks, the last ones."""
Quality = Literal["good", "blurred", "dark", "small"]
Sort = Literal["last", "first", "duration", "negative", "confidence", "uncertainty", "blur"]


@dataclass(frozen=True)
class TrackFilter:
    """Which tracks: what is left as it is does not filter.

    `label` is the most frequent smoothed label of a track, or unknown; `least_confidence` bounds
    the mean smoothed confidence; `negative_ms` the time with a negative label, which is the
    duration times the share of such observations; `mode` one that classified any of them; `run`
    a recording.
    """

    camera: str | None = None
    run: str | None = None
    label: str | None = None
    least_confidence: float = 0.0
    least_duration_ms: int = 0
    negative_ms: int = 0
    mode: str | None = None
    quality: Quality | None = None


@dataclass(frozen=True)
class TrackSummary:
    """A track with the totals of its observations.

    counts: observations per smoothed label; `confidence`, `uncertainty`, `blur`, `luma` and
    `size_px` are means over them. `phase` is that of its last update, "" where none is stored.
    """

    camera: str
    run: str
    track: int
    first_ms: int
    last_ms: int
    counts: dict[str, int]
    confidence: float
    uncertainty: float
    blur: float
    luma: float
    size_px: float
    modes: tuple[str, ...]
    phase: str

    @property
    def id(self) -> str:
        """The track's id."""
        return TrackUpdated.make_id(self.camera, self.run, self.track)

    @property
    def observations(self) -> int:
        """The number of stored observations."""
        return sum(self.counts.values())

    @property
    def label(self) -> str:
        """The most frequent label."""
        return max(LABELS, key=lambda label: self.counts.get(label, 0))

    @property
    def duration_ms(self) -> int:
        """From its first to its last observation."""
        return self.last_ms - self.first_ms

    @property
    def negative_ms(self) -> int:
        """About how long its label was a negative one."""
        negative = sum(self.counts.get(label, 0) for label in NEGATIVE)
        return round(self.duration_ms * negative / self.observations)


@dataclass(frozen=True)
class FoundTracks:
    """A page of tracks, and the number of tracks in all pages; 0 where it was not asked for."""

    total: int
    tracks: list[TrackSummary]


def search_tracks(
    engine: Engine,
    since_ms: int,
    until_ms: int,
    wanted: TrackFilter,
    sort: Sort = "last",
    limit: int = 50,
    offset: int = 0,
) -> list[TrackSummary]:
    """Tracks that overlap [since_ms, until_ms), the first of the sort first."""
    return find_tracks(engine, since_ms, until_ms, wanted, sort, limit, offset, count=False).tracks


def find_tracks(
    engine: Engine,
    since_ms: int,
    until_ms: int,
    wanted: TrackFilter,
    sort: Sort = "last",
    limit: int = 50,
    offset: int = 0,
    count: bool = True,
) -> FoundTracks:
    """The same, with their number in all pages, which a filter tells while it looks."""
    total = track_totals.c
    order = total.first_ms.asc() if sort == "first" else SORTS[sort].desc()
    is_filtered = wanted != TrackFilter(wanted.camera, wanted.run)
    number = func.count().over() if count and is_filtered else literal(0)
    page = (
        select(track_totals, number.label("number"))
        .where(_matches(since_ms, until_ms, wanted))
        .order_by(order, total.last_ms.desc(), total.camera, total.run, total.track)
        .limit(limit)
        .offset(offset)
    )
    with begin_read(engine) as connection:
        rows = connection.execute(page).mappings().all()
        ids = [TrackUpdated.make_id(row["camera"], row["run"], row["track"]) for row in rows]
        phases: dict[str, str] = {
            row.id: row.phase
            for row in connection.execute(
                select(tracks.c.id, tracks.c.phase).where(tracks.c.id.in_(ids))
            )
        }
    found = [_summary(row, phases.get(name, "")) for name, row in zip(ids, rows, strict=True)]
    known = rows[0]["number"] if rows else 0
    # Of everything, the index alone tells the number; a page behind the last one has no row.
    if count and not known and (offset or not is_filtered):
        known = count_tracks(engine, since_ms, until_ms, wanted)
    return FoundTracks(known, found)


def count_tracks(engine: Engine, since_ms: int, until_ms: int, wanted: TrackFilter) -> int:
    """Number of those tracks, counted up to COUNT_LIMIT."""
    some = select(track_totals.c.track).where(_matches(since_ms, until_ms, wanted))
    with begin_read(engine) as connection:
        counted = select(func.count()).select_from(some.limit(COUNT_LIMIT).subquery())
        return connection.execute(counted).scalar_one()


def list_modes(engine: Engine) -> list[str]:
    """The modes of the last tracks, in alphabetical order."""
    total = track_totals.c
    last = select(total.modes).where(total.last_ms >= 0).order_by(total.last_ms.desc())
    last = last.limit(MODE_ROWS)
    with begin_read(engine) as connection:
        found = connection.execute(select(last.subquery().c.modes).distinct()).scalars()
        return sorted({mode for modes in found for mode in _split(modes)})


def find_totals(engine: Engine, track_id: str) -> TrackSummary | None:
    """The totals of the track `trk:camera:run:track`, or None."""
    kind, _, place = track_id.partition(":")
    parts = place.split(":")
    if kind != "trk" or len(parts) != 3 or not parts[2].isdecimal() or len(parts[2]) > 16:
        return None
    total = track_totals.c
    query = select(track_totals).where(
        total.camera == parts[0], total.run == parts[1], total.track == int(parts[2])
    )
    with begin_read(engine) as connection:
        row = connection.execute(query).mappings().first()
        known = select(tracks.c.phase).where(tracks.c.id == track_id)
        phase = connection.execute(known).scalar()
    return None if row is None else _summary(row, phase or "")


def _sum(names: tuple[str, ...]) -> Any:
    return functools.reduce(operator.add, (track_totals.c[name] for name in names))


_observations: Any = cast(_sum(COUNTS), Double)
_duration: Any = track_totals.c.last_ms - track_totals.c.first_ms
_negative: Any = _duration * _sum(tuple(f"n_{label}" for label in NEGATIVE)) / _observations
_mean: dict[str, Any] = {
    name: track_totals.c[f"sum_{name}"] / _observations
    for name in ("confidence", "uncertainty", "blur", "luma", "size_px")
}
SORTS: dict[Sort, Any] = {
    "last": track_totals.c.last_ms,
    "duration": _duration,
    "negative": _negative,
    "confidence": _mean["confidence"],
    "uncertainty": _mean["uncertainty"],
    "blur": _mean["blur"],
}
_poor: dict[Quality, ColumnElement[bool]] = {
    "blurred": _mean["blur"] >= BLURRED,
    "dark": _mean["luma"] < DARK,
    "small": _mean["size_px"] < SMALL_PX,
}


def _matches(since_ms: int, until_ms: int, wanted: TrackFilter) -> ColumnElement[bool]:
    total = track_totals.c
    terms = [total.last_ms >= since_ms, total.first_ms < until_ms]
    if wanted.camera is not None:
        terms.append(total.camera == wanted.camera)
    if wanted.run is not None:
        terms.append(total.run == wanted.run)
    if wanted.label is not None:
        own = total[f"n_{wanted.label}"]
        terms += [own >= total[name] for name in COUNTS if name != own.name]
        terms.append(own > 0)
    if wanted.least_confidence:
        terms.append(_mean["confidence"] >= wanted.least_confidence)
    if wanted.least_duration_ms:
        terms.append(_duration >= wanted.least_duration_ms)
    if wanted.negative_ms:
        terms.append(_negative >= wanted.negative_ms)
    if wanted.mode is not None:
        terms.append(total.modes.contains(f"|{wanted.mode}|", autoescape=True))
    if wanted.quality == "good":
        terms.append(~or_(*_poor.values()))
    elif wanted.quality is not None:
        terms.append(_poor[wanted.quality])
    return and_(*terms)


def _split(modes: str) -> tuple[str, ...]:
    return tuple(sorted(set(filter(None, modes.split("|")))))


def _summary(row: Mapping[Any, Any], phase: str) -> TrackSummary:
    counts = {label: row[name] for label, name in zip(LABELS, COUNTS, strict=True) if row[name]}
    number = sum(counts.values())
    means = {name: row[f"sum_{name}"] / number for name in _mean}
    return TrackSummary(
        camera=row["camera"],
        run=row["run"],
        track=row["track"],
        first_ms=row["first_ms"],
        last_ms=row["last_ms"],
        counts=counts,
        modes=_split(row["modes"]),
        phase=phase,
        **means,
    )
