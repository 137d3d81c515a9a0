"""Camera processes as actors: how the supervisor reaches them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError, RayError

from pipeline.errors import UndercamError
from pipeline.live.engine import Job
from pipeline.live.leases import CAMERAS, FleetReport, Heartbeat, Lease, Report
from pipeline.live.lost_runs import MachineRuns
from pipeline.live.ray.actors import LASTING, Cameras
from pipeline.live.ray.nodes import alive_nodes, group_of, place_cameras
from pipeline.metrics import Families
from pipeline.settings import CameraSettings
from pipeline.store.lost_runs import LostRun

ANSWER_S = 1.0
"""Seconds to wait for all answers together; one that comes later counts at the next call."""
CLOSE_S = 4.0
"""Seconds to wait for all cameras to close."""


class RayFleet:
    """Named, detached actors: another supervisor finds them again."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._machines = MachineRuns()
        self._incarnations: dict[str, str] = {}
        self._pending: dict[str, ray.ObjectRef[Heartbeat]] = {}
        self._handles: dict[str, ActorHandle] = {
            name: ray.get_actor(name)
            for name in ray.util.list_named_actors()
            if name.startswith(CAMERAS)
        }

    def names(self) -> Sequence[str]:
        """All of them."""
        return sorted(self._handles)

    def group_of(self, settings: CameraSettings) -> str:
        """On a cluster, cameras that push to us have processes where they push to."""
        return group_of(settings, self._job)

    def start(self, name: str) -> None:
        """Start one more, on the machine that has most room, or that cameras push to."""
        options = {**LASTING, **place_cameras(name, self._job)}
        self._handles[name] = Cameras.options(name=name, **options).remote(self._job)

    def stop(self, name: str) -> None:
        """End one, whatever it does; what it had appended stays in its outboxes."""
        ray.kill(self._handles.pop(name))
        self._incarnations.pop(name, None)
        self._pending.pop(name, None)

    def reports(self) -> FleetReport:
        """The reports of all; no lease changes."""
        # Without an incarnation a worker applies no leases.
        return self._call({name: [] for name in self._handles}, incarnations={})

    def heartbeat(self, leases: Mapping[str, Sequence[Lease]]) -> FleetReport:
        """Send each its leases. One that has not answered yet only tells its incarnation."""
        return self._call(leases, dict(self._incarnations))

    def close(self) -> list[Report]:
        """Stop all cameras; returns how each run has ended, of processes that answer in time."""
        closing = {name: handle.close.remote() for name, handle in self._handles.items()}
        return [report for reports in collect(closing, CLOSE_S).values() for report in reports]

    def families(self) -> Iterator[tuple[str, Families]]:
        """The metrics of every camera process."""
        return collect_families(self._handles)

    def take_lost_runs(self) -> list[LostRun]:
        """The runs of machines that were lost since the last call; may wait for ever without the
        cluster's head."""
        return self._machines.take_lost(alive_nodes())

    def _call(
        self, leases: Mapping[str, Sequence[Lease]], incarnations: Mapping[str, str]
    ) -> FleetReport:
        # One call at a time to each: a slow process must not find a queue of old leases.
        for name in leases.keys() - self._pending.keys():
            heartbeat = self._handles[name].heartbeat
            self._pending[name] = heartbeat.remote(incarnations.get(name, ""), list(leases[name]))
        names = {ref: name for name, ref in self._pending.items()}
        if not names:
            return FleetReport()
        ready, _ = ray.wait(list(names), num_returns=len(names), timeout=ANSWER_S)
        reports: dict[str, list[Report]] = {}
        died: set[str] = set()
        failed: dict[str, str] = {}
        for name in (names[ref] for ref in ready):
            before = self._incarnations.get(name, "")
            try:
                heartbeat = ray.get(self._pending.pop(name))
            except RayActorError as error:
                cause = cause_of(error)
                if isinstance(cause, UndercamError):
                    failed[name] = str(cause)
                    continue
                # Dead, or on its way back: reported once, and then as one that never answered.
                heartbeat = Heartbeat("", [])
            self._incarnations[name] = heartbeat.incarnation
            if before and heartbeat.incarnation != before:
                died.add(name)
            elif heartbeat.incarnation:
                reports[name] = heartbeat.reports
                self._machines.note(heartbeat.machine, heartbeat.reports)
        return FleetReport(reports, frozenset(died), failed)


def collect(refs: Mapping[str, ray.ObjectRef[Any]], timeout_s: float = ANSWER_S) -> dict[str, Any]:
    """The answers of actors, by name; one that died or is late is left out."""
    names = {ref: name for name, ref in refs.items()}
    if not names:
        return {}
    ready, _ = ray.wait(list(names), num_returns=len(names), timeout=timeout_s)
    answers: dict[str, Any] = {}
    for ref in ready:
        try:
            answers[names[ref]] = ray.get(ref)
        except RayError:
            continue
    return answers


def collect_families(handles: Mapping[str, ActorHandle]) -> Iterator[tuple[str, Families]]:
    """The metrics of actors, each with its name."""
    refs = {name: handle.families.remote() for name, handle in handles.items()}
    yield from collect(refs).items()


def cause_of(error: BaseException) -> BaseException:
    """What was raised in an actor that could not start; of any other error, the error itself."""
    cause = getattr(error.args[0] if error.args else error, "cause", None)
    return cause if isinstance(cause, BaseException) else error
