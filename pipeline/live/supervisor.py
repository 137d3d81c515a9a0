"""Who reads which camera: the roster on one side, camera processes on the other.

Keeps nothing that it could not learn again from them, so it may die at any time; cameras go on
without it for as long as a lease lasts.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Protocol

from pipeline.backoff import BackOff
from pipeline.camera_states import CONNECTING, ENDED, FAILED, REFUSED, STOPPED, CameraState
from pipeline.clock import Clock, wall_clock
from pipeline.errors import ServiceError
from pipeline.live.leases import Lease, Report
from pipeline.service_settings import WorkersSettings
from pipeline.settings import CameraSettings
from pipeline.store.leases import LeaseClaims

DEATHS, DEATHS_WITHIN_S = 2, 300.0
"""A camera whose process died so often in that time gets one of its own."""
RETRY_LEAST_S, RETRY_MOST_S = 1.0, 60.0
"""Before a camera that failed, or killed a process of its own, is leased again; after the longer
time without another failure the next one counts as the first."""
START_S = 60.0
"""A process that begins may take so long to answer, unless it is said otherwise."""
DIED = "its process died: another one takes it"
LATE = "its process does not answer: are all cores taken (workers.cpus)?"


@dataclass(frozen=True)
class Answers:
    """What camera processes say, by name; one that neither answered nor died is late. `failed`:
    why some could not even begin."""

    reports: Mapping[str, Sequence[Report]] = field(default_factory=dict)
    died: frozenset[str] = frozenset()
    failed: Mapping[str, str] = field(default_factory=dict)


class Fleet(Protocol):
    """The camera processes there are, each known by its name. Nothing here waits for long."""

    def names(self) -> Sequence[str]:
        """All of them."""
        ...

    def start(self, name: str) -> None:
        """One more."""
        ...

    def stop(self, name: str) -> None:
        """End one, whatever it does."""
        ...

    def reports(self) -> Answers:
        """How all their leases fare."""
        ...

    def renew(self, leases: Mapping[str, Sequence[Lease]]) -> Answers:
        """Tell each what it is to read; one that died is there again, empty, at the next call."""
        ...


class Supervisor:
    """Call `step` about once a second."""

    def __init__(
        self,
        settings: WorkersSettings,
        roster: Callable[[], Mapping[str, CameraSettings] | None],
        fleet: Fleet,
        first: Mapping[str, CameraSettings] | None = None,
        claim: Callable[[Collection[str]], LeaseClaims] | None = None,
        *,
        start_s: float = START_S,
        clock: Clock = wall_clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`first` are the cameras to read until the roster, None as long as nobody knows it, has
        answered once. `claim`, where given, asks for cameras that others may read too: those that
        are not known to be ours do not begin, and those known to be another's end. A process may
        take `start_s` to begin: one that is slow is not hung."""
        self._start_s = start_s
        self._settings, self._roster, self._fleet = settings, roster, fleet
        self._claim, self._claims = claim, LeaseClaims()
        self._clock, self._monotonic = clock, monotonic
        self._wanted = {camera: s for camera, s in (first or {}).items() if s.enabled}
        self._leases: dict[str, dict[str, Lease]] = {}
        self._answered: dict[str, float] = {}
        self._deaths: defaultdict[str, list[float]] = defaultdict(list)
        self._retries: dict[str, BackOff] = {}
        self._failed: dict[str, float] = {}
        self._epoch = 0
        self._reports: dict[str, Report] = {}
        self._close_errors: dict[Lease, str] = {}
        self.deaths = 0
        self.trouble = ""
        """Why the roster cannot be read; "" while it can."""
        self._adopt()

    def step(self) -> None:
        """Bring processes in line with the roster; every lease that stands is renewed."""
        self._read_roster()
        if self._claim:
            self._claims = self._claim({c for c in self._wanted if not self._has_ended(c)})
        self._drop_unwanted()
        self._place()
        answers = self._fleet.renew({n: list(kept.values()) for n, kept in self._leases.items()})
        now = self._monotonic()
        for name, reports in answers.reports.items():
            self._answered[name] = now
            self._heed(name, reports)
        for name in answers.died & self._leases.keys():
            self._bury(name, now, DIED)
        for name in answers.failed.keys() & self._leases.keys():
            self._give_up(name, answers.failed[name])
        for name in self._late(now):
            self._fleet.stop(name)
            self._bury(name, now, LATE)
            del self._leases[name]

    def reports(self) -> dict[str, Report]:
        """How every camera fared when it last told, by name."""
        return dict(self._reports)

    def note_ends(self, reports: Sequence[Report]) -> None:
        """Keep what was lost when runs ended, told to or not."""
        for report in reports:
            if report.close_error:
                self._close_errors[report.lease] = f"{report.lease.camera}: {report.close_error}"

    @property
    def close_errors(self) -> tuple[str, ...]:
        """What was lost when outboxes were closed, each as one sentence."""
        return tuple(self._close_errors.values())

    def leases(self) -> dict[str, list[Lease]]:
        """What every process is to read, by its name."""
        return {name: list(leases.values()) for name, leases in self._leases.items()}

    def _adopt(self) -> None:
        """Leases that stand when we begin stay as they are, also while nobody knows the roster."""
        now = self._monotonic()
        self._leases = {name: {} for name in self._fleet.names()}
        self._answered = dict.fromkeys(self._leases, now)
        for name, reports in self._fleet.reports().reports.items():
            for report in reports:
                lease = report.lease
                self._epoch = max(self._epoch, lease.epoch)
                if not report.is_over:
                    self._leases[name][lease.camera] = lease
                    self._wanted[lease.camera] = lease.settings
                    self._reports[lease.camera] = report

    def _read_roster(self) -> None:
        try:
            roster = self._roster()
        except ServiceError as error:
            self.trouble = str(error)
            return
        self.trouble = ""
        if roster is not None:
            self._wanted = {camera: s for camera, s in roster.items() if s.enabled}

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
            before = self._trouble_of(camera)
            lease = Lease(camera, self._next_epoch(), self._wanted[camera], alone, before)
            if self._claim and camera not in self._claims.ours:
                self._reports[camera] = _still(Report(lease, CONNECTING, self._not_ours(camera)))
                continue
            self._leases[self._room(alone)][camera] = lease
            last = self._reports.get(camera)
            is_told = last and last.state == CONNECTING and last.reason in (DIED, LATE)
            reason = last.reason if last and is_told else ""
            self._reports[camera] = _still(Report(lease, CONNECTING, reason))
        self._retire()

    def _trouble_of(self, camera: str) -> CameraState | None:
        """How a camera stands that is tried again, so that its state keeps its start."""
        last = self._reports.get(camera)
        if last is None or last.state not in (REFUSED, FAILED):
            return None
        return CameraState(last.state, last.since_ms, last.reason)

    def _not_ours(self, camera: str) -> str:
        holder = self._claims.others.get(camera)
        return f"it is read already: {holder}" if holder else self._claims.trouble

    def _room(self, alone: bool) -> str:
        """A process with room, the fullest first; a new one where there is none."""
        open_ones = [
            (-len(leases), name)
            for name, leases in self._leases.items()
            if len(leases) < (1 if alone else self._settings.cameras_per_worker)
            and not any(lease.quarantined for lease in leases.values())
        ]
        if open_ones:
            return min(open_ones)[1]
        name = next(f"cameras-{n}" for n in count() if f"cameras-{n}" not in self._leases)
        self._fleet.start(name)
        self._leases[name] = {}
        self._answered[name] = self._monotonic() + self._start_s
        return name

    def _has_ended(self, camera: str) -> bool:
        match self._reports.get(camera):
            case Report(lease=Lease(settings=settings), state=state) if state == ENDED:
                return settings == self._wanted[camera]
        return False

    def _retire(self) -> None:
        """One idle process stays, for the next camera."""
        idle = sorted(name for name, leases in self._leases.items() if not leases)
        for name in idle[1:]:
            self._fleet.stop(name)
            del self._leases[name]

    def _heed(self, name: str, reports: Sequence[Report]) -> None:
        for report in reports:
            camera = report.lease.camera
            self.note_ends([report])
            if self._leases.get(name, {}).get(camera) != report.lease:
                continue
            self._reports[camera] = _still(report)
            if report.is_over:
                del self._leases[name][camera]
                if report.state != STOPPED:
                    self._retry_later(camera)

    def _give_up(self, name: str, reason: str) -> None:
        """A process that could not begin: its cameras have failed, and are tried again later."""
        self._fleet.stop(name)
        for camera, lease in self._leases.pop(name).items():
            since_ms = self._clock()
            if lease.before and lease.before.state == FAILED:
                since_ms = lease.before.since_ms
            self._reports[camera] = Report(lease, FAILED, reason, since_ms=since_ms)
            self._retry_later(camera)

    def _bury(self, name: str, now: float, reason: str) -> None:
        self.deaths += 1
        self._answered[name] = now + self._start_s
        for camera, lease in self._leases[name].items():
            if not self._has_ended(camera):
                self._reports[camera] = Report(lease, CONNECTING, reason)
                self._deaths[camera].append(now)
                if self._deaths_of(camera) > DEATHS:
                    self._retry_later(camera)
        self._leases[name] = {}

    def _late(self, now: float) -> list[str]:
        patience_s = 2 * self._settings.lease_s
        return [name for name in self._leases if now - self._answered[name] > patience_s]

    def _deaths_of(self, camera: str) -> int:
        since = self._monotonic() - DEATHS_WITHIN_S
        self._deaths[camera] = [at for at in self._deaths[camera] if at >= since]
        return len(self._deaths[camera])

    def _retry_later(self, camera: str) -> None:
        now = self._monotonic()
        if now - self._failed.get(camera, -RETRY_MOST_S) >= RETRY_MOST_S:
            self._retries[camera] = BackOff(RETRY_LEAST_S, RETRY_MOST_S, self._monotonic)
        self._failed[camera] = now
        self._retries[camera].failed()

    def _next_epoch(self) -> int:
        self._epoch = max(self._clock(), self._epoch + 1)
        return self._epoch


def _still(report: Report) -> Report:
    """While a camera is tried again, and until more is known, it stands as it stood."""
    before = report.lease.before
    if before is None or report.state != CONNECTING or report.reason:
        return report
    return replace(report, state=before.state, reason=before.reason, since_ms=before.since_ms)
