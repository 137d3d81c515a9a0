"""What is known of the runs of a machine when it is lost, and that it reaches the database."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

from pipeline.live import lost_runs
from pipeline.live.leases import Lease, Report
from pipeline.live.lost_runs import LostRunKeeper, MachineRuns
from pipeline.settings import CameraSettings
from pipeline.store.engine import open_store
from pipeline.store.lost_runs import LostRun

NOW_MS = 1_700_000_000_000
URL = CameraSettings(url="rtsp://10.0.0.7/live")


def report(camera: str, epoch: int, appended: int) -> Report:
    return Report(Lease(camera, epoch, URL), "online", appended=appended)


def test_a_machine_that_is_gone_gives_its_runs_once_as_they_told_last() -> None:
    now = NOW_MS
    machines = MachineRuns(lambda: now)
    machines.note("a", [report("door", NOW_MS - 500, 3), report("hall", NOW_MS - 400, 0)])
    machines.note("b", [report("yard", NOW_MS - 300, 2)])
    now += 1000
    machines.note("a", [report("door", NOW_MS - 500, 7)])
    assert machines.take_lost({"a", "b"}) == []
    door = LostRun("door", f"e{NOW_MS - 500}", 7, NOW_MS - 500, NOW_MS + 1000)
    assert machines.take_lost({"b", "c"}) == [door]
    assert machines.take_lost({"b"}) == []


def test_a_run_that_has_ended_is_remembered_and_only_the_newest_are() -> None:
    machines = MachineRuns(lambda: NOW_MS)
    for epoch in range(1, lost_runs.MOST_RUNS + 3):
        machines.note("a", [report("door", epoch, 1)])
    runs = [run.since_ms for run in machines.take_lost(())]
    assert runs == list(range(3, lost_runs.MOST_RUNS + 3))


def gaps(path: Path) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(path)) as connection, suppress(sqlite3.OperationalError):
        return connection.execute("SELECT id, events FROM gaps ORDER BY id").fetchall()
    return []  # no tables yet


def test_a_gap_is_written_when_the_database_is_back(tmp_path: Path) -> None:
    path = tmp_path / "rows" / "undercam.db"
    path.parent.touch()  # a file, where its folder should be
    with LostRunKeeper(f"sqlite:///{path}", 1.0, retry_s=0.05) as keeper:
        keeper.record([LostRun("door", "e1", 7, 1, 2)])
        time.sleep(0.2)
        path.parent.unlink()
        keeper.record([LostRun("hall", "e2", 3, 1, 2)])
        until_s = time.monotonic() + 20
        while not path.exists() or len(gaps(path)) < 2:
            assert time.monotonic() < until_s
            time.sleep(0.02)
    assert gaps(path) == [("gap:door:e1:0", 7), ("gap:hall:e2:0", 3)]


def test_what_was_recorded_last_is_written_before_it_closes(tmp_path: Path) -> None:
    path = tmp_path / "undercam.db"
    open_store(f"sqlite:///{path}").dispose()
    with LostRunKeeper(f"sqlite:///{path}", 1.0) as keeper:
        keeper.record([LostRun("door", "e1", 7, 1, 2)])
    assert gaps(path) == [("gap:door:e1:0", 7)]
