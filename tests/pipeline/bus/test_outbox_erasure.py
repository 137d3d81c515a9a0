"""What was erased leaves the outboxes at once, with its bytes, and is never delivered."""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipeline.bus import outbox_file
from pipeline.bus.outbox import Outbox
from pipeline.bus.relay import Relay
from pipeline.erasure import Erasure
from pipeline.errors import ServiceError
from pipeline.messages import Message, read_message
from pipeline.records import Event, FaceObserved
from tests.pipeline.bus.releases import old_lines, write_as_before

FILE = "0123456789ab"


def write(folder: Path, events: list[Event], **options: Any) -> Outbox:
    outbox = Outbox(folder, events[0].camera, events[0].run, **options)
    outbox.append(events)
    return outbox


def deliver_all(relay: Relay, found: list[Message]) -> list[str]:
    while relay.step():
        pass
    return [read_message(one).id for one in found]  # type: ignore[union-attr]


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def looks(make: Any, camera: str, first: int, last: int, run: str = "e1") -> list[Event]:
    return [make.observation(n, n, camera, run, track=1 + n % 3) for n in range(first, last)]


def test_a_camera_leaves_no_byte_while_it_is_being_written(tmp_path: Path, make: Any) -> None:
    found: list[Message] = []
    with (
        write(tmp_path, looks(make, "door", 0, 1_200)) as door,
        write(tmp_path, looks(make, "hall", 0, 30)),
        Relay(tmp_path, found.extend, batch_rows=100) as relay,
    ):
        for path in tmp_path.glob("*.outbox"):
            # Some builds of SQLite have it on.
            relay._reader(path)._file.execute("PRAGMA secure_delete=OFF").fetchone()
        # Some are delivered and deleted: their bytes lie in free space.
        assert relay.step() == relay.step() == 100
        assert b"obs:door:" in bytes_of(tmp_path)
        delivered = len(found)
        door.append([make.status()])
        relay.apply_erasures([Erasure("door", before_ms=1_200)])
        left = bytes_of(tmp_path)
        assert b"obs:door:" not in left
        assert b"cam:door:" in left
        assert b"obs:hall:" in left or any(one.camera == "hall" for one in found[:delivered])
        assert relay.erased + delivered == 1_230 - relay.waiting + 1
        assert door.waiting == 1
        door.append(looks(make, "door", 1_195, 1_205))
        ids = deliver_all(relay, found)[delivered:]
    assert [one for one in ids if one.startswith("obs:door:")] == [
        f"obs:door:e1:{1 + n % 3}:{n}" for n in range(1_200, 1_205)
    ]
    assert "cam:door:e1:0" in ids
    assert relay.erased == 1_200 - sum(one.camera == "door" for one in found[:delivered]) + 5


@pytest.mark.parametrize("batch_rows", [1, 7, 500])
def test_a_track_in_the_middle_goes_and_the_counts_stay_right(
    tmp_path: Path, make: Any, batch_rows: int
) -> None:
    found: list[Message] = []
    with write(tmp_path, looks(make, "door", 0, 60), max_rows=60) as outbox:
        with Relay(tmp_path, found.extend, batch_rows) as relay:
            relay.apply_erasures([Erasure(track="trk:door:e1:2")])
            assert b"obs:door:e1:2:" not in bytes_of(tmp_path)
            assert relay.erased == 20
        with Relay(tmp_path, found.extend, batch_rows) as relay:
            # Nothing is known here, and what was erased is gone all the same.
            ids = deliver_all(relay, found)
            assert (relay.erased, relay.waiting, outbox.waiting) == (0, 0, 0)
    assert ids == [one.id for one in looks(make, "door", 0, 60) if one.track != 2]  # type: ignore[union-attr]


def test_what_is_shed_and_was_erased_is_not_called_lost(tmp_path: Path, make: Any) -> None:
    with write(tmp_path, looks(make, "door", 0, 60), max_rows=60) as outbox:
        with Relay(tmp_path, print) as relay:
            relay.apply_erasures([Erasure(track="trk:door:e1:2")])
        outbox.append(looks(make, "door", 60, 90))
        with sqlite3.connect(outbox.path) as file:
            (lost,) = file.execute("SELECT sum(events) FROM lost").fetchone()
        file.close()
    # The first 30 numbers, of which 10 were erased.
    assert lost == 20


def test_all_of_a_batch_may_be_erased(tmp_path: Path, make: Any) -> None:
    found: list[Message] = []
    events = [*looks(make, "door", 0, 50), *looks(make, "door", 900, 903)]
    with Relay(tmp_path, found.extend, batch_rows=4) as relay:
        relay.apply_erasures([Erasure(before_ms=500)])
        write(tmp_path, events).close()
        assert len(deliver_all(relay, found)) == 3
        assert (relay.erased, relay.waiting) == (50, 0)
    assert list(tmp_path.glob("*.outbox")) == []


