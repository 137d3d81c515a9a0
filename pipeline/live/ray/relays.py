"""Relays as actors: one on every machine of the cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError, RayError

from pipeline.erasure import Erasure
from pipeline.errors import UndercamError
from pipeline.live.engine import Job
from pipeline.live.ray.actors import LASTING, RELAY, RelayOf
from pipeline.live.ray.fleet import cause_of, collect, collect_families
from pipeline.live.ray.nodes import SHARED_REMEDY, alive_nodes, is_alone, only_on
from pipeline.live.relay_service import RelayReport
from pipeline.metrics import Families

RETRY_S = 15.0
"""Seconds before a relay that could not start, as where a folder is missing, is tried again."""


class RayRelays:
    """One relay actor on every machine that is there, and the last report of those that are lost.

    With a SQLite database only the command's own machine has one; a machine that joins is said to
    be of no use.
    """

    def __init__(self, job: Job) -> None:
        self._job, self._is_alone = job, is_alone(job.settings)
        self._handles: dict[str, ActorHandle] = {}
        self._addresses: dict[str, str] = {}
        self._last: dict[str, RelayReport] = {}
        self._lost: dict[str, RelayReport] = {}
        self._unused: dict[str, RelayReport] = {}
        self._failed: dict[str, tuple[RelayReport, float]] = {}

    def start_missing(self) -> None:
        """Start one on every machine that lives; may wait for ever without the cluster's head."""
        nodes = {f"{RELAY}{key[:12]}": (key, node) for key, node in alive_nodes().items()}
        for name in self._handles.keys() - nodes.keys():
            self._lose(name)
        if self._is_alone:
            others = {name for name, (key, _) in nodes.items() if key != self._job.node}
            self._unused = {name: _report_unused(nodes[name][1]) for name in others}
        now = time.monotonic()
        self._failed = {
            name: (report, retry_s)
            for name, (report, retry_s) in self._failed.items()
            if name in nodes and retry_s > now
        }
        waiting = self._handles.keys() | self._unused.keys() | self._failed.keys()
        for name in nodes.keys() - waiting:
            key, node = nodes[name]
            self._start(name, key, str(node["NodeManagerAddress"]))

    def apply_erasures(self, erasures: Sequence[Erasure]) -> None:
        """To each whose last report knows another number: one that was restarted knows none."""
        for name, relay in self._handles.items():
            last = self._last.get(name)
            if last and last.erasures != len(erasures):
                relay.apply_erasures.remote(tuple(erasures))

    def reports(self) -> dict[str, RelayReport]:
        """The report of each; of one that does not answer, its last, with that as the fault."""
        requested = {name: relay.report.remote() for name, relay in self._handles.items()}
        answers = collect(requested)
        for name in requested.keys() - answers.keys():
            last = self._last.get(name)
            if fault := _find_start_fault(requested[name]):
                del self._handles[name]
                self._failed[name] = RelayReport(fault=fault), time.monotonic() + RETRY_S
                continue
            silent = RelayReport(fault="the relay has not started")
            if last:
                silent = replace(last, fault="the relay does not answer")
            answers[name] = silent
        self._last = answers
        failed = {name: report for name, (report, _) in self._failed.items()}
        return {**answers, **failed, **self._lost, **self._unused}

    def families(self) -> Iterator[tuple[str, Families]]:
        """The metrics of every relay."""
        return collect_families(self._handles)

    def _start(self, name: str, node: str, address: str) -> None:
        # It starts also where every core is taken, and never on another machine.
        options: dict[str, Any] = {**LASTING, "num_cpus": 0}
        actor = RelayOf.options(name=name, **only_on(node), **options)
        self._handles[name] = actor.remote(self._job)
        self._addresses[name] = address
        # A machine that was lost is back: its new relay delivers what the old one could not.
        for lost in [one for one in self._lost if self._addresses[one] == address]:
            self._lost[lost] = replace(self._lost[lost], waiting=0, fault="")

    def _lose(self, name: str) -> None:
        """Keep the counts of a machine that is gone, and say what waits on its disk."""
        del self._handles[name]
        last = self._last.pop(name, RelayReport())
        fault = ""
        # One that delivered nothing any more may not have known how much waited.
        if last.waiting or last.fault:
            known = f"{last.waiting} events" if last.waiting else "events"
            fault = (
                f"machine {self._addresses[name]} is lost, {known} may wait on its disk: "
                "bring it back, or run `undercam outbox drain` on the disk"
            )
        self._lost[name] = replace(last, fault=fault)


def _report_unused(node: dict[str, Any]) -> RelayReport:
    address = node["NodeManagerAddress"]
    fault = f"machine {address} has joined and is not used: it cannot share a SQLite file"
    return RelayReport(fault=f"{fault}; {SHARED_REMEDY}")


def _find_start_fault(answer: ray.ObjectRef[Any]) -> str:
    """What a relay has raised when it was started; "" where it raised nothing, or may start yet."""
    ready, _ = ray.wait([answer], timeout=0)
    try:
        if ready:
            ray.get(answer)
    except RayActorError as error:
        cause = cause_of(error)
        if isinstance(cause, UndercamError):
            return str(cause)
    except RayError:
        pass  # it has died, and Ray starts it again
    return ""
