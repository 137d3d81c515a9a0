"""A camera process without Ray: leases, runs, outboxes, and what goes wrong with each."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import Settings
from pipeline.frames import CroppedFaces, Looks
from pipeline.records import CameraStatus, Event, EventsLost, FaceObserved, TrackUpdated
from pipeline.runners.inline import run_camera
from pipeline.runners.stream.lease import Heard, Lease, Report
from pipeline.runners.stream.worker import CameraWorker
from pipeline.settings import CameraSettings
from pipeline.stages.classify import Classify
from pipeline.stages.detect import Detect
from pipeline.stages.source.address import run_id
from pipeline.stages.source.file import VideoSource
from tests.disk import full_disk

Said = Callable[[], list[Event]]


def lease(url: object, epoch: int = 7, camera: str = "door", **settings: object) -> Lease:
    return Lease(camera, epoch, CameraSettings.model_validate({"url": str(url), **settings}))


def renewed(worker: CameraWorker, *leases: Lease) -> list[Report]:
    return worker.renew(worker.birth, leases).reports


def until_state(worker: CameraWorker, state: str, *leases: Lease) -> Report:
    """Renew until the first lease's camera is in a state."""
    end = time.monotonic() + 20
    while True:
        reports = {report.lease: report for report in renewed(worker, *leases)}
        report = reports.get(leases[0])
        if report and report.state == state:
            return report
        assert time.monotonic() < end, reports
        time.sleep(0.02)


def same(events: list[Event]) -> set[str]:
    """Events but for the wall clock."""
    late = {"classified_ms": 0, "published_ms": 0}
    return {
        (event.model_copy(update=late) if isinstance(event, FaceObserved) else event).to_json()
        for event in events
    }


def test_a_file_becomes_the_events_that_analyze_makes_of_it(
    worker: CameraWorker,
    settings: Settings,
    square_clip: Path,
    detect: Detect,
    classify: Classify,
    said: Said,
) -> None:
    expected: list[Event] = []
    with VideoSource(square_clip, "door", run_id(square_clip, settings.of_looks())) as source:
        run_camera(source, detect, classify, settings, expected.extend)
    file = lease(square_clip)
    assert until_state(worker, "ended", file).reason == "end of file"
    found = said()
    assert same(found) == same(expected)
    assert len(found) == len(expected)
    renewed(worker, file)
    assert said() == []  # it is not read again


def test_the_cameras_own_rate_counts(worker: CameraWorker, square_clip: Path, said: Said) -> None:
    until_state(worker, "ended", lease(square_clip, analyse_fps=5.0))
    looks = [event for event in said() if isinstance(event, FaceObserved)]
    assert 10 <= len(looks) <= 16


def test_a_looped_file_is_live_until_it_is_no_longer_leased(
    worker: CameraWorker, square_clip: Path, said: Said
) -> None:
    loop = lease(square_clip, play="loop")
    until_state(worker, "online", loop)
    assert renewed(worker)[0].lease == loop  # still on its way to its end
    end = time.monotonic() + 20
    while renewed(worker):
        assert time.monotonic() < end
    events = said()
    assert {event.run for event in events} == {"e7"}
    last = [event for event in events if isinstance(event, CameraStatus)][-1]
    assert (last.state, last.reason) == ("offline", "stopped")
    assert len(events) == len({event.id + str(getattr(event, "seq", "")) for event in events})


def test_a_lease_that_nobody_renews_ends(
    settings: Settings, detect: Detect, classify: Classify, square_clip: Path
) -> None:
    now_s = [0.0]
    worker = CameraWorker(settings, lambda *_: classify, detect=detect, monotonic=lambda: now_s[0])
    loop = lease(square_clip, play="loop")
    until_state(worker, "online", loop)
    now_s[0] += settings.workers.lease_s + 1
    end = time.monotonic() + 20
    while worker.renew("", []).reports[0].state != "stopped":
        assert time.monotonic() < end
        time.sleep(0.02)
    worker.close()


def test_leases_of_an_earlier_life_change_nothing(worker: CameraWorker, square_clip: Path) -> None:
    assert worker.renew("another", [lease(square_clip)]) == Heard(worker.birth, [])
    assert renewed(worker, lease(square_clip)) != []


def test_a_new_lease_waits_until_the_old_run_has_let_go(
    worker: CameraWorker, square_clip: Path, said: Said
) -> None:
    old, new = (lease(square_clip, epoch, play="loop") for epoch in (1, 2))
    until_state(worker, "online", old)
    assert {report.lease for report in renewed(worker, new)} == {old}
    until_state(worker, "online", new)
    worker.close()
    runs = [event.run for event in said()]
    assert runs == sorted(runs)  # e1, then e2


def test_a_file_that_is_not_there_is_refused_and_said(
    worker: CameraWorker, tmp_path: Path, said: Said
) -> None:
    report = until_state(worker, "failed", lease(tmp_path / "none.mp4"))
    assert "no such file" in report.reason
    (status,) = said()
    assert isinstance(status, CameraStatus)
    assert (status.state, status.run, status.reason) == ("refused", "e7", report.reason)


def test_a_quarantined_camera_says_so(worker: CameraWorker, square_clip: Path, said: Said) -> None:
    until_state(worker, "ended", replace(lease(square_clip), quarantined=True))
    states = [event.state for event in said() if isinstance(event, CameraStatus)]
    assert states[:2] == ["quarantined", "online"]