def test_what_is_not_delivered_is_counted_once(tmp_path: Path, make: Any) -> None:
    is_away = True

    def deliver(messages: Any) -> None:
        if is_away:
            raise ServiceError("broker cannot be reached", "kafka://nowhere", "start it")

    times = iter((0.0, 100.0, 200.0, 300.0))
    now = next(times)
    write(tmp_path, [*looks(make, "door", 0, 10), *looks(make, "door", 900, 903)]).close()
    with Relay(tmp_path, deliver, clock=lambda: now) as relay:
        relay._filter.add(Erasure(before_ms=500))
        for _ in range(3):
            relay.step()
            now = next(times)
        assert relay.erased == 0
        is_away = False
        relay.step()
        assert (relay.erased, relay.sent) == (10, 3)


def test_a_recording_goes_as_a_whole(tmp_path: Path, make: Any) -> None:
    """Its tracks tell no time of day, so it is known by the first observation that does."""
    found: list[Message] = []
    events = [make.track(run=FILE), *looks(make, "door", 0, 9, FILE), make.status(run=FILE)]
    with write(tmp_path, events) as outbox, Relay(tmp_path, found.extend) as relay:
        relay.apply_erasures([Erasure("door", before_ms=5)])
        outbox.append([make.track(1, run=FILE)])
        assert deliver_all(relay, found) == [f"cam:door:{FILE}:0"]
        assert relay.erased == 11


def test_an_outbox_of_the_release_before(tmp_path: Path) -> None:
    """Its rows have no columns for id and schema."""
    found: list[Message] = []
    path = tmp_path / "lobby.e42.outbox"
    write_as_before(path, old_lines())
    with Relay(tmp_path, found.extend) as relay:
        relay.apply_erasures([Erasure("lobby", before_ms=10**14)])
        assert b"obs:lobby" not in path.read_bytes()
        deliver_all(relay, found)
    read = [read_message(one) for one in found]
    assert {type(one).__name__ for one in read} == {"CameraStatus", "EventsLost"}


def test_damaged_files_of_what_was_erased_go_too(tmp_path: Path) -> None:
    for camera in ("door", "hall"):
        path = tmp_path / f"{camera}.e1.outbox.1.damaged"
        path.write_bytes(b"garbage")
        os.utime(path, (1_000, 1_000))
    with Relay(tmp_path, print) as relay:
        relay.apply_erasures([Erasure("door", before_ms=999_999)])
        assert len(list(tmp_path.glob("*.damaged"))) == 2
        relay.apply_erasures([Erasure("door", before_ms=1_000_001)])
    assert [path.name for path in tmp_path.glob("*.damaged")] == ["hall.e1.outbox.1.damaged"]


def test_a_file_that_cannot_be_changed_is_tried_again(
    tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, looks(make, "door", 0, 10)).close()
    monkeypatch.setattr("pipeline.bus.outbox_reader.PATIENCE_S", 0.1)
    erasures = (Erasure("door", before_ms=100),)
    other = sqlite3.connect(tmp_path / "door.e1.outbox", isolation_level=None)
    with Relay(tmp_path, print) as relay:
        other.execute("BEGIN IMMEDIATE")
        relay.apply_erasures(erasures)
        assert relay.fault is not None
        assert relay.erasures == ()
        other.execute("ROLLBACK")
        other.close()
        relay.apply_erasures(erasures)
        assert (relay.erased, relay.erasures) == (10, erasures)


def test_a_reader_that_keeps_the_log_is_waited_for(
    tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.bus.outbox_reader.PATIENCE_S", 0.1)
    erasures = (Erasure("door", before_ms=100),)
    with write(tmp_path, looks(make, "door", 0, 10)), Relay(tmp_path, print) as relay:
        with closing(sqlite3.connect(tmp_path / "door.e1.outbox", isolation_level=None)) as other:
            other.execute("BEGIN")
            other.execute("SELECT count(*) FROM events").fetchone()
            relay.apply_erasures(erasures)
            assert "outbox is locked" in str(relay.fault)
            assert (relay.erased, relay.erasures) == (10, ())
        relay.apply_erasures(erasures)
        assert (relay.erased, relay.erasures) == (10, erasures)
        assert b"obs:door" not in bytes_of(tmp_path)


@pytest.mark.parametrize("seed", range(20))
def test_in_any_order_all_arrives_but_what_was_erased(tmp_path: Path, make: Any, seed: int) -> None:
    chance = random.Random(seed)
    erasures = [Erasure(track="trk:door:e1:2"), Erasure("door", before_ms=40)]
    found: list[Message] = []
    appended: list[Event] = []
    with Relay(tmp_path, found.extend, batch_rows=5) as relay:
        with Outbox(tmp_path, "door", "e1") as outbox:
            for n in range(100):
                look = make.observation(chance.randrange(90), n, track=chance.randrange(1, 4))
                appended.append(look.model_copy(update={"captured_ms": chance.randrange(90)}))
                outbox.append(appended[-1:])
                if chance.random() < 0.1:
                    relay.step()
                if n in (30, 60):
                    relay.apply_erasures(erasures[: n // 30])
                    known = len(found)
        deliver_all(relay, found)
        assert len(found) + relay.erased == 100
        assert relay.waiting == 0
    late = [read_message(one) for one in found[known:]]
    assert all(isinstance(one, FaceObserved) and one.track != 2 for one in late)
    assert all(one.captured_ms >= 40 for one in late if isinstance(one, FaceObserved))
    assert outbox_file.find_outboxes(tmp_path) == set()
