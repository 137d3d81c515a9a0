"""The engine without Ray: supervisor, camera workers, classifier pool, relay and store, all threads
of this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from threading import Thread
from typing import TYPE_CHECKING

from pipeline.closing import Service
from pipeline.erasure import Erasure
from pipeline.errors import ServiceError
from pipeline.leaving import leave_at_once
from pipeline.live.camera_worker import CameraWorker, open_worker_detector
from pipeline.live.client import ClassifierClient
from pipeline.live.engine import CLOSE_S, STOP_S, Job, Startup, State
from pipeline.live.leases import Lease
from pipeline.live.local_fleet import LocalFleet
from pipeline.live.local_pool import LocalPool
from pipeline.live.relay_service import RelayReport, RelayService
from pipeline.live.supervisor_service import SupervisorService
from pipeline.metrics import CameraMetrics, Families
from pipeline.references import is_recording

if TYPE_CHECKING:
    from pipeline.live.store_consumer import StoreService
    from pipeline.stages.classify import Classify
    from pipeline.stages.detect import Detect

STEP_S = 0.2
"""Seconds between two steps: shorter than under Ray, as no call leaves this process."""
STORE_S, OVERTIME_S = 1.0, 0.5
"""Seconds that the store may take to read the bus to its end; and that relay and store, each, may
be waited for beyond their time where bus or database do not answer."""
RELAY = "relay-local"


class LocalEngine(Service):
    """What `undercam run --engine local` and `undercam demo` start, watch and end.

    With `bus.url` set, the consumer that brings the bus into the database is part of it.
    """

    def __init__(
        self,
        job: Job,
        startup: Startup,
        *,
        detect: Detect | None = None,
        open_classifier: Callable[[], Classify] | None = None,
    ) -> None:
        """`detect` and `open_classifier` are, by default, those of the settings."""
        settings = job.settings
        self.last = State()
        self._job, self._startup = job, startup
        self._failure: Exception | None = None
        self._detect = detect
        self._pool = LocalPool(settings, open_classifier)
        self._relay = RelayService(settings)
        self._store = _open_store_service(job)
        self._fleet = LocalFleet(self._open_worker)
        self._supervisor = SupervisorService(
            job, self._fleet, _OneRelay(self._relay), self._pool.families, self._fail, STEP_S
        )

    def start(self) -> None:
        """Start everything; raises ModelError for weights that cannot serve, before any camera is
        read, and StopRequested."""
        self._pool.start()
        self._fleet.prepare(self._load_detector)
        self._startup.wait(self._pool.has_started, "the classifier pool")
        if self._store:
            self._store.start()
        self._relay.start()
        self._supervisor.start()

    def state(self) -> State:
        """The state of everything; raises ServiceError when the supervisor has failed."""
        if self._failure:
            what = f"the supervisor failed ({type(self._failure).__name__}: {self._failure})"
            remedy = "start again: what waits in the outboxes is delivered then"
            raise ServiceError(what, "engine", remedy) from self._failure
        self.last = self._with_store(self._supervisor.state())
        return self.last

    def close(self) -> None:
        """Stop all cameras, and wait a little until bus or store has their last events."""
        until_s = time.monotonic() + STOP_S
        # Each part is closed only when nothing before it in the flow of events can need it. A
        # camera that hangs, in a driver or on a disk, must not hold up the others' events.
        cameras = Thread(target=self._supervisor.close_cameras, name="close cameras", daemon=True)
        cameras.start()
        cameras.join(CLOSE_S)
        left_s = max(until_s - time.monotonic(), 0.0)
        self._relay.close(drain_s=left_s, timeout_s=left_s + OVERTIME_S)
        if self._store:
            self._store.close(drain_s=STORE_S, timeout_s=STORE_S + OVERTIME_S)
        self.last = self._with_store(self._supervisor.refresh())
        if cameras.is_alive():
            leave_at_once(lambda: None)
        else:
            self._supervisor.close()
        self._pool.close()

    def _with_store(self, state: State) -> State:
        return replace(state, store_fault=self._store.fault) if self._store else state

    def _fail(self, error: Exception) -> None:
        self._failure = error

    def _open_worker(self) -> CameraWorker:
        job = self._job
        return CameraWorker(
            job.settings, self._connect_classifier, job.folders, detect=self._load_detector()
        )

    def _load_detector(self) -> Detect:
        """One network for all workers: the cameras of a process share it anyway. Called in the
        fleet's one opening thread; one that could not be loaded is tried again."""
        if self._detect is None:
            self._detect = open_worker_detector(self._job.settings.detector, self._job.folders)
        return self._detect

    def _connect_classifier(self, lease: Lease, metrics: CameraMetrics) -> ClassifierClient:
        settings = self._job.settings
        return ClassifierClient(
            *(self._pool, self._pool.replicas, settings.emotion.routes.by_name(), lease.camera),
            *(is_recording(lease.settings), metrics, settings.cluster.start_timeout_s),
        )


class _OneRelay:
    """The relay of this process, as the supervisor's relays."""

    def __init__(self, relay: RelayService) -> None:
        self._relay = relay

    def start_missing(self) -> None:
        """It is started by the engine."""

    def apply_erasures(self, erasures: Sequence[Erasure]) -> None:
        self._relay.apply_erasures(erasures)

    def reports(self) -> dict[str, RelayReport]:
        return {RELAY: self._relay.report}

    def families(self) -> Iterator[tuple[str, Families]]:
        yield RELAY, self._relay.metrics.families()


def _open_store_service(job: Job) -> StoreService | None:
    """None without a bus; raises ConfigError where Kafka's client is not installed."""
    if not job.settings.bus.url:
        return None
    from pipeline.live.delivery import open_publisher

    # It raises what is wrong with bus settings; the consumer's module needs Kafka's client.
    open_publisher(job.settings.bus).close()
    from pipeline.live.store_consumer import StoreService

    return StoreService(job.settings)
