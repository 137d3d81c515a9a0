"""Every answer against a slow count over the same events in plain Python."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, event, text

from models.emotions import EMOTIONS
from pipeline.errors import ServiceError
from pipeline.records import DeadLetter, FaceObserved
from pipeline.settings import CameraSettings
from pipeline.store import queries as ask
from pipeline.store.engine import for_writing, open_store
from pipeline.store.queries import expressions, health
from pipeline.store.queries.observation_rows import list_observations, observations_stored
from pipeline.store.registry import register, unregister
from pipeline.store.writer import StoreWriter

T0 = 1_700_000_000_000 - 1_700_000_000_000 % 60_000
HOUR = 3_600_000


def stored(engine: Engine, events: list[Any], now_ms: int = T0) -> None:
    StoreWriter(engine, clock=lambda: now_ms).write(events)


@pytest.fixture
def faces(make: Any) -> list[FaceObserved]:
    """Two cameras, five tracks, an hour at uneven times; one label in nine is unknown."""
    rng = np.random.default_rng(7)
    times = sorted(T0 + int(ms) for ms in rng.integers(0, HOUR, 600))
    labels = (*EMOTIONS, "unknown")
    return [
        make.observation(
            n,
            ms,
            camera=("door", "hall")[n % 2],
            track=int(rng.integers(1, 6)),
            run=("e1", "e2")[n > 300],
            label=labels[int(rng.integers(0, 9))],
        )
        for n, ms in enumerate(times)
    ]


def shares_of(faces: list[FaceObserved]) -> ask.Shares:
    rows = np.array([face.probabilities.values() for face in faces])
    counts = Counter(str(face.smoothed.label) for face in faces)
    mean: Any = pytest.approx(tuple(rows.mean(axis=0)))
    return ask.Shares(len(faces), counts, mean)


def within(faces: list[FaceObserved], since_ms: int, until_ms: int, **where: Any) -> list[Any]:
    return [
        face
        for face in faces
        if since_ms <= face.captured_ms < until_ms
        and all(getattr(face, name) == value for name, value in where.items())
    ]


@pytest.mark.parametrize("run", [None, "e1"])
@pytest.mark.parametrize(
    ("since_ms", "until_ms", "points", "bucket_ms"),
    [
        (T0 + 1_234, T0 + 601_234, 240, 5_000),
        (T0 + 5_000, T0 + 65_000, 240, 1_000),
        (T0, T0 + HOUR - 60_000, 240, 60_000),
        (T0 + 120_000, T0 + HOUR, 7, 600_000),
        (T0 - HOUR, T0 - 1, 240, 60_000),
    ],
)
def test_timeline(
    engine: Engine,
    faces: list[FaceObserved],
    since_ms: int,
    until_ms: int,
    points: int,
    bucket_ms: int,
    run: str | None,
) -> None:
    stored(engine, faces)
    found = ask.expression_timeline(engine, "door", since_ms, until_ms, points, run)
    where = {"camera": "door"} if run is None else {"camera": "door", "run": run}
    buckets: dict[int, list[FaceObserved]] = {}
    for face in within(faces, since_ms, until_ms, **where):
        start = face.captured_ms - face.captured_ms % bucket_ms
        buckets.setdefault(start, []).append(face)
    wanted = [ask.TimelinePoint(start, shares_of(buckets[start])) for start in sorted(buckets)]
    assert found.bucket_ms == bucket_ms
    assert list(found.points) == wanted
    assert len(found.points) <= points + 1


@pytest.mark.parametrize("members", [1, 5, 15])
def test_shares_of_a_short_window_are_exact(
    engine: Engine, faces: list[FaceObserved], members: int
) -> None:
    stored(engine, faces)
    since_ms = faces[100].captured_ms
    window_ms = faces[100 + members].captured_ms - since_ms
    assert window_ms <= expressions.SHARES_LIVE_MS
    inside = faces[100 : 100 + members]
    wanted = {
        c: shares_of([m for m in inside if m.camera == c]) for c in {m.camera for m in inside}
    }
    assert ask.expression_shares(engine, since_ms, since_ms + window_ms) == wanted


def test_shares_of_a_long_window_begin_and_end_with_a_minute(
    engine: Engine, faces: list[FaceObserved]
) -> None:
    stored(engine, faces)
    found = ask.expression_shares(engine, T0 + 90_500, T0 + 1_200_500)
    whole = within(faces, T0 + 60_000, T0 + 1_260_000)
    cameras = ("door", "hall")
    assert found == {c: shares_of([face for face in whole if face.camera == c]) for c in cameras}
    (only,) = ask.expression_shares(engine, T0, T0 + HOUR, "hall", "e2").items()
    assert only == ("hall", shares_of(within(faces, T0, T0 + HOUR, camera="hall", run="e2")))


def test_a_file_that_was_refused_and_then_played_is_online(engine: Engine, make: Any) -> None:
    """The refusal has today's time, and the file its own, which begins with 0."""
    refused = make.status(0, "refused", since_ms=T0, run="e1")
    stored(engine, [refused], now_ms=T0)
    stored(engine, [make.status(0, "online", since_ms=40, run="0123456789ab")], now_ms=T0 + 1)
    (door,) = ask.camera_overview(engine, T0, T0 + 1)
    assert door.state == "online"


