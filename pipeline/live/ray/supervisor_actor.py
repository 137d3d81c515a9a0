"""The supervisor as an actor: it keeps all others running, and knows how everything fares."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.config import resolve
from pipeline.errors import ServiceError
from pipeline.live.ray.actors import LASTING, RELAY, RelayOf, start_pools
from pipeline.live.ray.fleet import RayFleet
from pipeline.live.ray.job import Job
from pipeline.live.relay_service import RelayReport
from pipeline.live.state import State
from pipeline.live.supervisor import Supervisor
from pipeline.metrics import Families, SupervisorMetrics, serve
from pipeline.store.leases import LeaseKeeper
from pipeline.store.registry import RegistryWatch

STEP_S, ANSWER_S, CLOSE_S = 0.5, 1.0, 4.0


class SupervisorActor:
    """Steps twice a second, for as long as it lives; Ray starts it again when it does not."""

    def __init__(self, job: Job) -> None:
        job.settle()
        self._job = job
        self._asked_s = time.monotonic()
        settings = job.settings
        self._metrics = SupervisorMetrics()
        self._pools = start_pools(job)
        self._relays: dict[str, ActorHandle] = {}
        self._fleet = RayFleet(job)
        first = None if job.is_seeded else settings.cameras
        url, busy_s = resolve(settings.store.url), settings.store.busy_timeout_s
        watch = RegistryWatch(url, busy_s, first)
        # So long that camera processes which nobody renews any more have ended themselves.
        lease_s = 2 * settings.workers.lease_s
        self._keeper = LeaseKeeper(url, busy_s, job.holder, lease_s)
        self._supervisor = Supervisor(
            *(settings.workers, watch, self._fleet, first, self._keeper),
            start_s=settings.cluster.start_timeout_s,
        )
        self._state = State(self._supervisor.reports())
        self._metrics_url = self._serve_metrics()
        self._stepping = threading.Lock()
        self._is_closed = False
        threading.Thread(target=self._main, name="supervise", daemon=True).start()

    def job(self) -> tuple[Job, float]:
        """What it was told to run; and how many seconds ago somebody last asked for its state."""
        return self._job, time.monotonic() - self._asked_s

    def state(self) -> State:
        """How everything fared at the last step."""
        self._asked_s = time.monotonic()
        return self._state

    def close(self) -> None:
        """Stop all cameras, for good; what they said last is in their outboxes then."""
        with self._stepping:
            self._is_closed = True
        closing = {n: handle.close.remote() for n, handle in self._fleet.handles.items()}
        for reports in answers(closing, CLOSE_S).values():
            self._supervisor.note_ends(reports)
        self._keeper.close()
        self._step()

    def _main(self) -> None:
        try:
            while True:
                self._step()
                time.sleep(STEP_S)
        except Exception:  # noqa: BLE001 - this process begins anew rather than standing still
            traceback.print_exc(file=sys.stderr)
            os._exit(1)

    def _step(self) -> None:
        # Waits for ever on a Ray without its head; cameras are closed meanwhile all the same.
        self._start_relays()
        deaths = self._supervisor.deaths
        with self._stepping:
            if not self._is_closed:
                self._supervisor.step()
        self._metrics.deaths.inc(self._supervisor.deaths - deaths)
        self._state = State(
            self._supervisor.reports(),
            self._relay_reports(),
            self._supervisor.trouble,
            self._metrics_url,
            self._supervisor.deaths,
            self._supervisor.close_errors,
        )

    def _start_relays(self) -> None:
        """One on every machine that lives."""
        nodes = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        for node in nodes:
            name = f"{RELAY}{node[:12]}"
            if name not in self._relays:
                here = NodeAffinitySchedulingStrategy(node, soft=False)
                options = {**LASTING, "num_cpus": 0}  # it begins also where every core is taken
                actor = RelayOf.options(name=name, scheduling_strategy=here, **options)
                self._relays[name] = actor.remote(self._job)

    def _relay_reports(self) -> dict[str, RelayReport]:
        """Of every relay; what one that does not answer said last."""
        last, never = self._state.relays, RelayReport(fault="the relay has not begun")
        heard = answers({name: relay.report.remote() for name, relay in self._relays.items()})
        silent = {
            name: replace(last[name], fault="the relay does not answer") if name in last else never
            for name in self._relays.keys() - heard.keys()
        }
        return heard | silent

    def _serve_metrics(self) -> str:
        where = self._job.settings.metrics
        if where.port is None:
            return ""
        try:
            return serve(where.host, where.port, self._families)
        except OSError as error:
            what = f"the numbers cannot be shown ({error.strerror})"
            place = f"{where.host}:{where.port}"
            raise ServiceError(what, place, "choose another metrics.port") from error

    def _families(self) -> Iterator[tuple[str, Families]]:
        actors = {**self._pools, **self._relays, **self._fleet.handles}
        yield "supervisor", self._metrics.families()
        yield from answers(
            {name: actor.families.remote() for name, actor in actors.items()}
        ).items()


def answers(asked: Mapping[str, ray.ObjectRef[Any]], most_s: float = ANSWER_S) -> dict[str, Any]:
    """What actors answer in time, by name; one that died or is late is left out."""
    names = {ref: name for name, ref in asked.items()}
    if not names:
        return {}
    ready, _ = ray.wait(list(names), num_returns=len(names), timeout=most_s)
    found: dict[str, Any] = {}
    for ref in ready:
        try:
            found[names[ref]] = ray.get(ref)
        except RayError:
            continue
    return found


SupervisorOf = ray.remote(SupervisorActor)
