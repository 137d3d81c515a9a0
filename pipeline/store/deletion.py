"""The statements that delete observations, with all that was made of them.

`emotion_minutes` is reduced by exactly what is deleted, and what is left of a run is what its
remaining observations say. For use within a transaction that holds the lock of
`pipeline.store.erasures`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    case,
    delete,
    exists,
    func,
    literal_column,
    or_,
    select,
    update,
)

from pipeline.erasure import ErasureFilter, Subject
from pipeline.records import TrackUpdated
from pipeline.store.schema import (
    COUNTS,
    LABELS,
    PROBABILITIES,
    SUMS,
    camera_status,
    dead_letters,
    emotion_minutes,
    gaps,
    observations,
    runs,
    track_totals,
    tracks,
)
from pipeline.store.upserts import MINUTE_MS, TOTALLED, add_deleted, upsert_track_totals

TOTALLED_COLUMNS = ("camera", "run", "track", "captured_ms", "smoothed_label", "mode", *TOTALLED)
"""Columns of an observation that its track's totals are made of."""
RECORDING_CHARS = 12
"""Length of a recording's run; a live one's is `e` and at most 13 digits, in tests fewer."""
PAGE_ROWS = 16
"""Dead letters in memory at once: each may have 16 MiB."""


@dataclass(frozen=True)
class ErasureCounts:
    """Number of rows deleted; `minutes` of the roll-up are deleted or reduced. `remains` says why
    bytes of them may still be in the database's files, "" where none are."""

    observations: int = 0
    tracks: int = 0
    minutes: int = 0
    runs: int = 0
    dead_letters: int = 0
    remains: str = ""

    def __add__(self, other: ErasureCounts) -> ErasureCounts:
        names = [field.name for field in fields(self) if field.name != "remains"]
        sums = {name: getattr(self, name) + getattr(other, name) for name in names}
        return ErasureCounts(**sums, remains=self.remains or other.remains)


def delete_before(connection: Connection, camera: str, before_ms: int) -> ErasureCounts:
    """What a live camera captured before a time. A track that began before it loses its summary;
    its later observations stay, and its totals are theirs."""
    seen, known, minutes = observations.c, tracks.c, emotion_minutes.c
    edge_ms = before_ms - before_ms % MINUTE_MS
    old = and_(seen.camera == camera, seen.captured_ms < before_ms, _is_live(seen.run))
    reduced = _reduce_minutes(connection, and_(old, seen.captured_ms >= edge_ms))
    _note_deleted(connection, old)
    whole = and_(minutes.camera == camera, minutes.minute_ms < edge_ms, _is_live(minutes.run))
    began = and_(known.camera == camera, known.started_ms < before_ms, _is_live(known.run))
    touched = and_(runs.c.first_ms < before_ms, _is_live(runs.c.run))
    deleted = connection.execute(delete(observations).where(old)).rowcount
    _total_anew(connection, camera, before_ms)
    return ErasureCounts(
        minutes=reduced + connection.execute(delete(emotion_minutes).where(whole)).rowcount,
        observations=deleted,
        tracks=connection.execute(delete(tracks).where(began)).rowcount,
        runs=_refresh_runs(connection, camera, touched),
    )


def _total_anew(connection: Connection, camera: str, before_ms: int) -> None:
    """Total the tracks that began before a time from the observations that are left of them."""
    seen, total = observations.c, track_totals.c
    began = and_(total.camera == camera, total.first_ms < before_ms, _is_live(total.run))
    going_on = select(total.run, total.track).where(began, total.last_ms >= before_ms)
    left = connection.execute(going_on).all()
    connection.execute(delete(track_totals).where(began))
    columns = [seen[name] for name in TOTALLED_COLUMNS]
    for run, track in left:
        own = and_(seen.camera == camera, seen.run == run, seen.track == track)
        rows = connection.execute(select(*columns).where(own)).mappings()
        upsert_track_totals(connection, [dict(row) for row in rows])


def delete_run(connection: Connection, camera: str, run: str) -> ErasureCounts:
    """All faces of a run."""
    seen, known, minutes, _ = (
        connection.execute(
            delete(table).where(table.c.camera == camera, table.c.run == run)
        ).rowcount
        for table in (observations, tracks, emotion_minutes, track_totals)
    )
    return ErasureCounts(seen, known, minutes, _refresh_runs(connection, camera, runs.c.run == run))


