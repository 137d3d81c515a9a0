"""What was erased is gone from every table, and nothing brings it back."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event as Flag
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from pipeline.errors import ServiceError
from pipeline.records import DeadLetter, Event, FaceObserved, TrackUpdated
from pipeline.store import erasures as erasures_module
from pipeline.store import writer as writer_module
from pipeline.store.engine import open_store
from pipeline.store.erasures import Erasure, ErasureCounts, erase, read_erasures
from pipeline.store.replay import replay_newer
from pipeline.store.schema import dead_letters, emotion_minutes, observations, runs, tracks
from pipeline.store.writer import StoreWriter
from tests.pipeline.store.test_writer import NOW, contents, event_at, expected, writer_on

FILE = "0123456789ab"
ERASURES = {
    "a camera before a time": Erasure("door", before_ms=60_000, requested_ms=NOW),
    "everything before a time": Erasure(before_ms=75_000, requested_ms=NOW),
    "a camera": Erasure("door", requested_ms=NOW),
    "a track": Erasure(track="trk:door:e1:2", requested_ms=NOW),
    "a recording's track": Erasure(track=f"trk:hall:{FILE}:1", requested_ms=NOW),
    "a recording": Erasure("hall", run=FILE, requested_ms=NOW),
}


def all_events(make: Any) -> list[Event]:
    return [
        event_at(make, (kind, camera, run, track, n))
        for kind in ("face", "track", "status", "loss")
        for camera in ("door", "hall")
        for run in ("e1", FILE)
        for track in (1, 2)
        for n in range(10)
    ]


def keep(events: list[Event], erasure: Erasure) -> list[Event]:
    """What must be left, in plain words; a recording goes as a whole."""

    def is_left(event: Event) -> bool:
        if not isinstance(event, FaceObserved | TrackUpdated):
            return True
        if erasure.track:
            return erasure.track != f"trk:{event.camera}:{event.run}:{event.track}"
        if erasure.camera not in (None, event.camera):
            return True
        if erasure.run:
            return event.run != erasure.run
        before_ms = erasure.before_ms or erasure.requested_ms
        if event.run == FILE:
            return False  # each of them was received before
        at_ms = event.captured_ms if isinstance(event, FaceObserved) else event.started_ms
        return at_ms >= before_ms

    return [event for event in events if is_left(event)]


@pytest.mark.parametrize("erasure", ERASURES.values(), ids=ERASURES)
@pytest.mark.parametrize("written_before", [0.0, 0.5, 1.0])
def test_what_is_left_does_not_depend_on_the_order(
    engine: Engine, make: Any, erasure: Erasure, written_before: float
) -> None:
    """Written before the erasure or after it, late, twice, in disorder: the same rows are left, the
    roll-ups add up, and each record that is not stored is counted."""
    events = all_events(make)
    chance = random.Random(written_before)
    chance.shuffle(events)
    early = events[: round(len(events) * written_before)]
    writer = writer_on(engine, batch_rows=37)
    writer.write(early)
    erase(engine, erasure, clock=lambda: NOW)
    left = keep(events, erasure)
    if written_before == 1.0:
        assert contents(engine) == expected_after(events, left)
    again = chance.sample(events, len(events))
    counts = writer.write(again)
    assert contents(engine) == expected_after(events, left)
    assert counts.erased == writer.erased
    # Tracks of a recording that nobody knew to be old were stored for a moment.
    assert counts.erased == len(events) - len(left) or (not written_before and not erasure.run)


def expected_after(events: list[Event], left: list[Event]) -> dict[str, list[dict[str, Any]]]:
    found = expected(left)
    return found | {"cameras": expected(events)["cameras"]}


def test_counts_and_list(engine: Engine, make: Any) -> None:
    events = all_events(make)
    StoreWriter(engine, clock=lambda: NOW).write(events)
    counts = erase(engine, Erasure(track="door/e1/2"), clock=lambda: NOW)
    assert counts == ErasureCounts(observations=10, tracks=1, minutes=3)
    assert erase(engine, Erasure("door"), lambda: NOW + 1) == ErasureCounts(30, 3, 6)
    assert erase(engine, Erasure("door"), lambda: NOW + 2) == ErasureCounts()
    assert erase(engine, Erasure("nobody"), lambda: NOW + 3) == ErasureCounts()
    first, second, recording, third, fourth = read_erasures(engine)
    assert first == Erasure(track="trk:door:e1:2", requested_ms=NOW)
    assert {second, recording} == {
        Erasure("door", before_ms=NOW + 1, requested_ms=NOW + 1),
        Erasure("door", requested_ms=NOW + 1, run=FILE),
    }
    assert (third.before_ms, fourth.camera) == (NOW + 2, "nobody")


def test_a_run_of_which_nothing_is_left_goes(engine: Engine, make: Any) -> None:
    writer = writer_on(engine)
    writer.write([make.observation(0, 100, run="e1"), make.track(run="e1", started_ms=100)])
    writer.write([make.observation(0, 100, run="e2"), make.status(run="e2")])
    writer.write([make.observation(n, n * 100, run="e3") for n in range(5)])
    assert erase(engine, Erasure("door", before_ms=300)).runs == 1
    with engine.connect() as connection:
        query = select(runs.c.run, runs.c.first_ms, runs.c.last_ms, runs.c.clock)
        left = [tuple(row) for row in connection.execute(query.order_by(runs.c.run))]
    assert left == [("e2", None, None, None), ("e3", 300, 400, "rtcp")]


@pytest.mark.parametrize(
    "erasure", [Erasure(), Erasure(track="door"), Erasure(track="trk:door:e1:x")]
)
def test_an_erasure_of_nothing_is_refused(engine: Engine, erasure: Erasure) -> None:
    with pytest.raises(ValueError, match="erasure names|not a track"):
        erase(engine, erasure)
    assert read_erasures(engine) == []


def test_dead_letters_go_and_do_not_come_back(engine: Engine, make: Any) -> None:
    newer = make.observation(3, 500).to_json().replace("face_observed/2", "face_observed/9")
    payloads = {
        "a": make.observation(1, 500).to_json().encode(),
        "b": make.observation(2, 1_500).to_json().encode(),
        "c": newer.encode()[:-9],
        "d": make.status().to_json().encode(),
        "e": make.observation(1, 500, camera="hall").to_json().encode(),
        "f": b"{",
    }
    dead = [DeadLetter(origin, "refused", payload) for origin, payload in payloads.items()]
    writer = writer_on(engine)
    writer.write_dead_letters(dead)
    assert erase(engine, Erasure("door", before_ms=1_000)).dead_letters == 2
    assert origins(engine) == ["b", "d", "e", "f"]
    writer.write_dead_letters(dead)
    assert origins(engine) == ["b", "d", "e", "f"]
    assert writer.erased == 2


def test_a_dead_letter_of_a_newer_release_is_not_replayed(
    engine: Engine, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old store has put it there after the erasure."""
    payload = make.observation(1, 500).to_json().encode()
    letter = DeadLetter("x", "record face_observed/2 is newer than this release reads (1)", payload)
    with monkeypatch.context() as patch:
        patch.setattr(writer_module.StoreWriter, "_write_batch", None)
        writer_on(engine).write_dead_letters([letter])
    erase(engine, Erasure("door", before_ms=100))
    assert origins(engine) == ["x"]
    with erasures_module.begin_write(engine) as connection:
        erasures_module.insert_erasures(connection, [Erasure("door", before_ms=1_000)])
    assert replay_newer(writer_on(engine)) == 1
    assert count(engine, observations) == 0


