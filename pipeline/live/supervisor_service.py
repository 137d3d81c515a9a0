"""The supervisor at work: a thread that steps it, and the state and metrics of all it supervises.

The same class under Ray, inside an actor, and without it: the fleet and the relays are given.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from pipeline.closing import Service
from pipeline.config import resolve
from pipeline.control_client import ControlAddress
from pipeline.erasure import Erasure
from pipeline.errors import ServiceError
from pipeline.live.control import ControlServer
from pipeline.live.discovery import Discovery
from pipeline.live.engine import Job, State
from pipeline.live.leases import Fleet, Report
from pipeline.live.lost_runs import LostRunKeeper
from pipeline.live.relay_service import RelayReport
from pipeline.live.supervisor import Supervisor
from pipeline.metrics import Families, SupervisorMetrics, serve
from pipeline.store.leases import LeaseKeeper
from pipeline.store.lost_runs import LostRun
from pipeline.store.registry import RegistryWatch
from pipeline.store.retention import ErasureWatch

STEP_S = 0.5
ProcessMetrics = Iterable[tuple[str, Families]]
"""The metrics of processes, each with the process's name."""


class ServedFleet(Fleet, Protocol):
    """A fleet that can be closed as a whole, and counts."""

    def close(self) -> Sequence[Report]:
        """Stop all cameras; returns how each run has ended."""
        ...

    def families(self) -> ProcessMetrics:
        """The metrics of every camera process."""
        ...

    def take_lost_runs(self) -> Sequence[LostRun]:
        """The runs of machines that were lost since the last call."""
        ...


class Relays(Protocol):
    """The relays, one on every machine."""

    def start_missing(self) -> None:
        """Start one on every machine that has none."""
        ...

    def apply_erasures(self, erasures: Sequence[Erasure]) -> None:
        """Send all erasures there are to each that does not know them; waits for nothing."""
        ...

    def reports(self) -> Mapping[str, RelayReport]:
        """The last report of each, by name."""
        ...

    def families(self) -> ProcessMetrics:
        """The metrics of every relay."""
        ...


class SupervisorService(Service):
    """Steps a supervisor every `step_s` seconds until it is closed.

    After `close_cameras` it leases nothing any more, and goes on telling the state of the relays.
    `on_failure` is called with what ended the thread, where it should not have ended.
    `machine_address`: see ControlServer; a job with cameras of its own has no such server.
    """

    def __init__(
        self,
        job: Job,
        fleet: ServedFleet,
        relays: Relays,
        pool_families: Callable[[], ProcessMetrics],
        on_failure: Callable[[Exception], None],
        step_s: float = STEP_S,
        machine_address: str = "",
    ) -> None:
        settings = job.settings
        self._settings, self._fleet, self._relays = settings, fleet, relays
        self._pool_families, self._on_failure, self._step_s = pool_families, on_failure, step_s
        self._metrics, self._metrics_url = SupervisorMetrics(), ""
        initial = settings.cameras if job.cameras is None else job.cameras
        url, busy_s = resolve(settings.store.url), settings.store.busy_timeout_s
        self._watch = None
        if job.cameras is None:
            seed = None if job.is_seeded else initial
            self._watch = RegistryWatch(url, busy_s, seed)
        self._erasures = ErasureWatch(url, busy_s, settings.store.keep_days)
        self._discovery = None
        if job.cameras is None and settings.discovery.api_url:
            self._discovery = Discovery(settings)
        self._control = None
        if job.cameras is None and settings.control.enabled:
            self._control = ControlServer(settings, self.state, machine_address)
        # Twice a worker's own lease: a worker that lost us has stopped before another command may
        # take its cameras.
        self._keeper = LeaseKeeper(url, busy_s, job.holder, 2 * settings.workers.lease_s)
        self._lost_runs = LostRunKeeper(url, busy_s)
        known = initial if job.cameras is not None or not job.is_seeded else None
        self._supervisor = Supervisor(
            *(settings.workers, self._watch or (lambda: initial), fleet, known, self._keeper),
            start_s=settings.cluster.start_timeout_s,
        )
        self._state = State(self._supervisor.reports())
        self._stepping, self._stop = threading.Lock(), threading.Event()
        self._is_closed = False
        self._thread = threading.Thread(target=self._main, name="supervisor", daemon=True)

    def start(self) -> None:
        """Start; raises ServiceError where a port is taken, and what ControlServer raises."""
        self._metrics_url = self._serve_metrics()
        if self._control:
            self._control.start()
        self._erasures.start()
        if self._watch:
            self._watch.start()
        if self._discovery:
            self._discovery.start()
        self._keeper.start()
        self._lost_runs.start()
        self._thread.start()

    def state(self) -> State:
        """The state at the last step."""
        return self._state

    def close_cameras(self) -> None:
        """Stop all cameras for good; their last events are in their outboxes then."""
        # The order matters. No step may lease a camera again that is being closed; and cameras are
        # given back only after they have stopped, so that no other command reads one meanwhile.
        with self._stepping:
            self._is_closed = True
        self._supervisor.note_ends(self._fleet.close())
        self._keeper.close()
        if self._control:
            self._control.close()
        self.refresh()

    def refresh(self) -> State:
        """Bring the state up to date now; returns it."""
        self._state = State(
            self._supervisor.reports(),
            self._relays.reports(),
            self._supervisor.trouble or (self._discovery.fault if self._discovery else ""),
            self._metrics_url,
            self._supervisor.deaths,
            self._supervisor.close_errors,
            control=self._control.address if self._control else ControlAddress(),
        )
        return self._state

    def close(self) -> None:
        """Stop all cameras, and then the supervisor."""
        if not self._is_closed:
            self.close_cameras()
        self._stop.set()
        if self._thread.ident:
            self._thread.join()
        self._lost_runs.close()
        if self._discovery:
            self._discovery.close()
        if self._watch:
            self._watch.close()
        self._erasures.close()

    def _main(self) -> None:
        try:
            while not self._stop.is_set():
                self._step()
                self._stop.wait(self._step_s)
        except Exception as error:  # noqa: BLE001 - a supervisor that ends in silence looks alive
            self._on_failure(error)

    def _step(self) -> None:
        # Outside the lock: under Ray it may wait for ever for a cluster's head that is gone, and
        # the cameras must be closed all the same.
        self._relays.start_missing()
        self._relays.apply_erasures(self._erasures())
        self._lost_runs.record(self._fleet.take_lost_runs())
        deaths = self._supervisor.deaths
        with self._stepping:
            if not self._is_closed:
                self._supervisor.step()
        self._metrics.deaths.inc(self._supervisor.deaths - deaths)
        self.refresh()

    def _serve_metrics(self) -> str:
        where = self._settings.metrics
        if where.port is None:
            return ""
        try:
            return serve(where.host, where.port, self._families)
        except OSError as error:
            what = f"metrics cannot be served ({error.strerror})"
            place = f"{where.host}:{where.port}"
            raise ServiceError(what, place, "choose another metrics.port") from error

    def _families(self) -> Iterator[tuple[str, Families]]:
        yield "supervisor", self._metrics.families()
        yield from self._pool_families()
        yield from self._relays.families()
        yield from self._fleet.families()


def wait_until_delivered(state: Callable[[], State], until_s: float) -> None:
    """Wait until no outbox holds events that bus or store takes, or until `until_s` (monotonic)."""
    while time.monotonic() < until_s:
        relays = state().relays.values()
        if not any(relay.waiting and not relay.fault for relay in relays):
            return
        time.sleep(0.1)
