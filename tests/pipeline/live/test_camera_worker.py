"""A camera process without Ray: leases, runs, outboxes, and what goes wrong with each."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from models.emotions import EMOTIONS, UNKNOWN
from pipeline.camera_config import CameraConfig
from pipeline.camera_states import CameraState, from_record
from pipeline.clock import wall_clock
from pipeline.config import Settings
from pipeline.emotion_settings import EmotionSettings
from pipeline.errors import ServiceError
from pipeline.frames import ClassifiedFaces, Counts, CroppedFaces
from pipeline.live.camera_worker import CameraWorker
from pipeline.live.leases import Heartbeat, Lease, Report
from pipeline.live.stage_runner import run_stages
from pipeline.records import CameraStatus, Event, EventsLost, FaceObserved, TrackUpdated
from pipeline.service_settings import MqttSettings
from pipeline.settings import CameraSettings
from pipeline.stages.classify import Classify
from pipeline.stages.detect import Detect
from pipeline.stages.source.address import run_id
from pipeline.stages.source.file import VideoSource
from tests.disk import full_disk
from tests.pipeline.bus.mqtt.conftest import Listener, MqttBroker, wait_until

Said = Callable[[], list[Event]]


def lease(url: object, epoch: int = 7, camera: str = "door", **settings: object) -> Lease:
    return Lease(camera, epoch, CameraSettings.model_validate({"url": str(url), **settings}))


def renewed(worker: CameraWorker, *leases: Lease) -> list[Report]:
    return worker.heartbeat(worker.incarnation, leases).reports


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


def same(events: list[Event]) -> list[str]:
    """Events but for the wall clock, and the number of the reading that a status tells of."""
    late = {"classified_ms": 0, "published_ms": 0}
    when = {"id": "", "seq": 0, "since_ms": 0}
    changed = {FaceObserved: late, CameraStatus: when}
    return [event.model_copy(update=changed.get(type(event), {})).to_json() for event in events]


def test_a_file_becomes_the_events_that_analyze_makes_of_it(
    worker: CameraWorker,
    settings: Settings,
    square_clip: Path,
    detect: Detect,
    classify: Classify,
    said: Said,
) -> None:
    expected: list[Event] = []
    with VideoSource(
        square_clip, "door", run_id(square_clip, settings.observation_settings())
    ) as source:
        run_stages(source, detect, classify, CameraConfig(settings), expected.extend)
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
    while worker.heartbeat("", []).reports[0].state != "stopped":
        assert time.monotonic() < end
        time.sleep(0.02)
    worker.close()


def test_leases_of_an_earlier_life_change_nothing(worker: CameraWorker, square_clip: Path) -> None:
    assert worker.heartbeat("another", [lease(square_clip)]) == Heartbeat(worker.incarnation, [])
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
    report = until_state(worker, "refused", lease(tmp_path / "none.mp4"))
    assert "no such file" in report.reason
    (status,) = said()
    assert isinstance(status, CameraStatus)
    assert (status.state, status.run, status.reason) == ("refused", "e7", report.reason)


def test_what_is_tried_again_keeps_the_start_of_its_state(
    worker: CameraWorker, tmp_path: Path, said: Said
) -> None:
    missing = lease(tmp_path / "none.mp4")
    refused = CameraState("refused", 1_795_000_000_000, "no such file")
    report = until_state(worker, "refused", replace(missing, before=refused))
    (status,) = said()
    assert isinstance(status, CameraStatus)
    assert status.since_ms == report.since_ms == refused.since_ms
    assert report.is_over
    failed = until_state(
        worker, "refused", replace(missing, epoch=8, before=CameraState("failed", 5))
    )
    assert failed.since_ms > refused.since_ms


def test_a_file_that_is_read_again_tells_its_states_anew(
    worker: CameraWorker, square_clip: Path, said: Said
) -> None:
    ids: list[str] = []
    for epoch in (1_795_000_000_000, 1_795_000_009_000):
        before_ms = wall_clock()
        until_state(worker, "ended", lease(square_clip, epoch))
        told = [event for event in said() if isinstance(event, CameraStatus)]
        assert [from_record(t.state, t.run, t.reason)[0] for t in (told[0], told[-1])] == [
            "online",
            "ended",
        ]
        assert all(before_ms <= status.since_ms <= wall_clock() for status in told)
        ids += [status.id for status in told]
        while renewed(worker):
            time.sleep(0.01)
    assert len(set(ids)) == len(ids)


def test_a_camera_that_fails_before_it_is_opened_tells_why(
    settings: Settings, detect: Detect, square_clip: Path, said: Said
) -> None:
    class Away:
        def wait_for(self, routes: Iterable[str]) -> None:
            raise ServiceError("no classifier answers", "pool", "wait")

    worker = CameraWorker(settings, lambda *_: Away(), detect=detect)  # type: ignore[arg-type]
    report = until_state(worker, "failed", lease(square_clip))
    (status,) = said()
    assert isinstance(status, CameraStatus)
    assert (status.state, status.reason) == ("offline", f"failed: {report.reason}")
    worker.close()


def test_a_quarantined_camera_says_so(worker: CameraWorker, square_clip: Path, said: Said) -> None:
    until_state(worker, "ended", replace(lease(square_clip), quarantined=True))
    states = [event.state for event in said() if isinstance(event, CameraStatus)]
    assert states[:2] == ["quarantined", "online"]


class Raising:
    """A classifier that fails at its twentieth frame with a face."""

    def __init__(self, classify: Classify) -> None:
        self._classify, self._left = classify, 20
        self.model, self.mode = classify.model, classify.mode
        self.crop = classify.crop
        self.wait_for = classify.wait_for

    def __call__(self, cropped: CroppedFaces) -> ClassifiedFaces:
        self._left -= len(cropped.crops)
        if self._left < 0:
            raise ZeroDivisionError("of all things")
        return self._classify(cropped)


def test_a_stage_that_fails_ends_its_camera_and_no_other(
    settings: Settings, detect: Detect, classify: Classify, square_clip: Path, said: Said
) -> None:
    def connect(lease: Lease, metrics: object) -> Classify | Raising:
        return classify if lease.camera == "hall" else Raising(classify)

    worker = CameraWorker(settings, connect, detect=detect)
    good, bad = lease(square_clip, camera="hall", play="loop"), lease(square_clip)
    report = until_state(worker, "failed", bad, good)
    assert "ZeroDivisionError: of all things" in report.reason
    assert until_state(worker, "online", good, bad)
    worker.close()
    doors = [event for event in said() if event.camera == "door"]
    assert [event.phase for event in doors if isinstance(event, TrackUpdated)][-1:] == ["end"]
    last = [event for event in doors if isinstance(event, CameraStatus)][-1]
    assert (last.state, last.reason) == ("offline", f"failed: {report.reason}")


def test_a_full_outbox_holds_a_file_back_and_nothing_of_it_is_lost(
    settings: Settings, detect: Detect, classify: Classify, square_clip: Path, said: Said
) -> None:
    outbox = settings.outbox.model_copy(update={"max_rows": 10})
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
    assert sample("undercam_frames_searched_total", {**door, "extent": "whole"}) == 20
    assert sample("undercam_frames_skipped_total", door) == 60
    assert sample("undercam_stage_seconds_count", {"stage": "detect"}) == 20
    assert sample("undercam_observations_total", door) > 0
    assert sample("undercam_camera_state", {**door, "state": "online"}) == 0
    assert sample("undercam_camera_state", {**door, "state": "ended"}) == 1


def test_frames_that_waited_when_a_run_failed_are_counted(
    settings: Settings,
    detect: Detect,
    classify: Classify,
    square_clip: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Waiting(VideoSource):
        """Sheds three frames when it is closed, as a live camera does."""

        shed = 0

        def close(self) -> None:
            super().close()
            self.shed = 3

        def counts(self) -> Counts:
            return replace(super().counts(), shed={"stopped": self.shed})

    monkeypatch.setattr(
        "pipeline.live.camera_run.open_source", lambda *_: Waiting(square_clip, "door", "e7")
    )
    worker = CameraWorker(settings, lambda *_: Raising(classify), detect=detect)  # type: ignore[arg-type, return-value]
    until_state(worker, "failed", lease(square_clip))
    shed = {"camera": "door", "cause": "stopped"}
    assert worker.metrics.registry.get_sample_value("undercam_frames_shed_total", shed) == 3
    worker.close()


@pytest.mark.parametrize(
    ("mode", "expected"), [("robust", ["fast", "robust"]), ("auto", ["fast"]), ("fast", ["fast"])]
)
def test_it_waits_for_the_routes_of_its_mode_before_it_connects(
    settings: Settings,
    detect: Detect,
    classify: Classify,
    square_clip: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    expected: list[str],
) -> None:
    """Or a live camera would shed its first frames while the weights are loaded."""
    order: list[str] = []

    class Loading:
        def wait_for(self, routes: Iterable[str]) -> None:
            order.extend(routes)

    def open_source(*_: object) -> VideoSource:
        order.append("connected")
        raise ServiceError("no camera", "door", "wait")

    monkeypatch.setattr("pipeline.live.camera_run.open_source", open_source)
    emotion = EmotionSettings.model_validate({"routes": {"robust": {"weights": "slow"}}})
    both = settings.model_copy(update={"emotion": emotion})
    worker = CameraWorker(both, lambda *_: Loading(), detect=detect)  # type: ignore[arg-type, return-value]
    until_state(worker, "failed", lease(square_clip, mode=mode))
    worker.close()
    assert order == [*expected, "connected"]


def test_nothing_is_late_where_nothing_comes(
    settings: Settings, detect: Detect, classify: Classify, square_clip: Path
) -> None:
    late = CameraWorker(
        settings, lambda *_: classify, detect=detect, clock=lambda: wall_clock() + 60_000
    )
    loop = lease(square_clip, play="loop")
    sample, door = late.metrics.registry.get_sample_value, {"camera": "door"}
    until_state(late, "online", loop)
    end = time.monotonic() + 20
    while not sample("undercam_camera_lag_seconds", door):
        renewed(late, loop)
        assert time.monotonic() < end
    while renewed(late):
        assert time.monotonic() < end
    assert sample("undercam_camera_state", {**door, "state": "stopped"}) == 1
    assert sample("undercam_camera_lag_seconds", door) == 0
    late.close()


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


@pytest.fixture
def secrets(settings: Settings, tmp_path: Path, detect: Detect, classify: Classify) -> CameraWorker:
    """A worker whose cameras may refer to the files of a folder."""
    (tmp_path / "secrets").mkdir()
    source = settings.source.model_copy(update={"secrets_folder": str(tmp_path / "secrets")})
    return CameraWorker(
        settings.model_copy(update={"source": source}), lambda *_: classify, detect=detect
    )


@pytest.mark.parametrize(
    "held",
    [
        "hunter2",
        "/etc/hunter2",
        "hunter2://host/live",
        "rtsp://ann:hunter#2@host/live",
        "hunter\n2",
    ],
)
def test_what_a_reference_holds_is_never_published(
    secrets: CameraWorker, tmp_path: Path, said: Said, monkeypatch: pytest.MonkeyPatch, held: str
) -> None:
    (tmp_path / "secrets" / "pw").write_text(held)
    monkeypatch.setenv("PW_URL", held)
    for epoch, reference in enumerate(("env:PW_URL", f"file:{tmp_path}/secrets/pw"), start=1):
        report = until_state(secrets, "refused", lease(reference, epoch))
        assert reference in report.reason
        assert "hunter" not in report.reason
    published = "".join(event.to_json() for event in said())
    assert published.count("the reference holds") == 2
    assert "hunter" not in published
    secrets.close()


def test_one_that_holds_a_camera_is_not_published_either(
    secrets: CameraWorker, said: Said, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = f"rtsp://ann:hunter2@127.0.0.1:{free_port}/hunter2?p=hunter2"
    monkeypatch.setenv("DOOR_URL", held)
    report = until_state(secrets, "offline", lease("env:DOOR_URL"))
    secrets.close()
    published = report.reason + "".join(event.to_json() for event in said())
    assert "connection refused" in published
    assert not any(secret in published for secret in ("hunter2", "ann", str(free_port)))


def test_the_cameras_table_leads_to_no_file_and_no_variable_of_the_worker(
    secrets: CameraWorker, tmp_path: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write the table may not read with the worker's rights."""
    private = tmp_path / "private"
    private.write_text("rtsp://ann:hunter2@127.0.0.1:9/live")
    monkeypatch.setenv("HUNTER", private.read_text())
    monkeypatch.setenv("UNDERCAM_STORE__URL", "postgresql://ann:hunter2@host/undercam")
    monkeypatch.setenv("DATABASE_URL", "postgresql://ann:hunter2@host/undercam")
    (tmp_path / "secrets" / "link").symlink_to(private)
    urls = [
        "env:HUNTER",
        "env:UNDERCAM_STORE__URL",
        "env:DATABASE_URL",
        f"file:{private}",
        f"file:{tmp_path}/secrets/../private",
        f"file:{tmp_path}/secrets/link",
        "file:/proc/self/environ",
        str(private),
        f"file://{private}",
    ]
    for epoch, url in enumerate(urls, start=1):
        report = until_state(secrets, "refused", lease(url, epoch))
        assert url in report.reason
        assert "hunter2" not in report.reason
    assert "hunter2" not in "".join(event.to_json() for event in said())
    secrets.close()


