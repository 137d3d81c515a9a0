"""Runs whose machine was lost: what they had appended and is not stored is a row in `gaps`.

The row's number is 0, and it counts what has a row of its own: observations and statuses. It is
what was appended, less what is stored and what other gaps count; so it shrinks with every row that
arrives later, in the same transaction, and is deleted when nothing is missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, bindparam, delete, func, insert, select, update

from pipeline.clock import Clock, wall_clock
from pipeline.records import EventsLost
from pipeline.store.engine import begin_write
from pipeline.store.rows import Row, gap_row
from pipeline.store.schema import camera_status, deleted_observations, gaps, observations, runs
from pipeline.store.upserts import upsert_cameras_and_runs

REASON = "its machine was lost: they wait on its disk for `undercam outbox drain`"
Run = tuple[str, str]
"""Camera and run."""


class LostRun(NamedTuple):
    """A live camera's run on a machine that was lost: the number of observations and statuses that
    it had appended when it was last heard of, at `until_ms`, and when it began."""

    camera: str
    run: str
    appended: int
    since_ms: int
    until_ms: int


def record_lost_runs(engine: Engine, lost: Sequence[LostRun], clock: Clock = wall_clock) -> None:
    """Write the gap of each run of which something is missing; raises ServiceError.

    Recording a run again changes nothing: it is counted anew.
    """
    with begin_write(engine) as connection:
        for run in sorted(lost):
            _record(connection, run, clock())


def _record(connection: Connection, lost: LostRun, now: int) -> None:
    gap = _gap_of(lost, lost.appended)
    # The run's row is locked by this until we commit, as by every transaction that stores rows of
    # the run: none can come between our count and the gap.
    upsert_cameras_and_runs(connection, [gap], now)
    connection.execute(delete(gaps).where(gaps.c.id == gap.id))
    missing = lost.appended - _count_known(connection, lost)
    if missing > 0:
        of_run = select(runs.c.last_ms).where(runs.c.camera == lost.camera, runs.c.run == lost.run)
        last_ms = connection.execute(of_run).scalar_one() or lost.since_ms
        found = lost._replace(since_ms=min(last_ms, lost.until_ms))
        connection.execute(insert(gaps), [gap_row(_gap_of(found, missing), now)])


def _count_known(connection: Connection, lost: LostRun) -> int:
    """Events of the run that are stored, were stored and deleted, or are counted by another gap."""
    counts = [
        (func.count(), observations),
        (func.coalesce(func.sum(deleted_observations.c.number), 0), deleted_observations),
        (func.count(), camera_status),
        (func.coalesce(func.sum(gaps.c.events), 0), gaps),
    ]
    return sum(
        int(
            connection.execute(
                select(count)
                .select_from(table)
                .where(table.c.camera == lost.camera, table.c.run == lost.run)
            ).scalar_one()
        )
        for count, table in counts
    )


def _gap_of(lost: LostRun, events: int) -> EventsLost:
    return EventsLost(
        id=EventsLost.make_id(lost.camera, lost.run, 0),
        camera=lost.camera,
        run=lost.run,
        since_ms=lost.since_ms,
        until_ms=lost.until_ms,
        events=events,
        reason=REASON,
    )


def count_losses(connection: Connection, rows: Sequence[Row]) -> Counter[Run]:
    """By how many events rows of `gaps`, not written yet, will count more than those that are."""
    largest: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: row["events"]):
        largest[row["id"]] = row
    if not largest:
        return Counter()
    stored = select(gaps.c.id, gaps.c.events).where(gaps.c.id.in_(largest))
    before = {row.id: row.events for row in connection.execute(stored)}
    grown: Counter[Run] = Counter()
    for key, row in largest.items():
        grown[row["camera"], row["run"]] += max(row["events"] - before.get(key, 0), 0)
    return grown


def settle_lost_runs(connection: Connection, arrived: Mapping[Run, int]) -> None:
    """Take what has just arrived, by run, off the gaps of lost machines.

    Pass only rows that were really inserted, in the same transaction, as for the roll-up.
    """
    ids = {EventsLost.make_id(*run, 0): events for run, events in arrived.items()}
    if not ids:
        return
    # Hardly any run has such a gap: one look-up a batch, and mostly nothing more.
    found = connection.execute(select(gaps.c.id).where(gaps.c.id.in_(ids))).scalars().all()
    if not found:
        return
    fewer = update(gaps).where(gaps.c.id == bindparam("gap"))
    parameters: list[dict[str, Any]] = [{"gap": key, "less": ids[key]} for key in sorted(found)]
    connection.execute(fewer.values(events=gaps.c.events - bindparam("less")), parameters)
    connection.execute(delete(gaps).where(gaps.c.id.in_(found), gaps.c.events <= 0))
