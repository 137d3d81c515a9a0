"""The camera processes as actors: how the supervisor reaches them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError

from pipeline.errors import UndercamError
from pipeline.live.leases import Heartbeat, Lease, Report
from pipeline.live.ray.actors import CAMERAS, LASTING, Cameras
from pipeline.live.ray.causes import cause_of
from pipeline.live.ray.job import Job
from pipeline.live.supervisor import Answers

ANSWER_S = 1.0
"""How long to wait for all answers together; one that comes later counts at the next call."""


class RayFleet:
    """Named, detached actors: another supervisor finds them again."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._births: dict[str, str] = {}
        self._asked: dict[str, ray.ObjectRef[Heartbeat]] = {}
        self.handles: dict[str, ActorHandle] = {
            name: ray.get_actor(name)
            for name in ray.util.list_named_actors()
            if name.startswith(CAMERAS)
        }

    def names(self) -> Sequence[str]:
        """All of them."""
        return sorted(self.handles)

    def start(self, name: str) -> None:
        """One more, on the machine that has most room."""
        options = {**LASTING, "num_cpus": self._job.settings.workers.cpus}
        actor = Cameras.options(name=name, scheduling_strategy="SPREAD", **options)
        self.handles[name] = actor.remote(self._job)

    def stop(self, name: str) -> None:
        """End one, whatever it does; what it had appended stays in its outboxes."""
        ray.kill(self.handles.pop(name))
        self._births.pop(name, None)
        self._asked.pop(name, None)

    def reports(self) -> Answers:
        """How all their leases fare."""
        return self._ask({name: [] for name in self.handles}, births={})

    def renew(self, leases: Mapping[str, Sequence[Lease]]) -> Answers:
        """Tell each what it is to read. One that was never heard of yet only says who it is."""
        return self._ask(leases, dict(self._births))

    def _ask(self, leases: Mapping[str, Sequence[Lease]], births: Mapping[str, str]) -> Answers:
        for name in leases.keys() - self._asked.keys():
            renew = self.handles[name].renew
            self._asked[name] = renew.remote(births.get(name, ""), list(leases[name]))
        names = {ref: name for name, ref in self._asked.items()}
        if not names:
            return Answers()
        ready, _ = ray.wait(list(names), num_returns=len(names), timeout=ANSWER_S)
        reports: dict[str, list[Report]] = {}
        died: set[str] = set()
        failed: dict[str, str] = {}
        for name in (names[ref] for ref in ready):
            before = self._births.get(name, "")
            try:
                heard = ray.get(self._asked.pop(name))
            except RayActorError as error:
                cause = cause_of(error)
                if isinstance(cause, UndercamError):
                    failed[name] = str(cause)
                    continue
                # Dead, or on its way back: told once, then known as one never heard of.
                heard = Heartbeat("", [])
            self._births[name] = heard.birth
            if before and heard.birth != before:
                died.add(name)
            elif heard.birth:
                reports[name] = heard.reports
        return Answers(reports, frozenset(died), failed)
