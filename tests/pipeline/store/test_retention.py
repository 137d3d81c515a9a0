"""Rows that are older than their camera's limit go, and late ones are not stored."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from pipeline.records import DeadLetter, Event
from pipeline.settings import CameraSettings
from pipeline.store.engine import open_store
from pipeline.store.erasures import Erasure, ErasureCounts, erase, read_erasures
from pipeline.store.registry import register
from pipeline.store.retention import DAY_MS, ErasureWatch, apply_retention
from pipeline.store.schema import observations
from pipeline.store.writer import StoreWriter
from tests.pipeline.store.test_writer import contents, expected

NOW = 100 * DAY_MS
FILE = "0123456789ab"


def faces(make: Any, camera: str, *days: float) -> list[Event]:
    """An observation and a track of so many days ago."""
    made: list[Event] = []
    for n, ago in enumerate(days):
        at_ms = NOW - round(ago * DAY_MS)
        made.append(make.observation(n, at_ms, camera, track=n + 1))
        made.append(make.track(camera=camera, track=n + 1, started_ms=at_ms, ended_ms=at_ms + 1))
    return made


def days_left(engine: Engine, camera: str) -> list[float]:
    query = select(observations.c.captured_ms).where(observations.c.camera == camera)
    with engine.connect() as connection:
        return sorted((NOW - ms) / DAY_MS for ms in connection.execute(query).scalars())


def test_each_camera_has_a_limit_of_its_own(engine: Engine, make: Any) -> None:
    register(engine, "door", CameraSettings(url="/dev/video0", keep_days=2), clock=lambda: NOW)
    register(engine, "hall", CameraSettings(url="/dev/video1"), clock=lambda: NOW)
    events = [one for c in ("door", "hall", "yard") for one in faces(make, c, 1, 1.9, 2.1, 9, 11)]
    writer = StoreWriter(engine, clock=lambda: NOW)
    writer.write(events)
    counts = apply_retention(engine, 10.0, clock=lambda: NOW)
    assert (counts.observations, counts.tracks, counts.minutes) == (5, 5, 5)
    # Late, twice, and for ever.
    assert writer.write(events).erased == 10
    assert days_left(engine, "door") == [1, 1.9]
    assert days_left(engine, "hall") == days_left(engine, "yard") == [1, 1.9, 2.1, 9]
    left = [
        *faces(make, "door", 1, 1.9),
        *(one for c in ("hall", "yard") for one in faces(make, c, 1, 1.9, 2.1, 9)),
    ]
    found = contents(engine)
    for table in ("observations", "tracks", "runs"):
        strip = [{k: v for k, v in row.items() if k != "stored_ms"} for row in found[table]]
        wanted = [
            {k: v for k, v in row.items() if k != "stored_ms"} for row in expected(left)[table]
        ]
        assert strip == wanted
    assert found["emotion_minutes"] == expected(left)["emotion_minutes"]
    assert read_erasures(engine) == []


def test_without_a_limit_nothing_goes(engine: Engine, make: Any) -> None:
    StoreWriter(engine).write(faces(make, "door", 1, 90))
    assert apply_retention(engine, None, clock=lambda: NOW) == ErasureCounts()
    assert days_left(engine, "door") == [1, 90]


def test_what_was_deleted_stays_deleted_when_the_limit_is_raised(engine: Engine, make: Any) -> None:
    writer = StoreWriter(engine)
    writer.write(faces(make, "door", 1, 5, 20))
    apply_retention(engine, 2.0, clock=lambda: NOW)
    apply_retention(engine, 30.0, clock=lambda: NOW)
    writer.write(faces(make, "door", 1, 5, 20))
    assert days_left(engine, "door") == [1]


def test_a_recording_is_as_old_as_its_first_row(engine: Engine, make: Any) -> None:
    """Its captures are positions in a file, and no times of day."""
    recent = make.observation(0, 500, run=FILE).model_copy(update={"received_ms": NOW})
    StoreWriter(engine, clock=lambda: NOW).write([recent, make.track(run=FILE)])
    assert apply_retention(engine, 1.0, clock=lambda: NOW).observations == 0
    later = NOW + 2 * DAY_MS
    assert apply_retention(engine, 1.0, clock=lambda: later) == ErasureCounts(1, 1, 1, 1)
    # Read again, it is new; resent, it is not.
    writer = StoreWriter(engine, clock=lambda: later)
    assert writer.write([recent]).erased == 1
    assert writer.write([recent.model_copy(update={"received_ms": later})]).observations == 1


def test_old_dead_letters_go(engine: Engine, make: Any) -> None:
    writer = StoreWriter(engine)
    old, new = faces(make, "door", 9)[0], faces(make, "door", 1)[0]
    dead = [DeadLetter(name, "why", e.to_json().encode()) for name, e in (("a", old), ("b", new))]
    writer.write([new])
    writer.write_dead_letters(dead)
    assert apply_retention(engine, 3.0, clock=lambda: NOW).dead_letters == 1
    writer.write_dead_letters(dead)
    assert writer.erased == 1


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_watch_applies_limits_and_knows_erasures(url: str, make: Any) -> None:
    engine = open_store(url)
    StoreWriter(engine).write(faces(make, "door", 1))  # of 1970, so it is old now
    with ErasureWatch(url, 5.0, keep_days=1.0, every_s=0.05) as watch:
        until(lambda: days_left(engine, "door") == [])
        assert watch() == ()
        erase(engine, Erasure("hall"))
        until(watch)
        assert watch() == tuple(read_erasures(engine))
    engine.dispose()


def test_limits_are_applied_again_and_again(sqlite_url: str, make: Any) -> None:
    engine = open_store(sqlite_url)
    times = [0.0]

    def now() -> float:
        times.append(times[-1])
        return times[-1]

    def wait_for_rounds() -> None:
        reached = len(times) + 4
        until(lambda: len(times) > reached)

    with ErasureWatch(sqlite_url, 5.0, 1.0, every_s=0.02, now=now):
        wait_for_rounds()
        # Of a camera that is new since: no limit is known yet, so it is stored.
        StoreWriter(engine).write(faces(make, "door", 1))
        wait_for_rounds()
        assert days_left(engine, "door") == [1]
        times.append(601.0)
        until(lambda: days_left(engine, "door") == [])
    engine.dispose()


def test_erasures_outlive_a_database_file_that_was_removed(
    sqlite_url: str, tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.store.sqlite_file.RECREATE_AFTER_S", 0.3)
    engine = open_store(sqlite_url)
    erase(engine, Erasure("door", before_ms=1_000))
    engine.dispose()
    with ErasureWatch(sqlite_url, 5.0, None, every_s=0.05) as watch:
        until(watch)
        for path in (tmp_path / "state").iterdir():
            path.unlink()
        until((tmp_path / "state/undercam.db").exists)
        again = open_store(sqlite_url)
        until(lambda: read_erasures(again))
        assert StoreWriter(again).write([make.observation(0, 500)]).erased == 1
        again.dispose()
