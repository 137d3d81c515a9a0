"""Camera workers of this process, as the supervisor sees them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from pipeline.config import Settings
from pipeline.errors import ModelError
from pipeline.live.camera_worker import CameraWorker
from pipeline.live.leases import FleetReport, Heartbeat, Lease, Report
from pipeline.live.local_fleet import LocalFleet
from pipeline.live.supervisor import Supervisor
from pipeline.service_settings import WorkersSettings
from pipeline.settings import CameraSettings
from pipeline.stages.classify import Classify
from pipeline.stages.detect import Detect


@pytest.fixture
def open_worker(
    settings: Settings, detect: Detect, classify: Classify
) -> Callable[[], CameraWorker]:
    return lambda: CameraWorker(settings, lambda *_: classify, detect=detect)


@pytest.fixture
def fleet(open_worker: Callable[[], CameraWorker]) -> Iterator[LocalFleet]:
    made = LocalFleet(open_worker)
    yield made
    made.close()


def loop(clip: Path, camera: str, epoch: int) -> Lease:
    return Lease(camera, epoch, CameraSettings(url=str(clip), play="loop"))


def until(
    heartbeat: Callable[[], FleetReport], condition: Callable[[FleetReport], object]
) -> FleetReport:
    end = time.monotonic() + 20
    while not condition(news := heartbeat()):
        assert time.monotonic() < end, news
        time.sleep(0.02)
    return news


def test_a_worker_is_late_until_it_is_open_and_then_holds_its_leases(
    fleet: LocalFleet, square_clip: Path
) -> None:
    lease = loop(square_clip, "door", 1)
    fleet.start("cameras-0")
    assert fleet.names() == ["cameras-0"]
    news = until(lambda: fleet.heartbeat({"cameras-0": [lease]}), lambda news: news.reports)
    assert [report.lease for report in news.reports["cameras-0"]] == [lease]
    assert [report.lease for report in fleet.reports().reports["cameras-0"]] == [lease]
    (report,) = fleet.close()
    assert (report.lease, report.state) == (lease, "stopped")


def test_a_worker_that_is_stopped_releases_its_cameras(
    fleet: LocalFleet, square_clip: Path, settings: Settings
) -> None:
    lease = loop(square_clip, "door", 1)
    fleet.start("cameras-0")

    def is_online(news: FleetReport) -> bool:
        return [report.state for report in news.reports.get("cameras-0", [])] == ["online"]

    until(lambda: fleet.heartbeat({"cameras-0": [lease]}), is_online)
    worker = fleet._workers["cameras-0"].result()
    fleet.stop("cameras-0")
    assert fleet.names() == []
    end = time.monotonic() + 20
    while any(report.state != "stopped" for report in worker.heartbeat("", []).reports):
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("error", [ModelError("no such network", "x", "y"), KeyError("of all")])
def test_a_worker_that_cannot_be_opened_has_failed_and_its_neighbour_goes_on(
    error: Exception, open_worker: Callable[[], CameraWorker], square_clip: Path
) -> None:
    """The second worker fails once: its camera is tried again in a new one."""
    opened: list[int] = []

    def fragile() -> CameraWorker:
        opened.append(1)
        if len(opened) == 2:
            raise error
        return open_worker()

    fleet = LocalFleet(fragile)
    cameras = {name: loop(square_clip, name, 0).settings for name in ("a", "b")}
    supervisor = Supervisor(WorkersSettings(cameras_per_worker=1), lambda: cameras, fleet)
    seen: list[tuple[str, ...]] = []
    epochs: list[int] = []
    end = time.monotonic() + 30
    while seen[-1:] != [("online", "online")]:
        assert time.monotonic() < end, seen
        supervisor.step()
        reports = supervisor.reports()
        seen.append(tuple(reports[name].state for name in ("a", "b")))
        epochs.append(reports["a"].lease.epoch)
        if seen[-1][1] == "failed":
            assert str(error).split(":")[0] in reports["b"].reason
        time.sleep(0.02)
    assert "failed" in {state for _, state in seen}
    assert {state for state, _ in seen} <= {"connecting", "online"}
    assert len(set(epochs)) == 1
    assert supervisor.deaths == 0
    fleet.close()


@dataclass
class MadeWorker:
    """One run has ended by itself, with a loss; another one ends when it is told to."""

    incarnation: str
    waits: list[float] = field(default_factory=list)
    runs: dict[Lease, Report] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lost = Lease(f"lost-{self.incarnation}", 1, CameraSettings(url="a"))
        live = Lease(f"live-{self.incarnation}", 2, CameraSettings(url="b"))
        self.runs[lost] = Report(lost, "failed", close_error="3 events were lost")
        self.runs[live] = Report(live, "online")

    def heartbeat(self, incarnation: str, leases: Sequence[Lease]) -> Heartbeat:
        reports = list(self.runs.values())
        self.runs = {lease: one for lease, one in self.runs.items() if not one.is_over}
        return Heartbeat(self.incarnation, reports)

    def close(self, timeout_s: float) -> list[Report]:
        self.waits.append(timeout_s)
        time.sleep(0.2)
        return [replace(report, state="stopped") for report in self.runs.values()]


def test_at_the_end_every_run_is_reported_once_and_all_share_the_time() -> None:
    made = [MadeWorker("a"), MadeWorker("b")]
    workers = list(made)
    fleet = LocalFleet(lambda: workers.pop(0))  # type: ignore[arg-type, return-value]
    for name in ("cameras-0", "cameras-1"):
        fleet.start(name)
    until(fleet.reports, lambda news: len(news.reports) == 2)
    for worker in made:
        worker.__post_init__()
    reports = {report.lease.camera: report for report in fleet.close()}
    assert {name: one.state for name, one in reports.items()} == {
        **{"lost-a": "failed", "lost-b": "failed", "live-a": "stopped", "live-b": "stopped"}
    }
    assert reports["lost-a"].close_error == reports["lost-b"].close_error == "3 events were lost"
    assert made[0].waits[0] - made[1].waits[0] >= 0.2
