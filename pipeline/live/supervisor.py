"""Which camera process reads which camera: the registry on one side, the processes on the other.

It keeps nothing that it could not learn again from them, so it may die at any time; cameras go on
without it for as long as a lease lasts.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import count

from pipeline.backoff import BackOff
from pipeline.camera_states import CONNECTING, ENDED, FAILED, REFUSED, STOPPED, CameraState
from pipeline.clock import Clock, wall_clock
from pipeline.errors import ServiceError
from pipeline.live.leases import Fleet, Lease, Report
from pipeline.service_settings import WorkersSettings
from pipeline.settings import CameraSettings
from pipeline.store.leases import LeaseClaims

DEATHS, DEATHS_WITHIN_S = 2, 300.0
"""A camera whose process died so often in so many seconds gets a process of its own."""
RETRY_LEAST_S, RETRY_MOST_S = 1.0, 60.0
"""Seconds before a camera that failed, or killed a process of its own, is leased again: the first
and the longest wait. After the longest without another failure the next one counts as the first."""
START_S = 60.0
"""Seconds that a process may take to start and to answer, by default."""
DIED = "its process died: another process reads it"
LATE = "its process does not answer: are all cores taken (workers.cpus)?"


class Supervisor:
    """Call `step` about once a second."""

    def __init__(
        self,
        settings: WorkersSettings,
        registry: Callable[[], Mapping[str, CameraSettings] | None],
        fleet: Fleet,
        initial: Mapping[str, CameraSettings] | None = None,
        claim: Callable[[Collection[str]], LeaseClaims] | None = None,
        *,
        start_s: float = START_S,
        clock: Clock = wall_clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`initial` are the cameras to read until the registry, None while it is unknown, has
        answered once. `claim`, where given, asks for cameras that other commands may read too:
        those that are not known to be ours do not start, and those known to be another's stop. A
        process may take `start_s` to start: a slow one does not hang."""
        self._start_s = start_s
        self._settings, self._registry, self._fleet = settings, registry, fleet
        self._claim, self._claims = claim, LeaseClaims()
        self._clock, self._monotonic = clock, monotonic
        self._wanted = _find_enabled(initial or {})
        self._leases: dict[str, dict[str, Lease]] = {}
        self._last_heartbeat_s: dict[str, float] = {}
        self._has_runs: dict[str, bool] = {}
        self._deaths: defaultdict[str, list[float]] = defaultdict(list)
        self._retries: dict[str, BackOff] = {}
        self._failed: dict[str, float] = {}
        self._epoch = 0
        self._reports: dict[str, Report] = {}
        self._close_errors: dict[Lease, str] = {}
        self.deaths = 0
        self.trouble = ""
        """Why the registry cannot be read; "" while it can."""
        self._recover_state()

    def step(self) -> None:
        """Bring the processes in line with the registry, and renew every lease that holds."""
        self._read_registry()
        if self._claim:
            self._claims = self._claim({c for c in self._wanted if not self._has_ended(c)})
        self._drop_unwanted()
        self._place()
        leases = {name: list(kept.values()) for name, kept in self._leases.items()}
        news = self._fleet.heartbeat(leases)
        now = self._monotonic()
        self._has_runs |= {name: bool(reports) for name, reports in news.reports.items()}
        for name, reports in news.reports.items():
            self._last_heartbeat_s[name] = now
            for report in reports:
                self._handle_report(name, report)
        for name in news.died & self._leases.keys():
            self._mark_dead(name, now, DIED)
        for name in news.failed.keys() & self._leases.keys():
            self._mark_unstartable(name, news.failed[name])
        for name in self._late(now):
            self._fleet.stop(name)
            self._mark_dead(name, now, LATE)
            del self._leases[name]

    def reports(self) -> dict[str, Report]:
        """The last report of every camera, by name."""
        return dict(self._reports)

    def note_ends(self, reports: Sequence[Report]) -> None:
        """Keep what was lost when runs ended, whether they were stopped or not."""
        for report in reports:
            if report.close_error:
                self._close_errors[report.lease] = f"{report.lease.camera}: {report.close_error}"

    @property
    def close_errors(self) -> tuple[str, ...]:
        """What was lost when outboxes were closed, each as one sentence."""
        return tuple(self._close_errors.values())

    def leases(self) -> dict[str, list[Lease]]:
        """The leases of every process, by its name."""
        return {name: list(leases.values()) for name, leases in self._leases.items()}

    def _recover_state(self) -> None:
        """Keep the leases that processes hold already, also while the registry is unknown."""
        now = self._monotonic()
        self._leases = {name: {} for name in self._fleet.names()}
        self._last_heartbeat_s = dict.fromkeys(self._leases, now)
        for name, reports in self._fleet.reports().reports.items():
            self._has_runs[name] = bool(reports)
            for report in reports:
                lease = report.lease
                # No epoch may be given twice, also where the clock was set back since.
                self._epoch = max(self._epoch, lease.epoch)
                if not report.is_over:
                    self._leases[name][lease.camera] = lease
                    self._wanted[lease.camera] = lease.settings
                    self._reports[lease.camera] = report

    def _read_registry(self) -> None:
        try:
            registered = self._registry()
        except ServiceError as error:
            self.trouble = str(error)
            return
        self.trouble = ""
        if registered is not None:
            self._wanted = _find_enabled(registered)

    def _drop_unwanted(self) -> None:
        for leases in self._leases.values():
            for camera, lease in list(leases.items()):
                if self._wanted.get(camera) != lease.settings or camera in self._claims.others:
                    del leases[camera]
        for camera in self._reports.keys() - self._wanted.keys():
            del self._reports[camera]

    def _place(self) -> None:
        held = {camera for leases in self._leases.values() for camera in leases}
        for camera in sorted(self._wanted.keys() - held):
            retry = self._retries.get(camera)
            if (retry and retry.waits) or self._has_ended(camera):
                continue
            alone = self._deaths_of(camera) >= DEATHS
            before = self._state_before(camera)
            lease = Lease(camera, self._next_epoch(), self._wanted[camera], alone, before)
            if self._claim and camera not in self._claims.ours:
                waiting = Report(lease, CONNECTING, self._why_not_ours(camera))
                self._reports[camera] = _keep_state(waiting)
                continue
            self._leases[self._find_process(lease)][camera] = lease
            last = self._reports.get(camera)
            # Its process has just died: that is shown until the camera itself reports.
            is_shown = last and last.state == CONNECTING and last.reason in (DIED, LATE)
            reason = last.reason if last and is_shown else ""
            self._reports[camera] = _keep_state(Report(lease, CONNECTING, reason))
        self._stop_idle()

    def _state_before(self, camera: str) -> CameraState | None:
        """The state of a camera that is tried again: it goes on, and keeps the time it began."""
        last = self._reports.get(camera)
        if last is None or last.state not in (REFUSED, FAILED):
            return None
        return CameraState(last.state, last.since_ms, last.reason)

    def _why_not_ours(self, camera: str) -> str:
        holder = self._claims.others.get(camera)
        return f"another command reads it: {holder}" if holder else self._claims.trouble

    def _find_process(self, lease: Lease) -> str:
        """The fullest process that may read the camera and has room; a new one where there is
        none."""
        group, most = self._fleet.group_of(lease.settings), self._settings.cameras_per_worker
        with_room = [
            (-len(leases), name)
            for name, leases in self._leases.items()
            if name.startswith(group)
            and len(leases) < (1 if lease.quarantined else most)
            and not any(held.quarantined for held in leases.values())
        ]
        if with_room:
            return min(with_room)[1]
        name = next(f"{group}{n}" for n in count() if f"{group}{n}" not in self._leases)
        self._fleet.start(name)
        self._leases[name] = {}
        self._last_heartbeat_s[name] = self._monotonic() + self._start_s
        return name

    def _has_ended(self, camera: str) -> bool:
        match self._reports.get(camera):
            case Report(lease=Lease(settings=settings), state=state) if state == ENDED:
                return settings == self._wanted[camera]
        return False

    def _stop_idle(self) -> None:
        """Stop processes without leases or runs, but one, which the next camera gets at once."""
        idle = sorted(n for n, held in self._leases.items() if not (held or self._has_runs.get(n)))
        for name in idle[1:]:
            self._fleet.stop(name)
            del self._leases[name]

    def _handle_report(self, name: str, report: Report) -> None:
        camera = report.lease.camera
        self.note_ends([report])
        # A report may be of a lease that was taken away since; what it says is no longer news.
        if self._leases.get(name, {}).get(camera) != report.lease:
            return
        self._reports[camera] = _keep_state(report)
        if report.is_over:
            del self._leases[name][camera]
            if report.state != STOPPED:
                self._retry_later(camera)

    def _mark_unstartable(self, name: str, reason: str) -> None:
        """A process that cannot start: its cameras have failed, and are tried again later."""
        self._fleet.stop(name)
        for camera, lease in self._leases.pop(name).items():
            since_ms = self._clock()
            if lease.before and lease.before.state == FAILED:
                since_ms = lease.before.since_ms
            self._reports[camera] = Report(lease, FAILED, reason, since_ms=since_ms)
            self._retry_later(camera)

    def _mark_dead(self, name: str, now: float, reason: str) -> None:
        """A process that died, or hangs: its cameras are leased again, under new epochs, since the
        outbox of the old run may still be open for as long as the old lease lasts."""
        self.deaths += 1
        self._last_heartbeat_s[name] = now + self._start_s
        for camera, lease in self._leases[name].items():
            if not self._has_ended(camera):
                self._reports[camera] = Report(lease, CONNECTING, reason)
                self._deaths[camera].append(now)
                if self._deaths_of(camera) > DEATHS:
                    self._retry_later(camera)
        self._leases[name] = {}

    def _late(self, now: float) -> list[str]:
        # After one lease its runs have stopped by themselves; after two it is ended.
        patience_s = 2 * self._settings.lease_s
        return [name for name in self._leases if now - self._last_heartbeat_s[name] > patience_s]

    def _deaths_of(self, camera: str) -> int:
        since = self._monotonic() - DEATHS_WITHIN_S
        self._deaths[camera] = [at for at in self._deaths[camera] if at >= since]
        return len(self._deaths[camera])

    def _retry_later(self, camera: str) -> None:
        now = self._monotonic()
        if now - self._failed.get(camera, -RETRY_MOST_S) >= RETRY_MOST_S:
            self._retries[camera] = BackOff(RETRY_LEAST_S, RETRY_MOST_S, self._monotonic)
        self._failed[camera] = now
        self._retries[camera].record_failure()

    def _next_epoch(self) -> int:
        """Milliseconds since 1970, so that the epochs of another database are not met again; but
        always larger than the last, whatever the clock does."""
        self._epoch = max(self._clock(), self._epoch + 1)
        return self._epoch


def _find_enabled(cameras: Mapping[str, CameraSettings]) -> dict[str, CameraSettings]:
    return {camera: s.for_reading() for camera, s in cameras.items() if s.enabled}


def _keep_state(report: Report) -> Report:
    """While a camera is tried again, and nothing is known yet, its state stays what it was."""
    before = report.lease.before
    if before is None or report.state != CONNECTING or report.reason:
        return report
    return replace(report, state=before.state, reason=before.reason, since_ms=before.since_ms)
