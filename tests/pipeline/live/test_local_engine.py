"""The engine without Ray: the same rows, the order of its end, and faults that stay apart."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.faces import Faces
from pipeline.camera_config import CameraConfig
from pipeline.config import Settings
from pipeline.errors import ModelError, ServiceError, StopRequested
from pipeline.live import local_engine, local_pool
from pipeline.live.engine import STOP_S, Job, Startup, State
from pipeline.live.leases import Lease
from pipeline.live.local_engine import LocalEngine
from pipeline.live.stage_runner import run_stages
from pipeline.media.video import VideoWriter
from pipeline.metrics import CameraMetrics
from pipeline.records import Event, FaceObserved
from pipeline.settings import CameraSettings
from pipeline.stages.classify import Classify
from pipeline.stages.detect import Detect
from pipeline.stages.source.address import run_id
from pipeline.stages.source.file import VideoSource
from tests.pipeline.square import SquareDetector

BUS_S = 60.0


def job(tmp_path: Path, cameras: dict[str, CameraSettings], **sections: Any) -> Job:
    values = {
        "outbox": {"folder": str(tmp_path / "outbox")},
        "store": {"url": f"sqlite:///{tmp_path / 'rows.db'}"},
        "workers": {"cameras_per_worker": 1},
        "emotion": {"routes": {"fast": {"degraded_weights": ""}}},
        **sections,
    }
    return Job(Settings.model_validate(values), cameras=cameras)


def rows(tmp_path: Path, query: str) -> list[Any]:
    connection = sqlite3.connect(tmp_path / "rows.db")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def until(engine: LocalEngine, condition: Callable[[State], object], seconds: float = 30) -> State:
    end = time.monotonic() + seconds
    while not condition(state := engine.state()):
        assert time.monotonic() < end, state
        time.sleep(0.02)
    return state


def states(state: State) -> dict[str, str]:
    return {camera: report.state for camera, report in state.cameras.items()}


@contextmanager
def running(job: Job, detect: Detect, classify: Classify) -> Iterator[LocalEngine]:
    with LocalEngine(job, Startup(), detect=detect, open_classifier=lambda: classify) as engine:
        yield engine


def test_two_files_become_the_rows_that_the_stages_make(
    tmp_path: Path, square_clip: Path, detect: Detect, classify: Classify
) -> None:
    cameras = {name: CameraSettings(url=str(square_clip)) for name in ("door", "hall")}
    given = job(tmp_path, cameras)
    with running(given, detect, classify) as engine:
        until(engine, lambda state: set(states(state).values()) == {"ended"})
    assert engine.last.relays["relay-local"].waiting == 0
    for camera in cameras:
        expected: list[Event] = []
        run = run_id(square_clip, given.settings.observation_settings())
        with VideoSource(square_clip, camera, run) as source:
            run_stages(source, detect, classify, CameraConfig(given.settings), expected.extend)
        found = rows(
            tmp_path, f"SELECT id, frame, smoothed_label FROM observations WHERE camera='{camera}'"
        )
        assert sorted(found) == sorted(
            (event.id, event.frame, event.smoothed.label)
            for event in expected
            if isinstance(event, FaceObserved)
        )
    assert list((tmp_path / "outbox").glob("*.outbox")) == []


def test_it_ends_in_the_order_of_the_events(
    tmp_path: Path,
    square_clip: Path,
    detect: Detect,
    classify: Classify,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Cameras, their leases, the relay, the pool: and the last event of a camera is a row."""
    order: list[str] = []

    def note(part: Any, name: str) -> None:
        close = part.close

        def closed(*arguments: Any, **named: Any) -> Any:
            result = close(*arguments, **named)
            order.append(name)
            return result

        monkeypatch.setattr(part, "close", closed)

    cameras = {"door": CameraSettings(url=str(square_clip), play="loop")}
    with running(job(tmp_path, cameras), detect, classify) as engine:
        until(engine, lambda state: states(state).get("door") == "online")
        assert rows(tmp_path, "SELECT camera FROM camera_leases") == [("door",)]
        for part, name in (
            (engine._fleet, "cameras"),
            (engine._supervisor._keeper, "leases"),
            (engine._relay, "relay"),
            (engine._pool, "pool"),
        ):
            note(part, name)
    assert order == ["cameras", "leases", "relay", "pool"]
    assert rows(tmp_path, "SELECT camera FROM camera_leases") == []
    last = rows(tmp_path, "SELECT state, reason FROM camera_status ORDER BY seq DESC LIMIT 1")
    assert last == [("offline", "stopped")]
    assert list((tmp_path / "outbox").glob("*.outbox")) == []


