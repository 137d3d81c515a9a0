"""What the runs of a camera have left in the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Engine, func, select

from pipeline.store.engine import begin_read
from pipeline.store.schema import camera_status, observations, tracks


@dataclass(frozen=True)
class RunTotals:
    """Rows of some runs, and the frames that they shed, by cause."""

    tracks: int
    observations: int
    shed: Mapping[str, int]


def run_totals(engine: Engine, camera: str, runs: Collection[str]) -> RunTotals:
    """Totals over the runs of a camera; raises ServiceError when the database cannot answer."""
    with begin_read(engine) as connection:
        counts = [
            connection.scalar(
                select(func.count())
                .select_from(table)
                .where(table.c.camera == camera, table.c.run.in_(sorted(runs)))
            )
            for table in (tracks, observations)
        ]
        status = camera_status.c
        statuses = connection.execute(
            select(status.run, status.shed)
            .where(status.camera == camera, status.run.in_(sorted(runs)))
            .order_by(status.seq)
        ).all()
    # Each status counts from the start of its run: the last one of a run counts all.
    last = {run: shed for run, shed in statuses}
    shed = sum((Counter(shed) for shed in last.values()), Counter[str]())
    return RunTotals(counts[0] or 0, counts[1] or 0, dict(shed))
