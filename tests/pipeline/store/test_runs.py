"""What the runs of a camera have left: the numbers that the demo ends with."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine

from pipeline.store.queries.runs import RunTotals, run_totals
from pipeline.store.writer import StoreWriter


def test_totals_of_some_runs_and_of_no_others(engine: Engine, make: Any) -> None:
    events = [
        *(make.look(n, 1_000 + n, run="e1") for n in range(3)),
        *(make.look(n, 5_000 + n, run="e2", track=2) for n in range(2)),
        make.look(7, run="e3"),
        make.look(8, camera="hall"),
        make.track(),
        make.track(run="e2", track=2),
        make.track(camera="hall"),
        make.status(0, shed={"newer": 1}),
        make.status(1, shed={"newer": 4, "stale": 1}),
        make.status(0, run="e2", shed={"newer": 2}),
        make.status(0, run="e3", shed={"newer": 9}),
    ]
    StoreWriter(engine).write(events)
    # Each status counts from the start of its run, so only the last of each run is added.
    found = run_totals(engine, "door", {"e1", "e2"})
    assert found == RunTotals(2, 5, {"newer": 6, "stale": 1})
    assert run_totals(engine, "door", set()) == RunTotals(0, 0, {})
    assert run_totals(engine, "yard", {"e1"}) == RunTotals(0, 0, {})