def write_small(path: Path) -> None:
    with VideoWriter(path, 160, 120, 20) as writer:
        for _ in range(20):
            writer.write(np.full((120, 160, 3), 30, np.uint8))


class Fragile(SquareDetector):
    """Fails on small frames for as long as it is broken."""

    is_broken = True

    def detect(self, image: NDArray[np.uint8]) -> Faces:
        if self.is_broken and image.shape[1] < 320 and image.any():
            raise ZeroDivisionError("of all things")
        return super().detect(image)


def test_a_camera_that_fails_in_its_thread_is_tried_again_and_the_others_go_on(
    tmp_path: Path, square_clip: Path, classify: Classify
) -> None:
    small = tmp_path / "small.mp4"
    write_small(small)
    detector = Fragile()
    cameras = {
        "door": CameraSettings(url=str(small)),
        "hall": CameraSettings(url=str(square_clip), play="loop"),
    }
    with running(job(tmp_path, cameras), Detect(detector, 16), classify) as engine:
        failed = until(engine, lambda s: states(s) == {"door": "failed", "hall": "online"}).cameras[
            "door"
        ]
        assert "ZeroDivisionError: of all things" in failed.reason
        epoch = engine.state().cameras["hall"].lease.epoch
        detector.is_broken = False
        ended = until(engine, lambda s: states(s) == {"door": "ended", "hall": "online"})
        assert ended.cameras["door"].lease.epoch > failed.lease.epoch
        assert ended.cameras["hall"].lease.epoch == epoch  # it was never read anew


def test_weights_that_cannot_serve_end_it_before_a_camera_is_read(
    tmp_path: Path, square_clip: Path, detect: Detect
) -> None:
    def refuse() -> Classify:
        raise ModelError("no such weights", "nobodys", "name others")

    before = set(threading.enumerate())
    cameras = {"door": CameraSettings(url=str(square_clip))}
    engine = LocalEngine(job(tmp_path, cameras), Startup(), detect=detect, open_classifier=refuse)
    with pytest.raises(ModelError, match="no such weights"), engine:
        pytest.fail("it must not start")
    assert not list(tmp_path.glob("outbox/*"))
    until_gone(before)


def test_a_command_that_is_stopped_while_it_starts_leaves_nothing(
    tmp_path: Path, detect: Detect, classify: Classify
) -> None:
    loaded = threading.Event()

    def slow() -> Classify:
        loaded.wait(10)
        return classify

    before = set(threading.enumerate())
    startup = Startup(stop=lambda: True)
    engine = LocalEngine(job(tmp_path, {}), startup, detect=detect, open_classifier=slow)
    with pytest.raises(StopRequested), engine:
        pytest.fail("it must not start")
    loaded.set()
    until_gone(before)


def until_gone(before: set[threading.Thread]) -> None:
    end = time.monotonic() + 20
    while left := [thread for thread in threading.enumerate() if thread not in before]:
        assert time.monotonic() < end, left
        time.sleep(0.02)


def test_no_part_that_hangs_keeps_the_end_from_coming_in_ten_seconds() -> None:
    relay_s = store_s = local_engine.OVERTIME_S
    at_most_s = STOP_S + relay_s + local_engine.STORE_S + store_s + local_pool.CLOSE_S
    assert at_most_s < 10  # a service manager kills then