def test_cameras_at_a_glance(engine: Engine, make: Any) -> None:
    now = T0 + 10_000
    stored(
        engine,
        [
            make.observation(1, now - 2_001, track=1),
            make.observation(2, now - 2_000, track=2),
            make.observation(3, now - 1_999, track=3),
            make.observation(4, now, track=3),
            make.observation(5, now, track=4),
            make.observation(5, now, track=4, run="e2"),
            make.observation(6, now + 1, track=5),
            make.observation(0, now - 9_000, camera="hall"),
            make.track(track=1, started_ms=T0, ended_ms=T0 + 1_000),
            make.track(track=2, started_ms=T0, ended_ms=T0 + 999),
            make.track(track=3, started_ms=now, ended_ms=now + 5),
            make.track(track=4, started_ms=now - 1, ended_ms=now + 5),
            make.status(3, "online", since_ms=T0),
            make.status(5, "lagging", since_ms=T0 + 7, shed={"stale": 3}),
            make.status(4, "online", since_ms=T0 + 7),
            make.status(9, "offline", since_ms=T0 - 7),
        ],
        now_ms=T0 + 42,
    )
    door, hall = ask.camera_overview(engine, T0 + 1_000, now, screen_ms=2_000)
    assert door == ask.CameraOverview(
        camera="door",
        state="lagging",
        since_ms=T0 + 7,
        reason="as reported",
        fps=24.5,
        lag_ms=40,
        shed={"stale": 3},
        reported_ms=T0 + 42,
        last_observed_ms=now + 1,
        faces=3,
        tracks=2,
    )
    assert (hall.state, hall.shed, hall.faces, hall.tracks) == ("unknown", {}, 0, 0)
    assert (hall.since_ms, hall.fps, hall.lag_ms, hall.last_update_ms) == (
        None,
        None,
        None,
        now - 9_000,
    )
    assert hall.last_observed_ms == now - 9_000


@pytest.mark.parametrize(
    ("told", "after_ms", "shown"),
    [
        ({"state": "online"}, 90_000, ("online", T0 - 5, "", 24.5)),
        ({"state": "online"}, 90_001, ("unknown", T0, "last report: online", None)),
        ({"state": "quarantined", "reason": "r"}, 1, ("quarantined", T0 - 5, "r", None)),
        ({"state": "offline", "reason": "r"}, 1, ("offline", T0 - 5, "r", None)),
        (
            {"state": "offline", "reason": "r"},
            10**9,
            ("unknown", T0, "last report: offline, r", None),
        ),
        ({"state": "offline", "reason": "failed: a: b: c"}, 1, ("failed", T0 - 5, "a: b: c", None)),
        ({"state": "offline", "reason": "connecting"}, 1, ("connecting", T0 - 5, "", None)),
        (
            {"state": "offline", "reason": "ended: end of file"},
            10**9,
            ("ended", T0 - 5, "end of file", None),
        ),
        # As records were before: a file's times, and its end without a word.
        (
            {"state": "offline", "reason": "end of file", "run": "0123456789ab", "since_ms": 5_900},
            10**9,
            ("ended", T0, "end of file", None),
        ),
        (
            {"state": "online", "run": "0123456789ab", "since_ms": 40},
            9,
            ("online", T0, "", 24.5),
        ),
        ({"state": "offline", "reason": "stopped"}, 10**9, ("stopped", T0 - 5, "", None)),
    ],
)
def test_a_camera_stands_as_it_told_until_nobody_knows(
    engine: Engine,
    make: Any,
    told: dict[str, Any],
    after_ms: int,
    shown: tuple[str, int, str, float | None],
) -> None:
    register(engine, "door", CameraSettings(url="rtsp://10.0.0.7/live"))
    status = {"state": "online", "since_ms": T0 - 5, "run": "e1"} | told
    reason = status.pop("reason", "")
    made = make.status(3, **status).model_copy(update={"reason": reason})
    stored(engine, [made], now_ms=T0)
    (door,) = ask.camera_overview(engine, T0, T0 + after_ms)
    assert (door.state, door.since_ms, door.reason, door.fps) == shown
    assert (door.lag_ms is None) == (door.fps is None)


