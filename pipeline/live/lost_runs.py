"""What is lost with a machine of a cluster: the events on its disk that had not been delivered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from threading import Event, Lock, Thread

from pipeline.clock import Clock, wall_clock
from pipeline.closing import Service
from pipeline.errors import ServiceError
from pipeline.live.leases import Report
from pipeline.store.engine import use_store
from pipeline.store.lost_runs import LostRun, record_lost_runs

RETRY_S = 1.0
"""Seconds between two tries while the database is away."""
MOST_RUNS = 1000
"""Runs of one machine that are remembered, the newest; a run ends when its lease does."""


class MachineRuns:
    """The runs whose events were appended on each machine's disk, as their reports told last."""

    def __init__(self, clock: Clock = wall_clock) -> None:
        self._clock = clock
        self._runs: defaultdict[str, dict[str, LostRun]] = defaultdict(dict)

    def note(self, machine: str, reports: Iterable[Report]) -> None:
        """Remember what the runs of a machine have appended by now."""
        for report in reports:
            if report.appended:
                lease = report.lease
                now = self._clock()
                began = min(lease.epoch, now)
                runs = self._runs[machine]
                run = LostRun(lease.camera, lease.run, report.appended, began, now)
                runs[f"{lease.camera}.{lease.run}"] = run
                if len(runs) > MOST_RUNS:
                    del runs[next(iter(runs))]

    def take_lost(self, alive: Collection[str]) -> list[LostRun]:
        """The runs of machines that are not alive, each once."""
        lost = self._runs.keys() - set(alive)
        return [run for machine in sorted(lost) for run in self._runs.pop(machine).values()]


class LostRunKeeper(Service):
    """Writes the gaps of lost runs, on a thread of its own: the database may be slow or away."""

    def __init__(self, url: str, busy_timeout_s: float, retry_s: float = RETRY_S) -> None:
        self._url, self._busy_timeout_s, self._retry_s = url, busy_timeout_s, retry_s
        self._lost: list[LostRun] = []
        self._lock, self._stop, self._wake = Lock(), Event(), Event()
        self._thread = Thread(target=self._run, name="lost runs", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def record(self, lost: Iterable[LostRun]) -> None:
        """Have the gaps of these runs written, as soon as the database takes them."""
        with self._lock:
            self._lost.extend(lost)
            if self._lost:
                self._wake.set()

    def close(self) -> None:
        """End the thread, after one last try to write what is left."""
        with self._lock:
            self._stop.set()
            self._wake.set()
        if self._thread.ident:
            self._thread.join()

    def _run(self) -> None:
        is_last = False
        while not is_last:
            self._wake.wait()
            is_last = self._stop.is_set()
            if not self._write():
                self._stop.wait(self._retry_s)

    def _write(self) -> bool:
        """Whether nothing is left to write."""
        with self._lock:
            lost = list(self._lost)
        if lost:
            try:
                with use_store(self._url, self._busy_timeout_s) as engine:
                    record_lost_runs(engine, lost)
            except ServiceError:  # whoever uses the database says why
                return False
        with self._lock:
            del self._lost[: len(lost)]
            if not self._lost and not self._stop.is_set():
                self._wake.clear()
            return not self._lost