class Raising:
    """A classifier that fails at its twentieth frame with a face."""

    def __init__(self, classify: Classify) -> None:
        self._classify, self._left = classify, 20
        self.model, self.mode = classify.model, classify.mode

    def __call__(self, cropped: CroppedFaces) -> Looks:
        self._left -= len(cropped.crops)
        if self._left < 0:
            raise ZeroDivisionError("of all things")
        return self._classify(cropped)


def test_a_stage_that_fails_ends_its_camera_and_no_other(
    settings: Settings, detect: Detect, classify: Classify, square_clip: Path, said: Said
) -> None:
    def ask_for(lease: Lease, metrics: object) -> Classify | Raising:
        return classify if lease.camera == "hall" else Raising(classify)

    worker = CameraWorker(settings, ask_for, detect=detect)
    good, bad = lease(square_clip, camera="hall", play="loop"), lease(square_clip)
    report = until_state(worker, "failed", bad, good)
    assert "ZeroDivisionError: of all things" in report.reason
    assert until_state(worker, "online", good, bad)
    worker.close()
    doors = [event for event in said() if event.camera == "door"]
    assert [event.phase for event in doors if isinstance(event, TrackUpdated)][-1:] == ["end"]
    last = [event for event in doors if isinstance(event, CameraStatus)][-1]
    assert (last.state, last.reason) == ("offline", report.reason)


def test_a_full_outbox_holds_a_file_back_and_nothing_of_it_is_lost(
    settings: Settings, detect: Detect, classify: Classify, square_clip: Path, said: Said
) -> None:
    outbox = settings.outbox.model_copy(update={"most_rows": 10})
    tight = settings.model_copy(update={"outbox": outbox})
    worker = CameraWorker(tight, lambda *_: classify, detect=detect)
    file = lease(square_clip)
    end = time.monotonic() + 30
    found: list[Event] = []
    held_back = 0
    while (report := renewed(worker, file)[0]).state != "ended":
        assert time.monotonic() < end
        held_back += report.waiting >= 10
        found += said()
        time.sleep(0.02)
    found += said()
    worker.close()
    looks = [event for event in found if isinstance(event, FaceObserved)]
    assert len(looks) == len({look.id for look in looks})
    assert [look.frame for look in looks] == list(range(looks[0].frame, 60))


def test_everything_is_counted(worker: CameraWorker, square_clip: Path) -> None:
    until_state(worker, "ended", lease(square_clip, analyse_fps=5.0))
    sample = worker.metrics.registry.get_sample_value
    door = {"camera": "door"}
    assert sample("undercam_frames_decoded_total", door) == 80
    assert sample("undercam_frames_analysed_total", door) == 20
    assert sample("undercam_frames_undue_total", door) == 60
    assert sample("undercam_stage_seconds_count", {"stage": "detect"}) == 20
    assert sample("undercam_looks_total", door) > 0
    assert sample("undercam_camera_state", {**door, "state": "online"}) == 0


def test_a_camera_that_is_not_there_yet_connects(
    worker: CameraWorker, square_clip: Path, free_port: int
) -> None:
    settings = CameraSettings(url=f"listen://127.0.0.1:{free_port}/door")
    renewed(worker, Lease("door", 7, settings))
    door = {"camera": "door", "state": "connecting"}
    assert worker.metrics.registry.get_sample_value("undercam_camera_state", door) == 1


@pytest.mark.parametrize("times", [20])
def test_leases_come_and_go_and_leave_no_thread_and_no_descriptor(
    worker: CameraWorker, square_clip: Path, times: int
) -> None:
    def left() -> tuple[int, int]:
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    def once(epoch: int) -> None:
        loop = lease(square_clip, epoch, play="loop")
        until_state(worker, "online", loop)
        while renewed(worker):
            time.sleep(0.005)

    once(0)
    before = left()
    for epoch in range(1, times):
        once(epoch)
    assert left() == before


@pytest.mark.parametrize("how", ["told to stop", "closed"])
def test_what_a_full_disk_takes_at_the_end_is_reported_and_a_gap(
    worker: CameraWorker, settings: Settings, square_clip: Path, said: Said, how: str
) -> None:
    loop = lease(square_clip, play="loop")
    until_state(worker, "online", loop)
    with full_disk(max(path.stat().st_size for path in Path(settings.outbox.folder).iterdir())):
        end = time.monotonic() + 20
        while not renewed(worker, loop)[0].trouble:
            assert time.monotonic() < end
            time.sleep(0.02)
        if how == "closed":
            reports = worker.close()
        else:
            reports = [r for _ in range(1000) for r in told_once(worker) if r.close_error]
    (report,) = reports
    lost = int(report.close_error.split()[0])
    assert "events could not be written and are lost: " in report.close_error
    assert report.state == "failed"
    gaps = [event for event in said() if isinstance(event, EventsLost)]
    assert [(gap.run, gap.events, gap.reason) for gap in gaps] == [
        ("e7", lost, "outbox could not be written")
    ]


def told_once(worker: CameraWorker) -> list[Report]:
    """What is reported of leases that are taken away."""
    time.sleep(0.002)
    return renewed(worker)