def test_a_camera_stands_as_the_register_says(engine: Engine, make: Any) -> None:
    def states(now_ms: int = T0 + 1) -> dict[str, str]:
        return {c.camera: c.state for c in ask.camera_overview(engine, T0, now_ms)}

    url = "rtsp://10.0.0.7/live"
    for name in ("new", "off", "gone", "away"):
        register(engine, name, CameraSettings(url=url, enabled=name != "off"))
    assert states() == {"new": "registered", "off": "disabled", "gone": "registered"} | {
        "away": "registered"
    }
    stopped = make.status(1, "offline", T0, camera="gone").model_copy(update={"reason": "stopped"})
    stored(engine, [stopped, make.status(1, camera="off"), make.status(1, camera="away")], T0)
    unregister(engine, "gone")
    unregister(engine, "away")
    assert states() == {"new": "registered", "off": "online", "gone": "unregistered"} | {
        "away": "online"
    }
    assert states(T0 + HOUR) == {"new": "registered", "off": "disabled", "gone": "unregistered"} | {
        "away": "unknown"
    }


def test_runs_tell_recordings_from_live(engine: Engine, make: Any) -> None:
    recording = [make.observation(n, n * 40, run="0123456789ab", clock="media") for n in (3, 1, 2)]
    stored(engine, recording, now_ms=5)
    stored(
        engine, [make.observation(1, T0, camera="hall", clock="arrival"), make.status()], now_ms=6
    )
    film = ask.Run("door", "0123456789ab", "media", 40, 120, 5)
    silent = ask.Run("door", "e1", None, None, None, 6)
    live = ask.Run("hall", "e1", "arrival", T0, T0, 6)
    assert sorted(ask.list_runs(engine), key=str) == sorted([film, silent, live], key=str)
    assert ask.list_runs(engine, "door") == [silent, film]
    assert ask.list_runs(engine, "door", limit=1) == [silent]


def test_a_track(engine: Engine, make: Any) -> None:
    stored(engine, [make.track(started_ms=T0, ended_ms=T0 + 10, mean=(0.1, 0.3, *[0.1] * 6))])
    first = ask.find_track(engine, "trk:door:e1:1")
    assert first is not None
    assert (first.label, first.duration_ms, first.mean[1]) == ("happiness", 10, 0.3)
    assert ask.find_track(engine, "trk:door:e1:9") is None


@pytest.mark.parametrize(("total", "points"), [(1, 400), (10, 10), (11, 10), (95, 10), (0, 5)])
def test_observations_of_a_track_are_bounded(
    engine: Engine, make: Any, total: int, points: int
) -> None:
    labels = [EMOTIONS[n % 3] for n in range(total)]
    mine = [make.observation(n, T0 + n * 40, track=2, label=labels[n]) for n in range(total)]
    other = [make.observation(n, T0 + n * 40, track=3) for n in range(5)]
    stored(engine, [*mine[::-1], *other, make.track(track=2)])
    track = ask.find_track(engine, "trk:door:e1:2")
    assert track is not None
    stride = max(1, math.ceil(total / points))
    found = ask.track_observations(engine, track, points)
    assert [face.captured_ms for face in found] == [face.captured_ms for face in mine[::stride]]
    assert [list(face.probabilities) for face in found] == [
        face.probabilities.values() for face in mine[::stride]
    ]
    assert len(found) <= points
    shares = ask.track_shares(engine, track)
    assert shares == ask.Shares(total, Counter(labels), track.mean)


