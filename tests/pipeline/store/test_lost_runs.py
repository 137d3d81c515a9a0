"""The gap of a lost machine: what was appended there is stored, or counted as missing, once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from pipeline.records import Event
from pipeline.store.erasures import Erasure, erase
from pipeline.store.lost_runs import LostRun, record_lost_runs
from pipeline.store.schema import gaps
from pipeline.store.writer import StoreWriter
from tests.pipeline.store.test_writer import emptied

SINCE_MS, FIRST_MS, UNTIL_MS = 1_699_999_990_000, 1_700_000_000_000, 1_700_000_060_000


def lost(appended: int, run: str = "e1", camera: str = "door") -> LostRun:
    return LostRun(camera, run, appended, SINCE_MS, UNTIL_MS)


def found(engine: Engine) -> list[tuple[str, int]]:
    with engine.connect() as connection:
        query = select(gaps.c.id, gaps.c.events).order_by(gaps.c.id)
        return [(row.id, row.events) for row in connection.execute(query)]


def tail(make: Any, count: int, first: int = 0) -> list[Event]:
    return [make.look(frame, FIRST_MS + frame) for frame in range(first, first + count)]


def test_what_was_appended_and_is_not_stored_is_a_gap_until_it_arrives(
    engine: Engine, make: Any
) -> None:
    writer, events = StoreWriter(engine), tail(make, 10)
    writer.write([*events[:4], make.status(0)])
    record_lost_runs(engine, [lost(11)])
    assert found(engine) == [("gap:door:e1:0", 6)]
    with engine.connect() as connection:
        (row,) = connection.execute(select(gaps)).mappings()
    assert (row["since_ms"], row["until_ms"]) == (FIRST_MS + 3, UNTIL_MS)
    assert "undercam outbox drain" in row["reason"]
    writer.write(events[2:6])
    assert found(engine) == [("gap:door:e1:0", 4)]
    writer.write(events)
    assert found(engine) == []
    writer.write(events)  # once more: nothing is counted twice
    assert found(engine) == []


def test_a_run_of_which_nothing_is_stored_has_its_beginning_as_the_gap_s(engine: Engine) -> None:
    record_lost_runs(engine, [lost(3), lost(2, camera="hall")])
    assert found(engine) == [("gap:door:e1:0", 3), ("gap:hall:e1:0", 2)]
    with engine.connect() as connection:
        assert set(connection.execute(select(gaps.c.since_ms)).scalars()) == {SINCE_MS}


def test_recording_a_run_again_counts_it_anew(engine: Engine, make: Any) -> None:
    record_lost_runs(engine, [lost(5)])
    StoreWriter(engine).write(tail(make, 2))
    record_lost_runs(engine, [lost(5)])
    assert found(engine) == [("gap:door:e1:0", 3)]
    record_lost_runs(engine, [lost(2)])
    assert found(engine) == []


def test_events_that_another_gap_counts_are_not_missing_twice(engine: Engine, make: Any) -> None:
    writer = StoreWriter(engine)
    record_lost_runs(engine, [lost(10)])
    writer.write(tail(make, 4))
    shed = make.loss(number=7, events=2)
    writer.write([shed])
    writer.write([shed, make.loss(number=7, events=5)])  # it has grown, and is resent
    assert found(engine) == [("gap:door:e1:0", 1), (shed.id, 5)]
    record_lost_runs(engine, [lost(10)])
    assert found(engine) == [("gap:door:e1:0", 1), (shed.id, 5)]
    writer.write(tail(make, 1, first=4))
    assert found(engine) == [(shed.id, 5)]


def test_what_was_erased_is_not_missing(engine: Engine, make: Any) -> None:
    writer, events = StoreWriter(engine), tail(make, 10)
    writer.write(events[:6])
    erase(engine, Erasure("door", before_ms=FIRST_MS + 4))
    erase(engine, Erasure(track="door/e1/1"))
    record_lost_runs(engine, [lost(10)])
    assert found(engine) == [("gap:door:e1:0", 4)]
    assert writer.write(events[6:8]).erased == 2  # they have arrived, and are not kept
    assert found(engine) == [("gap:door:e1:0", 2)]
    writer.write(events[8:])
    assert found(engine) == []


def test_other_runs_and_cameras_are_left_alone(engine: Engine, make: Any) -> None:
    record_lost_runs(engine, [lost(3), lost(3, run="e2")])
    StoreWriter(engine).write(tail(make, 3))
    assert found(engine) == [("gap:door:e2:0", 3)]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_arrived_and_missing_are_what_was_appended_in_any_order(
    engine: Engine, make: Any, data: st.DataObject
) -> None:
    emptied(engine)
    appended = data.draw(st.integers(1, 12))
    events = tail(make, appended)
    order = random.Random(data.draw(st.integers(0, 99)))
    batches: list[Sequence[Event]] = [
        order.sample(events, data.draw(st.integers(1, appended)))
        for _ in range(data.draw(st.integers(0, 5)))
    ]
    at = data.draw(st.integers(0, len(batches)))
    arrived: set[str] = set()
    for number, batch in enumerate([*batches[:at], (), *batches[at:]]):
        if number == at:
            record_lost_runs(engine, [lost(appended)])
        StoreWriter(engine).write(batch)
        arrived |= {event.id for event in batch}
        missing = sum(events for _, events in found(engine))
        if number >= at:
            assert len(arrived) + missing == appended
