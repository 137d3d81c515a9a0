"""Each event is stored exactly once, whatever arrives twice, late, in disorder or not at all."""

from __future__ import annotations

import math
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, select, text

from models.emotions import EMOTIONS, UNKNOWN
from pipeline.errors import RecordRefused, ServiceError
from pipeline.records import CameraStatus, DeadLetter, Event, EventsLost, FaceObserved, TrackUpdated
from pipeline.store.engine import for_writing, open_store, use_store
from pipeline.store.rows import gap_row, observation_row, status_row, track_row
from pipeline.store.schema import SUMS, TOTALS, metadata
from pipeline.store.writer import StoreWriter, WriteCounts

NOW = 1_700_000_000_000
NO_EVENTS = ("camera_leases", "erasures", "retention", "deleted_observations")
Contents = dict[str, list[dict[str, Any]]]


def writer_on(engine: Engine, batch_rows: int = 500) -> StoreWriter:
    return StoreWriter(engine, clock=lambda: NOW, batch_rows=batch_rows)


def contents(engine: Engine) -> Contents:
    """Every table, its rows in the order of their keys."""
    with engine.connect() as connection:
        return {
            name: [dict(row) for row in connection.execute(ordered(name)).mappings()]
            for name in metadata.tables
            if name not in NO_EVENTS
        }


def ordered(name: str) -> Any:
    table = metadata.tables[name]
    return select(table).order_by(*table.primary_key)


def emptied(engine: Engine) -> Engine:
    with for_writing(engine).begin() as connection:
        for table in metadata.tables.values():
            connection.execute(table.delete())
    return engine


def lateness(track: TrackUpdated) -> tuple[bool, int, int]:
    return track.phase == "end", track.seq, track.observations


def expected(events: Sequence[Event]) -> Contents:
    """What the tables must hold, from the set of events and plain Python."""
    faces = {e.id: e for e in events if isinstance(e, FaceObserved)}
    told = {e.id: e for e in events if isinstance(e, CameraStatus)}
    tracks: dict[str, TrackUpdated] = {}
    for told_track in (e for e in events if isinstance(e, TrackUpdated)):
        known = tracks.get(told_track.id, told_track)
        tracks[known.id] = max(known, told_track, key=lateness)
    largest: dict[str, EventsLost] = {}
    for loss in (e for e in events if isinstance(e, EventsLost)):
        largest[loss.id] = max(largest.get(loss.id, loss), loss, key=lambda e: e.events)
    return {
        "cameras": [
            {"camera": camera, "stored_ms": NOW, "settings": None, "origin": None}
            for camera in sorted({event.camera for event in events})
        ],
        "runs": expected_runs(events, list(faces.values())),
        "tracks": [track_row(tracks[key], NOW) for key in sorted(tracks)],
        "observations": [observation_row(faces[key], NOW) for key in sorted(faces)],
        "emotion_minutes": expected_minutes(list(faces.values())),
        "track_totals": expected_totals(list(faces.values())),
        "camera_status": [status_row(told[key], NOW) for key in sorted(told)],
        "gaps": [gap_row(largest[key], NOW) for key in sorted(largest)],
        "dead_letters": [],
    }


def expected_runs(events: Sequence[Event], faces: list[FaceObserved]) -> list[dict[str, Any]]:
    rows = []
    for camera, run in sorted({(e.camera, e.run) for e in events}):
        seen = [face for face in faces if (face.camera, face.run) == (camera, run)]
        times = [face.captured_ms for face in seen]
        span = {"first_ms": min(times, default=None), "last_ms": max(times, default=None)}
        clock = max((face.clock for face in seen), default=None)
        rows.append({"camera": camera, "run": run, "clock": clock, **span, "stored_ms": NOW})
    return rows


def expected_minutes(faces: list[FaceObserved]) -> list[dict[str, Any]]:
    rows = []
    for key in sorted({minute_of(face) for face in faces}):
        members = [face for face in faces if minute_of(face) == key]
        shown = Counter(str(face.smoothed.label) for face in members)
        columns = zip(*(face.probabilities.values() for face in members), strict=True)
        sums = [pytest.approx(math.fsum(column)) for column in columns]
        rows.append(
            {
                **dict(zip(("camera", "minute_ms", "run"), key, strict=True)),
                **{f"n_{label}": shown[label] for label in (*EMOTIONS, UNKNOWN)},
                **dict(zip(SUMS, sums, strict=True)),
            }
        )
    return rows