def test_latency_is_measured_from_the_rows(
    engine: Engine, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    delays = rng.integers(10, 5_000, 101)
    stored(
        engine, [make.observation(n, T0 - int(ms), clock="rtcp") for n, ms in enumerate(delays)], T0
    )
    stored(engine, [make.observation(n, n, clock="media", camera="film") for n in range(9)], T0)
    stored(engine, [make.observation(900, T0 - 7, clock="arrival")], T0 + 5)
    stored(engine, [make.observation(901, T0 - 60_000, clock="rtcp")], T0 - 1)
    arrival, rtcp = ask.latency(engine, T0, T0 + 6)
    assert arrival == ask.Latency("arrival", rows=1, p50_ms=12, p99_ms=12)
    assert rtcp.rows == 101
    for share, value in ((0.5, rtcp.p50_ms), (0.99, rtcp.p99_ms)):
        assert value == np.quantile(delays, share, method="inverted_cdf")
    assert ask.latency(engine, T0 + 6, T0 + 99) == []
    monkeypatch.setattr(health, "LATENCY_ROWS", 3)
    assert sum(one.rows for one in ask.latency(engine, T0, T0 + 6)) == 3


def test_rows_per_minute(engine: Engine, faces: list[FaceObserved]) -> None:
    stored(engine, faces)
    minutes = Counter(face.captured_ms // 60_000 * 60_000 for face in faces)
    found = ask.rows_per_minute(engine, T0, T0 + HOUR)
    assert [(one.minute_ms, one.rows) for one in found] == sorted(minutes.items())
    assert ask.rows_per_minute(engine, T0 + 60_000, T0 + 120_000) == [
        ask.MinuteRows(T0 + 60_000, minutes[T0 + 60_000])
    ]


def test_losses_are_shown(engine: Engine, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = StoreWriter(engine, clock=lambda: T0)
    writer.write([make.loss(n, 10 + n, T0 + n, T0 + n + 5) for n in range(4)])
    writer.write_dead_letters([DeadLetter(f"at:{n}", "why", b"{") for n in range(5)])
    found = ask.recent_gaps(engine, T0 + 6, T0 + 3)
    assert [(gap.since_ms, gap.until_ms, gap.events) for gap in found] == [
        (T0 + 2, T0 + 7, 12),
        (T0 + 1, T0 + 6, 11),
    ]
    assert len(ask.recent_gaps(engine, T0, T0 + 99, limit=1)) == 1
    assert ask.dead_letter_count(engine) == 5
    monkeypatch.setattr(health, "COUNT_LIMIT", 3)
    assert ask.dead_letter_count(engine) == 3
    assert 10_000 < ask.database_bytes(engine) < 100_000_000


def ask_everything(engine: Engine, track: ask.Track) -> None:
    since, until = T0, T0 + HOUR
    ask.camera_overview(engine, since, until)
    for window in (60_000, HOUR):
        ask.expression_timeline(engine, "door", T0, T0 + window)
        ask.expression_shares(engine, T0, T0 + window)
    for wanted in (ask.TrackFilter(), ask.TrackFilter("door", negative_ms=30_000)):
        ask.count_tracks(engine, since, until, wanted)
        ask.search_tracks(engine, since, until, wanted)
        ask.search_tracks(engine, since, until, wanted, sort="negative")
    ask.list_modes(engine)
    ask.find_totals(engine, track.id)
    ask.expression_timeline(engine, None, T0, T0 + HOUR)
    ask.modes_in_use(engine, since, until)
    ask.loss_totals(engine, since, until)
    list_observations(engine, "door", since, until)
    observations_stored(engine, (since, ""))
    ask.find_track(engine, track.id)
    ask.track_observations(engine, track)
    ask.track_shares(engine, track)
    ask.latency(engine, since, until)
    ask.rows_per_minute(engine, since, until)
    ask.recent_gaps(engine, since, until)
    ask.recent_gaps(engine, since, until, camera="door", run="e1")
    ask.camera_states(engine, "door", since, until)


def test_no_page_reads_a_whole_table(sqlite_url: str, make: Any) -> None:
    """SQLite's own plan of every statement: large tables are searched by an index only."""
    engine = open_store(sqlite_url)
    stored(engine, [make.observation(), make.track()])
    track = ask.find_track(engine, "trk:door:e1:1")
    assert track is not None
    asked: list[tuple[str, Any]] = []

    @event.listens_for(engine, "before_cursor_execute")
    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    ask_everything(engine, track)
    event.remove(engine, "before_cursor_execute", note)
    selects = [one for one in asked if one[0].startswith("SELECT")]
    assert len([one for one in asked if one[0].startswith("WITH")]) == 1
    selects += [one for one in asked if one[0].startswith("WITH")]
    assert len(selects) == 31
    large = ("observations", "tracks", "emotion_minutes", "camera_status", "gaps")
    large += ("track_totals",)
    with engine.connect() as connection:
        for statement, parameters in selects:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            steps = [row[3] for row in plan]
            assert not [step for step in steps for t in large if step.startswith(f"SCAN {t}")], (
                steps
            )
    engine.dispose()


def test_a_question_that_fails_is_told(engine: Engine) -> None:
    for old, new in (("gaps", "away"), ("away", "gaps")):
        with for_writing(engine).begin() as connection:
            connection.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))
        if new == "away":
            with pytest.raises(ServiceError, match=r"database refuses: .*gaps"):
                ask.recent_gaps(engine, 0, 1)
    assert ask.recent_gaps(engine, 0, 1) == []


def test_the_overview_tells_what_a_camera_is_called_and_for(engine: Engine, make: Any) -> None:
    own = CameraSettings(url="/dev/video0", display_name="Tür", purpose="Opens the door.")
    register(engine, "door", own)
    StoreWriter(engine).write([make.status(camera="hall")])
    door, hall = ask.camera_overview(engine, 0, T0)
    assert (door.display_name, door.purpose) == ("Tür", "Opens the door.")
    assert (hall.display_name, hall.purpose) == ("", "")