def origins(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        query = select(dead_letters.c.origin).order_by(dead_letters.c.origin)
        return list(connection.execute(query).scalars())


def count(engine: Engine, table: Any) -> int:
    with engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


class Paused:
    """A function that waits before it runs, so that another transaction can try to get between."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
        self.reached, self.go = Flag(), Flag()
        function = getattr(module, name)

        def wait_first(*arguments: Any) -> Any:
            self.reached.set()
            assert self.go.wait(20)
            return function(*arguments)

        monkeypatch.setattr(module, name, wait_first)


def run_between(pause: Paused, first: Callable[[], Any], second: Callable[[], Any]) -> bool:
    """Start `second` while `first` is paused; whether it had to wait for the end of `first`."""
    with ThreadPoolExecutor(2) as pool:
        running: list[Future[Any]] = [pool.submit(first)]
        assert pause.reached.wait(20)
        running.append(pool.submit(second))
        try:
            running[1].exception(timeout=0.7)
            has_waited = False
        except TimeoutError:
            has_waited = True
        pause.go.set()
        for one in running:
            one.result(20)
    return has_waited


def test_an_erasure_waits_for_an_insert_that_does_not_know_it(
    engine: Engine, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = Paused(monkeypatch, writer_module, "upsert_cameras_and_runs")
    events = [make.observation(n, n) for n in range(5)]
    assert run_between(
        pause,
        lambda: writer_on(engine).write(events),
        lambda: erase(engine, Erasure("door", before_ms=1_000)),
    )
    assert count(engine, observations) == count(engine, emotion_minutes) == 0


def test_an_insert_waits_for_an_erasure_and_knows_it_then(
    engine: Engine, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = Paused(monkeypatch, erasures_module, "delete_dead_letters")
    writer = writer_on(engine)
    events = [make.observation(n, n) for n in range(5)] + [make.track(started_ms=0)]
    letter = DeadLetter("x", "refused", events[0].to_json().encode())
    assert run_between(
        pause,
        lambda: erase(engine, Erasure("door", before_ms=1_000)),
        lambda: (writer.write(events), writer.write_dead_letters([letter])),
    )
    assert count(engine, observations) == count(engine, tracks) == count(engine, dead_letters) == 0
    assert writer.erased == 7


@pytest.mark.needs("postgres")
def test_it_holds_where_transactions_see_one_moment_only(
    postgres_url: str, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server whose default isolation is REPEATABLE READ."""
    url = f"{postgres_url}?options=-c%20default_transaction_isolation%3Drepeatable%5C%20read"
    engine = open_store(url)
    pause = Paused(monkeypatch, erasures_module, "delete_dead_letters")
    events = [make.observation(n, n) for n in range(5)]
    assert run_between(
        pause,
        lambda: erase(engine, Erasure("door", before_ms=1_000)),
        lambda: writer_on(engine).write(events),
    )
    assert count(engine, observations) == 0
    engine.dispose()


def insist(action: Callable[..., Any], *arguments: Any) -> None:
    """As a relay does: where the database is locked for too long, send it again."""
    until_s = time.monotonic() + 60
    while True:
        try:
            action(*arguments)
            return
        except ServiceError:
            assert time.monotonic() < until_s


def test_writers_and_erasures_at_once(engine: Engine, make: Any) -> None:
    """Whatever the order, the end is the same."""
    writers = [writer_on(engine, batch_rows=20) for _ in range(2)]
    events = [make.observation(n, n * 100, camera=c) for n in range(100) for c in ("door", "hall")]

    def write_again(writer: StoreWriter) -> None:
        for seed in range(3):
            insist(writer.write, random.Random(seed).sample(events, len(events)))

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(write_again, writer) for writer in writers]
        for before_ms in range(1_000, 5_001, 1_000):
            erasure = Erasure("door", before_ms=before_ms, requested_ms=NOW)
            insist(erase, engine, erasure)
        for one in running:
            one.result(100)
    left = keep(events, erasure)
    found = contents(engine)
    assert found["observations"] == expected(left)["observations"]
    assert found["emotion_minutes"] == expected(left)["emotion_minutes"]