def expected_totals(faces: list[FaceObserved]) -> list[dict[str, Any]]:
    rows = []
    for key in sorted({(face.camera, face.run, face.track) for face in faces}):
        members = [face for face in faces if (face.camera, face.run, face.track) == key]
        shown = Counter(str(face.smoothed.label) for face in members)
        columns = zip(
            *(
                (f.smoothed.confidence, f.uncertainty, *f.quality.model_dump().values())
                for f in members
            ),
            strict=True,
        )
        rows.append(
            {
                **dict(zip(("camera", "run", "track"), key, strict=True)),
                "first_ms": min(face.captured_ms for face in members),
                "last_ms": max(face.captured_ms for face in members),
                **{f"n_{label}": shown[label] for label in (*EMOTIONS, UNKNOWN)},
                **dict(zip(TOTALS, (pytest.approx(math.fsum(c)) for c in columns), strict=True)),
                "modes": f"|{'|'.join(sorted({face.mode for face in members}))}|",
            }
        )
    return rows


def minute_of(face: FaceObserved) -> tuple[str, int, str]:
    return face.camera, face.captured_ms // 60_000 * 60_000, face.run


KINDS = st.sampled_from(["face", "face", "track", "status", "loss"])
CAMERAS = st.sampled_from(["door", "hall"])
RUNS = st.sampled_from(["e1", "0123456789ab"])
PLACES = st.tuples(KINDS, CAMERAS, RUNS, st.integers(1, 3), st.integers(0, 9))


def event_at(make: Any, place: tuple[str, str, str, int, int]) -> Event:
    """The one event of a place: ids are functions of the input, and so is everything else."""
    kind, camera, run, track, n = place
    at = {"camera": camera, "run": run}
    made: Event
    if kind == "face":
        label = (*EMOTIONS, UNKNOWN)[(track * n) % 9]
        clock = ("rtcp", "arrival")[n % 2]
        made = make.observation(n, n * 17_000 + track, track=track, label=label, clock=clock, **at)
    elif kind == "track":
        phase = "end" if n % 4 == 3 else "update"
        made = make.track(n, phase, track=track, ended_ms=2_000 + n, observations=n, **at)
    elif kind == "loss":
        made = make.loss(track, n, until_ms=2_000 + n, **at)
    else:
        made = make.status(n, since_ms=n * 100, shed={"stale": n}, **at)
    return made


@st.composite
def told_and_retold(draw: st.DrawFn) -> tuple[list[Any], list[list[Any]]]:
    """Places, and writes that together hold each at least once, in any order."""
    places = draw(st.lists(PLACES, unique=True, max_size=40))
    again = draw(st.lists(st.sampled_from(places), max_size=40)) if places else []
    stream = draw(st.permutations(places + again))
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=4)))
    edges = zip([0, *cuts], [*cuts, len(stream)], strict=True)
    return places, [stream[first:last] for first, last in edges]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(story=told_and_retold(), batch_rows=st.sampled_from([3, 500]))
def test_tables_depend_on_the_set_of_events_only(
    engine: Engine, make: Any, story: tuple[list[Any], list[list[Any]]], batch_rows: int
) -> None:
    places, writes = story
    writer = writer_on(emptied(engine), batch_rows)
    written = WriteCounts()
    for write in writes:
        written += writer.write([event_at(make, place) for place in write])
    wanted = expected([event_at(make, place) for place in places])
    found = contents(engine)
    assert found == wanted
    assert written.observations == len(wanted["observations"])
    assert written.camera_status == len(wanted["camera_status"])
    assert written.tracks >= len(wanted["tracks"])