def test_a_reference_of_the_configuration_file_is_not_restricted(
    settings: Settings, detect: Detect, classify: Classify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOOR", "rtsp://127.0.0.1:9/live")
    door = CameraSettings(url="env:DOOR")
    written = settings.model_copy(update={"cameras": {"door": door}})
    worker = CameraWorker(written, lambda *_: classify, detect=detect)
    assert "connection refused" in until_state(worker, "offline", Lease("door", 1, door)).reason
    worker.close()


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


@pytest.mark.needs("mosquitto")
def test_a_camera_tells_its_state_to_home_assistant(
    settings: Settings,
    detect: Detect,
    classify: Classify,
    square_clip: Path,
    tmp_path: Path,
    free_port: int,
) -> None:
    """The faces of a looped file, and at the end that it was stopped."""
    broker = MqttBroker(tmp_path, free_port)
    broker.start()
    mqtt = MqttSettings(url=f"mqtt://127.0.0.1:{free_port}", interval_s=0.1)
    worker = CameraWorker(
        settings.model_copy(update={"mqtt": mqtt}), lambda *_: classify, detect=detect
    )
    listener = Listener(free_port)
    try:
        loop = lease(square_clip, play="loop", display_name="Front door")

        def newest() -> dict[str, object]:
            renewed(worker, loop)
            message = listener.newest.get("undercam/door")
            return json.loads(message.payload) if message else {}

        wait_until(lambda: newest().get("state") == "online" and newest()["faces"] == 1)
        assert newest()["label"] in (*EMOTIONS, UNKNOWN)
        config = listener.newest["homeassistant/sensor/undercam_door/label/config"]
        assert json.loads(config.payload)["device"]["name"] == "Front door"
        worker.close()
        wait_until(lambda: b'"stopped"' in listener.newest["undercam/door"].payload)
    finally:
        listener.close()
        worker.close()
        broker.stop()