def delete_track(connection: Connection, camera: str, run: str, track: int) -> ErasureCounts:
    """One track with its observations."""
    seen = observations.c
    own = and_(seen.camera == camera, seen.run == run, seen.track == track)
    _note_deleted(connection, own)
    summary = tracks.c.id == TrackUpdated.make_id(camera, run, track)
    total = track_totals.c
    own_total = and_(total.camera == camera, total.run == run, total.track == track)
    connection.execute(delete(track_totals).where(own_total))
    return ErasureCounts(
        minutes=_reduce_minutes(connection, own),
        observations=connection.execute(delete(observations).where(own)).rowcount,
        tracks=connection.execute(delete(tracks).where(summary)).rowcount,
        runs=_refresh_runs(connection, camera, runs.c.run == run),
    )


def find_recordings(connection: Connection, camera: str, before_ms: int) -> list[str]:
    """Runs of a camera's recordings of which any part was received or stored before a time."""
    seen = observations.c
    early = exists().where(
        seen.camera == camera, seen.run == runs.c.run, seen.received_ms < before_ms
    )
    query = select(runs.c.run).where(
        runs.c.camera == camera,
        func.length(runs.c.run) == RECORDING_CHARS,
        or_(runs.c.stored_ms < before_ms, early),
    )
    return list(connection.execute(query.order_by(runs.c.run)).scalars())


def delete_dead_letters(connection: Connection, erasures: ErasureFilter) -> int:
    """Dead letters whose payload belongs to what was erased, as far as it tells; returns how
    many."""
    deleted, last, row = 0, "", dead_letters.c
    page = select(row.origin, row.payload).order_by(row.origin).limit(PAGE_ROWS)
    while found := connection.execute(page.where(row.origin > last)).all():
        last = found[-1].origin
        theirs = [
            one.origin for one in found if erasures.covers(Subject.of_payload(bytes(one.payload)))
        ]
        connection.execute(delete(dead_letters).where(row.origin.in_(theirs)))
        deleted += len(theirs)
    return deleted


def _note_deleted(connection: Connection, where: ColumnElement[bool]) -> None:
    """Count observations of live runs that are about to be deleted."""
    seen = observations.c
    query = select(seen.camera, seen.run, func.count().label("number"))
    found = connection.execute(
        query.where(where, _is_live(seen.run)).group_by(seen.camera, seen.run)
    )
    add_deleted(connection, [dict(row._mapping) for row in found])


def _is_live(run: ColumnElement[str]) -> ColumnElement[bool]:
    return func.length(run) != RECORDING_CHARS


def _reduce_minutes(connection: Connection, where: ColumnElement[bool]) -> int:
    """Subtract observations that are about to be deleted from their minutes; returns how many
    minutes change. One that nothing is left of is deleted."""
    seen, rows = observations.c, emotion_minutes.c
    minute = seen.captured_ms - seen.captured_ms % literal_column(str(MINUTE_MS))
    shown = [func.sum(case((seen.smoothed_label == label, 1), else_=0)) for label in LABELS]
    totals = [func.sum(seen[name]) for name in PROBABILITIES]
    query = select(seen.camera, minute, seen.run, *shown, *totals).where(where)
    found = connection.execute(query.group_by(seen.camera, minute, seen.run)).all()
    for camera, minute_ms, run, *amounts in found:
        key = and_(rows.camera == camera, rows.minute_ms == minute_ms, rows.run == run)
        less = {
            name: rows[name] - amount for name, amount in zip(COUNTS + SUMS, amounts, strict=True)
        }
        connection.execute(update(emotion_minutes).where(key).values(less))
        is_empty = sum((rows[name] for name in COUNTS[1:]), rows[COUNTS[0]]) <= 0
        connection.execute(delete(emotion_minutes).where(key, is_empty))
    return len(found)


def _refresh_runs(connection: Connection, camera: str, touched: ColumnElement[bool]) -> int:
    """Bring runs in line with the observations that are left; returns how many runs are deleted,
    because nothing at all is left of them."""
    seen, ours = observations.c, and_(runs.c.camera == camera, touched)
    left = (seen.camera == runs.c.camera, seen.run == runs.c.run)
    span = {
        "first_ms": select(func.min(seen.captured_ms)).where(*left).scalar_subquery(),
        "last_ms": select(func.max(seen.captured_ms)).where(*left).scalar_subquery(),
        "clock": select(func.max(seen.clock)).where(*left).scalar_subquery(),
    }
    names = list(connection.execute(select(runs.c.run).where(ours)).scalars())
    connection.execute(update(runs).where(ours).values(span))
    others = [
        runs.c.run.not_in(select(table.c.run).where(table.c.camera == camera))
        for table in (tracks, camera_status, gaps)
    ]
    deleted = 0
    for first in range(0, len(names), 500):
        own = (runs.c.camera == camera, runs.c.run.in_(names[first : first + 500]))
        empty = delete(runs).where(*own, runs.c.first_ms.is_(None), *others)
        deleted += connection.execute(empty).rowcount
    return deleted