def test_written_counts_what_was_new(engine: Engine, make: Any) -> None:
    writer = writer_on(engine)
    events = [
        make.observation(1),
        make.observation(1),
        make.observation(2),
        make.track(1),
        make.track(2),
        make.status(),
    ]
    assert writer.write(events) == WriteCounts(observations=2, tracks=1, camera_status=1)
    assert writer.write(events) == WriteCounts()
    assert writer.write([make.observation(3), make.track(3)]) == WriteCounts(
        observations=1, tracks=1
    )
    assert writer.write([]) == WriteCounts()


@pytest.mark.parametrize("together", [True, False])
def test_late_update_does_not_reopen(engine: Engine, make: Any, together: bool) -> None:
    events = [make.track(1, "start"), make.track(7, "end"), make.track(9, "update")]
    writer = writer_on(engine)
    for write in [events] if together else [[one] for one in events]:
        writer.write(write)
    (track,) = contents(engine)["tracks"]
    assert (track["phase"], track["seq"]) == ("end", 7)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("late_first", [True, False])
def test_a_file_that_was_stopped_ends_its_tracks_once_more(
    engine: Engine, make: Any, together: bool, late_first: bool
) -> None:
    """The first end came early, under the number that the true one has."""
    events = [make.track(3, "end", observations=count) for count in (7, 10)]
    writer = writer_on(engine)
    events = events[::-1] if late_first else events
    for write in [events] if together else [[one] for one in events]:
        writer.write(write)
    (track,) = contents(engine)["tracks"]
    assert (track["phase"], track["observations"]) == ("end", 10)


def test_the_wait_for_the_database_is_part_of_the_way(tmp_path: Path, make: Any) -> None:
    """Rows are stamped when nobody else can write any more."""
    path = tmp_path / "rows.db"
    held: list[str] = []

    def clock() -> int:
        other = sqlite3.connect(path, timeout=0)
        try:
            with pytest.raises(sqlite3.OperationalError, match="locked") as refused:
                other.execute("BEGIN IMMEDIATE")
            held.append(str(refused.value))
        finally:
            other.close()
        return NOW

    with use_store(f"sqlite:///{path}", 5.0) as engine:
        StoreWriter(engine, clock).write([make.observation(1)])
    assert len(held) == 1


def test_an_id_that_no_index_holds_is_refused_and_not_tried_for_ever(
    postgres_url: str, make: Any
) -> None:
    huge = make.observation(1).model_copy(update={"id": random.Random(0).randbytes(20_000).hex()})
    with (
        use_store(postgres_url, 5.0) as engine,
        pytest.raises(RecordRefused, match="database refuses a value"),
    ):
        writer_on(engine).write([huge])


def test_minutes_equal_a_recount_of_the_rows(engine: Engine, make: Any) -> None:
    faces = [
        make.observation(n, n * 7_001, camera=("door", "hall")[n % 2], label=EMOTIONS[n % 3])
        for n in range(100)
    ]
    writer_on(engine, batch_rows=7).write(faces + faces[::-3])
    recount = text(
        "SELECT camera, captured_ms - captured_ms % 60000,"
        " count(*) FILTER (WHERE smoothed_label = 'surprise'), sum(p_happiness)"
        " FROM observations GROUP BY 1, 2 ORDER BY 1, 2"
    )
    rolled = text(
        "SELECT camera, minute_ms, n_surprise, sum_happiness FROM emotion_minutes ORDER BY 1, 2"
    )
    with engine.connect() as connection:
        counted = connection.execute(recount).all()
        minutes = connection.execute(rolled).all()
    assert sum(row[2] for row in minutes) == 33
    assert [row[:3] for row in minutes] == [row[:3] for row in counted]
    assert [row[3] for row in minutes] == pytest.approx([row[3] for row in counted])


@contextmanager
def away(engine: Engine, table: str) -> Iterator[None]:
    """A table that cannot be written, for a while."""
    rename(engine, table, "away")
    yield
    rename(engine, "away", table)


def rename(engine: Engine, old: str, new: str) -> None:
    with for_writing(engine).begin() as connection:
        connection.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))