class Hanging(SquareDetector):
    """Hangs in a small frame, as a camera's driver might, until it is let go."""

    def __init__(self) -> None:
        self.go, self.hangs = threading.Event(), threading.Event()

    def detect(self, image: NDArray[np.uint8]) -> Faces:
        if image.shape[1] < 320 and image.any():
            self.hangs.set()
            self.go.wait(60)
        return super().detect(image)


def test_a_camera_that_hangs_does_not_hold_up_the_end_nor_the_events_of_others(
    tmp_path: Path,
    square_clip: Path,
    classify: Classify,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.live.local_engine.CLOSE_S", 1.0)
    leaves: list[object] = []
    monkeypatch.setattr("pipeline.live.local_engine.leave_at_once", leaves.append)
    small = tmp_path / "small.mp4"
    write_small(small)
    detector = Hanging()
    cameras = {
        "door": CameraSettings(url=str(small), play="loop"),
        "hall": CameraSettings(url=str(square_clip), play="loop"),
    }
    before = set(threading.enumerate())
    with running(job(tmp_path, cameras), Detect(detector, 16), classify) as engine:
        until(engine, lambda s: states(s).get("hall") == "online" and detector.hangs.is_set())
        ends_s = time.monotonic()
    assert time.monotonic() - ends_s < 10
    assert len(leaves) == 1  # Python would wait for the thread
    last = rows(
        tmp_path,
        "SELECT state, reason FROM camera_status WHERE camera = 'hall' ORDER BY seq DESC LIMIT 1",
    )
    assert last == [("offline", "stopped")]
    detector.go.set()
    engine._supervisor.close()
    until_gone(before)


def test_nothing_is_left_when_it_has_ended(
    tmp_path: Path, square_clip: Path, detect: Detect, classify: Classify
) -> None:
    before = set(threading.enumerate())
    cameras = {"door": CameraSettings(url=str(square_clip), play="loop")}
    with running(job(tmp_path, cameras), detect, classify) as engine:
        until(engine, lambda state: states(state).get("door") == "online")
    until_gone(before)


def test_a_supervisor_that_fails_ends_the_command(
    tmp_path: Path,
    square_clip: Path,
    detect: Detect,
    classify: Classify,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cameras = {"door": CameraSettings(url=str(square_clip), play="loop")}

    def broken() -> None:
        raise ZeroDivisionError("of all things")

    with running(job(tmp_path, cameras), detect, classify) as engine:
        until(engine, lambda state: states(state).get("door") == "online")
        monkeypatch.setattr(engine._supervisor._supervisor, "step", broken)
        with pytest.raises(ServiceError, match="the supervisor failed .ZeroDivisionError"):
            until(engine, lambda state: False)


@pytest.mark.slow
@pytest.mark.needs("kafka")
def test_with_a_bus_it_brings_the_events_into_the_database_too(
    tmp_path: Path, square_clip: Path, detect: Detect, classify: Classify, bus: Any
) -> None:
    cameras = {"door": CameraSettings(url=str(square_clip))}
    given = job(tmp_path, cameras, bus=bus.model_dump())
    with running(given, detect, classify) as engine:
        until(
            engine,
            lambda state: (
                states(state) == {"door": "ended"}
                and state.relays["relay-local"].sent
                and not state.relays["relay-local"].waiting
            ),
            BUS_S,
        )
    assert engine.last.store_fault == ""
    ((count,),) = rows(tmp_path, "SELECT count(*) FROM observations")
    assert count > 50


@pytest.mark.parametrize(("url", "is_patient"), [("rtsp://10.0.0.7/live", False), ("a.mp4", True)])
def test_only_a_file_waits_for_every_answer(tmp_path: Path, url: str, is_patient: bool) -> None:
    engine = LocalEngine(job(tmp_path, {}), Startup())
    lease = Lease("door", 1, CameraSettings(url=url))
    assert engine._connect_classifier(lease, CameraMetrics())._patient == is_patient
