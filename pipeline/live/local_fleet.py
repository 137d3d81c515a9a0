"""Camera workers in this process, without Ray: the supervisor sees them as it sees actors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from pipeline.errors import UndercamError
from pipeline.live.camera_worker import CameraWorker
from pipeline.live.leases import CAMERAS, FleetReport, Lease, Report
from pipeline.metrics import Families
from pipeline.redact import redact
from pipeline.settings import CameraSettings
from pipeline.store.lost_runs import LostRun

CLOSE_S = 4.0
"""Seconds to wait for the cameras of all workers together to close."""


class LocalFleet:
    """Each "process" is a CameraWorker of this process, whose cameras are threads.

    No worker can die by itself: a camera that fails is reported by its run. A worker that cannot be
    opened, or raises what it should not, has failed: its cameras are tried again in a new one, and
    the others go on. A thread cannot be killed, so `stop` waits for nothing: the runs of a stopped
    worker end by themselves, at the latest when their leases do.
    """

    def __init__(self, open_worker: Callable[[], CameraWorker]) -> None:
        """`open_worker` may take long: it loads a detector, on one thread for all workers."""
        self._open_worker = open_worker
        self._opener = ThreadPoolExecutor(1, "open camera worker")  # no thread before the first
        self._workers: dict[str, Future[CameraWorker]] = {}

    def prepare(self, load: Callable[[], object]) -> None:
        """Load what `open_worker` needs before the first camera comes; a fault is raised there."""
        self._opener.submit(load)

    def names(self) -> Sequence[str]:
        """All of them."""
        return sorted(self._workers)

    def group_of(self, settings: CameraSettings) -> str:
        """Any worker reads any camera."""
        return CAMERAS

    def start(self, name: str) -> None:
        """Start one more; until it is open it is late, as a process that starts is."""
        self._workers[name] = self._opener.submit(self._open_worker)

    def stop(self, name: str) -> None:
        """End one, as far as that is possible."""
        self._workers.pop(name).add_done_callback(_stop_runs)

    def reports(self) -> FleetReport:
        """The reports of all; no lease changes."""
        return self._call({name: [] for name in self._workers}, applies=False)

    def heartbeat(self, leases: Mapping[str, Sequence[Lease]]) -> FleetReport:
        """Give each its leases."""
        return self._call(leases, applies=True)

    def close(self) -> list[Report]:
        """Stop all cameras; returns how each run has ended, or where it stands after CLOSE_S."""
        self._opener.shutdown(wait=False, cancel_futures=True)
        workers = list(self._get_open_workers().values())
        until_s = time.monotonic() + CLOSE_S
        # All are told to stop before any is waited for, so that their cameras stop together. A run
        # that has ended by itself is reported now and never again.
        reports = {
            report.lease: report
            for worker in workers
            for report in worker.heartbeat(worker.incarnation, []).reports
        }
        for worker in workers:
            left_s = max(until_s - time.monotonic(), 0.0)
            reports |= {report.lease: report for report in worker.close(left_s)}
        self._workers.clear()
        return list(reports.values())

    def families(self) -> Iterator[tuple[str, Families]]:
        """The metrics of every worker."""
        for name, worker in self._get_open_workers().items():
            yield name, worker.metrics.families()

    def take_lost_runs(self) -> Sequence[LostRun]:
        """None: this machine is the only one."""
        return ()

    def _call(self, leases: Mapping[str, Sequence[Lease]], applies: bool) -> FleetReport:
        reports: dict[str, list[Report]] = {}
        failed: dict[str, str] = {}
        for name, cameras in leases.items():
            opening = self._workers[name]
            if not opening.done():
                continue
            try:
                worker = opening.result()
                incarnation = worker.incarnation if applies else ""
                reports[name] = worker.heartbeat(incarnation, cameras).reports
            except UndercamError as error:
                failed[name] = str(error)
            except Exception as error:  # noqa: BLE001 - one worker's fault is not the others'
                failed[name] = redact(f"unexpected error: {type(error).__name__}: {error}")
        return FleetReport(reports, failed=failed)

    def _get_open_workers(self) -> dict[str, CameraWorker]:
        done = {name: opening for name, opening in list(self._workers.items()) if _is_open(opening)}
        return {name: opening.result() for name, opening in sorted(done.items())}


def _is_open(opening: Future[CameraWorker]) -> bool:
    return opening.done() and not opening.cancelled() and opening.exception() is None


def _stop_runs(opening: Future[CameraWorker]) -> None:
    if _is_open(opening):
        worker = opening.result()
        worker.heartbeat(worker.incarnation, [])