def test_failed_batch_leaves_nothing_and_can_be_sent_again(engine: Engine, make: Any) -> None:
    """The last table of the transaction is away: of that batch nothing stays."""
    events = [
        make.observation(1),
        make.observation(2),
        make.observation(3),
        make.track(1),
        make.observation(4),
        make.status(),
    ]
    writer = writer_on(engine, batch_rows=2)
    with away(engine, "camera_status"), pytest.raises(ServiceError, match="camera_status"):
        writer.write(events)
    assert contents(engine) == expected(events[:4])
    assert writer.write(events) == WriteCounts(observations=1, camera_status=1)
    assert contents(engine) == expected(events)


def test_nul_in_a_reason_stops_nothing(engine: Engine, make: Any) -> None:
    writer_on(engine).write([make.observation(1, reason="odd\0reason")])
    (face,) = contents(engine)["observations"]
    assert face["reason"] == "odd\ufffdreason"


def test_two_writers_share_a_stream(engine: Engine, make: Any) -> None:
    """The same events in two orders at once: no deadlock, and nothing twice."""
    events: list[Event] = []
    for n in range(300):
        face = make.observation(n, n * 500, track=n % 5 + 1, camera=("door", "hall")[n % 2])
        events += [face, make.track(n, track=n % 5 + 1, camera=face.camera)]
    with ThreadPoolExecutor(2) as pool:
        orders = (events, events[::-1])
        writes = [pool.submit(writer_on(engine, 40).write, order) for order in orders]
    assert sum(write.result().observations for write in writes) == 300
    assert contents(engine) == expected(events)


def test_locked_sqlite(sqlite_url: str, tmp_path: Path, make: Any) -> None:
    engine = open_store(sqlite_url, busy_timeout_s=0.1)
    writer = writer_on(engine)
    other = sqlite3.connect(tmp_path / "state/undercam.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ServiceError, match=r"database is locked: .*undercam\.db: stop the other"):
        writer.write([make.observation()])
    other.close()
    assert writer.write([make.observation()]) == WriteCounts(observations=1)
    engine.dispose()


@pytest.mark.needs("postgres")
def test_locked_postgres(postgres_url: str, make: Any) -> None:
    engine = open_store(postgres_url, busy_timeout_s=0.1)
    with engine.connect() as other:
        other.execute(text("LOCK TABLE observations"))
        with pytest.raises(ServiceError, match="database is locked: .* holds the lock"):
            writer_on(engine).write([make.observation()])
    assert writer_on(engine).write([make.observation()]) == WriteCounts(observations=1)
    engine.dispose()


@pytest.mark.needs("postgres")
def test_postgres_dies_within_a_transaction(server: Any, postgres_url: str, make: Any) -> None:
    engine = open_store(postgres_url)
    writer = writer_on(engine)
    writer.write([make.observation(1)])

    @event.listens_for(engine, "before_cursor_execute")
    def cut(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        database = postgres_url.rpartition("/")[2]
        if not statement.startswith("INSERT INTO tracks"):
            return
        server.sql(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            f" WHERE datname = '{database}'"
        )

    with pytest.raises(ServiceError, match="cannot be reached: postgresql://127"):
        writer.write([make.observation(2), make.track(1)])
    event.remove(engine, "before_cursor_execute", cut)
    assert contents(engine) == expected([make.observation(1)])
    assert writer.write([make.observation(2), make.track(1)]) == WriteCounts(
        observations=1, tracks=1
    )
    engine.dispose()


def test_gaps_grow_and_dead_letters_stay(engine: Engine, make: Any) -> None:
    writer = writer_on(engine)
    small, large = (make.loss(1, n, 5, 5 + n) for n in (10, 20))
    letter = DeadLetter("undercam.observations[0]@17", "not JSON: \0", b"\xff\0{")
    for grown in (1, 0):
        assert writer.write([large, small]) == WriteCounts(gaps=grown)
        assert writer.write([small]) == WriteCounts()
        writer.write_dead_letters([letter, letter])
    found = contents(engine)
    assert [(row["until_ms"], row["events"]) for row in found["gaps"]] == [(25, 20)]
    assert [(row["reason"], row["payload"]) for row in found["dead_letters"]] == [
        ("not JSON: \ufffd", b"\xff\0{")
    ]
